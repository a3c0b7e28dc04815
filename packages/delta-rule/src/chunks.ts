/**
 * The delta rule in chunks. In a chunk, what position t writes is u_t = beta_t (v_t - a_t S_(t-1)^T k_t), and S_(t-1) is made of
 * the state before the chunk and of the u before t: a triangular system (1 + A) U = beta (V - e^c K S_0) with
 * A_ts = beta_t e^(c_t - c_s) k_t k_s below the diagonal. Solved for both right sides at once, U is affine in S_0, and so is the
 * state after the chunk; a scan over such maps gives the states between.
 */
import { associativeScan } from "@seqmix/scan";
import { decayMask } from "@seqmix/ssd";
import {
  add,
  and,
  cast,
  concat,
  cumsum,
  equal,
  exp,
  expandDims,
  floor,
  full,
  iota,
  less,
  matmul,
  mul,
  reshape,
  sliceAxis,
  sub,
  transpose,
  where,
  type Tensor,
} from "@seqmix/tensor";
import type { DeltaRuleArguments, DeltaRuleResult } from "./arguments.js";

/** S -> P S + X, of each chunk. */
type Affine = {
  /** [B C H K K]. */
  readonly P: Tensor;
  /** [B C H K V]. */
  readonly X: Tensor;
};

const compose = (earlier: Affine, later: Affine): Affine => ({
  P: matmul(later.P, earlier.P),
  X: add(matmul(later.P, earlier.X), later.X),
});

/** L is a multiple of Q; every input but h0 has positions [B L H ..]. */
export function deltaRuleChunks(
  { q, k, v, beta, logDecay, h0 }: DeltaRuleArguments & { readonly h0: Tensor },
  Q: number,
): DeltaRuleResult {
  const [B, L, H, K] = q.shape as [number, number, number, number];
  const [V, C] = [v.shape[3]!, L / Q];
  const pieces = (x: Tensor): Tensor => transpose(reshape(x, [B, C, Q, H, x.size / (B * L * H)]), [0, 1, 3, 2, 4]);
  const [qs, ks, vs, share] = [q, k, v, beta].map(pieces) as [Tensor, Tensor, Tensor, Tensor]; // [B C H Q ..]
  const decay = pieces(logDecay ?? full([B, L, H], 0));
  const mask = decayMask(reshape(decay, [B, C, H, Q])); // [B C H Q Q]
  const reach = exp(cumsum(decay, 3)); // [B C H Q 1]
  const last = (x: Tensor): Tensor => sliceAxis(x, 3, Q - 1, Q);

  const below = less(iota([Q, Q], 1), iota([Q, Q], 0));
  const system = where(below, mul(share, mul(matmul(ks, transpose(ks)), mask)), 0);
  const inverse = inverseOfUnitLower(system);
  const written = matmul(inverse, mul(share, vs)); // U for a state of zero [B C H Q V]
  const removed = matmul(inverse, mul(mul(share, reach), ks)); // U is written - removed S_0 [B C H Q K]
  const toEnd = transpose(mul(ks, transpose(last(mask)))); // [B C H K Q]
  const identity = cast(equal(iota([K, K], 0), iota([K, K], 1)), "f32");
  const maps: Affine = {
    P: sub(mul(last(reach), identity), matmul(toEnd, removed)),
    X: matmul(toEnd, written),
  };
  const upTo = associativeScan(compose, maps, 1);
  const start = expandDims(h0, 1);
  const after = add(matmul(upTo.P, start), upTo.X); // [B C H K V]
  const before = concat([start, sliceAxis(after, 1, 0, C - 1)], 1);

  const U = sub(written, matmul(removed, before));
  const y = add(matmul(mul(qs, reach), before), matmul(mul(matmul(qs, transpose(ks)), mask), U));
  return {
    y: reshape(transpose(y, [0, 1, 3, 2, 4]), [B, L, H, V]),
    hT: reshape(sliceAxis(after, 1, C - 1, C), [B, H, K, V]),
  };
}

/**
 * (1 + A)^-1 for A below the diagonal [.. Q Q], by halves: where T inverts the blocks of m positions on the diagonal,
 * T - T A' T inverts those of 2m, A' being the part of A between the halves of each. The series 1 - A + A^2 - .. would lose all
 * digits for keys that repeat.
 */
export function inverseOfUnitLower(A: Tensor): Tensor {
  const Q = A.shape.at(-1)!;
  const [row, column] = [cast(iota([Q, Q], 0), "f32"), cast(iota([Q, Q], 1), "f32")];
  const block = (index: Tensor, m: number): Tensor => floor(mul(index, 1 / m));
  let T = add(mul(A, 0), cast(equal(row, column), "f32"));
  for (let m = 1; m < Q; m *= 2) {
    const together = equal(block(row, 2 * m), block(column, 2 * m));
    const halves = and(together, less(block(column, m), block(row, m)));
    T = sub(T, matmul(matmul(T, where(halves, A, 0)), T));
  }
  return T;
}
