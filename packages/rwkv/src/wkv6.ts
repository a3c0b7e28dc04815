/** The WKV operator of RWKV-6: matrix states, a decay for each key from the input, a bonus for the present. */
import { structuredMaskedAttention } from "@seqmix/ssd";
import {
  add,
  assertSettings,
  cast,
  concat,
  exp,
  expandDims,
  formatShape,
  mul,
  not,
  reshape,
  ShapeError,
  sliceAxis,
  sum,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** What {@link wkv6} takes. */
export interface Wkv6Arguments {
  /** Receptance, the query [B L H K]. */
  readonly r: Tensor;
  /** Keys [B L H K]. */
  readonly k: Tensor;
  /** Values [B L H V]. */
  readonly v: Tensor;
  /** Logarithm of the decay that follows a position, at most 0 [B L H K]: -exp(w). */
  readonly logDecay: Tensor;
  /** Bonus of the current position [H K]: time_faaaa. */
  readonly u: Tensor;
  /** State before the first position [B H K V]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** bool or 0 and 1 [B L]: where what was before is forgotten. */
  readonly resets?: Tensor | undefined;
}

/** What {@link wkv6} returns. */
export interface Wkv6Result {
  /** Outputs [B L H V]. */
  readonly y: Tensor;
  /** State after the last position [B H K V]. */
  readonly hT: Tensor;
}

/**
 * y_t = r_t^T (S_(t-1) + diag(u) k_t v_t^T), S_t = diag(a_t) S_(t-1) + k_t v_t^T with a_t = exp(logDecay_t): an output sees
 * the state before its position, and its own key and value with the bonus. Source: Peng et al., Eagle and Finch: RWKV with
 * Matrix-Valued States and Dynamic Recurrence, 2024, section 4.2 (the kernels of the authors and of flash-linear-attention).
 *
 * The states one position late are a recurrence whose inputs and decays come one position late, so that this is gated linear
 * attention of shifted keys and values, which runs in chunks of matrix products, and a product of each position with itself.
 * @throws ShapeError if shapes do not fit.
 */
export function wkv6(given: Wkv6Arguments): Wkv6Result {
  assertSettings("wkv6", given, {
    r: "tensor",
    k: "tensor",
    v: "tensor",
    logDecay: "tensor",
    u: "tensor",
    h0: "tensor?",
    resets: "tensor?",
  });
  const { r, k, v, logDecay, u, h0, resets } = given;
  const [B, L, H, K] = assertShapes({ r, k, v, logDecay, u });
  const V = v.shape[3]!;
  if (L === 0) return { y: zeros([B, 0, H, V]), hT: h0 ?? zeros([B, H, K, V]) };
  // Where a sequence begins, the last key before it belongs to another one.
  const kept = resets && expandDims(expandDims(cast(not(cast(resets, "bool")), "f32"), -1), -1);
  const keys = late(k);
  const { y: before, hT: last } = structuredMaskedAttention({
    q: r,
    k: kept ? mul(keys, kept) : keys,
    v: late(v),
    logDecay: late(logDecay),
    h0,
    resets,
  });
  const own = mul(expandDims(sum(mul(mul(r, u), k), 3), -1), v);
  const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, L - 1, L), [B, H, x.shape[3]!]);
  const hT = add(mul(expandDims(exp(at(logDecay)), -1), last), mul(expandDims(at(k), -1), expandDims(at(v), -2)));
  return { y: add(before, own), hT };
}

/** Each position has what the one before it had, the first one zeros. */
const late = (x: Tensor): Tensor => {
  const [B, L, H, N] = x.shape as [number, number, number, number];
  return concat([zeros([B, 1, H, N]), sliceAxis(x, 1, 0, L - 1)], 1);
};

function assertShapes({
  r,
  k,
  v,
  logDecay,
  u,
}: Omit<Wkv6Arguments, "h0" | "resets">): [number, number, number, number] {
  const [B, L, H, K] = r.shape as [number, number, number, number];
  const fits =
    r.shape.length === 4 &&
    v.shape.length === 4 &&
    k.shape.join() === r.shape.join() &&
    logDecay.shape.join() === r.shape.join() &&
    v.shape.slice(0, 3).join() === [B, L, H].join() &&
    u.shape.join() === [H, K].join();
  if (!fits)
    throw new ShapeError(
      `wkv6: expected r, k, logDecay [B L H K], v [B L H V] and u [H K], got shapes ${[r, k, logDecay, v, u].map((x) => formatShape(x.shape)).join(", ")}`,
    );
  return [B, L, H, K];
}
