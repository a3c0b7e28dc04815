/** Hand-written scan kernels for tests. */
import { product, type Scalar, type ScanKernel, type ScanOutput, type ScanSum } from "@seqmix/tensor/backend";

export const constant = (value: number): Scalar => ({ op: "constant", dtype: "f32", value });
export const op = (name: string, ...args: Scalar[]): Scalar => ({ op: name, dtype: "f32", args }) as unknown as Scalar;
export const mul = (...xs: Scalar[]): Scalar => xs.reduce((x, y) => op("mul", x, y));
export const add = (...xs: Scalar[]): Scalar => xs.reduce((x, y) => op("add", x, y));
export const reduced = (reduction: number): Scalar => ({ op: "reduced", dtype: "f32", reduction });
export const state = (which: "current" | "previous" | "adjoint", part: "re" | "im" = "re"): Scalar => ({
  op: "state",
  dtype: "f32",
  which,
  part,
});
export const current = state("current"),
  previous = state("previous"),
  adjoint = state("adjoint");
export const softplus = (x: Scalar): Scalar =>
  add(op("max", x, constant(0)), op("log1p", op("exp", op("neg", op("abs", x)))));
export const sigmoid = (x: Scalar): Scalar => op("sigmoid", x);

/** Builds a kernel whose inputs are row-major over some of the axes. */
export function builder(extents: readonly number[]): {
  input(axes: readonly number[]): Scalar;
  readonly inputs: { dtype: "f32"; size: number }[];
} {
  const inputs: { dtype: "f32"; size: number }[] = [];
  return {
    inputs,
    input(axes) {
      const shape = axes.map((axis) => extents[axis]!);
      const coefficients = extents.map((_, axis) => {
        const at = axes.indexOf(axis);
        return at < 0 ? 0 : product(shape.slice(at + 1));
      });
      inputs.push({ dtype: "f32", size: product(shape) });
      return { op: "load", dtype: "f32", input: inputs.length - 1, index: { offset: 0, coefficients } };
    },
  };
}

const [B, L, D, N] = [0, 1, 2, 3];

/** Mamba forward over [B L D N]: y, and hT if asked for. Inputs: u, delta, A, B, C, bias, D (, z). */
export function mambaForward(
  extents: readonly [number, number, number, number],
  { last = false, gate = false } = {},
): ScanKernel {
  const { input, inputs } = builder(extents);
  const u = input([B, L, D]),
    delta = input([B, L, D]),
    A = input([D, N]),
    Bm = input([B, L, N]),
    Cm = input([B, L, N]),
    bias = input([D]),
    skip = input([D]);
  const dt = softplus(add(delta, bias));
  const sums: ScanSum[] = [{ value: mul(current, Cm), keeps: [B, L, D], step: "each" }];
  const y = add(reduced(0), mul(u, skip));
  const z = gate ? input([B, L, D]) : undefined;
  const outputs: ScanOutput[] = [
    { dtype: "f32", keeps: [B, L, D], step: "each", value: z ? mul(y, z, sigmoid(z)) : y },
  ];
  if (last) outputs.push({ dtype: "f32", keeps: [B, D, N], step: "last", value: current });
  return {
    extents,
    along: L,
    reverse: false,
    inputs,
    decay: [op("exp", mul(dt, A))],
    drive: [mul(dt, u, Bm)],
    sums,
    outputs,
  };
}

/**
 * The gradients of Mamba: du, ddelta, dA, dB, dC, dbias, and dD with `totals`, which dbias is then too. Inputs: those of the
 * forward pass, and dy.
 */
export function mambaBackward(extents: readonly [number, number, number, number], { totals = false } = {}): ScanKernel {
  const { input, inputs } = builder(extents);
  const u = input([B, L, D]),
    delta = input([B, L, D]),
    A = input([D, N]),
    Bm = input([B, L, N]),
    Cm = input([B, L, N]),
    bias = input([D]),
    skip = input([D]),
    dy = input([B, L, D]);
  const before = add(delta, bias);
  const dt = softplus(before);
  const decay = op("exp", mul(dt, A));
  const gradientOfExponent = mul(adjoint, previous, decay);
  const ddelta = mul(add(reduced(0), mul(reduced(1), u)), sigmoid(before));
  const sums: ScanSum[] = [
    { value: mul(gradientOfExponent, A), keeps: [B, L, D], step: "each" },
    { value: mul(adjoint, Bm), keeps: [B, L, D], step: "each" },
    { value: mul(gradientOfExponent, dt), keeps: [D, N], step: "each" },
    { value: mul(adjoint, mul(dt, u)), keeps: [B, L, N], step: "each" },
    { value: mul(current, dy), keeps: [B, L, N], step: "each" },
    totals
      ? { value: ddelta, keeps: [D], step: "each", of: [B, L, D] }
      : {
          value: mul(op("add", mul(gradientOfExponent, A), mul(adjoint, Bm, u)), sigmoid(before)),
          keeps: [D],
          step: "each",
        },
    ...(totals ? [{ value: mul(dy, u), keeps: [D], step: "each", of: [B, L, D] } as const] : []),
  ];
  const outputs: ScanOutput[] = [
    { dtype: "f32", keeps: [B, L, D], step: "each", value: add(mul(reduced(1), dt), mul(dy, skip)) },
    { dtype: "f32", keeps: [B, L, D], step: "each", value: ddelta },
    { dtype: "f32", keeps: [D, N], step: "each", value: reduced(2) },
    { dtype: "f32", keeps: [B, L, N], step: "each", value: reduced(3) },
    { dtype: "f32", keeps: [B, L, N], step: "each", value: reduced(4) },
    { dtype: "f32", keeps: [D], step: "each", value: reduced(5) },
    ...(totals ? [{ dtype: "f32", keeps: [D], step: "each", value: reduced(6) } as const] : []),
  ];
  return {
    extents,
    along: L,
    reverse: false,
    inputs,
    decay: [decay],
    drive: [mul(mul(dt, u), Bm)],
    adjoint: { seed: [mul(Cm, dy)] },
    sums,
    outputs,
  };
}
