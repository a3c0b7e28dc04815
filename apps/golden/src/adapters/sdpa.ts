import { scaledDotProductAttention } from "@seqmix/attention";
import { cast } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** q [B H L D], k and v [B G S D]; the log-sum-exp is an output. */
export const sdpaAdapter: GoldenAdapter = {
  operator: "sdpa",
  options: [
    "B",
    "heads",
    "kvHeads",
    "L",
    "S",
    "headDim",
    "valueDim",
    "causal",
    "window",
    "alibi",
    "packed",
    "scale",
    "seed",
  ],
  supports: ({ options }) =>
    options["causal"] !== false || !options["window"] || "a window without causal, whose extent is not documented",
  run(inputs, { options }) {
    const q = real(inputs, "q");
    const segments = maybe(inputs, "segments");
    const { out, logSumExp } = scaledDotProductAttention(
      {
        q,
        k: real(inputs, "k"),
        v: real(inputs, "v"),
        ...(segments && { querySegments: cast(segments, "i32"), keySegments: cast(segments, "i32") }),
      },
      {
        causal: options["causal"] !== false,
        window: Number(options["window"] ?? 0),
        scale: typeof options["scale"] === "number" ? options["scale"] : q.shape[3]! ** -0.5,
        alibi: options["alibi"] === true,
      },
    );
    return { out, logsumexp: logSumExp };
  },
};
