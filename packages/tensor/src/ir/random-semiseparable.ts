/** Random recurrences of the semiseparable form, for the tests of devices. */
import type { Scalar } from "./loop.js";
import type { ScanKernel, ScanOutput, ScanSum } from "./scan-kernel.js";
import type { Semiseparable } from "./semiseparable.js";
import { product } from "./simplify.js";

function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => ((x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0) >>> 0) / 2 ** 32;
}

const node = (op: "mul" | "neg" | "exp" | "sigmoid" | "add", ...args: Scalar[]): Scalar =>
  ({ op, dtype: "f32", args }) as Scalar;
const mul = (...xs: Scalar[]): Scalar => xs.reduce((a, b) => node("mul", a, b));
const state = (which: "current" | "previous" | "adjoint"): Scalar => ({ op: "state", dtype: "f32", which, part: "re" });
const reduced = (reduction: number): Scalar => ({ op: "reduced", dtype: "f32", reduction });

export interface RandomOptions {
  readonly decay: Semiseparable["decay"]["kind"];
  readonly gradient: boolean;
  readonly steps: readonly number[];
  readonly widths: readonly number[];
  /** Whether the gradient of the decay is only asked for times the decay. */
  readonly timesDecay?: boolean;
}

/** A recurrence whose factors lack some of the heads' axes, in any order of axes, with some of its results. */
export function randomSemiseparable(
  seed: number,
  { decay: kind, gradient, steps, widths, timesDecay = false }: RandomOptions,
): { kernel: ScanKernel; arrays: Float32Array[] } {
  const next = random(seed * 7919 + 13);
  const whole = (n: number): number => Math.floor(next() * n);
  const some = <T>(list: readonly T[], share = 0.6): T[] => list.filter(() => next() < share);
  const heads = 1 + whole(3);
  const sizes = [...Array.from({ length: heads }, () => 1 + whole(3)), steps[whole(steps.length)]!];
  sizes.push(widths[whole(widths.length)]!, widths[whole(widths.length)]!);
  // any order of the axes
  const order = sizes.map((_, k) => k).sort(() => next() - 0.5);
  const extents = order.map((k) => sizes[k]!);
  const at = (k: number): number => order.indexOf(k);
  const [along, keys, values] = [at(heads), at(heads + 1), at(heads + 2)];
  const others = extents.flatMap((_, axis) => ([along, keys, values].includes(axis) ? [] : [axis]));
  const arrays: Float32Array[] = [];
  const input = (axes: readonly number[], low = -1, high = 1): Scalar => {
    const sorted = [...axes].sort((a, b) => (next() < 0.3 ? 1 : a - b));
    const coefficients = extents.map(() => 0);
    sorted.reduceRight((stride, axis) => {
      coefficients[axis] = stride;
      return stride * extents[axis]!;
    }, 1);
    const size = product(axes.map((axis) => extents[axis]!));
    arrays.push(Float32Array.from({ length: size }, () => low + (high - low) * next()));
    return { op: "load", dtype: "f32", input: arrays.length - 1, index: { offset: 0, coefficients } };
  };
  const factor = (axis: number): Scalar => {
    const x = input([...some(others), along, axis]);
    return whole(3) === 0 ? node("sigmoid", mul(x, input(some(others)))) : x;
  };
  const [k, v, q] = [factor(keys), factor(values), factor(keys)];
  const decayAxes = kind === "none" ? [] : [...some(others), ...(kind === "constant" ? [] : [along])];
  let decay: Scalar =
    kind === "none"
      ? { op: "constant", dtype: "f32", value: 1 }
      : whole(2) === 0
        ? node(
            "exp",
            node(
              "neg",
              mul(input(decayAxes, 0, 2), input(kind === "vector" ? [keys] : [], 0, [0.1, 5, 100][whole(3)]!)),
            ),
          )
        : input(kind === "vector" ? [...decayAxes, keys] : decayAxes, whole(2) - 1, 1);
  if (kind === "scalar" && whole(2) === 0) {
    const reset = input([...some(others), along]);
    const data = arrays.at(-1)!;
    data.forEach((x, i) => (data[i] = x > 0.6 ? 0 : 1));
    decay = mul(decay, reset);
  }
  const scale = whole(2) === 0 ? [input([...some(others), along])] : [];
  const reverse = whole(2) === 0;
  const base = {
    extents,
    along,
    reverse,
    decay: [decay] as const,
    drive: [mul(...[k, v, ...scale].sort(() => next() - 0.5))] as const,
    ...(whole(2) === 0 && { initial: [input([...some(others), keys, values])] as const }),
  };
  const sums: ScanSum[] = [];
  const outputs: ScanOutput[] = [];
  const keeping = (...lost: number[]): number[] =>
    extents.map((_, axis) => axis).filter((axis) => !lost.includes(axis));
  const give = (value: Scalar, lost: readonly number[], more?: Scalar): void => {
    const reduction = sums.push({ value, keeps: keeping(...lost), step: "each" }) - 1;
    const result = more ? mul(reduced(reduction), more) : reduced(reduction);
    outputs.push({ dtype: "f32", keeps: keeping(...lost), step: "each", value: result });
  };
  const shared = (x: Scalar): number[] =>
    whole(2) === 0 ? others.filter((axis) => x.op === "load" && x.index.coefficients[axis] === 0) : [];
  if (!gradient) {
    give(mul(state("current"), q), [keys], whole(2) === 0 ? input(keeping(keys)) : undefined);
    if (whole(3) === 0) give(mul(state("current"), factor(values)), [values, ...some(others, 0.3)]);
    outputs.push({ dtype: "f32", keeps: keeping(along), step: "last", value: state("current") });
    return { kernel: { ...base, inputs: inputsOf(arrays), sums, outputs }, arrays };
  }
  const dy = input([...others, along, values]);
  let cotangent = mul(q, dy, ...(whole(3) === 0 ? [input([along])] : []));
  if (whole(2) === 0) {
    const last = reverse ? 0 : extents[along]! - 1;
    const coefficients = extents.map((_, axis) => (axis === along ? 1 : 0));
    const condition = { index: { offset: 0, coefficients }, lo: last, hi: last + 1 };
    const value = input([...others, keys, values]);
    cotangent = node("add", cotangent, { op: "guard", dtype: "f32", conditions: [condition], value, fill: 0 });
  }
  give(mul(state("adjoint"), k, ...scale), [keys, ...shared(v)]);
  give(mul(state("adjoint"), v, ...scale), [values, ...shared(k)]);
  give(mul(state("current"), dy), [values, ...shared(q)]);
  if (kind !== "none") {
    const lost = kind === "vector" ? [values] : [keys, values];
    if (kind === "constant") lost.push(along);
    give(mul(state("adjoint"), state("previous"), ...(timesDecay || whole(2) === 0 ? [decay] : [])), lost);
  }
  outputs.push({ dtype: "f32", keeps: keeping(along), step: "first", value: mul(state("adjoint"), decay) });
  return { kernel: { ...base, adjoint: { seed: [cotangent] }, inputs: inputsOf(arrays), sums, outputs }, arrays };
}

const inputsOf = (arrays: readonly Float32Array[]): ScanKernel["inputs"] =>
  arrays.map(({ length }) => ({ dtype: "f32", size: length }));
