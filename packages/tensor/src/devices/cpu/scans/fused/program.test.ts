import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { whenLoaded } from "../../../../graph/on-demand.js";
import type { Affine, Scalar } from "../../../../ir/loop.js";
import { interpretScan } from "../../../../ir/interpreter.js";
import type { ScanKernel, ScanOutput, ScanStep, ScanSum, ScanValue } from "../../../../ir/scan-kernel.js";
import { fusedScanProgram, supportsScan } from "./program.js";
import { DeviceMemory } from "../../memory/memory.js";
import { ThreadPool } from "../../threads/pool.js";

const memory = new DeviceMemory();
const pools = [1, 2].map((threads) => new ThreadPool(memory, { threads }));
afterAll(() => pools.forEach((pool) => pool.close()));

function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

// ---- kernels by hand ----

type Unary = "exp" | "neg" | "sigmoid" | "log1p" | "sin" | "cos" | "abs";
const un = (op: Unary, a: Scalar): Scalar => ({ op, dtype: "f32", args: [a] });
const bin = (op: "add" | "sub" | "mul" | "max", a: Scalar, b: Scalar): Scalar => ({ op, dtype: "f32", args: [a, b] });
const mul = (a: Scalar, b: Scalar): Scalar => bin("mul", a, b),
  add = (a: Scalar, b: Scalar): Scalar => bin("add", a, b);
const num = (value: number): Scalar => ({ op: "constant", dtype: "f32", value });
const reduced = (reduction: number): Scalar => ({ op: "reduced", dtype: "f32", reduction });
const state = (which: "current" | "previous" | "adjoint", part: "re" | "im" = "re"): Scalar => ({
  op: "state",
  dtype: "f32",
  which,
  part,
});
const softplus = (x: Scalar): Scalar => add(bin("max", x, num(0)), un("log1p", un("exp", un("neg", un("abs", x)))));
const silu = (x: Scalar): Scalar => mul(x, un("sigmoid", x));

/** Collects the inputs of a kernel, all with values between `low` and `high`. */
class Inputs {
  readonly arrays: Float32Array[] = [];
  readonly random: () => number;
  constructor(
    readonly extents: readonly number[],
    seed: number,
  ) {
    this.random = generator(seed);
  }
  index(axes: readonly number[]): Affine {
    const coefficients = this.extents.map(() => 0);
    axes.reduceRight((stride, axis) => {
      coefficients[axis] = stride;
      return stride * this.extents[axis]!;
    }, 1);
    return { offset: 0, coefficients };
  }
  /** A load from a new array over some axes. */
  over(axes: readonly number[], low: number, high: number): Scalar {
    const size = axes.reduce((product, axis) => product * this.extents[axis]!, 1);
    this.arrays.push(Float32Array.from({ length: size }, () => low + (high - low) * this.random()));
    return { op: "load", dtype: "f32", input: this.arrays.length - 1, index: this.index(axes) };
  }
  get buffers(): ScanKernel["inputs"] {
    return this.arrays.map(({ length }) => ({ dtype: "f32", size: length }));
  }
}

const output = (value: Scalar, keeps: readonly number[], step: ScanStep = "each"): ScanOutput => ({
  dtype: "f32",
  keeps,
  step,
  value,
});
const sum = (value: Scalar, keeps: readonly number[], step: ScanStep = "each"): ScanSum => ({ value, keeps, step });

/** The results on one thread, after a comparison with two threads bit by bit. */
function run(kernel: ScanKernel, arrays: readonly Float32Array[]): Float32Array[] {
  const program = fusedScanProgram(kernel, memory);
  const sizes = kernel.outputs.map((o) => o.keeps.reduce((product, axis) => product * kernel.extents[axis]!, 1));
  const all = [...arrays, ...sizes.map((size) => new Float32Array(size))];
  // NaN around every buffer: over-reads must not show.
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  const results = pools.map((pool) => {
    addresses.slice(arrays.length).forEach((address, k) => memory.f32.fill(NaN, address / 4, address / 4 + sizes[k]!));
    pool.run(pool.prepare(program), addresses);
    addresses.forEach((address, k) => {
      const size = all[k]!.length,
        around = [
          ...memory.f32.slice(address / 4 - 16, address / 4),
          ...memory.f32.slice(address / 4 + size, address / 4 + size + 16),
        ];
      if (!around.every(Number.isNaN)) throw new Error(`${program.name}: wrote outside buffer ${k}`);
    });
    return sizes.map((size, k) =>
      memory.f32.slice(addresses[arrays.length + k]! / 4, addresses[arrays.length + k]! / 4 + size),
    );
  });
  for (const address of addresses) memory.free(address - 64);
  results[0]!.forEach((one, k) =>
    expect(
      Buffer.compare(Buffer.from(one.buffer), Buffer.from(results[1]![k]!.buffer)),
      `${program.name}: threads`,
    ).toBe(0),
  );
  return results[0]!;
}

