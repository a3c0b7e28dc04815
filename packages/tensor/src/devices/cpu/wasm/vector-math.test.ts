import { expect, test } from "vitest";
import { buildModule, functionBuilder, i32, v128, whileLoop, type Code } from "./emitter.js";
import { intrinsics } from "../../../ops/elementwise-rows.js";
import { scratch } from "./scratch.js";
import { emitVectorFunction, type VectorFunction } from "./vector-math.js";

const CAPACITY = 1 << 16;

/** The function over arrays of up to CAPACITY elements, 4 vectors at a time. */
function compile(name: VectorFunction): (x: Float32Array) => Float32Array {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [from, to, end] = f.params;
  const s = scratch(f.local);
  const x = [0, 1, 2, 3].map(() => f.local("v128"));
  const y = [0, 1, 2, 3].map(() => f.local("v128"));
  x.forEach((local, k) => s.body.push(local.set(v128.load(from.get, 16 * k))));
  emitVectorFunction(
    s,
    name,
    x.map((local) => local.get),
    y,
  );
  const step = (local: typeof from): Code => local.set(i32.add(local.get, i32.const(64)));
  y.forEach((local, k) => s.body.push(v128.store(to.get, local.get, 16 * k)));
  const body = whileLoop(i32.ltU(from.get, end.get), [...s.body, step(from), step(to)]);
  const memory = new WebAssembly.Memory({ initial: 16 });
  const bytes = buildModule({ memory: { shared: false }, functions: [f.finish("run", body)] });
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as {
    run: (from: number, to: number, end: number) => void;
  };
  return (values) => {
    const padded = new Float32Array(memory.buffer, 64, CAPACITY);
    padded.fill(0).set(values);
    run(64, 64 + 4 * CAPACITY, 64 + 4 * Math.ceil(values.length / 16) * 16);
    return new Float32Array(memory.buffer, 64 + 4 * CAPACITY, values.length).slice();
  };
}

const exact = (name: VectorFunction): ((x: number) => number) => intrinsics[name as keyof typeof intrinsics].number;

const bits = new DataView(new ArrayBuffer(4));
/** Distance between the float32 numbers next to |x|. */
function ulp(x: number): number {
  bits.setFloat32(0, Math.abs(x));
  return Math.max(2 ** -149, 2 ** ((bits.getUint32(0) >>> 23) - 150));
}

const linear = (lo: number, hi: number): Float32Array =>
  Float32Array.from({ length: CAPACITY }, (_, i) => lo + ((hi - lo) * i) / (CAPACITY - 1));
/** Magnitudes spread evenly over the exponents. */
const geometric = (lo: number, hi: number): Float32Array =>
  linear(Math.log(Math.abs(lo)), Math.log(Math.abs(hi))).map((e) => Math.sign(lo) * Math.exp(e));
const join = (...parts: Float32Array[]): Float32Array[] => parts;

/** Name, largest error in ulp, error in absolute terms that is always allowed, arguments. */
const measured: readonly [VectorFunction, number, number, Float32Array[]][] = [
  ["exp", 1.3, 0, join(linear(-87.3, 88.72), linear(-1, 1), geometric(1e-30, 88), geometric(-1e-30, -87))],
  ["log", 1, 0, join(geometric(1.2e-38, 3.4e38), linear(0.5, 2), linear(0.99, 1.01), linear(1, 1000))],
  ["expm1", 1.8, 0, join(linear(-30, 88.7), linear(-2, 2), geometric(1e-30, 88), geometric(-1e-30, -87))],
  ["log1p", 1.5, 0, join(geometric(1e-30, 3.4e38), geometric(-1e-30, -0.9999999), linear(-0.999, 3), linear(-0.5, 1))],
  ["tanh", 2.6, 0, join(linear(-10, 10), linear(-1, 1), geometric(1e-30, 1e6), geometric(-1e-30, -1e6))],
  ["sigmoid", 2.5, 0, join(linear(-87, 87), linear(-5, 5), geometric(1e-30, 87), geometric(-1e-30, -87))],
  ["erf", 1.4, 0, join(linear(-5, 5), linear(-1, 1), geometric(1e-30, 1e6), geometric(-1e-30, -10))],
  ["sin", 2.3, 1e-9, join(linear(-1000, 1000), linear(-4, 4), geometric(1e-30, 1000), geometric(-1e-30, -1000))],
  ["cos", 2.3, 1e-9, join(linear(-1000, 1000), linear(-4, 4), geometric(1e-30, 1000), geometric(-1e-30, -1000))],
];
/** Every intrinsic that is no instruction: those not measured above are held to their record's own bound. */
const cases: [VectorFunction, number, number, Float32Array[]][] = [
  ...measured,
  ...Object.entries(intrinsics)
    .filter(([name, { cost }]) => cost === "dear" && !measured.some(([known]) => known === name))
    .map(([name, { ulp = 0, near = 0 }]): [VectorFunction, number, number, Float32Array[]] => [
      name as VectorFunction,
      ulp,
      near,
      join(linear(-10, 10), linear(-1, 1), geometric(1e-30, 1e30), geometric(-1e-30, -1e30)),
    ]),
];

