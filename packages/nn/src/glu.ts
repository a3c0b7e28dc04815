/** The gated linear unit. */
import {
  add,
  assertTensor,
  defineKernel,
  formatShape,
  mul,
  reshape,
  ShapeError,
  sigmoid,
  sizeOf,
  sliceAxis,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";
import { gluOnGpu } from "./webgpu/glu-variant.js";

/** Axes of the inputs of {@link gluKernel}. */
export type GluInputs = {
  /** Values and then gates, E = 2D. */
  readonly x: "B L E";
  /** Added to both first. */
  readonly bias: "E";
};

/** Axes of the output of {@link gluKernel}. */
export type GluOutputs = {
  /** Gated values. */
  readonly y: "B L D";
};

type Inputs = { readonly [K in keyof GluInputs]: Tensor };

/**
 * The record of {@link glu}; `bias` may be left out. On WebGPU the backward program sums the gradient of the bias while it
 * writes that of x, which is then not read again.
 */
export const gluKernel: Kernel<GluInputs, GluOutputs, undefined> = defineKernel({
  name: "glu",
  inputs: { x: "B L E", bias: "E" },
  optional: ["bias"],
  extraDims: ({ E }) => ({ D: Math.floor(E! / 2) }),
  outputs: { y: "B L D" },
  backwardReads: [],
  reference: ({ x, bias }: Inputs) => ({ y: gated(bias ? add(x, bias) : x) }),
  cost: ({ B, L, E, D }, _, present) => ({
    flops: B! * L! * D! * (present?.has("bias") === false ? 4 : 6),
    bytes: 4 * (B! * L! * (E! + D!) + (present?.has("bias") === false ? 0 : E!)),
  }),
  variants: [gluOnGpu],
  samples: [
    { name: "vectors of four", dims: { B: 1, L: 5, E: 24 }, options: undefined },
    { name: "many rows, one at a time", dims: { B: 2, L: 35, E: 6 }, options: undefined, without: ["bias"] },
  ],
});

/** x [.. 2D] -> [.. D]. */
function gated(x: Tensor): Tensor {
  const D = Math.floor(x.shape.at(-1)! / 2);
  return mul(sliceAxis(x, -1, 0, D), sigmoid(sliceAxis(x, -1, D, 2 * D)));
}

/**
 * First half of the channels times the sigmoid of the second (Dauphin et al., 2017), S4's output activation.
 * @param x [.. 2D]
 * @param bias Added to x first [2D].
 * @returns [.. D]
 * @throws ShapeError for an odd number of channels, or a bias of another number.
 */
export function glu(x: Tensor, bias?: Tensor): Tensor {
  assertTensor("glu", x);
  if (bias !== undefined) assertTensor("glu", bias);
  const channels = x.shape.at(-1) ?? 0;
  if (channels % 2 !== 0)
    throw new ShapeError(`glu: expected an even number of channels, got ${channels} in shape ${formatShape(x.shape)}`);
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== channels))
    throw new ShapeError(`glu: expected a bias [${channels}], got shape ${formatShape(bias.shape)}`);
  const single = x.dtype === "f32" && (bias?.dtype ?? "f32") === "f32";
  if (!single || channels === 0) return gated(bias ? add(x, bias) : x);
  if (x.shape.length === 3) return gluKernel({ x, bias }, undefined).y;
  const rows = x.shape.slice(0, -1);
  const y = gluKernel({ x: reshape(x, [1, sizeOf(rows), channels]), bias }, undefined).y;
  return reshape(y, [...rows, channels / 2]);
}
