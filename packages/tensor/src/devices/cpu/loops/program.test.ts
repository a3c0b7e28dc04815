import { beforeAll, describe, expect, test } from "vitest";
import { whenLoaded } from "../../../graph/on-demand.js";
import type { DType } from "../../../graph/dtype.js";
import type { Affine, Gather, LoopKernel, Range, Reduction, Scalar, ScalarType } from "../../../ir/loop.js";
import { interpretLoop, type Numbers } from "../../../ir/interpreter.js";
import { loopProgram } from "./program.js";
import type { CpuProgram } from "../program.js";

// ---- running a program ----

const memory = new WebAssembly.Memory({ initial: 1100 });

/** Outputs of the program as units split at `cuts` per phase, in reverse order; buffers lie between guard elements. */
function run(
  kernel: LoopKernel,
  program: CpuProgram,
  inputs: readonly Numbers[],
  chunk: (units: number) => number,
): (Float32Array | Int32Array)[] {
  let top = 65536;
  const allocate = (bytes: number): number => {
    const at = top;
    top += Math.ceil(bytes / 16) * 16 + 32;
    return at;
  };
  const total = kernel.extents.reduce((a, b) => a * b, 1);
  const view = (dtype: DType, at: number, length: number): Float32Array | Int32Array =>
    dtype === "f32" ? new Float32Array(memory.buffer, at, length) : new Int32Array(memory.buffer, at, length);
  const addresses = kernel.inputs.map((input, k) => {
    const at = allocate(4 * input.size);
    view("f32", at - 16, 4).fill(NaN);
    view("f32", at, input.size + 4).fill(NaN);
    view(input.dtype, at, input.size).set(inputs[k] as unknown as number[]);
    return at;
  });
  const outputs = kernel.outputs.map((output) => {
    const size = output.index ? total * kernel.reduceExtents.reduce((a, b) => a * b, 1) : total;
    const at = allocate(4 * size);
    view("f32", at - 4, size + 2).fill(NaN);
    return { at, size, view: view(output.dtype, at, size) };
  });
  const shared = allocate(program.sharedBytes);
  view("f32", shared, program.sharedBytes / 4).fill(NaN);
  const args = allocate(4 * 64);
  new Int32Array(memory.buffer, args).set([...addresses, ...outputs.map((o) => o.at), shared]);
  const scratch = allocate(program.scratchBytes);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(program.module as BufferSource), {
    env: { memory },
  });
  for (const phase of program.phases) {
    const call = instance.exports[phase.run] as (args: number, begin: number, end: number, scratch: number) => void;
    const size = chunk(phase.units);
    for (let begin = Math.floor((phase.units - 1) / size) * size; begin >= 0; begin -= size)
      call(args, begin, Math.min(phase.units, begin + size), scratch);
  }
  for (const { at, size } of outputs) {
    expect(new Float32Array(memory.buffer, at - 4, 1)[0]).toBeNaN();
    expect(new Float32Array(memory.buffer, at + 4 * size, 1)[0]).toBeNaN();
  }
  return outputs.map((o) => o.view.slice());
}

function check(kernel: LoopKernel, inputs: readonly Numbers[], tolerance = 2e-5, label = ""): void {
  const want = interpretLoop(kernel, inputs);
  const program = loopProgram(kernel, { shared: false });
  const got = run(kernel, program, inputs, (units) => Math.max(1, units));
  got.forEach((values, n) => {
    const expected = want[n] as Float64Array;
    for (let i = 0; i < values.length; i++) {
      const a = values[i] as number,
        b = expected[i] as number;
      const same =
        Object.is(a, b) ||
        a === b ||
        (Number.isNaN(a) && Number.isNaN(b)) ||
        Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b));
      if (!same)
        throw new Error(`${label} ${program.name}: output ${n} at ${i} is ${a}, not ${b}\n${JSON.stringify(kernel)}`);
    }
  });
  for (const size of [1, 3, Math.max(1, program.phases[0]?.grain ?? 1)]) {
    run(kernel, program, inputs, () => size).forEach((values, n) => {
      expect(new Int32Array(values.buffer), label).toEqual(new Int32Array((got[n] as Float32Array).buffer));
    });
  }
}

