/** Inverses of batches of matrices, as tensor code. */
import {
  abs,
  add,
  arange,
  argmax,
  assertTensor,
  broadcastTo,
  cast,
  concat,
  defineKernel,
  div,
  equal,
  expandDims,
  formatShape,
  matmul,
  mul,
  neg,
  reshape,
  ShapeError,
  sizeOf,
  sliceAxis,
  stack,
  stopGradient,
  sub,
  sum,
  transpose,
  zeros,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";

/** Axes of the input of {@link inverseKernel}. */
export type InverseInputs = {
  /** Matrices. */
  readonly M: "B N K";
};

/** Axes of the output of {@link inverseKernel}. */
export type InverseOutputs = {
  /** Their inverses. */
  readonly X: "B K N";
};

/**
 * The record of {@link inverse}: M [B N N] -> X [B N N]. Gauss-Jordan elimination with partial pivoting; all N steps
 * are the same program, since columns move left as they are done. The gradient is -X^T dX X^T.
 */
export const inverseKernel: Kernel<InverseInputs, InverseOutputs, undefined> = defineKernel({
  name: "inverse",
  inputs: { M: "B N K" },
  outputs: { X: "B K N" },
  reference: ({ M }: { readonly M: Tensor }) => ({ X: eliminate(M) }),
  gradient({ M }: { readonly M: Tensor }, { X: g }: { readonly X?: Tensor }): { readonly M?: Tensor } {
    const turned = transpose(inverseKernel({ M }, undefined).X);
    return { M: neg(matmul(matmul(turned, g!), turned)) };
  },
  cost: ({ B, N }) => ({ flops: 4 * B! * N! ** 3, bytes: 8 * B! * N! ** 2 }),
  variants: [],
  // Values around 1 in a matrix of order 1, and random ones, which no order of 3 makes singular here.
  samples: [
    { name: "order 1", dims: { B: 2, N: 1, K: 1 }, options: undefined, ranges: { M: [0.5, 1.5] } },
    { name: "order 3", dims: { B: 2, N: 3, K: 3 }, options: undefined },
  ],
});

/**
 * M^-1 of every matrix of a batch; differentiable.
 * @param M [.. N N]
 * @returns [.. N N]; not finite where a matrix is singular.
 * @throws ShapeError if the last two axes differ.
 */
export function inverse(M: Tensor): Tensor {
  assertTensor("inverse", M);
  const [N, K] = M.shape.slice(-2);
  if (N === undefined || N !== K)
    throw new ShapeError(`inverse: expected square matrices [.. N N], got shape ${formatShape(M.shape)}`);
  if (N === 1) return div(1, M);
  const batch = sizeOf(M.shape.slice(0, -2));
  return reshape(inverseKernel({ M: reshape(M, [batch, N, N]) }, undefined).X, M.shape);
}

function eliminate(M: Tensor): Tensor {
  const [B, N] = M.shape as [number, number, number];
  const index = arange(N);
  let work = concat([M, broadcastTo(identityMatrix(N), [B, N, N])], 2);
  let free = broadcastTo(add(1, zeros([N])), [B, N]);
  const pivots: Tensor[] = [];
  for (let k = 0; k < N; k++) {
    const column = reshape(sliceAxis(work, 2, 0, 1), [B, N]);
    // Rows that were pivots are below 0 and never the largest.
    const score = stopGradient(sub(mul(abs(column), free), sub(1, free)));
    const chosen = cast(equal(expandDims(argmax(score, 1), 1), index), "f32");
    const row = sum(mul(work, expandDims(chosen, 2)), 1, { keepDims: true });
    const scaled = div(row, sliceAxis(row, 2, 0, 1));
    const left = sub(work, mul(expandDims(sub(column, chosen), 2), scaled));
    work = concat([sliceAxis(left, 2, 1, 2 * N), sliceAxis(left, 2, 0, 1)], 2);
    free = mul(free, sub(1, chosen));
    pivots.push(chosen);
  }
  // Row p_k holds row k of the inverse.
  return matmul(stack(pivots, 1), sliceAxis(work, 2, 0, N));
}

/** The identity [N N]. */
export function identityMatrix(N: number): Tensor {
  const index = arange(N);
  return cast(equal(expandDims(index, 1), index), "f32");
}
