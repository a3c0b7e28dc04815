import {
  applyFeatureMap,
  bidirectionalLinearAttention,
  linearAttention,
  type LinearAttentionOptions,
  type LinearAttentionState,
} from "@seqmix/linear-attention";
import { add, cast, iota, less, mul, reshape, tensor, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValues } from "@seqmix/testing";
import { count, maybe, real } from "../inputs.js";
import { ALGORITHMS } from "./ssd.js";

/** Features in all three algorithms in equal parts, so that an error of any shows. */
function everyWay(
  given: Parameters<typeof linearAttention>[0],
  options: LinearAttentionOptions,
): readonly [Tensor, LinearAttentionState] {
  const results = ALGORITHMS.map((algorithm) => linearAttention(given, { ...options, algorithm, chunkSize: 4 }));
  const mean = (parts: readonly Tensor[]): Tensor =>
    mul(
      1 / parts.length,
      parts.reduce((a, b) => add(a, b)),
    );
  const z = results.flatMap(([, state]) => (state.z ? [state.z] : []));
  return [
    mean(results.map(([y]) => y)),
    { S: mean(results.map(([, { S }]) => S)), ...(z.length > 0 && { z: mean(z) }) },
  ];
}

/** The state that a case begins with; without a sum of keys where nothing is normalized. */
function initialState(
  inputs: GoldenValues,
  S: string,
  z: string,
  axes: readonly number[],
): LinearAttentionState | undefined {
  const [start, sums] = [maybe(inputs, S), maybe(inputs, z)];
  return start && { S: start, ...(sums && { z: reshape(sums, axes) }) };
}

/** As in flash-linear-attention: no feature map, queries scaled, 1e-10 added to the sum of the weights. */
export const linearAttentionAdapter: GoldenAdapter = {
  operator: "linear_attention",
  options: ["B", "T", "H", "K", "V", "normalize", "initial_state", "scale"],
  run(inputs, { options }) {
    const q = real(inputs, "q");
    const [B, , H, K] = q.shape as [number, number, number, number];
    const scale = typeof options["scale"] === "number" ? options["scale"] : K ** -0.5;
    const [out, { S, z }] = everyWay(
      {
        q: mul(q, scale),
        k: real(inputs, "k"),
        v: real(inputs, "v"),
        state: initialState(inputs, "initial_state", "initial_z", [B, H, K]),
      },
      { normalize: options["normalize"] === true, eps: 1e-10 },
    );
    return { out, state: S, ...(z && { z: reshape(z, [B, 1, H, K]) }) };
  },
};

const features = (inputs: GoldenValues): Readonly<Record<"q" | "k" | "v", Tensor>> => ({
  q: applyFeatureMap("elu+1", real(inputs, "queries")),
  k: applyFeatureMap("elu+1", real(inputs, "keys")),
  v: real(inputs, "values"),
});

export const causalLinearAttentionEluAdapter: GoldenAdapter = {
  operator: "causal_linear_attention_elu",
  options: ["N", "L", "H", "D", "M", "eps", "initial_state"],
  run(inputs, { options }) {
    const given = features(inputs);
    const [B, , H, K] = given.q.shape as [number, number, number, number];
    const state = initialState(inputs, "S0", "Z0", [B, H, K]);
    const eps = typeof options["eps"] === "number" ? options["eps"] : 1e-6;
    const [out, { S, z }] = everyWay({ ...given, state }, { normalize: true, eps });
    return { out, S, Z: z! };
  },
};

/** Keys beyond the lengths do not count. */
export const linearAttentionNoncausalEluAdapter: GoldenAdapter = {
  operator: "linear_attention_noncausal_elu",
  options: ["N", "L", "S", "H", "D", "M", "key_lengths", "eps"],
  run(inputs, { options }) {
    const lengths = options["key_lengths"];
    const [B, M] = [count(options, "N"), count(options, "S")];
    const keyMask = Array.isArray(lengths)
      ? cast(less(iota([B, M], 1), tensor(Int32Array.from(lengths as number[]), [B, 1])), "f32")
      : undefined;
    const eps = typeof options["eps"] === "number" ? options["eps"] : 1e-6;
    return { out: bidirectionalLinearAttention({ ...features(inputs), keyMask }, { normalize: true, eps }) };
  },
};
