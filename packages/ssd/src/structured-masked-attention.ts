/** Structured masked attention: attention with a mask of decays, the dual of a recurrence over matrices (Dao and Gu, Transformers are SSMs, 2024). */
import {
  add,
  assertNumber,
  assertOneOf,
  assertSettings,
  assertTensors,
  exp,
  expandDims,
  formatShape,
  mul,
  reshape,
  ShapeError,
  sum,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { chunked } from "./chunked.js";
import { forgetting } from "./forgetting.js";
import { extentsOf, inHeads, type StructuredMaskedAttentionArguments } from "./heads.js";
import { quadratic } from "./quadratic.js";
import { recurrent } from "./recurrent.js";

/** The algorithms of one map. All agree, in values and in gradients. */
export type StructuredMaskedAttentionAlgorithm = "recurrent" | "chunked" | "quadratic";

/** How {@link structuredMaskedAttention} computes. */
export interface StructuredMaskedAttentionOptions {
  /**
   * "recurrent" (the default): one scan over states, work B L H K V. "quadratic": all pairs of positions, work and memory
   * B H L^2 (memory B H L^2 K for a decay of each key). "chunked": pairs inside chunks, a scan over states between them.
   * All forget whatever is before a reset, also what is no number; the first has in a sequence's own results the infinities that
   * step after step gives, the others NaN wherever something reaches that is no number.
   */
  readonly algorithm?: StructuredMaskedAttentionAlgorithm | undefined;
  /** Q, positions in a chunk; 64 by default, and 16 for a decay of each key. */
  readonly chunkSize?: number | undefined;
}

/** What {@link structuredMaskedAttention} returns. */
export interface StructuredMaskedAttentionResult {
  /** Outputs [B L H V]. */
  readonly y: Tensor;
  /** State after the last position [B H K V]. */
  readonly hT: Tensor;
}

/**
 * S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t^T S_t, a_t = exp(logDecay_t): a recurrence over matrices [K V], and attention
 * y = (q k^T o mask) v with mask_ts = a_(s+1) .. a_t for s <= t. Without decay it is linear attention, with a constant
 * one retention, with one a position Mamba-2, with one a position and key gated linear attention.
 *
 * Decays enter by their logarithms; no exponential of a positive number is taken and nothing is divided by a decay, so
 * that any decay is fine, and a reset is exact.
 * @throws ShapeError if shapes do not fit; RangeError for a chunkSize below 1.
 */
export function structuredMaskedAttention(
  given: StructuredMaskedAttentionArguments,
  options: StructuredMaskedAttentionOptions = {},
): StructuredMaskedAttentionResult {
  assertSettings("structuredMaskedAttention", options, ["algorithm", "chunkSize"]);
  assertSettings("structuredMaskedAttention", given, ["q", "k", "v", "logDecay", "h0", "resets"]);
  assertTensors("structuredMaskedAttention", given, ["q", "k", "v"], ["logDecay", "h0", "resets"]);
  const { algorithm = "recurrent", chunkSize } = options;
  assertOneOf("structuredMaskedAttention", "algorithm", algorithm, ["recurrent", "chunked", "quadratic"]);
  const extents = extentsOf(given);
  const { B, L, H, K, V } = extents;
  const perKey = given.logDecay && given.logDecay.shape.length % 2 === 0;
  const Q = chunkSize === undefined ? (perKey ? 16 : 64) : chunkSize;
  assertNumber("structuredMaskedAttention", "chunkSize", Q, { from: 1, whole: true });
  if (L === 0) return { y: zeros([B, 0, H, V]), hT: given.h0 ?? zeros([B, H, K, V]) };
  const heads = inHeads(given, extents);
  const { y, h } =
    algorithm === "recurrent"
      ? recurrent(heads, extents)
      : algorithm === "chunked"
        ? forgetting(heads, extents, (own) => chunked(own, extents, Q))
        : forgetting(heads, extents, (own) => quadratic(own, extents));
  return { y: reshape(y, [B, L, H, V]), hT: reshape(h, [B, H, K, V]) };
}

/** What {@link structuredMaskedAttentionStep} takes: one position. */
export interface StructuredMaskedAttentionStepArguments {
  /** Query [B H K], or of G heads that divide H. */
  readonly q: Tensor;
  /** Key [B H K], or of G heads. */
  readonly k: Tensor;
  /** Value [B H V], or of G heads. */
  readonly v: Tensor;
  /** Logarithm of the decay, broadcast against [B H K], say [H 1] or [B H K]; none: nothing decays. */
  readonly logDecay?: Tensor | undefined;
  /** State before the position [B H K V]. */
  readonly h: Tensor;
}

/**
 * One position of {@link structuredMaskedAttention}.
 * @returns y [B H V] and the state after the position [B H K V].
 */
export function structuredMaskedAttentionStep(
  given: StructuredMaskedAttentionStepArguments,
): readonly [Tensor, Tensor] {
  assertSettings("structuredMaskedAttentionStep", given, ["q", "k", "v", "logDecay", "h"]);
  assertTensors("structuredMaskedAttentionStep", given, ["q", "k", "v", "h"], ["logDecay"]);
  const { q, k, v, logDecay, h } = given;
  const [B, H, K, V] = h.shape as [number, number, number, number];
  const heads = [q, k, v].map(({ shape }) => shape[1] ?? 0);
  const G = Math.min(...heads);
  if ([q, k, v].some(({ shape }) => shape.length !== 3) || heads.some((n) => n !== G && n !== H) || H % G !== 0)
    throw new ShapeError(
      `structuredMaskedAttentionStep: expected q, k [B H K] and v [B H V] for a state ${formatShape(h.shape)}, or of G heads that divide H, got shapes ${[q, k, v].map(({ shape }) => formatShape(shape)).join(", ")}`,
    );
  const grouped = (x: Tensor, at: number): Tensor => expandDims(reshape(x, [B, G, x.shape[1]! / G, x.shape[2]!]), at);
  const state = reshape(logDecay ? mul(exp(expandDims(logDecay, -1)), h) : h, [B, G, H / G, K, V]);
  const next = add(state, mul(grouped(k, 4), grouped(v, 3)));
  return [reshape(sum(mul(grouped(q, 4), next), 3), [B, H, V]), reshape(next, [B, H, K, V])];
}