/** Code that programs load when they first need it. */
beforeAll(async () => {
  const load: Scalar = { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [1, 1] } };
  const reductions: Reduction[] = [{ combine: "sum", value: { op: "exp", dtype: "f32", args: [load] } }];
  const outputs = [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }] as const;
  const inputs = [{ dtype: "f32", size: 16 }] as const;
  const kernel = { extents: [8], reduceExtents: [8], inputs, reductions, outputs };
  await whenLoaded(() => loopProgram(kernel, { shared: false }));
});

// ---- kernels at random ----

/** A small generator of random numbers in [0, 1). */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Case {
  readonly kernel: LoopKernel;
  readonly data: (Float32Array | Int32Array)[];
}

function randomCase(seed: number, reducing: boolean): Case {
  const random = mulberry(seed);
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(...of: readonly T[]): T => of[below(of.length)] as T;
  const extent = (): number => pick(1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 21, 33, random() < 0.1 ? 0 : 6);
  const shape = (rank: number): number[] => {
    const extents = Array.from({ length: rank }, extent);
    while (extents.reduce((a, b) => a * b, 1) > (reducing ? 200 : 3000))
      extents[extents.indexOf(Math.max(...extents))] = pick(1, 2, 3);
    if (rank > 0 && random() < 0.08) extents[below(rank)] = 100 + below(80);
    return extents;
  };
  const extents = shape(below(5));
  const reduceExtents = reducing ? shape(1 + below(3)).map((e) => (extents.length > 2 ? Math.min(e, 9) : e)) : [];
  const inputs: { dtype: ScalarType; size: number }[] = [];
  const data: (Float32Array | Int32Array)[] = [];

  const affine = (axes: readonly number[]): { offset: number; coefficients: number[]; lo: number; hi: number } => {
    const style = below(4);
    let stride = 1;
    const coefficients = axes.map(() => 0);
    for (let k = axes.length - 1; k >= 0; k--) {
      if (style === 0)
        coefficients[k] = stride; // contiguous
      else if (style === 1)
        coefficients[k] = random() < 0.4 ? 0 : stride; // broadcast
      else coefficients[k] = pick(-3, -2, -1, -1, 0, 0, 1, 1, 1, 2, 3, 5);
      if (coefficients[k] !== 0) stride *= axes[k] as number;
    }
    if (style === 3 && axes.length > 1) {
      // transposed
      coefficients[0] = 1;
      coefficients[axes.length - 1] = axes[0] as number;
    }
    const ends = coefficients.map((c, k) => c * Math.max(0, (axes[k] as number) - 1));
    return {
      offset: 0,
      coefficients,
      lo: ends.reduce((a, b) => a + Math.min(0, b), 0),
      hi: ends.reduce((a, b) => a + Math.max(0, b), 0),
    };
  };
  const constant = (dtype: ScalarType): Scalar => ({
    op: "constant",
    dtype,
    value: dtype === "f32" ? Math.fround(random() * 4 - 2) : dtype === "i32" ? below(9) - 4 : below(2),
  });
  const buffer = (dtype: ScalarType, size: number): number => {
    const values = dtype === "f32" ? new Float32Array(size) : new Int32Array(size);
    for (let i = 0; i < size; i++)
      values[i] = dtype === "f32" ? random() * 6 - 3 : dtype === "bool" ? below(2) : below(40) - 10;
    if (dtype === "f32" && random() < 0.1 && size > 0) values[below(size)] = pick(NaN, Infinity, -Infinity, 0);
    data.push(values);
    return inputs.push({ dtype, size }) - 1;
  };

  /** Expressions over the given axes (those beyond have coefficient 0). */
  const expressions = (axes: readonly number[], reductions: readonly Reduction[]) => {
    const all = [...extents, ...reduceExtents].length;
    const pool: Scalar[] = [];
    const widen = (a: { offset: number; coefficients: number[] }, offset: number): Affine => ({
      offset,
      coefficients: Array.from({ length: all }, (_, k) => a.coefficients[k] ?? 0),
    });
    const load = (dtype: ScalarType, depth: number): Scalar => {
      const a = affine(axes);
      if (random() < 0.2 && depth > 0) {
        const gather: Gather[] = Array.from({ length: 1 + below(2) }, () => ({
          value: build("i32", depth - 1),
          size: 1 + below(6),
          stride: pick(0, 1, 4, 7),
        }));
        const reach = gather.reduce((sum, g) => sum + (g.size - 1) * g.stride, 0);
        return { op: "load", dtype, input: buffer(dtype, a.hi - a.lo + reach + 1), index: widen(a, -a.lo), gather };
      }
      return { op: "load", dtype, input: buffer(dtype, a.hi - a.lo + 1 + below(3)), index: widen(a, -a.lo) };
    };
    /** A load of a smaller buffer than the loop reaches, under a guard that says so. */
    const guard = (dtype: ScalarType, depth: number): Scalar => {
      const fill = dtype === "bool" ? below(2) : below(5) - 2;
      const a = affine(axes);
      if (random() < 0.5) {
        const lo = a.lo + below(a.hi - a.lo + 2) - 1;
        const size = Math.max(1, below(a.hi - lo + 3));
        const input = buffer(dtype, size);
        const condition: Range = { index: widen(a, -lo), lo: 0, hi: size };
        const inner: Scalar = { op: "load", dtype, input, index: widen(a, -lo) };
        const value = random() < 0.5 ? inner : combine(dtype, inner, build(dtype, depth - 1));
        return { op: "guard", dtype, conditions: [condition], value, fill };
      }
      const conditions = Array.from({ length: 1 + below(2) }, (): Range => {
        const b = affine(axes);
        const lo = b.lo + below(b.hi - b.lo + 3) - 1;
        return { index: widen(b, 0), lo, hi: lo + below(b.hi - lo + 3) };
      });
      return { op: "guard", dtype, conditions, value: build(dtype, depth - 1), fill };
    };
    const combine = (dtype: ScalarType, a: Scalar, b: Scalar): Scalar =>
      dtype === "bool"
        ? { op: pick("and", "or"), dtype, args: [a, b] }
        : { op: pick("add", "sub", "min", "max", "mul"), dtype, args: [a, b] };
    const op = (dtype: ScalarType, depth: number): Scalar => {
      const arg = (d: ScalarType): Scalar => build(d, depth - 1);
      if (dtype === "f32") {
        const kind = below(8);
        if (kind === 0) return { op: "where", dtype, args: [arg("bool"), arg("f32"), arg("f32")] };
        if (kind === 1) return { op: "cast", dtype, args: [arg(pick("i32", "bool", "f32"))] };
        if (kind === 2) return { op: pick("neg", "abs"), dtype, args: [arg("f32")] };
        if (kind < 5) {
          // Kept small: errors of arguments must not be magnified.
          const small: Scalar = {
            op: "min",
            dtype,
            args: [
              { op: "max", dtype, args: [arg("f32"), { op: "constant", dtype, value: -4 }] },
              { op: "constant", dtype, value: 4 },
            ],
          };
          const name = pick("exp", "expm1", "sin", "cos", "tanh", "sigmoid", "erf", "sqrt", "log", "log1p", "div");
          if (name === "sqrt" || name === "log" || name === "log1p" || name === "div") {
            const positive: Scalar = {
              op: "add",
              dtype,
              args: [
                { op: "abs", dtype, args: [small] },
                { op: "constant", dtype, value: 0.5 },
              ],
            };
            return name === "div"
              ? { op: "div", dtype, args: [arg("f32"), positive] }
              : { op: name, dtype, args: [positive] };
          }
          return { op: name, dtype, args: [small] };
        }
        return combine(dtype, arg("f32"), arg("f32"));
      }
      if (dtype === "i32") {
        const kind = below(7);
        if (kind === 0)
          return {
            op: "cast",
            dtype,
            args: [random() < 0.5 ? arg("bool") : { op: "floor", dtype: "f32", args: [load("f32", 0)] }],
          };
        if (kind === 1)
          return {
            op: pick("shiftLeft", "shiftRight"),
            dtype,
            args: [
              arg("i32"),
              random() < 0.5
                ? { op: "constant", dtype, value: below(32) }
                : { op: "bitAnd", dtype, args: [arg("i32"), { op: "constant", dtype, value: 31 }] },
            ],
          };
        if (kind === 2) return { op: pick("bitAnd", "bitOr", "bitXor"), dtype, args: [arg("i32"), arg("i32")] };
        if (kind === 3) return { op: "where", dtype, args: [arg("bool"), arg("i32"), arg("i32")] };
        if (kind === 4) return { op: pick("neg", "abs"), dtype, args: [arg("i32")] };
        return combine(dtype, arg("i32"), arg("i32"));
      }
      const kind = below(5);
      if (kind === 0) return { op: "not", dtype, args: [arg("bool")] };
      if (kind === 1) return combine(dtype, arg("bool"), arg("bool"));
      if (kind === 2) return { op: "cast", dtype, args: [arg("i32")] };
      // Comparisons of computed floats may fall either way: integers, or floats just loaded.
      if (kind === 3) return { op: pick("less", "lessEqual", "equal"), dtype, args: [arg("i32"), arg("i32")] };
      return { op: pick("less", "lessEqual", "equal"), dtype, args: [load("f32", 0), constant("f32")] };
    };
    const build = (dtype: ScalarType, depth: number): Scalar => {
      const known = pool.filter((node) => node.dtype === dtype);
      if (known.length > 0 && random() < 0.25) return known[below(known.length)] as Scalar;
      const node = ((): Scalar => {
        const reduced = reductions.flatMap((r, k): Scalar[] =>
          r.value.dtype === dtype ? [{ op: "reduced", dtype, reduction: k }] : [],
        );
        if (reduced.length > 0 && random() < 0.4) return reduced[below(reduced.length)] as Scalar;
        if (depth <= 0) {
          if (dtype === "i32" && random() < 0.3) return { op: "position", dtype, index: widen(affine(axes), below(5)) };
          return random() < 0.15 ? constant(dtype) : load(dtype, 0);
        }
        return random() < 0.2 ? guard(dtype, depth) : random() < 0.2 ? load(dtype, depth) : op(dtype, depth);
      })();
      pool.push(node);
      return node;
    };
    return build;
  };

  const all = [...extents, ...reduceExtents];
  const inner = expressions(all, []);
  const reductions = reducing
    ? Array.from({ length: 1 + below(2) }, (): Reduction => ({
        combine: pick("sum", "max"),
        value: inner(pick("f32", "f32", "i32"), 1 + below(3)),
      }))
    : [];
  const outer = expressions(extents, reductions);
  const outputs = Array.from({ length: 1 + below(2) }, () => {
    const value = outer(pick("f32", "f32", "i32", "bool"), reducing ? below(3) : 1 + below(4));
    return { dtype: value.dtype, value };
  });
  return { kernel: { extents, reduceExtents, inputs, reductions, outputs }, data };
}

