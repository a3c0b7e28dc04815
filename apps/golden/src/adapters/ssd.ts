import { causalConv1d, gatedRmsNorm, linear } from "@seqmix/nn";
import {
  decayMask,
  passStates,
  resetsOfSegments,
  segsum,
  ssd,
  structuredMaskedAttention,
  type SsdOptions,
  type StructuredMaskedAttentionAlgorithm,
  type StructuredMaskedAttentionArguments,
  type StructuredMaskedAttentionResult,
} from "@seqmix/ssd";
import {
  add,
  cast,
  cumsum,
  exp,
  expandDims,
  mul,
  reshape,
  sliceAxis,
  split,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValues } from "@seqmix/testing";
import { count, maybe, real } from "../inputs.js";

/** All of them, for cases that are run in each. */
export const ALGORITHMS: readonly StructuredMaskedAttentionAlgorithm[] = ["recurrent", "chunked", "quadratic"];

/** The mean of the three algorithms, so that an error of any shows. */
export function everyWay(
  run: (algorithm: StructuredMaskedAttentionAlgorithm) => StructuredMaskedAttentionResult,
): StructuredMaskedAttentionResult {
  const results = ALGORITHMS.map(run);
  const mean = (parts: readonly Tensor[]): Tensor =>
    mul(
      1 / 3,
      parts.reduce((a, b) => add(a, b)),
    );
  return { y: mean(results.map(({ y }) => y)), hT: mean(results.map(({ hT }) => hT)) };
}

/** {@link everyWay} of {@link structuredMaskedAttention}. */
export const attendEveryWay = (
  inputs: StructuredMaskedAttentionArguments,
  chunkSize: number,
): StructuredMaskedAttentionResult =>
  everyWay((algorithm) => structuredMaskedAttention(inputs, { algorithm, chunkSize }));

/** [null or a number] to a limit. */
export function limitsOf(value: unknown): readonly [number, number] {
  const [low, high] = Array.isArray(value) ? (value as unknown[]) : [];
  return [typeof low === "number" ? low : 0, typeof high === "number" ? high : Infinity];
}

/** exp(segsum) twice: as the published function and a mask. */
export const segsumAdapter: GoldenAdapter = {
  operator: "segsum",
  options: ["shape"],
  run(inputs) {
    const x = real(inputs, "x");
    return { exp_segsum: mul(0.5, add(exp(segsum(x)), decayMask(x))), cumsum: cumsum(x, -1) };
  },
};

/** Here x is multiplied by the step size already, and A is the log decay; states are [B H P N]. */
export const ssdMinimalDiscreteAdapter: GoldenAdapter = {
  operator: "ssd_minimal_discrete",
  options: ["batch", "L", "nheads", "headdim", "d_state", "block_len", "initial_state"],
  run(inputs, { options }) {
    const start = maybe(inputs, "initial_state");
    const { y, hT } = attendEveryWay(
      {
        q: real(inputs, "C"),
        k: real(inputs, "B"),
        v: real(inputs, "X"),
        logDecay: real(inputs, "A"),
        h0: start && transpose(start),
      },
      count(options, "block_len"),
    );
    return { out: y, final_state: transpose(hT) };
  },
};

export const ssdChunkScanCombinedAdapter: GoldenAdapter = {
  operator: "ssd_chunk_scan_combined",
  options: [
    "batch",
    "L",
    "nheads",
    "headdim",
    "d_state",
    "ngroups",
    "suggested_chunk_size",
    "D",
    "z",
    "dt_bias",
    "dt_softplus",
    "dt_limit",
    "initial_states",
    "seq_idx",
  ],
  run(inputs, { options }) {
    const [start, segments] = [maybe(inputs, "initial_states"), maybe(inputs, "seq_idx")];
    const { y, hT } = everyWay((algorithm) =>
      ssd(
        {
          ...(Object.fromEntries(["x", "dt", "A", "B", "C"].map((name) => [name, real(inputs, name)])) as Record<
            "x" | "dt" | "A" | "B" | "C",
            Tensor
          >),
          D: maybe(inputs, "D"),
          z: maybe(inputs, "z"),
          dtBias: maybe(inputs, "dt_bias"),
          h0: start && transpose(start),
          resets: segments && resetsOfSegments(cast(segments, "i32")),
        },
        { ...stepOptions(options), algorithm, chunkSize: count(options, "suggested_chunk_size") },
      ),
    );
    return { out: y, final_states: transpose(hT) };
  },
};

const stepOptions = (options: Readonly<Record<string, unknown>>): SsdOptions => ({
  dtSoftplus: options["dt_softplus"] === true,
  dtLimit: limitsOf(options["dt_limit"]),
});

