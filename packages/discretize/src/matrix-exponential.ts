/** e^M of batches of matrices, as tensor code. */
import {
  abs,
  add,
  assertNumber,
  assertSettings,
  assertTensor,
  cast,
  formatShape,
  less,
  matmul,
  max,
  mul,
  ShapeError,
  stopGradient,
  sub,
  sum,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { identityMatrix } from "./inverse.js";

/** With the norm at 1/2, terms beyond this one are below 1e-17. */
const TERMS = 14;

/**
 * e^M by scaling and squaring of the Taylor series (Moler, Van Loan, Nineteen dubious ways, 2003, method 3): the matrix is
 * halved until the sum of each row's sizes is at most 1/2, and the result squared as often; differentiable.
 * @param M [.. N N]
 * @param options squarings: how often the matrix may be halved; 16 by default, which is enough for norms up to 32,768.
 */
export function matrixExponential(M: Tensor, options: { readonly squarings?: number } = {}): Tensor {
  assertSettings("matrixExponential", options, ["squarings"]);
  assertTensor("matrixExponential", M);
  const { squarings = 16 } = options;
  assertNumber("matrixExponential", "squarings", squarings, { from: 0, whole: true });
  if (M.shape.length < 2 || M.shape.at(-1) !== M.shape.at(-2))
    throw new ShapeError(`matrixExponential: expected square matrices [.. N N], got shape ${formatShape(M.shape)}`);
  let norm = stopGradient(max(sum(abs(M), -1, { keepDims: true }), -2, { keepDims: true }));
  let scaled = M;
  const halved: Tensor[] = [];
  for (let k = 0; k < squarings; k++) {
    const large = less(0.5, norm);
    halved.push(large);
    const factor = sub(1, mul(0.5, cast(large, "f32")));
    norm = mul(norm, factor);
    scaled = mul(scaled, factor);
  }
  const one = identityMatrix(M.shape.at(-1)!);
  let power = add(one, mul(scaled, 1 / TERMS));
  for (let k = TERMS - 1; k >= 1; k--) power = add(one, mul(matmul(scaled, power), 1 / k));
  for (const large of halved.reverse()) power = where(large, matmul(power, power), power);
  return power;
}
