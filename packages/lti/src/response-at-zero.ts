/** The frequency response of a diagonal plus low-rank system to a constant input, where modes may be next to 0. */
import {
  add,
  complexMap,
  complexMul,
  complexReciprocal,
  div,
  einsumReal,
  expandDims,
  mul,
  reshape,
  sliceAxis,
  sub,
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
 * -2 Re(C (diag(A) - P Q^H)^-1 B) over pairs of conjugates, rank 1. In Woodbury's identity a mode next to 0, which
 * HiPPO-Fourier has, gives terms of the size 1/|A| that cancel, and with them half of the digits or, of gradients, all. So the
 * last mode is not among its terms: it is solved for behind all others, by the adjugate of its 2x2 matrix, in which nothing cancels.
 * @param A [H N]; the mode of the smallest frequency last.
 * @param left C and conj(Q) [M+1 H N]
 * @param right B and P [J+1 H N]
 * @returns [M J H]
 */
export function responseAtZero(A: Complex, left: Complex, right: Complex): Tensor {
  const [M, H, N] = [left.re.shape[0]! - 1, A.re.shape[0]!, A.re.shape[1]!];
  const J = right.re.shape[0]! - 1;
  const others = sumsOfOthers(A, left, right);
  const block = (rows: readonly [number, number], columns: readonly [number, number]): Tensor =>
    sliceAxis(sliceAxis(others, 0, ...rows), 1, ...columns);
  // The low-rank part among the other modes, [H].
  const gain = div(1, add(1, reshape(block([M, M + 1], [J, J + 1]), [H])));
  const fed = reshape(block([M, M + 1], [0, J]), [J, H]);
  const last = (of: Complex, rows: readonly [number, number]): Plane => {
    const { re, im } = complexMap(of, (part) => sliceAxis(sliceAxis(part, 0, ...rows), 2, N - 1, N));
    const shape = [rows[1] - rows[0], H];
    return { x: reshape(re, shape), y: reshape(im, shape) };
  };
  // 2 Re(l h) as a product of vectors of the plane.
  const read = (rows: readonly [number, number]): Plane => {
    const { x, y } = last(left, rows);
    return { x: mul(2, x), y: mul(-2, y) };
  };
  const [c, q] = [read([0, M]), read([M, M + 1])];
  const p = last(right, [J, J + 1]);
  const b = last(right, [0, J]);
  const a = last(
    complexMap(A, (part) => expandDims(part, 0)),
    [0, 1],
  );
  const adjugate = ({ x, y }: Plane): Plane => ({
    x: add(mul(a.x, x), mul(a.y, y)),
    y: sub(mul(a.x, y), mul(a.y, x)),
  });
  const dot = (u: Plane, v: Plane): Tensor => add(mul(u.x, v.x), mul(u.y, v.y));
  const cross = (u: Plane, v: Plane): Tensor => sub(mul(u.x, v.y), mul(u.y, v.x));
  const determinant = sub(dot(a, a), mul(gain, dot(q, adjugate(p))));
  const driven = { x: sub(b.x, mul(p.x, mul(gain, fed))), y: sub(b.y, mul(p.y, mul(gain, fed))) };
  const turned = adjugate(driven);
  const through = mul(gain, sub(div(dot(q, turned), determinant), fed));
  const each = ({ x, y }: Plane): Plane => ({ x: expandDims(x, 1), y: expandDims(y, 1) });
  const lastMode = div(
    add(dot(each(c), turned), mul(mul(gain, cross(p, driven)), cross(each(c), each(q)))),
    determinant,
  );
  return add(sub(block([0, M], [0, J]), lastMode), mul(block([0, M], [J, J + 1]), through));
}

/** -2 Re sum l r / A over all modes but the last [M+1 J+1 H]. */
function sumsOfOthers(A: Complex, left: Complex, right: Complex): Tensor {
  const N = A.re.shape[1]!;
  if (N === 1) return zeros([left.re.shape[0]!, right.re.shape[0]!, A.re.shape[0]!]);
  const but = (x: Complex): Complex => complexMap(x, (part) => sliceAxis(part, -1, 0, N - 1));
  const decayed = complexMul(but(right), complexReciprocal(but(A)));
  return mul(-2, einsumReal("M H N, J H N -> M J H", but(left), decayed));
}