/** Step sizes are [B H C Q]; states passed between chunks are flat. */
export const ssdChunkStatePassingAdapter: GoldenAdapter = {
  operator: "ssd_chunk_state_passing",
  options: ["batch", "nchunks", "chunk", "nheads", "headdim", "d_state", "ngroups"],
  run(inputs) {
    const [x, B, steps, start] = [
      real(inputs, "x"),
      real(inputs, "B"),
      real(inputs, "dt"),
      maybe(inputs, "initial_states"),
    ];
    const [batch, H, C, Q] = steps.shape as [number, number, number, number];
    const [P, N] = [x.shape[3]!, B.shape[3]!];
    const piece = (y: Tensor): Tensor => reshape(y, [batch * C, Q, ...y.shape.slice(2)]);
    const dt = reshape(transpose(steps, [0, 2, 3, 1]), [batch * C, Q, H]);
    const sums = cumsum(mul(steps, reshape(real(inputs, "A"), [H, 1, 1])), 3);
    const { hT: after } = ssd({ x: piece(x), dt, A: real(inputs, "A"), B: piece(B), C: piece(B) });
    const states = reshape(after, [batch, C, H, N, P]);
    const kept = expandDims(transpose(exp(sliceAxis(sums, 3, Q - 1, Q)), [0, 2, 1, 3]), 4);
    const h0 = start && transpose(reshape(start, [batch, H, P, N]));
    const { before, hT } = passStates({ states, kept, h0 });
    const flat = (h: Tensor): Tensor => reshape(transpose(h), [...h.shape.slice(0, -2), P * N]);
    return {
      dA_cumsum: sums,
      chunk_states: transpose(states),
      states_before_chunk: flat(before),
      final_state: flat(hT),
    };
  },
};

export const rmsNormGatedAdapter: GoldenAdapter = {
  operator: "rmsnorm_gated",
  options: ["batch", "L", "D", "group_size", "norm_before_gate", "z", "bias", "eps"],
  run(inputs, { options }) {
    const x = real(inputs, "x");
    return { out: gatedRmsNorm(affine(inputs, "weight", "bias"), x, maybe(inputs, "z"), normOptions(options, x)) };
  },
};

function affine(inputs: GoldenValues, weightName: string, biasName: string): { weight?: Tensor; bias?: Tensor } {
  const [weight, bias] = [maybe(inputs, weightName), maybe(inputs, biasName)];
  return { ...(weight && { weight }), ...(bias && { bias }) };
}

const normOptions = (
  options: Readonly<Record<string, unknown>>,
  x: Tensor,
): { normBeforeGate: boolean; groups: number; eps: number } => ({
  normBeforeGate: options["norm_before_gate"] === true,
  groups: typeof options["group_size"] === "number" ? x.shape.at(-1)! / options["group_size"] : 1,
  eps: count(options, "eps"),
});

/** Everything of a Mamba-2 block behind its first projection; the reference normalizes all channels together. */
export const mamba2SplitConv1dScanAdapter: GoldenAdapter = {
  operator: "mamba2_split_conv1d_scan",
  options: [
    "batch",
    "L",
    "nheads",
    "headdim",
    "d_state",
    "ngroups",
    "d_conv",
    "rmsnorm",
    "norm_before_gate",
    "outproj",
    "dt_limit",
    "eps",
    "activation",
    "initial_states",
    "seq_idx",
  ],
  supports: ({ options }) =>
    ["silu", "swish"].includes(String(options["activation"] ?? "silu")) ||
    `activation=${String(options["activation"])}`,
  run(inputs, { options }) {
    const [H, P, N, G] = ["nheads", "headdim", "d_state", "ngroups"].map((name) => count(options, name)) as [
      number,
      number,
      number,
      number,
    ];
    const given = real(inputs, "zxbcdt");
    const [batch, L] = given.shape as [number, number];
    const [z, xBC, dt] = split(given, [H * P, H * P + 2 * G * N, H]) as [Tensor, Tensor, Tensor];
    const segments = maybe(inputs, "seq_idx");
    const resets = segments && resetsOfSegments(cast(segments, "i32"));
    const convolved = causalConv1d(
      { weight: real(inputs, "conv1d_weight"), ...affine(inputs, "none", "conv1d_bias") },
      xBC,
      undefined,
      { activation: "silu", resets },
    )[0];
    const [x, B, C] = split(convolved, [H * P, G * N, G * N]) as [Tensor, Tensor, Tensor];
    const heads = (y: Tensor, n: number): Tensor => reshape(y, [batch, L, n, y.shape[2]! / n]);
    const start = maybe(inputs, "initial_states");
    const { y } = ssd(
      {
        x: heads(x, H),
        dt,
        A: real(inputs, "A"),
        B: heads(B, G),
        C: heads(C, G),
        D: maybe(inputs, "D"),
        dtBias: maybe(inputs, "dt_bias"),
        h0: start && transpose(start),
        ...(options["rmsnorm"] !== true && { z: heads(z, H) }),
        resets,
      },
      { dtSoftplus: true, dtLimit: limitsOf(options["dt_limit"]) },
    );
    const flat = reshape(y, [batch, L, H * P]);
    const normed =
      options["rmsnorm"] === true
        ? gatedRmsNorm(affine(inputs, "rmsnorm_weight", "none"), flat, z, normOptions(options, flat))
        : flat;
    const weight = maybe(inputs, "outproj_weight");
    return { out: weight ? linear({ weight, ...affine(inputs, "none", "outproj_bias") }, normed) : normed };
  },
};
