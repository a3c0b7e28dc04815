/** The operator of Mamba-2: a state-space model whose A is a number a head (Dao and Gu, Transformers are SSMs, 2024). */
import {
  add,
  assertSettings,
  assertTensor,
  assertTensors,
  cast,
  clip,
  concat,
  equal,
  expandDims,
  formatShape,
  mul,
  not,
  reshape,
  ShapeError,
  silu,
  sliceAxis,
  softplus,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import {
  structuredMaskedAttention,
  structuredMaskedAttentionStep,
  type StructuredMaskedAttentionOptions,
} from "./structured-masked-attention.js";

/** What {@link ssd} does to step sizes, and how it computes. */
export interface SsdOptions extends StructuredMaskedAttentionOptions {
  /** Pass dt (with its bias) through softplus. */
  readonly dtSoftplus?: boolean;
  /** Least and largest step size; by default 0 and Infinity: no limits. */
  readonly dtLimit?: readonly [number, number];
}

/** What {@link ssd} takes. Heads have P channels; G groups of neighbouring heads share B and C. */
export interface SsdArguments {
  /** Input [B L H P]. */
  readonly x: Tensor;
  /** Step size [B L H], before its bias, softplus and limits. */
  readonly dt: Tensor;
  /** Continuous transition [H], negative. */
  readonly A: Tensor;
  /** Input map [B L G N]. */
  readonly B: Tensor;
  /** Output map [B L G N]. */
  readonly C: Tensor;
  /** Skip from input to output: [H], or [H P] for each channel. */
  readonly D?: Tensor | undefined;
  /** Gate [B L H P]: the result is multiplied by silu(z). */
  readonly z?: Tensor | undefined;
  /** Added to dt [H]. */
  readonly dtBias?: Tensor | undefined;
  /** State before the first position [B H N P]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]. */
  readonly resets?: Tensor | undefined;
}

/** What {@link ssd} returns. */
export interface SsdResult {
  /** Output [B L H P]. */
  readonly y: Tensor;
  /** State after the last position [B H N P]. */
  readonly hT: Tensor;
}

/**
 * h_t = exp(delta_t A) h_(t-1) + delta_t B_t x_t^T, y_t = (C_t^T h_t + D x_t) silu(z_t), delta = softplus(dt + dtBias) within
 * its limits: {@link structuredMaskedAttention} with C, B and delta x for q, k and v.
 * @throws ShapeError naming what does not fit.
 */
export function ssd(given: SsdArguments, options: SsdOptions = {}): SsdResult {
  assertSettings("ssd", given, ["x", "dt", "A", "B", "C", "D", "z", "dtBias", "h0", "resets"]);
  assertTensors("ssd", given, ["x", "dt", "A", "B", "C"], ["D", "z", "dtBias", "h0", "resets"]);
  assertSettings("ssd", options, ["algorithm", "chunkSize", "dtSoftplus", "dtLimit"]);
  const { algorithm, chunkSize, ...sizes } = options;
  const { x, dt, A, B, C, D, z, dtBias, h0, resets } = given;
  expectSteps("ssd", x, dt, 4);
  const delta = ssdStepSizes(dt, dtBias, sizes);
  const { y, hT } = structuredMaskedAttention(
    { q: C, k: B, v: mul(x, expandDims(delta, 3)), logDecay: mul(delta, A), h0, resets },
    { algorithm, chunkSize },
  );
  return { y: finish(y, x, D, z), hT };
}

/**
 * Step sizes as {@link ssd} has them: softplus(dt + bias) within the limits.
 * @param dt [.. H]
 * @param bias [H]
 */
export function ssdStepSizes(
  dt: Tensor,
  bias: Tensor | undefined,
  options: Pick<SsdOptions, "dtSoftplus" | "dtLimit"> = {},
): Tensor {
  assertSettings("ssd", options, { dtSoftplus: "flag", dtLimit: "own" });
  const { dtSoftplus = false, dtLimit = [0, Infinity] } = options;
  const [low, high] = Array.isArray(dtLimit) ? (dtLimit as readonly number[]) : [];
  if (!(low! <= high!))
    throw new RangeError(`ssd: expected a dtLimit [low, high] with low <= high, got ${String(dtLimit)}; correct it`);
  const shifted = bias ? add(dt, bias) : dt;
  const delta = dtSoftplus ? softplus(shifted) : shifted;
  // The largest number stands for a limit that is none.
  return low === 0 && high === Infinity ? delta : clip(delta, Math.max(low!, -3e38), Math.min(high!, 3e38));
}

/** What {@link ssdStep} takes: one position. */
export interface SsdStepArguments {
  /** Input [B H P]. */
  readonly x: Tensor;
  /** Step size [B H]. */
  readonly dt: Tensor;
  /** Continuous transition [H]. */
  readonly A: Tensor;
  /** Input map [B G N]. */
  readonly B: Tensor;
  /** Output map [B G N]. */
  readonly C: Tensor;
  /** Skip [H] or [H P]. */
  readonly D?: Tensor | undefined;
  /** Gate [B H P]. */
  readonly z?: Tensor | undefined;
  /** Added to dt [H]. */
  readonly dtBias?: Tensor | undefined;
  /** State before the position [B H N P]. */
  readonly h: Tensor;
}

/**
 * One position of {@link ssd}.
 * @returns y [B H P] and the state after the position [B H N P].
 */
export function ssdStep(
  given: SsdStepArguments,
  options: Pick<SsdOptions, "dtSoftplus" | "dtLimit"> = {},
): readonly [Tensor, Tensor] {
  assertSettings("ssdStep", given, ["x", "dt", "A", "B", "C", "D", "z", "dtBias", "h"]);
  assertTensors("ssdStep", given, ["x", "dt", "A", "B", "C", "h"], ["D", "z", "dtBias"]);
  assertSettings("ssdStep", options, ["dtSoftplus", "dtLimit"]);
  const { x, dt, A, B, C, D, z, dtBias, h } = given;
  expectSteps("ssdStep", x, dt, 3);
  const delta = expandDims(ssdStepSizes(dt, dtBias, options), 2);
  const logDecay = mul(delta, reshape(A, [A.shape[0]!, 1]));
  const [y, next] = structuredMaskedAttentionStep({ q: C, k: B, v: mul(x, delta), logDecay, h });
  return [finish(y, x, D, z), next];
}

/**
 * Where sequences begin, from the number of the sequence at each position (`seq_idx` of published code): 1 where it is not
 * the one before. The first position goes on from an initial state.
 * @param segments i32 [B L]
 * @returns f32 [B L]
 */
export function resetsOfSegments(segments: Tensor): Tensor {
  assertTensor("resetsOfSegments", segments);
  const [B, L] = segments.shape as [number, number];
  if (segments.shape.length !== 2)
    throw new ShapeError(`resetsOfSegments: expected segments [B L], got shape ${formatShape(segments.shape)}`);
  if (L === 0) return zeros([B, 0]);
  const changes = not(equal(sliceAxis(segments, 1, 1, L), sliceAxis(segments, 1, 0, L - 1)));
  return concat([zeros([B, 1]), cast(changes, "f32")], 1);
}

function finish(y: Tensor, x: Tensor, D: Tensor | undefined, z: Tensor | undefined): Tensor {
  const skipped = D ? add(y, mul(x, D.shape.length === 1 ? expandDims(D, 1) : D)) : y;
  return z ? mul(skipped, silu(z)) : skipped;
}

function expectSteps(name: string, x: Tensor, dt: Tensor, rank: number): void {
  if (x.shape.length !== rank || dt.shape.join() !== x.shape.slice(0, -1).join())
    throw new ShapeError(
      `${name}: expected x ${rank === 4 ? "[B L H P] and dt [B L H]" : "[B H P] and dt [B H]"}, got shapes ${formatShape(x.shape)} and ${formatShape(dt.shape)}`,
    );
}
