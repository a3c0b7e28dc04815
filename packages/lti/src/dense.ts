/** Systems with full transition matrices: kernels by Krylov doubling, as in LSSL (Gu et al., Combining Recurrent, Convolutional, and Continuous-time Models with Linear State Space Layers, 2021). */
import { discretizeDense, identityMatrix, type DiscretizationRule, type RuleOptions } from "@seqmix/discretize";
import {
  add,
  assertNumber,
  assertSettings,
  broadcastTo,
  concat,
  einsum,
  expandDims,
  flip,
  formatShape,
  matmul,
  mul,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  transpose,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import type { LtiSystem } from "./system.js";

/** A continuous system x' = A x + B u, y = C x for each of H channels. */
export interface DenseLti {
  /** Step sizes [H]. */
  readonly dt: Tensor;
  /** Transition [H N N], or [N N] for all channels. */
  readonly A: Tensor;
  /** Input map [H N], or [N]. */
  readonly B: Tensor;
  /** Output maps [M H N]. */
  readonly C: Tensor;
}

/** A discrete system h_t = Abar h_(t-1) + Bbar u_t, y_t = C h_t. */
export interface DiscreteDense {
  /** [H N N]. */
  readonly Abar: Tensor;
  /** [H N]. */
  readonly Bbar: Tensor;
  /** [M H N]. */
  readonly C: Tensor;
}

/** All views of a continuous dense system under a rule, "bilinear" by default. The state is h [B H N]. */
export function denseSystem(
  { dt, A, B, C }: DenseLti,
  options: RuleOptions & { readonly rule?: DiscretizationRule | undefined } = {},
): LtiSystem<Tensor> {
  assertSettings("denseSystem", options, { rule: "own", alpha: { from: 0, to: 1 } });
  const { rule = "bilinear", alpha } = options;
  const { Abar, Bbar } = discretizeDense({ A, B: expandDims(B, -1) }, dt, rule, { alpha });
  return discreteDenseSystem({ Abar, Bbar: reshape(Bbar, Bbar.shape.slice(0, -1)), C });
}

/**
 * All views of a discrete dense system. Kernel, response and final state meet in the middle: A^(cT + j) is applied as A^(cT) to
 * the outputs and as A^j to the inputs, T near sqrt(L), each by doubling.
 */
export function discreteDenseSystem({ Abar: A, Bbar: B, C }: DiscreteDense): LtiSystem<Tensor> {
  const [M, H, N] = C.shape as [number, number, number];
  if (A.shape.join() !== `${H},${N},${N}` || B.shape.join() !== `${H},${N}`)
    throw new ShapeError(
      `denseSystem: expected A [${H} ${N} ${N}] and B [${H} ${N}] as C [M H N] is ${formatShape(C.shape)}, got shapes ${formatShape(A.shape)} and ${formatShape(B.shape)}`,
    );
  const apply = (h: Tensor): Tensor => einsum("H N K, B H K -> B H N", A, h);
  return {
    channels: H,
    outputs: M,
    restState: (batch) => zeros([batch, H, N]),
    step(u, h) {
      const next = add(apply(h), mul(expandDims(u, 2), B));
      return [einsum("B H N, M H N -> B M H", next, C), next];
    },
    kernel: (L) => reshape(sums({ A, C }, expandDims(B, 0), L), [M, H, L]),
    response: (h, L) => sums({ A, C }, apply(h), L),
    finalState(u, h0) {
      const L = u.shape[2]!;
      if (L === 0) return h0 ?? zeros([u.shape[0]!, H, N]);
      const driven = collect(A, B, u);
      return h0 ? add(driven, einsum("H N K, B H K -> B H N", matrixPower(A, L), h0)) : driven;
    },
  };
}

/** C A^l b for l < L and b [B H N] -> [B M H L]. */
function sums({ A, C }: Pick<DenseLti, "A" | "C">, b: Tensor, L: number): Tensor {
  const [M, H] = C.shape as [number, number];
  const B = b.shape[0]!;
  if (L === 0) return zeros([B, M, H, 0]);
  const T = 2 ** Math.ceil(Math.log2(L) / 2);
  const count = Math.ceil(L / T);
  const columns = (x: Tensor): Tensor => expandDims(transpose(x, [1, 2, 0]), 3);
  const right = krylov(A, columns(b), T);
  const left = krylov(transpose(matrixPower(A, T)), columns(C), count);
  const product = einsum("H N M C, H N B T -> B M H C T", left, right);
  return sliceAxis(reshape(product, [B, M, H, count * T]), 3, 0, L);
}

/** b, A b, A^2 b, .. [H N K count] of b [H N K 1]. */
function krylov(A: Tensor, b: Tensor, count: number): Tensor {
  const [H, N, K] = b.shape as [number, number, number, number];
  let known = b;
  let power = A;
  for (let length = 1; length < count; length *= 2) {
    const more = matmul(power, reshape(known, [H, N, K * length]));
    known = concat([known, reshape(more, [H, N, K, length])], 3);
    if (2 * length < count) power = matmul(power, power);
  }
  return sliceAxis(known, 3, 0, count);
}

/** sum_t A^(L-1-t) B u_t [B H N]. */
function collect(A: Tensor, B: Tensor, u: Tensor): Tensor {
  const [batch, H, L] = u.shape as [number, number, number];
  const T = 2 ** Math.ceil(Math.log2(L) / 2);
  let count = 2 ** Math.ceil(Math.log2(Math.ceil(L / T)));
  const backwards = reshape(pad(flip(u, 2), [0, 0, 0], [0, 0, count * T - L]), [batch, H, count, T]);
  const powers = krylov(A, expandDims(expandDims(B, 2), 3), T);
  let pieces = einsum("B H C T, H N I T -> B H C N", backwards, powers);
  let power = matrixPower(A, T);
  // Pairs of pieces become one, and the transition between them its square.
  for (; count > 1; count /= 2) {
    const N = pieces.shape[3]!;
    const pairs = reshape(pieces, [batch, H, count / 2, 2, N]);
    const of = (k: number): Tensor => reshape(sliceAxis(pairs, 3, k, k + 1), [batch, H, count / 2, N]);
    pieces = add(of(0), einsum("H N K, B H C K -> B H C N", power, of(1)));
    if (count > 2) power = matmul(power, power);
  }
  return reshape(pieces, [batch, H, pieces.shape[3]!]);
}

/** A^L of matrices [.. N N], by squaring. */
export function matrixPower(A: Tensor, L: number): Tensor {
  assertNumber("matrixPower", "the power L", L, { from: 0, whole: true });
  let result: Tensor | undefined;
  let square = A;
  for (let rest = L; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = result ? matmul(square, result) : square;
    if (rest > 1) square = matmul(square, square);
  }
  return result ?? broadcastTo(identityMatrix(A.shape.at(-1)!), A.shape);
}