const SEEDS = Number(process.env["LOOP_SEEDS"] ?? 300);
test("random elementwise kernels", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const { kernel, data } = randomCase(seed, false);
    check(kernel, data, 1e-4, `seed ${seed}`);
  }
});
test("random reductions", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const { kernel, data } = randomCase(100000 + seed, true);
    check(kernel, data, 3e-4, `seed ${seed}`);
  }
});

// ---- particular kernels ----

const f32 = (op: "add" | "mul" | "sub", ...args: Scalar[]): Scalar => ({ op, dtype: "f32", args });
const load = (input: number, offset: number, ...coefficients: number[]): Scalar => ({
  op: "load",
  dtype: "f32",
  input,
  index: { offset, coefficients },
});
const uniform = (size: number, seed = 1): Float32Array => {
  const random = mulberry(seed);
  return Float32Array.from({ length: size }, () => random());
};
const buffers = (...data: Float32Array[]) => data.map((d) => ({ dtype: "f32" as const, size: d.length }));
const sumOf = (
  extents: number[],
  reduceExtents: number[],
  coefficients: number[],
  size: number,
  combine: "sum" | "max" = "sum",
): LoopKernel => ({
  extents,
  reduceExtents,
  inputs: [{ dtype: "f32", size }],
  reductions: [{ combine, value: load(0, 0, ...coefficients) }],
  outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
});