test.each(cases)("%s is within %d ulp", (name, limit, absolute, parts) => {
  const run = compile(name);
  let worst = 0,
    at = 0;
  for (const x of parts) {
    const y = run(x);
    for (let i = 0; i < x.length; i++) {
      const want = exact(name)(x[i] as number);
      if (Object.is(y[i], want)) continue; // NaN where it is none, too
      const error = Math.abs((y[i] as number) - want);
      const inUlp = error <= absolute ? 0 : error / ulp(want);
      if (!(inUlp <= worst)) [worst, at] = [inUlp, x[i] as number];
    }
  }
  expect(worst, `at ${at}`).toBeLessThanOrEqual(limit);
});

test("special values", () => {
  const at = (name: VectorFunction, ...x: number[]): number[] =>
    [...compile(name)(Float32Array.from(x))].map((v) => v + 0);
  for (const [name] of cases) {
    expect(at(name, NaN)).toEqual([NaN]);
    // A NaN with its sign bit set, as x86 makes of 0 / 0.
    expect([...compile(name)(new Float32Array(Int32Array.of(-0x400000).buffer))]).toEqual([NaN]);
  }
  expect(at("exp", 0, -Infinity, Infinity, -88, -1000, 88.73, 89, 1e30)).toEqual([
    1,
    0,
    Infinity,
    0,
    0,
    Infinity,
    Infinity,
    Infinity,
  ]);
  expect(at("log", 1, 0, -0, -1, -Infinity, Infinity, -1e-40)).toEqual([
    0,
    -Infinity,
    -Infinity,
    NaN,
    NaN,
    Infinity,
    NaN,
  ]);
  expect(at("expm1", 0, -Infinity, Infinity, 88.73, -30)).toEqual([0, -1, Infinity, Infinity, -1]);
  expect(at("log1p", 0, -1, -1.5, Infinity, -Infinity)).toEqual([0, -Infinity, NaN, Infinity, NaN]);
  expect(at("tanh", 0, -Infinity, Infinity, 20, -20)).toEqual([0, -1, 1, 1, -1]);
  expect(at("sigmoid", 0, -Infinity, Infinity, 100, -100)).toEqual([0.5, 0, 1, 1, 0]);
  expect(at("atan", 0, -Infinity, Infinity).map(Math.fround)).toEqual([0, -Math.PI / 2, Math.PI / 2].map(Math.fround));
  expect(at("erf", 0, -Infinity, Infinity, 5, -5)).toEqual([0, -1, 1, 1, -1]);
  expect(at("sin", 0, Infinity, -Infinity)).toEqual([0, NaN, NaN]);
  expect(at("cos", 0, Infinity, -Infinity)).toEqual([1, NaN, NaN]);
});

test("sine and cosine of large angles", () => {
  for (const name of ["sin", "cos"] as const) {
    const run = compile(name);
    for (const x of [linear(1000, 20000), linear(8000, 8400), geometric(1000, 1e9), geometric(-1000, -1e9)]) {
      const y = run(x);
      let worst = 0;
      for (let i = 0; i < x.length; i++)
        worst = Math.max(worst, Math.abs((y[i] as number) - exact(name)(x[i] as number)));
      expect(worst).toBeLessThan(3e-7);
    }
    for (const y of run(geometric(1e9, 3e38))) expect(Math.abs(y)).toBeLessThanOrEqual(1.0000001);
  }
});

test("an intrinsic without code here is an error that names the file", () => {
  const f = functionBuilder([]);
  expect(() => emitVectorFunction(scratch(f.local), "nothing", [], [])).toThrow(
    /nothing, got none; write it in .*vector-math\.ts/,
  );
});