function check(
  name: string,
  kernel: Omit<ScanKernel, "inputs">,
  inputs: Inputs,
  { tolerance = 4e-6, smallest = 0.1 } = {},
): void {
  const full: ScanKernel = { ...kernel, inputs: inputs.buffers };
  const actual = run(full, inputs.arrays),
    expected = interpretScan(full, inputs.arrays);
  expected.forEach((values, k) => {
    // Relative to the largest value, where cancellation has not made all of them small.
    const scale = values.reduce((most, x) => Math.max(most, Math.abs(x)), smallest);
    let worst = 0,
      where = -1;
    values.forEach((x, i) => {
      const error = Math.abs(actual[k]![i]! - x) / scale;
      if (!(error <= worst)) [worst, where] = [error, i];
    });
    if (!(worst <= tolerance))
      throw new Error(
        `${name}, output ${k} of [${kernel.extents.join()}] keeping ${kernel.outputs[k]!.keeps.join()}: error ${worst} at ${where}`,
      );
  });
}

const B = 0,
  L = 1,
  D = 2,
  N = 3;

interface MambaShape {
  readonly extents: readonly number[];
  readonly reverse?: boolean;
  readonly slowest?: number;
}

function mamba(
  { extents, reverse = false, slowest = 1 }: MambaShape,
  seed: number,
): { inputs: Inputs; forward: Omit<ScanKernel, "inputs">; backward: Omit<ScanKernel, "inputs"> } {
  const inputs = new Inputs(extents, seed);
  const u = inputs.over([B, L, D], -1, 1),
    raw = inputs.over([B, L, D], -3, 1),
    A = inputs.over([D, N], -2 * slowest, -0.1 * slowest),
    b = inputs.over([B, L, N], -1, 1),
    c = inputs.over([B, L, N], -1, 1);
  const skip = inputs.over([D], -1, 1),
    z = inputs.over([B, L, D], -2, 2),
    bias = inputs.over([D], -0.5, 0.5),
    h0 = inputs.over([B, D, N], -1, 1),
    dy = inputs.over([B, L, D], -1, 1),
    dhT = inputs.over([B, D, N], -1, 1);
  const x = add(raw, bias),
    delta = softplus(x),
    decay = un("exp", mul(delta, A)),
    drive = mul(mul(delta, u), b);
  const base = { extents, along: L, reverse, decay: [decay], drive: [drive], initial: [h0] } as const;
  const seedOf = mul(mul(dy, silu(z)), c);
  const last: Scalar = {
    op: "guard",
    dtype: "f32",
    conditions: [
      {
        index: { offset: 0, coefficients: [0, 1, 0, 0] },
        lo: reverse ? 0 : extents[L]! - 1,
        hi: reverse ? 1 : extents[L]!,
      },
    ],
    value: dhT,
    fill: 0,
  };
  const [g, h, previous] = [state("adjoint"), state("current"), state("previous")];
  const throughDecay = mul(mul(g, previous), decay);
  const sums = [
    sum(mul(h, c), [B, L, D]),
    sum(mul(throughDecay, A), [B, L, D]),
    sum(mul(g, b), [B, L, D]),
    sum(mul(throughDecay, delta), [D, N]),
    sum(mul(g, mul(delta, u)), [B, L, N]),
    sum(mul(h, mul(dy, silu(z))), [B, L, N]),
  ];
  const y = add(reduced(0), mul(u, skip));
  const gate = un("sigmoid", z);
  return {
    inputs,
    forward: { ...base, sums: [sums[0]!], outputs: [output(mul(y, silu(z)), [B, L, D]), output(h, [B, D, N], "last")] },
    backward: {
      ...base,
      adjoint: { seed: [add(seedOf, last)] },
      sums,
      outputs: [
        output(mul(add(reduced(1), mul(reduced(2), u)), un("sigmoid", x)), [B, L, D]),
        output(add(mul(reduced(2), delta), mul(mul(dy, silu(z)), skip)), [B, L, D]),
        output(mul(mul(dy, y), mul(gate, add(num(1), mul(z, bin("sub", num(1), gate))))), [B, L, D]),
        output(reduced(3), [D, N]),
        output(reduced(4), [B, L, N]),
        output(reduced(5), [B, L, N]),
        output(mul(decay, g), [B, D, N], "first"),
      ],
    },
  };
}

