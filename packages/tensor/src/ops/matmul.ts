/** Matrix products. Batch axes broadcast. */
import { assertTensor } from "../graph/assert.js";
import { isReal } from "../graph/dtype.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import type { Op, Samples } from "../graph/op.js";
import { broadcastShapes, formatShape, sameShape, sizeOf } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { cast } from "./elementwise.js";
import { broadcastTo, reshape, transpose } from "./movement.js";

/** How the products of a gradient are taken. @internal */
export interface MatmulAttributes {
  /** "f16": of f16 copies of the cotangents, as those of the value are; their results stay f32. */
  readonly cotangents: "f16";
}

/** The rows of this file. @internal */
export const matmulRows = {
  /** [..., M, K] x [..., K, N] -> [..., M, N] with equal batch axes. */
  matmul: {
    name: "matmul",
    rule: { kind: "native" },
    infer: ([a, b]) => [{ shape: [...a!.shape.slice(0, -1), b!.shape.at(-1)!], dtype: "f32" }],
    reference([a, b], _attributes, [result]) {
      const [M, N] = result!.shape.slice(-2) as [number, number];
      const K = a!.shape.at(-1)!;
      const out = new Float64Array(sizeOf(result!.shape));
      for (let batch = 0; batch < sizeOf(result!.shape.slice(0, -2)); batch++)
        for (let m = 0; m < M; m++)
          for (let k = 0; k < K; k++) {
            const x = a!.data[(batch * M + m) * K + k]!;
            for (let n = 0; n < N; n++) out[(batch * M + m) * N + n]! += x * b!.data[(batch * K + k) * N + n]!;
          }
      return [out];
    },
    // Cotangents are f32, and so are their products; those of f16 operands are rounded at the end.
    gradient({ inputs: [a, b], attributes }, [g]) {
      if (attributes !== undefined) {
        const half = cast(g!, "f16");
        return [halfProduct(half, transpose(b!)), halfProduct(transpose(a!), half)];
      }
      return [
        cast(matmul(g!, transpose(cast(b!, "f32"))), a!.dtype),
        cast(matmul(transpose(cast(a!, "f32")), g!), b!.dtype),
      ];
    },
  },
} satisfies Record<string, Op>;

/** What `checkOp` runs them on. @internal */
export const matmulSamples = (): Samples<typeof matmulRows> => ({
  matmul: [
    { name: "plain", inputs: [{ shape: [5, 7] }, { shape: [7, 3] }], apply: (a, b) => matmul(a!, b!) },
    {
      name: "both transposed",
      inputs: [{ shape: [7, 5] }, { shape: [3, 7] }],
      apply: (a, b) => matmul(transpose(a!), transpose(b!)),
    },
    { name: "batched", inputs: [{ shape: [2, 3, 4, 5] }, { shape: [2, 3, 5, 6] }], apply: (a, b) => matmul(a!, b!) },
    {
      name: "broadcast batch",
      inputs: [{ shape: [2, 3, 4, 5] }, { shape: [5, 6] }],
      apply: (a, b) => matmul(a!, b!),
    },
    {
      name: "broadcast batch of both",
      inputs: [{ shape: [2, 1, 4, 5] }, { shape: [3, 5, 2] }],
      apply: (a, b) => matmul(a!, b!),
    },
    { name: "vectors", inputs: [{ shape: [1, 9] }, { shape: [9, 1] }], apply: (a, b) => matmul(a!, b!) },
    { name: "tall", inputs: [{ shape: [70, 17] }, { shape: [17, 33] }], apply: (a, b) => matmul(a!, b!) },
    {
      name: "f16",
      inputs: [
        { shape: [5, 17], dtype: "f16" },
        { shape: [17, 6], dtype: "f16" },
      ],
      apply: (a, b) => matmul(a!, b!),
    },
    {
      name: "f16, both transposed",
      inputs: [
        { shape: [2, 16, 8], dtype: "f16" },
        { shape: [2, 12, 16], dtype: "f16" },
      ],
      apply: (a, b) => matmul(transpose(a!), transpose(b!)),
    },
    {
      name: "nothing to sum",
      inputs: [{ shape: [3, 0] }, { shape: [0, 2] }],
      apply: (a, b) => matmul(a!, b!),
      differentiable: false,
    },
  ],
});

/** A product of f16 whose own gradient is one too. */
const halfProduct = (a: Tensor, b: Tensor): Tensor =>
  callOp(matmulRows.matmul, [a, b], { cotangents: "f16" } satisfies MatmulAttributes)[0]!;

/**
 * Matrix product over the last two axes; leading axes are a batch and broadcast.
 * @param a f32 or f16 [..., M, K]
 * @param b the same type [..., K, N]
 * @returns f32 [..., M, N], also of f16 matrices, whose products are added up in f32; cast it where f16 is wanted
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  for (const x of [a, b]) assertTensor("matmul", x);
  if (!isReal(a.dtype) || a.dtype !== b.dtype)
    throw new DTypeError(
      `matmul: expected f32 matrices or f16 matrices, got ${a.dtype} and ${b.dtype}; convert one or both with cast`,
    );
  if (a.shape.length < 2 || b.shape.length < 2)
    throw new ShapeError(
      `matmul: expected at least rank 2, got ${formatShape(a.shape)} and ${formatShape(b.shape)}; add an axis with expandDims`,
    );
  const K = a.shape.at(-1)!;
  if (b.shape.at(-2) !== K)
    throw new ShapeError(
      `matmul: axis ${a.shape.length - 1} is ${K} in a ${formatShape(a.shape)} but axis ${b.shape.length - 2} is ${b.shape.at(-2)} in b ${formatShape(b.shape)}; transpose one or fix its extent`,
    );
  // A matrix shared by the whole batch: fold the batch into the rows.
  if (b.shape.length === 2 && a.shape.length > 2)
    return reshape(matmul(reshape(a, [sizeOf(a.shape.slice(0, -1)), K]), b), [...a.shape.slice(0, -1), b.shape[1]!]);
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), "matmul");
  const fit = (x: Tensor): Tensor =>
    sameShape(x.shape.slice(0, -2), batch) ? x : broadcastTo(x, [...batch, ...x.shape.slice(-2)]);
  return callOp(matmulRows.matmul, [fit(a), fit(b)])[0]!;
}