test("long sums are accurate and do not depend on how units are shared out", () => {
  const x = uniform(3_000_000);
  const exact = (of: Float32Array): number => of.reduce((a, b) => a + b, 0);
  const full = sumOf([], [3_000_000], [1], x.length);
  const program = loopProgram(full, { shared: false });
  expect(program.phases.length).toBe(2);
  const [one] = run(full, program, [x], (units) => units);
  expect(Math.abs((one?.[0] as number) / exact(x) - 1)).toBeLessThan(3e-7);
  expect(run(full, program, [x], () => 5)[0]).toEqual(one);

  // A single unit: along and across the vector, too few points to be divided or too many rows.
  for (const kernel of [
    sumOf([20], [150_000], [150_000, 1], x.length),
    sumOf([20], [150_000], [1, 20], x.length),
    sumOf([2000], [1500], [1, 2000], x.length),
    sumOf([20], [50_000, 3], [150_000, 3, 1], x.length),
    sumOf([20], [3, 50_000], [1, 1_000_000, 20], x.length),
  ]) {
    const [got] = run(kernel, loopProgram(kernel, { shared: false }), [x], (units) => units);
    const [want] = interpretLoop(kernel, [x]);
    got?.forEach((value, i) => expect(Math.abs(value / (want?.[i] as number) - 1)).toBeLessThan(1e-6));
  }
});

