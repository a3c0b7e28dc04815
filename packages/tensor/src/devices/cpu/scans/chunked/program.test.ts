import { afterAll, expect, test } from "vitest";
import { chunkedParts } from "../../../../ir/chunked-parts.js";
import { interpretScan } from "../../../../ir/interpreter.js";
import type { Scalar } from "../../../../ir/loop.js";
import type { ScanKernel, ScanOutput, ScanSum } from "../../../../ir/scan-kernel.js";
import { semiseparable } from "../../../../ir/semiseparable.js";
import { product } from "../../../../ir/simplify.js";
import { DeviceMemory } from "../../memory/memory.js";
import { ThreadPool } from "../../threads/pool.js";
import { chunkedProgram } from "./program.js";

const memory = new DeviceMemory();
const pool = new ThreadPool(memory, { threads: 2 });
afterAll(() => pool.close());

function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => ((x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0) >>> 0) / 2 ** 32;
}

/** The results, computed between buffers of NaN. */
function run(kernel: ScanKernel, arrays: readonly Float32Array[]): Float32Array[] {
  const form = semiseparable(kernel);
  if (typeof form === "string") throw new Error(form);
  const parts = chunkedParts(form);
  if (typeof parts === "string") throw new Error(parts);
  const program = chunkedProgram(parts, memory);
  const sizes = kernel.outputs.map((o) => product(o.keeps.map((axis) => kernel.extents[axis]!)));
  const all = [...arrays, ...sizes.map((size) => new Float32Array(size).fill(NaN))];
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  pool.run(pool.prepare(program), addresses);
  const results = sizes.map((size, k) => {
    const from = addresses[arrays.length + k]! / 4;
    const around = [...memory.f32.slice(from - 16, from), ...memory.f32.slice(from + size, from + size + 16)];
    if (!around.every(Number.isNaN)) throw new Error(`${program.name}: wrote outside output ${k}`);
    return memory.f32.slice(from, from + size);
  });
  for (const address of addresses) memory.free(address - 64);
  return results;
}

/** Largest error of each output, relative to its largest value. */
function errors(kernel: ScanKernel, arrays: readonly Float32Array[]): number[] {
  const found = run(kernel, arrays);
  return interpretScan(kernel, arrays).map((expected, k) => {
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
    return expected.reduce((worst, x, i) => {
      const error = Math.abs(found[k]![i]! - x) / largest;
      return error <= worst ? worst : Number.isNaN(error) ? Infinity : error;
    }, 0);
  });
}

const node = (op: "mul" | "neg" | "exp" | "sigmoid" | "add", ...args: Scalar[]): Scalar =>
  ({ op, dtype: "f32", args }) as Scalar;
const mul = (...xs: Scalar[]): Scalar => xs.reduce((a, b) => node("mul", a, b));
const state = (which: "current" | "previous" | "adjoint"): Scalar => ({ op: "state", dtype: "f32", which, part: "re" });
const reduced = (reduction: number): Scalar => ({ op: "reduced", dtype: "f32", reduction });

interface Options {
  readonly decay: "none" | "constant" | "scalar" | "vector";
  readonly gradient: boolean;
}

/** A recurrence whose factors lack some of the heads' axes, in any order of axes, with some of its results. */
function randomKernel(
  seed: number,
  { decay: kind, gradient }: Options,
): { kernel: ScanKernel; arrays: Float32Array[] } {
  const next = random(seed * 7919 + 13);
  const whole = (n: number): number => Math.floor(next() * n);
  const some = <T>(list: readonly T[], share = 0.6): T[] => list.filter(() => next() < share);
  const heads = 1 + whole(3);
  const sizes = [...Array.from({ length: heads }, () => 1 + whole(3)), [1, 7, 33, 50][whole(4)]!];
  const width = [3, 4, 8, 10, 13, 17];
  sizes.push(width[whole(6)]!, width[whole(6)]!);
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
    give(mul(state("adjoint"), state("previous"), ...(whole(2) === 0 ? [decay] : [])), lost);
  }
  outputs.push({ dtype: "f32", keeps: keeping(along), step: "first", value: mul(state("adjoint"), decay) });
  return { kernel: { ...base, adjoint: { seed: [cotangent] }, inputs: inputsOf(arrays), sums, outputs }, arrays };
}

const inputsOf = (arrays: readonly Float32Array[]): ScanKernel["inputs"] =>
  arrays.map(({ length }) => ({ dtype: "f32", size: length }));

const kinds = ["none", "constant", "scalar"] as const;

test.each(kinds)("random recurrences with %s decay are those of the scan, and so are their gradients", (decay) => {
  for (let seed = 0; seed < 16; seed++) {
    const { kernel, arrays } = randomKernel(seed, { decay, gradient: seed % 2 === 1 });
    for (const [k, error] of errors(kernel, arrays).entries())
      expect(error, `seed ${seed}, output ${k} of [${kernel.extents.join()}]`).toBeLessThan(1e-5);
  }
});
