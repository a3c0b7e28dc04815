/** The frequency response of a diagonal plus low-rank system to a constant input, where modes may be next to 0. */
import { identityMatrix, inverse } from "@seqmix/discretize";
import {
  add,
  complexMap,
  complexMul,
  complexReciprocal,
  div,
  einsum,
  einsumReal,
  expandDims,
  mul,
  reshape,
  sliceAxis,
  sub,
  transpose,
  zeros,
  type Complex,
  type Tensor,
} from "@seqmix/tensor";

/** Vectors of the plane of the last stored mode, in which it turns and decays. */
interface Plane {
  readonly x: Tensor;
  readonly y: Tensor;
}

/**
 * -2 Re(C (diag(A) - P Q^H)^-1 B) over pairs of conjugates, of any rank. In Woodbury's identity a mode next to 0, which
 * HiPPO-Fourier has, gives terms of the size 1/|A| that cancel, and with them half of the digits or, of gradients, all. So the
 * last mode is not among its terms: it is solved for behind all others, by the adjugate of its 2x2 matrix, in which nothing
 * cancels: an outer product has no determinant, and neither that nor what its adjugate sends to 0 is computed as a difference.
 * @param A [H N]; the mode of the smallest frequency last.
 * @param left C and conj(Q) [M+R H N]
 * @param right B and P [J+R H N]
 * @returns [M J H]
 */
export function responseAtZero(A: Complex, left: Complex, right: Complex, rank: number): Tensor {
  const [M, J] = [left.re.shape[0]! - rank, right.re.shape[0]! - rank];
  const [H, N] = A.re.shape as [number, number];
  const others = sumsOfOthers(A, left, right);
  const block = (rows: readonly [number, number], columns: readonly [number, number]): Tensor =>
    sliceAxis(sliceAxis(others, 0, ...rows), 1, ...columns);
  const last = (of: Complex, from: number, to: number): Plane => {
    const { re, im } = complexMap(of, (part) => sliceAxis(sliceAxis(part, 0, from, to), 2, N - 1, N));
    return { x: reshape(re, [to - from, H]), y: reshape(im, [to - from, H]) };
  };
  // 2 Re(l h) as a product of vectors of the plane.
  const read = (from: number, to: number): Plane => {
    const { x, y } = last(left, from, to);
    return { x: mul(2, x), y: mul(-2, y) };
  };
  const [c, q] = [read(0, M), read(M, M + rank)];
  const [b, p] = [last(right, 0, J), last(right, J, J + rank)];
  const a = last(
    complexMap(A, (part) => expandDims(part, 0)),
    0,
    1,
  );
  // The low-rank part among the other modes, and what they feed it.
  const gain = inverted(block([M, M + rank], [J, J + rank]));
  const fed = einsum("R K H, K J H -> R J H", gain, block([M, M + rank], [0, J]));
  const from = (of: Tensor, by: Tensor): Tensor => sub(of, einsum("R H, R J H -> J H", by, fed));
  const driven: Plane = { x: from(b.x, p.x), y: from(b.y, p.y) };
  const adjugate = ({ x, y }: Plane): Plane => ({
    x: add(mul(a.x, x), mul(a.y, y)),
    y: sub(mul(a.x, y), mul(a.y, x)),
  });
  const turned = adjugate(driven);
  const determinant = sub(
    add(reshape(dots(a, a), [H]), areaOf(p, gain, q)),
    einsum("K R H, R K H -> H", dots(q, adjugate(p)), gain),
  );
  // What the low-rank part makes of the drive, as seen by l: the adjugate of an outer product.
  const bent = einsum("R K H, R J H -> K J H", gain, areas(p, driven));
  const seen = (l: Plane, area: Tensor): Tensor =>
    div(add(dots(l, turned), einsum("M K H, K J H -> M J H", area, bent)), determinant);
  const through = sub(einsum("R K H, K J H -> R J H", gain, seen(q, amongThemselves(q))), fed);
  return add(
    sub(block([0, M], [0, J]), seen(c, areas(c, q))),
    einsum("M R H, R J H -> M J H", block([0, M], [J, J + rank]), through),
  );
}

const each = (x: Tensor, axis: 0 | 1): Tensor => expandDims(x, axis);
/** u v for all pairs, [U V H]. */
const dots = (u: Plane, v: Plane): Tensor => add(mul(each(u.x, 1), each(v.x, 0)), mul(each(u.y, 1), each(v.y, 0)));
/** u x v for all pairs, [U V H]. */
const areas = (u: Plane, v: Plane): Tensor => sub(mul(each(u.x, 1), each(v.y, 0)), mul(each(u.y, 1), each(v.x, 0)));

/** u x u for all pairs; no rounding makes those of a vector with itself anything but 0. */
function amongThemselves(u: Plane): Tensor {
  const R = u.x.shape[0]!;
  return mul(areas(u, u), expandDims(sub(1, identityMatrix(R)), 2));
}

/** The determinant of sum p_r gain_rk q_k^T, [H]: over pairs of rows and of columns, none for rank 1. */
function areaOf(p: Plane, gain: Tensor, q: Plane): Tensor {
  const moved = einsum("R K H, R S H -> K S H", gain, amongThemselves(p));
  const both = einsum("K S H, S L H -> K L H", moved, gain);
  return mul(0.5, einsum("K L H, K L H -> H", both, amongThemselves(q)));
}

/** (1 + S)^-1 of S [R R H]. */
function inverted(S: Tensor): Tensor {
  const R = S.shape[0]!;
  if (R === 1) return div(1, add(1, S));
  return transpose(inverse(add(identityMatrix(R), transpose(S, [2, 0, 1]))), [1, 2, 0]);
}

/** -2 Re sum l r / A over all modes but the last [M+R J+R H]. */
function sumsOfOthers(A: Complex, left: Complex, right: Complex): Tensor {
  const N = A.re.shape[1]!;
  if (N === 1) return zeros([left.re.shape[0]!, right.re.shape[0]!, A.re.shape[0]!]);
  const but = (x: Complex): Complex => complexMap(x, (part) => sliceAxis(part, -1, 0, N - 1));
  const decayed = complexMul(but(right), complexReciprocal(but(A)));
  return mul(-2, einsumReal("M H N, J H N -> M J H", but(left), decayed));
}