describe("row kernels: stages of reductions, and outputs along the row", () => {
  const reduced = (reduction: number): Scalar => ({ op: "reduced", dtype: "f32", reduction });
  const f = (op: "exp" | "sub" | "mul" | "div" | "add" | "sqrt", ...args: Scalar[]): Scalar => ({
    op,
    dtype: "f32",
    args,
  });
  /** max, sum of exponentials, quotients; the log-sum's parts as outputs a row. */
  const softmaxOf = (extents: number[], reduceExtents: number[], coefficients: number[]): LoopKernel => {
    const size = [...extents, ...reduceExtents].reduce((a, b) => a * b, 1);
    const x = load(0, 0, ...coefficients);
    const weight = f("exp", f("sub", x, reduced(0)));
    return {
      extents,
      reduceExtents,
      inputs: [{ dtype: "f32", size }],
      reductions: [
        { combine: "max", value: x },
        { combine: "sum", value: weight },
      ],
      outputs: [
        { dtype: "f32", value: f("div", weight, reduced(1)), index: { offset: 0, coefficients } },
        { dtype: "f32", value: f("add", reduced(0), reduced(1)) },
      ],
    };
  };
  const cases: [string, LoopKernel][] = [
    ["one column", softmaxOf([5], [1], [1, 1])],
    ["3 columns", softmaxOf([7], [3], [3, 1])],
    ["4096 columns", softmaxOf([3], [4096], [4096, 1])],
    ["5000 columns", softmaxOf([2], [5000], [5000, 1])],
    ["100001 columns", softmaxOf([1], [100_001], [100_001, 1])],
    ["down 30 rows of 37", softmaxOf([37], [30], [1, 37])],
    ["a middle axis", softmaxOf([3, 19], [11], [209, 1, 19])],
    ["two axes apart", softmaxOf([5], [6, 9], [9, 45, 1])],
    ["two axes of a transposed row", softmaxOf([4], [9, 6], [54, 1, 9])],
  ];
  test.each(cases)("softmax, %s", (_, kernel) => {
    const x = uniform(kernel.inputs[0]!.size, 3).map((v) => 6 * v - 3);
    check(kernel, [x]);
    if (x.length > 20_000) return;
    const masked = x.map((v, i) => (i % 3 === 0 ? -Infinity : v));
    check(kernel, [masked]);
  });

  test("a guarded value is used by all stages, and kept values do not leave the buffers", () => {
    // Each row sees its neighbours one place to the left, zeros before the first.
    const [rows, n] = [6, 70];
    const shifted: Scalar = {
      op: "guard",
      dtype: "f32",
      conditions: [{ index: { offset: -1, coefficients: [0, 1] }, lo: 0, hi: n }],
      value: f("exp", load(0, -1, n, 1)),
      fill: 0,
    };
    const square = f("mul", f("sub", shifted, reduced(0)), f("sub", shifted, reduced(0)));
    check(
      {
        extents: [rows],
        reduceExtents: [n],
        inputs: [{ dtype: "f32", size: rows * n }],
        reductions: [
          { combine: "sum", value: f("mul", shifted, { op: "constant", dtype: "f32", value: 1 / n }) },
          { combine: "sum", value: square },
        ],
        outputs: [
          {
            dtype: "f32",
            value: f("div", f("sub", shifted, reduced(0)), f("sqrt", reduced(1))),
            index: { offset: 0, coefficients: [n, 1] },
          },
        ],
      },
      [uniform(rows * n, 5)],
    );
  });
});

