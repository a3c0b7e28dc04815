import { crossEntropy } from "@seqmix/nn";
import { cast } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { real } from "../inputs.js";

type Reduction = "mean" | "sum" | "none";

export const crossEntropyAdapter: GoldenAdapter = {
  operator: "cross_entropy",
  options: ["B", "L", "V", "ignoreIndex", "label_smoothing", "reduction", "seed"],
  supports: ({ options }) =>
    ["mean", "sum", "none"].includes(String(options["reduction"] ?? "mean")) ||
    `reduction ${String(options["reduction"])}`,
  run: (inputs, { options }) => ({
    out: crossEntropy(real(inputs, "logits"), cast(real(inputs, "labels"), "i32"), undefined, {
      ...(typeof options["ignoreIndex"] === "number" && { ignoreIndex: options["ignoreIndex"] }),
      labelSmoothing: Number(options["label_smoothing"] ?? 0),
      reduction: (options["reduction"] ?? "mean") as Reduction,
    }),
  }),
};