/** Code that programs load when they first need it. */
beforeAll(async () => {
  const { inputs, forward, backward } = mamba({ extents: [17, 2, 37, 5], reverse: false }, 3);
  const alone = new Inputs([2, 3, 4], 5);
  const [initial, drive, decay] = [
    alone.over([0, 2], -1, 1),
    alone.over([0, 1, 2], -1, 1),
    alone.over([0, 1, 2], 0, 1),
  ];
  const plain: ScanKernel = {
    extents: alone.extents,
    along: 1,
    reverse: false,
    decay: [decay],
    drive: [drive],
    initial: [initial],
    sums: [],
    outputs: [output(state("current"), [0, 1, 2])],
    inputs: alone.buffers,
  };
  for (const kernel of [forward, backward])
    await whenLoaded(() => fusedScanProgram({ ...kernel, inputs: inputs.buffers }, memory));
  await whenLoaded(() => fusedScanProgram(plain, memory));
});

describe("fusedScanProgram", () => {
  it("Mamba with softplus, bias, skip, gate, initial and last state, and all its gradients", () => {
    const shapes = [
      [1, 1, 1, 1],
      [2, 33, 5, 3],
      [1, 70, 12, 8],
      [3, 17, 9, 6],
      [17, 2, 37, 5],
      [1, 35, 3, 40],
      [2, 40, 4, 1],
      [1, 67, 34, 2],
    ];
    shapes.forEach((extents, k) => {
      for (const reverse of [false, true]) {
        const { inputs, forward, backward } = mamba({ extents, reverse }, 3 + k);
        check("forward", forward, inputs);
        check("backward", backward, inputs);
      }
    });
  });

  it("a complex diagonal recurrence [B L N], its states stored and its gradients", () => {
    for (const extents of [
      [1, 1, 1],
      [2, 37, 5],
      [3, 300, 4],
      [1, 65, 70],
      [2, 9, 32],
    ])
      for (const reverse of [false, true]) {
        const inputs = new Inputs(extents, 7);
        const radius = inputs.over([2], 0.7, 0.99),
          angle = inputs.over([2], 0, 3);
        const pair = (axes: number[]): ScanValue => [inputs.over(axes, -1, 1), inputs.over(axes, -1, 1)];
        const decay: ScanValue = [mul(radius, un("cos", angle)), mul(radius, un("sin", angle))];
        const [drive, initial, seed] = [pair([B, L, 2]), pair([B, 2]), pair([B, L, 2])];
        const base = { extents, along: L, reverse, decay, drive, initial };
        check(
          "forward",
          {
            ...base,
            sums: [],
            outputs: [
              output(state("current"), [B, L, 2]),
              output(state("current", "im"), [B, L, 2]),
              output(state("previous", "im"), [B, L, 2]),
            ],
          },
          inputs,
        );
        const [gr, gi, hr, hi] = [state("adjoint"), state("adjoint", "im"), state("previous"), state("previous", "im")];
        check(
          "backward",
          {
            ...base,
            adjoint: { seed },
            sums: [sum(add(mul(gr, hr), mul(gi, hi)), [2]), sum(bin("sub", mul(gi, hr), mul(gr, hi)), [2])],
            outputs: [
              output(gr, [B, L, 2]),
              output(gi, [B, L, 2]),
              output(reduced(0), [2]),
              output(reduced(1), [2]),
              output(add(mul(decay[0], gr), mul(decay[1]!, gi)), [B, 2], "first"),
            ],
          },
          inputs,
        );
      }
  });

  it("minGRU: no axis of states", () => {
    for (const extents of [
      [2, 33, 7],
      [1, 5, 64],
      [9, 20, 34],
    ]) {
      const inputs = new Inputs(extents, 11);
      const gate = un("sigmoid", inputs.over([B, L, D], -2, 2)),
        candidate = inputs.over([B, L, D], -1, 1),
        dy = inputs.over([B, L, D], -1, 1);
      const decay = bin("sub", num(1), gate),
        h = state("current"),
        g = state("adjoint");
      const base = {
        extents,
        along: L,
        reverse: false,
        decay: [decay],
        drive: [mul(gate, candidate)],
        initial: [inputs.over([B, D], -1, 1)],
      } as const;
      check("forward", { ...base, sums: [], outputs: [output(h, [B, L, D]), output(h, [B, D], "last")] }, inputs);
      const dGate = mul(bin("sub", mul(g, candidate), mul(g, state("previous"))), mul(gate, decay));
      check(
        "backward",
        {
          ...base,
          adjoint: { seed: [dy] },
          sums: [sum(mul(dGate, gate), [D]), sum(g, [B, L])],
          outputs: [
            output(mul(g, gate), [B, L, D]),
            output(dGate, [B, L, D]),
            output(reduced(0), [D]),
            output(reduced(1), [B, L]),
          ],
        },
        inputs,
      );
    }
  });

  it("resets, shifted inputs, gathers, integers and truth values", () => {
    const extents = [2, 40, 6];
    const inputs = new Inputs(extents, 13);
    const a = inputs.over([B, L, D], 0.2, 1),
      b = inputs.over([B, L, D], -1, 1),
      done = inputs.over([B, L], 0, 1);
    const reset: Scalar = { op: "less", dtype: "bool", args: [done, num(0.2)] };
    const decay: Scalar = { op: "where", dtype: "f32", args: [reset, num(0), a] };
    const shifted = (by: number): Scalar => {
      const index = inputs.index([B, L, D]);
      return {
        op: "guard",
        dtype: "f32",
        conditions: [{ index: { offset: -by, coefficients: [0, 1, 0] }, lo: 0, hi: 40 }],
        fill: 0,
        value: { op: "load", dtype: "f32", input: 1, index: { ...index, offset: -by * 6 } },
      };
    };
    const drive = add(b, add(mul(num(0.5), shifted(1)), mul(num(0.25), shifted(3))));
    const lane: Scalar = {
      op: "guard",
      dtype: "f32",
      conditions: [{ index: { offset: 0, coefficients: [0, 0, 1] }, lo: 2, hi: 5 }],
      fill: 3,
      value: b,
    };
    const table = inputs.over([L], 0, 1);
    const gathered: Scalar = {
      op: "load",
      dtype: "f32",
      input: inputs.arrays.length - 1,
      index: { offset: 0, coefficients: [0, 0, 0] },
      gather: [{ value: { op: "cast", dtype: "i32", args: [mul(done, num(60))] }, size: 40, stride: 1 }],
    };
    const h = state("current");
    const kernel = {
      extents,
      along: L,
      reverse: false,
      decay: [decay],
      drive: [mul(drive, add(gathered, table))],
      sums: [sum(mul(h, lane), [B])],
      outputs: [output(h, [B, L, D]), output(mul(h, lane), [B, L, D]), output(reduced(0), [B])],
    } as const;
    check("resets", kernel, inputs);
    const full: ScanKernel = {
      ...kernel,
      inputs: inputs.buffers,
      outputs: [
        { dtype: "bool", keeps: [B, L, D], step: "each", value: { op: "less", dtype: "bool", args: [num(0), h] } },
      ],
    };
    const bits = new Int32Array(run({ ...full, sums: [] }, inputs.arrays)[0]!.buffer);
    expect([...bits]).toEqual([...interpretScan({ ...full, sums: [] }, inputs.arrays)[0]!]);
  });

  it("a plain linear recurrence", () => {
    for (const extents of [
      [2, 33, 5],
      [3, 50, 1],
      [1, 20, 2, 3],
    ])
      for (const reverse of [false, true])
        for (const steps of [true, false]) {
          const inputs = new Inputs(extents, 19);
          const all = extents.map((_, k) => k),
            still = all.filter((axis) => axis !== L);
          const [initial, drive, decay] = [
            inputs.over(still, -1, 1),
            inputs.over(all, -1, 1),
            inputs.over(steps ? all : still, -0.5, 1),
          ];
          const kernel = {
            extents,
            along: L,
            reverse,
            decay: [decay],
            drive: [drive],
            initial: [initial],
            sums: [],
            outputs: [output(state("current"), all)],
          } as const;
          expect(fusedScanProgram({ ...kernel, inputs: inputs.buffers }, memory).name).toMatch(/^scan/);
          check("plain", kernel, inputs);
        }
  });

  it("says what it does not take", () => {
    const kernelOver = (extents: readonly number[], along: number): ScanKernel => {
      const inputs = new Inputs(extents, 37),
        all = extents.map((_, k) => k);
      return {
        extents,
        along,
        reverse: false,
        decay: [un("sigmoid", inputs.over(all, -1, 1))],
        drive: [inputs.over(all, -1, 1)],
        sums: [],
        outputs: [output(state("current"), all)],
        inputs: inputs.buffers,
      };
    };
    expect(supportsScan(kernelOver([2, 9, 5], 1))).toBe(true);
    expect(supportsScan(kernelOver([2, 5, 9], 2))).toContain("contiguous along axis 2");
    const empty = kernelOver([2, 0, 5], 1);
    expect(supportsScan(empty)).toContain("empty");
    expect(() => fusedScanProgram(empty, memory)).toThrow("empty");
  });

  it("long sequences of few channels, in segments", () => {
    // States that outlive a segment.
    const { inputs, backward } = mamba({ extents: [1, 2100, 7, 5], reverse: true, slowest: 0.002 }, 23);
    check("backward", backward, inputs, { tolerance: 1e-5 });
  });

  it("a complex recurrence of 2^20 steps holds 1e-4 against float64, and so does its adjoint", () => {
    const length = 2 ** 20,
      extents = [length];
    const inputs = new Inputs(extents, 29);
    const random = generator(31);
    // Decays near the unit circle: the memory of some ten thousand steps crosses the segments.
    const drawn = Array.from({ length }, () => ({ radius: 1 - 10 ** (-6 + 2 * random()), angle: 6.28 * random() }));
    const load = (array: Float32Array): Scalar => ({
      op: "load",
      dtype: "f32",
      input: inputs.arrays.push(array) - 1,
      index: inputs.index([0]),
    });
    const decay: ScanValue = [
      load(Float32Array.from(drawn, ({ radius, angle }) => radius * Math.cos(angle))),
      load(Float32Array.from(drawn, ({ radius, angle }) => radius * Math.sin(angle))),
    ];
    const drive: ScanValue = [inputs.over([0], -1, 1), inputs.over([0], -1, 1)],
      seed: ScanValue = [inputs.over([0], -1, 1), inputs.over([0], -1, 1)];
    const kernel: ScanKernel = {
      extents,
      along: 0,
      reverse: false,
      inputs: inputs.buffers,
      decay,
      drive,
      adjoint: { seed },
      sums: [sum(mul(state("adjoint"), state("current")), [])],
      outputs: [
        output(state("current"), [0]),
        output(state("current", "im"), [0]),
        output(state("adjoint"), [0]),
        output(state("adjoint", "im"), [0]),
        output(reduced(0), []),
      ],
    };
    const [hr, hi, gr, gi, total] = run(kernel, inputs.arrays) as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const [ar, ai, br, bi, sr, si] = inputs.arrays as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const errors = { h: 0, g: 0 },
      most = { h: 0, g: 0 };
    const track = (which: "h" | "g", re: number, im: number, actualRe: number, actualIm: number): void => {
      const error = Math.hypot(actualRe - re, actualIm - im);
      if (!(error <= errors[which])) errors[which] = error;
      most[which] = Math.max(most[which], Math.hypot(re, im));
    };
    const exact = new Float64Array(length);
    for (let t = 0, x = 0, y = 0; t < length; t++) {
      [x, y] = [ar[t]! * x - ai[t]! * y + br[t]!, ar[t]! * y + ai[t]! * x + bi[t]!];
      track("h", (exact[t] = x), y, hr[t]!, hi[t]!);
    }
    let expected = 0,
      size = 0;
    for (let t = length - 1, x = 0, y = 0; t >= 0; t--) {
      const [c, d] = t + 1 < length ? [ar[t + 1]!, -ai[t + 1]!] : [0, 0];
      [x, y] = [c * x - d * y + sr[t]!, c * y + d * x + si[t]!];
      track("g", x, y, gr[t]!, gi[t]!);
      expected += x * exact[t]!;
      size += Math.abs(x * exact[t]!);
    }
    expect(errors.h / most.h).toBeLessThan(1e-4);
    expect(errors.g / most.g).toBeLessThan(1e-4);
    expect(Math.abs(total[0]! - expected) / size).toBeLessThan(1e-5);
    const { adjoint: _, sums: __, ...without } = kernel;
    const alone = run({ ...without, sums: [], outputs: kernel.outputs.slice(0, 2) }, inputs.arrays);
    alone.forEach((values, k) =>
      values.forEach((x, t) => {
        if (!(Math.abs(x - [hr, hi][k]![t]!) <= 1e-4 * most.h)) throw new Error(`without an adjoint: step ${t}`);
      }),
    );
  });

  it("random expressions over all subsets of the axes, in any order", () => {
    const random = generator(17);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const orders = [
      [0, 1, 2, 3],
      [1, 0, 2, 3],
      [3, 2, 1, 0],
      [2, 0, 3, 1],
      [0, 2, 1, 3],
    ];
    for (let trial = 0; trial < 160; trial++) {
      const rank = pick([1, 2, 3, 4, 4, 4]);
      const extents = Array.from({ length: rank }, () => pick([1, 2, 3, 4, 5, 7, 9, 18]));
      const along = Math.floor(random() * rank);
      const inputs = new Inputs(extents, trial);
      const order = pick(orders).filter((axis) => axis < rank);
      const subset = (): number[] => extents.map((_, k) => k).filter(() => random() < 0.5);
      // Any order in memory.
      const value = (low: number, high: number, axes = subset()): Scalar =>
        inputs.over(
          order.filter((axis) => axes.includes(axis)),
          low,
          high,
        );
      const complex = random() < 0.4,
        isAdjoint = random() < 0.5;
      const number = (make: () => Scalar): ScanValue => (complex ? [make(), make()] : [make()]);
      const decay = number(() => (random() < 0.5 ? un("exp", mul(value(0, 1), value(-2, -0.5))) : value(-0.6, 0.6)));
      const drive = number(() => mul(value(-1, 1), random() < 0.5 ? un("sigmoid", value(-1, 1)) : value(-1, 1)));
      const initial =
        random() < 0.5
          ? number(() =>
              value(
                -1,
                1,
                subset().filter((axis) => axis !== along),
              ),
            )
          : undefined;
      const which = (): Scalar =>
        state(
          isAdjoint ? pick(["current", "previous", "adjoint"]) : pick(["current", "previous"]),
          complex ? pick(["re", "im"]) : "re",
        );
      const sums: ScanSum[] = [],
        outputs: ScanOutput[] = [];
      for (let k = 0; k < 4; k++) {
        const step = pick<ScanStep>(["each", "each", "each", "first", "last"]);
        const keeps = subset().filter((axis) => step === "each" || axis !== along);
        const term = (): Scalar => mul(which(), random() < 0.3 ? mul(value(-1, 1), which()) : value(-1, 1));
        sums.push(sum(term(), keeps, step), sum(term(), keeps, step));
        const free = value(
          -1,
          1,
          subset().filter((axis) => keeps.includes(axis) || (axis === along && step !== "each")),
        );
        outputs.push(output(add(mul(reduced(2 * k), free), mul(reduced(2 * k + 1), un("sigmoid", free))), keeps, step));
      }
      const all = extents.map((_, k) => k);
      outputs.push(
        output(mul(which(), value(-1, 1)), all),
        output(
          which(),
          all.filter((axis) => axis !== along),
          pick<ScanStep>(["first", "last"]),
        ),
      );
      check(
        `trial ${trial} along ${along}`,
        {
          extents,
          along,
          reverse: random() < 0.5,
          decay,
          drive,
          ...(initial && { initial }),
          ...(isAdjoint && { adjoint: { seed: number(() => value(-1, 1)) } }),
          sums,
          outputs,
        },
        inputs,
        { smallest: 1 },
      );
    }
  });
});
