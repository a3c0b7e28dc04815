/** Linear attention on features: y_t = sum_(s <= t) (q_t k_s) v_s, normalized or not. */
import {
  structuredMaskedAttention,
  structuredMaskedAttentionStep,
  type StructuredMaskedAttentionOptions,
} from "@seqmix/ssd";
import {
  add,
  assertSettings,
  cast,
  concat,
  div,
  einsum,
  expandDims,
  flip,
  mul,
  ones,
  reshape,
  sliceAxis,
  sub,
  sum,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";

/** What is kept of the positions so far. */
export type LinearAttentionState = {
  /** Sum of k v^T [B H F V]. */
  readonly S: Tensor;
  /** Sum of k [B H F]; none: nothing is normalized. */
  readonly z?: Tensor;
};

/** How {@link linearAttention} computes. */
export interface LinearAttentionOptions extends StructuredMaskedAttentionOptions {
  /** Divide by the sum of the weights, q_t z_t + eps. */
  readonly normalize?: boolean;
  /** Added to the sum of the weights; 1e-6 by default. */
  readonly eps?: number;
}

const OPTIONS: SettingRules<Pick<LinearAttentionOptions, "normalize" | "eps">> = {
  normalize: "flag",
  eps: { from: 0 },
};

const assertState = (name: string, state: LinearAttentionState): void =>
  assertSettings(`${name}, state`, state, { S: "tensor", z: "tensor?" });

/** What {@link linearAttention} takes: features of F entries, in heads that may be shared as in {@link structuredMaskedAttention}. */
export interface LinearAttentionArguments {
  /** Features of queries [B L H F]. */
  readonly q: Tensor;
  /** Features of keys [B L H F]. */
  readonly k: Tensor;
  /** Values [B L H V]. */
  readonly v: Tensor;
  /** State before the first position; nothing by default. */
  readonly state?: LinearAttentionState | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]. */
  readonly resets?: Tensor | undefined;
}

/**
 * S_t = S_(t-1) + k_t v_t^T, z_t = z_(t-1) + k_t, y_t = q_t^T S_t / (q_t^T z_t + eps) (Katharopoulos et al., 2020): structured
 * masked attention without decay.
 * @returns y [B L H V] and the state after the last position.
 */
export function linearAttention(
  given: LinearAttentionArguments,
  options: LinearAttentionOptions = {},
): readonly [Tensor, LinearAttentionState] {
  assertSettings("linearAttention", given, {
    q: "tensor",
    k: "tensor",
    v: "tensor",
    state: "own",
    resets: "tensor?",
  });
  assertSettings("linearAttention", options, { ...OPTIONS, algorithm: "own", chunkSize: "own" });
  const { q, k, v, state, resets } = given;
  const { normalize = false, eps = 1e-6, algorithm, chunkSize } = options;
  if (state !== undefined) assertState("linearAttention", state);
  const { y, hT } = structuredMaskedAttention({ q, k, v, h0: state?.S, resets }, { algorithm, chunkSize });
  if (!normalize) return [y, { S: hT }];
  // The sum of the weights is the output for values of one; as a scan it takes no memory in any algorithm.
  const h0 = state?.z && expandDims(state.z, 3);
  const weights = structuredMaskedAttention({ q, k, v: ones([...v.shape.slice(0, 3), 1]), h0, resets });
  return [div(y, add(weights.y, eps)), { S: hT, z: reshape(weights.hT, weights.hT.shape.slice(0, 3)) }];
}

/**
 * One position of {@link linearAttention}: q, k [B H F], v [B H V].
 * @returns y [B H V] and the state after the position.
 */
export function linearAttentionStep(
  given: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly state: LinearAttentionState },
  options: Pick<LinearAttentionOptions, "eps"> = {},
): readonly [Tensor, LinearAttentionState] {
  assertSettings("linearAttentionStep", given, { q: "tensor", k: "tensor", v: "tensor", state: "own" });
  assertSettings("linearAttentionStep", options, { eps: OPTIONS.eps });
  const { q, k, v, state } = given;
  const { eps = 1e-6 } = options;
  assertState("linearAttentionStep", state);
  const [y, S] = structuredMaskedAttentionStep({ q, k, v, h: state.S });
  if (!state.z) return [y, { S }];
  const one = ones([...v.shape.slice(0, 2), 1]);
  const [weight, z] = structuredMaskedAttentionStep({ q, k, v: one, h: expandDims(state.z, 3) });
  return [div(y, add(weight, eps)), { S, z: reshape(z, z.shape.slice(0, 3)) }];
}

/** What {@link bidirectionalLinearAttention} takes; queries may be of another sequence than keys and values. */
export interface BidirectionalLinearAttentionArguments {
  /** Features of queries [B L H F]. */
  readonly q: Tensor;
  /** Features of keys [B M H F]. */
  readonly k: Tensor;
  /** Values [B M H V]. */
  readonly v: Tensor;
  /** 1 for keys that count, else 0 [B M]; all count by default. */
  readonly keyMask?: Tensor | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]; then L = M. */
  readonly resets?: Tensor | undefined;
}

/**
 * Every position reads all keys: y_t = q_t^T S / (q_t^T z + eps) with S and z of the whole sequence.
 * @returns [B L H V]
 */
export function bidirectionalLinearAttention(
  given: BidirectionalLinearAttentionArguments,
  options: Pick<LinearAttentionOptions, "normalize" | "eps"> = {},
): Tensor {
  assertSettings("bidirectionalLinearAttention", given, {
    q: "tensor",
    k: "tensor",
    v: "tensor",
    keyMask: "tensor?",
    resets: "tensor?",
  });
  assertSettings("bidirectionalLinearAttention", options, OPTIONS);
  const { q, k, v, keyMask, resets } = given;
  const { normalize = false, eps = 1e-6 } = options;
  const keys = keyMask ? mul(k, reshape(keyMask, [...keyMask.shape, 1, 1])) : k;
  const read = (values: Tensor): Tensor =>
    resets
      ? withinSequences(q, keys, values, cast(resets, "f32"))
      : einsum("B L H F, B H F V -> B L H V", q, einsum("B M H F, B M H V -> B H F V", keys, values));
  return normalize ? div(read(v), add(read(ones([...v.shape.slice(0, 3), 1])), eps)) : read(v);
}

/** What each position reads of its own sequence: up to itself, from itself on, less itself, which is in both. */
function withinSequences(q: Tensor, k: Tensor, v: Tensor, resets: Tensor): Tensor {
  const [B, L] = resets.shape as [number, number];
  if (L === 0) return v;
  const ends = concat([sliceAxis(resets, 1, 1, L), ones([B, 1])], 1);
  const back = (x: Tensor): Tensor => flip(x, 1);
  const before = structuredMaskedAttention({ q, k, v, resets }).y;
  const after = back(structuredMaskedAttention({ q: back(q), k: back(k), v: back(v), resets: back(ends) }).y);
  return sub(add(before, after), mul(sum(mul(q, k), 3, { keepDims: true }), v));
}