test("divided reductions of other kinds", () => {
  const x = uniform(600_000).map((v) => v - 0.5);
  check(sumOf([], [600_000], [1], x.length, "max"), [x]);
  check(sumOf([3], [200_000], [200_000, 1], x.length), [x], 1e-4);
  check(sumOf([3], [199_999], [200_000, 1], x.length, "max"), [x]);
  check(sumOf([16], [37_500], [1, 16], x.length), [x], 1e-4);
  check(sumOf([], [600, 1000], [1, 600], x.length), [x], 1e-4);
  x[123_456] = NaN;
  check(sumOf([], [600_000], [1], x.length, "max"), [x]);
  check(sumOf([600], [1000], [1, 600], x.length, "max"), [x]);
  check(sumOf([600], [1000], [1000, 1], x.length, "max"), [x]);
});

test("scalars, empty axes and empty reductions", () => {
  const x = uniform(8);
  const reduced: Scalar = { op: "reduced", dtype: "f32", reduction: 0 };
  check(
    {
      extents: [],
      reduceExtents: [],
      inputs: buffers(x),
      reductions: [],
      outputs: [{ dtype: "f32", value: load(0, 3) }],
    },
    [x],
  );
  check(sumOf([4], [0], [1, 1], 8), [x]);
  check(sumOf([4], [0, 3], [1, 1, 0], 8, "max"), [x]);
  check(sumOf([0], [4], [1, 1], 8), [x]);
  check(sumOf([], [1], [1], 8), [x]);
  check(
    {
      ...sumOf([2, 2], [2], [1, 2, 4], 8),
      outputs: [{ dtype: "f32", value: f32("sub", load(0, 0, 2, 1, 0), reduced) }],
    },
    [x],
  );
});

test("blocks of a long axis: positions, guards, reversal, shifts", () => {
  const n = 10_001;
  const x = uniform(n);
  const position: Scalar = {
    op: "cast",
    dtype: "f32",
    args: [{ op: "position", dtype: "i32", index: { offset: 7, coefficients: [-2] } }],
  };
  const shifted: Scalar = {
    op: "guard",
    dtype: "f32",
    conditions: [{ index: { offset: -5000, coefficients: [1] }, lo: 0, hi: n }],
    value: load(0, -5000, 1),
    fill: 2,
  };
  const reversed = load(0, n - 1, -1);
  check(
    {
      extents: [n],
      reduceExtents: [],
      inputs: buffers(x),
      reductions: [],
      outputs: [{ dtype: "f32", value: f32("add", position, f32("mul", shifted, reversed)) }],
    },
    [x],
  );
});

test("a transposing copy, and a concatenation", () => {
  const x = uniform(70 * 90),
    y = uniform(70 * 20, 2);
  check(
    {
      extents: [90, 70],
      reduceExtents: [],
      inputs: buffers(x),
      reductions: [],
      outputs: [{ dtype: "f32", value: load(0, 0, 1, 90) }],
    },
    [x],
  );
  const guard = (input: number, width: number, from: number): Scalar => ({
    op: "guard",
    dtype: "f32",
    fill: 0,
    conditions: [{ index: { offset: -from, coefficients: [0, 1] }, lo: 0, hi: width }],
    value: load(input, -from, width, 1),
  });
  check(
    {
      extents: [70, 110],
      reduceExtents: [],
      inputs: buffers(x, y),
      reductions: [],
      outputs: [{ dtype: "f32", value: f32("add", guard(0, 90, 0), guard(1, 20, 90)) }],
    },
    [x, y],
  );
});

test("a causal convolution as a guarded reduction, along either layout", () => {
  const [B, L, D, K] = [2, 37, 21, 4];
  const x = uniform(B * L * D),
    w = uniform(D * K, 3);
  const conv = (extents: number[], position: number[], xc: number[], wc: number[], stride: number): LoopKernel => ({
    extents,
    reduceExtents: [K],
    inputs: buffers(x, w),
    reductions: [
      {
        combine: "sum",
        value: f32("mul", load(1, 0, ...wc), {
          op: "guard",
          dtype: "f32",
          conditions: [{ index: { offset: -(K - 1), coefficients: position }, lo: 0, hi: L }],
          value: load(0, -(K - 1) * stride, ...xc),
          fill: 0,
        }),
      },
    ],
    outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
  });
  check(conv([B, L, D], [0, 1, 0, 1], [L * D, D, 1, D], [0, 0, K, 1], D), [x, w]);
  check(conv([B, D, L], [0, 0, 1, 1], [L * D, L, 1, 1], [0, K, 0, 1], 1), [x, w]);
});

test("guarded loads far outside of memory do not fault", () => {
  const x = uniform(100);
  const far = 3_000_000; // 12 MB a tap: below address 0, and beyond the memory's end
  for (const sign of [1, -1])
    for (const inner of [1, -1, 2, 0]) {
      const index: Affine = { offset: inner < 0 ? 40 : 0, coefficients: [inner, sign * far] };
      const value = load(0, index.offset, ...index.coefficients);
      const conditions: Range[] = [{ index, lo: 0, hi: 100 }];
      const gathered: Scalar = {
        ...value,
        op: "load",
        dtype: "f32",
        input: 0,
        index,
        gather: [
          { value: { op: "position", dtype: "i32", index: { offset: 0, coefficients: [1, 0] } }, size: 1, stride: 1 },
        ],
      };
      for (const guarded of [value, gathered]) {
        const guard: Scalar = { op: "guard", dtype: "f32", conditions, value: guarded, fill: 3 };
        check(
          {
            extents: [37],
            reduceExtents: [9],
            inputs: buffers(x),
            reductions: [{ combine: "sum", value: guard }],
            outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
          },
          [x],
        );
        check(
          {
            extents: [37, 9],
            reduceExtents: [],
            inputs: buffers(x),
            reductions: [],
            outputs: [{ dtype: "f32", value: guard }],
          },
          [x],
        );
        check(
          {
            extents: [9, 37],
            reduceExtents: [],
            inputs: buffers(x),
            reductions: [],
            outputs: [
              {
                dtype: "f32",
                value: {
                  ...guard,
                  conditions: [{ lo: 0, hi: 100, index: swap(index) }],
                  value: { ...guarded, index: swap(index) } as Scalar,
                },
              },
            ],
          },
          [x],
        );
      }
    }
});
const swap = (a: Affine): Affine => ({ offset: a.offset, coefficients: [...a.coefficients].reverse() });

test("rows longer than a block", () => {
  const x = uniform(5001),
    y = uniform(3);
  check(
    {
      extents: [3, 5001, 1],
      reduceExtents: [],
      inputs: buffers(x, y),
      reductions: [],
      outputs: [{ dtype: "f32", value: f32("mul", load(0, 0, 0, 1, 0), load(1, 0, 1, 0, 0)) }],
    },
    [x, y],
  );
});

test("an output over the input it is made of", () => {
  for (const rows of [1, 3])
    for (let n = 1; n < 70; n++) {
      const size = rows * n,
        x = uniform(size),
        y = uniform(rows, 2);
      const value = f32("add", f32("mul", load(0, 0, n, 1), load(0, 0, n, 1)), load(1, 0, 1, 0));
      const kernel: LoopKernel = {
        extents: [rows, n],
        reduceExtents: [],
        inputs: buffers(x, y),
        reductions: [],
        outputs: [{ dtype: "f32", value }],
      };
      const program = loopProgram(kernel, { shared: false });
      new Int32Array(memory.buffer, 1024).set([2048, 4096, 2048]);
      new Float32Array(memory.buffer, 2048).set(x);
      new Float32Array(memory.buffer, 4096).set(y);
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(program.module as BufferSource), {
        env: { memory },
      });
      (exports["run"] as (...args: number[]) => void)(1024, 0, program.phases[0]?.units ?? 0, 0);
      expect(new Float32Array(memory.buffer, 2048, size).slice()).toEqual(run(kernel, program, [x, y], () => 1)[0]);
    }
});

test("shared memory", () => {
  const kernel = sumOf([4], [4], [4, 1], 16);
  expect(WebAssembly.validate(loopProgram(kernel, { shared: true }).module as BufferSource)).toBe(true);
});
