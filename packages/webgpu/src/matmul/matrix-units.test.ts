// Products of f32 on matrix units, with fragments emulated on the software adapter: the same texts, the same arithmetic.
import { afterAll, describe, expect, test } from "vitest";
import type { MatmulSpec } from "@seqmix/tensor/backend";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { emulatedFragments } from "@seqmix/testing";
import { runProgram } from "../testing/run-program.js";
import { testDevice } from "../testing/test-device.js";
import type { TunedTile } from "./choose-tile.js";
import { matrixUnitProgram } from "./matrix-units.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const limits = (products: "f32" | "tf32"): GpuLimits => ({
  matrixUnits: true,
  products,
  fragments: emulatedFragments,
  buffers: device.gpu.limits.maxStorageBuffersPerShaderStage,
  bytes: device.gpu.limits.maxStorageBufferBindingSize,
  threads: device.gpu.limits.maxComputeInvocationsPerWorkgroup,
  workgroupBytes: device.gpu.limits.maxComputeWorkgroupStorageSize,
});

/** A small one: SwiftShader compiles it sooner. */
const tiles: readonly TunedTile[] = [
  {
    tile: { rows: 64, columns: 64, depth: 32, block: { rows: 32, columns: 32 } },
    resident: 4,
    speeds: [1, 1, 1],
  },
];

/** Numbers of 24 bits between -1 and 1. */
const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, k) => Math.fround(Math.sin(((k + 1) * 12.9898 + seed) * 43758.5453) * 0.99));

type Layout = "NN" | "NT" | "TN" | "TT";
const spec = (batch: number, m: number, n: number, k: number, layout: Layout, offset = 0): MatmulSpec => ({
  batch: batch > 1 ? [batch] : [],
  m,
  n,
  k,
  a: {
    offset,
    batch: batch > 1 ? [m * k] : [],
    ...(layout[0] === "N" ? { row: k, column: 1 } : { row: 1, column: m }),
  },
  b: {
    offset,
    batch: batch > 1 ? [k * n] : [],
    ...(layout[1] === "N" ? { row: n, column: 1 } : { row: 1, column: k }),
  },
});

/** The exact product, and for each element the largest product of sizes in its row and column. */
function exact(s: MatmulSpec, a: Float32Array, b: Float32Array): { c: Float64Array; scale: Float64Array } {
  const batches = s.batch[0] ?? 1;
  const [c, scale] = [new Float64Array(batches * s.m * s.n), new Float64Array(batches * s.m * s.n)];
  for (let q = 0; q < batches; q++)
    for (let i = 0; i < s.m; i++)
      for (let j = 0; j < s.n; j++) {
        const at = (q * s.m + i) * s.n + j;
        let [most, other] = [0, 0];
        for (let k = 0; k < s.k; k++) {
          const x = a[(s.a.offset ?? 0) + q * (s.a.batch[0] ?? 0) + i * s.a.row + k * s.a.column]!;
          const y = b[(s.b.offset ?? 0) + q * (s.b.batch[0] ?? 0) + j * s.b.column + k * s.b.row]!;
          c[at]! += x * y;
          most = Math.max(most, Math.abs(x));
          other = Math.max(other, Math.abs(y));
        }
        scale[at] = most * other;
      }
  return { c, scale };
}

/** How f32 operands become f16. */
const scalings = {
  "with scales found before": "given",
  "with scales found on the way": "found",
  "packed first": "packed",
} as const;
type How = keyof typeof scalings;

/** The largest error, relative to the size of the row times that of the column times the square root of k. */
async function errorOf(
  s: MatmulSpec,
  a: Float32Array,
  b: Float32Array,
  products: "f32" | "tf32",
  how: How,
): Promise<number> {
  const program = matrixUnitProgram(s, limits(products), undefined, { tiles, how: scalings[how] })!;
  expect(program.name).toContain(products === "f32" ? "of f32 in two parts" : "of tf32");
  const { c, scale } = exact(s, a, b);
  const [found] = await runProgram(device.gpu, program, [a, b], [c.length]);
  return found!.reduce((worst, x, at) => {
    const error = Math.abs(x - c[at]!) / (scale[at]! * Math.sqrt(s.k) || 1);
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}

describe.each(
  (Object.keys(scalings) as How[]).flatMap((how) => [["f32", how, 2e-6] as const, ["tf32", how, 1e-3] as const]),
)("products of %s, %s", (products, how, tolerance) => {
  const shapes: [string, MatmulSpec][] = [
    ["a batch, rows of odd lengths", spec(3, 17, 13, 33, "NT")],
    ["transposed, k in parts", spec(1, 20, 36, 700, "TN")],
    ["many steps, summed in stretches", spec(1, 20, 36, 2200, "TN")],
  ];
  const more: [string, MatmulSpec][] = [
    ["both transposed, ragged", spec(1, 24, 20, 36, "TT")],
    ["an offset of one", spec(1, 1, 40, 64, "NN", 1)],
    ...(how === "with scales found before"
      ? []
      : [["whole tiles", spec(1, 64, 128, 32, "NT")] as [string, MatmulSpec]]),
  ];
  test.each(products === "f32" ? [...shapes, ...more] : shapes)("%s", async (_, s) => {
    const [a, b] = [values(5000 + s.m * s.k * (s.batch[0] ?? 1), 1), values(5000 + s.n * s.k * (s.batch[0] ?? 1), 2)];
    const error = await errorOf(s, a, b, products, how);
    expect(error).toBeLessThan(tolerance);
    if (products === "tf32") expect(error).toBeGreaterThan(1e-5);
  });

  test("huge, tiny and mixed rows and columns keep their digits, which needs the scales", async () => {
    const s = spec(1, 32, 32, 40, "NN");
    const sizes = (line: number): number => [1, 1e24, 1e-24, 3e4, 7e-12, 2 ** -100][line % 6]!;
    const a = values(32 * 40, 3).map((x, at) => x * sizes(Math.floor(at / 40)));
    const b = values(32 * 40, 4).map((x, at) => x * [1, 1e3, 1e12, 10][(at % 32) % 4]!);
    expect(await errorOf(s, a, b, products, how)).toBeLessThan(tolerance);
  });

  // What follows is about scales that lines share.
  if (how === "with scales found before") return;

  test("a beginning that is nothing like the rest", async () => {
    const s = spec(1, 64, 64, 100, "NN");
    const a = values(64 * 100, 7).map((x, at) => (at % 100 < 32 ? x * 1e-20 : x));
    const b = values(64 * 100, 8).map((x, at) => (at < 64 * 32 ? 0 : x));
    expect(await errorOf(s, a, b, products, how)).toBeLessThan(tolerance);
  });

  test("so do those of whole tiles, whose fragments have one scale or several", async () => {
    const s = spec(1, 128, 64, 40, "NN");
    // Rows alike in groups of sixteen, then one that differs by much in the second tile.
    const sizes = (line: number): number => (line === 70 ? 1e-9 : [1, 1e24, 1e-24, 3e4][Math.floor(line / 16) % 4]!);
    const a = values(128 * 40, 3).map((x, at) => x * sizes(Math.floor(at / 40)));
    const b = values(64 * 40, 4).map((x, at) => x * [1, 7, 12, 10][(at % 64) % 4]!);
    expect(await errorOf(s, a, b, products, how)).toBeLessThan(tolerance);
  });
});

test.each(Object.keys(scalings) as How[])(
  "a row with an infinity or NaN is what its sum is, and no other row, %s",
  async (how) => {
    const s = spec(1, 16, 16, 300, "NN");
    const [a, b] = [values(16 * 300, 5), values(16 * 300, 6)];
    a[3 * 300 + 7] = Infinity;
    a[9 * 300 + 2] = NaN;
    b[40 * 16 + 5] = -Infinity;
    const program = matrixUnitProgram(s, limits("f32"), undefined, { tiles, how: scalings[how] })!;
    const [found] = await runProgram(device.gpu, program, [a, b], [256]);
    const { c } = exact(s, a, b);
    found!.forEach((x, at) => {
      if (Number.isFinite(c[at]!)) expect(Math.abs(x - c[at]!)).toBeLessThan(1e-4);
      else expect(x).toBe(c[at]);
    });
  },
);

test.each(Object.keys(scalings) as How[])("work behind a product is done with its whole sums, %s", async (how) => {
  const s = spec(1, 64, 68, 40, "NT");
  const [a, b, x] = [values(64 * 40, 1), values(68 * 40, 2), values(64 * 68, 3)];
  const epilogue = {
    extents: [64, 68],
    inputs: [{ dtype: "f32", size: 64 * 68 }],
    dtype: "f32",
    value: {
      op: "add",
      dtype: "f32",
      args: [
        { op: "reduced", dtype: "f32", reduction: 0 },
        { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [68, 1] } },
      ],
    },
  } as const;
  const program = matrixUnitProgram(s, limits("f32"), epilogue, { tiles, how: scalings[how] })!;
  const [found] = await runProgram(device.gpu, program, [a, b, x], [64 * 68]);
  const { c } = exact(s, a, b);
  const errors = [...found!].map((y, at) => Math.abs(y - c[at]! - x[at]!));
  expect(Math.max(...errors)).toBeLessThan(1e-5);
});

/** Bits of f16 numbers that have no more than five digits, two to a word. */
function packed(x: Float32Array): Int32Array {
  const bits = new Uint16Array(2 * Math.ceil(x.length / 2));
  x.forEach((value, k) => {
    const exponent = value === 0 ? -15 : Math.floor(Math.log2(Math.abs(value)));
    const digits = value === 0 ? 0 : Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024);
    bits[k] = (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | digits;
  });
  return new Int32Array(bits.buffer);
}

test.each([
  ["whole tiles", spec(1, 64, 128, 32, "TN"), false],
  ["a batch, tiles that reach beyond the result", spec(2, 72, 136, 40, "NT"), false],
  ["k in parts", spec(1, 64, 72, 512, "NN"), false],
  ["transposed first, a batch", spec(2, 67, 130, 72, "NT"), true],
  ["one of them transposed first, k in parts", spec(1, 64, 72, 512, "NN"), true],
] as [string, MatmulSpec, boolean][])("f16 operands in blocks of workgroup memory: %s", async (_, s, transposes) => {
  const program = matrixUnitProgram({ ...s, operands: "f16" }, limits("f32"), undefined, { tiles, transposes })!;
  expect(program.name.includes("transposed first")).toBe(transposes);
  const count = s.batch[0] ?? 1;
  const [a, b] = [s.m, s.n].map((lines, seed) =>
    values(count * lines * s.k, 10 * seed).map((x) => Math.round(16 * x) / 16),
  ) as [Float32Array, Float32Array];
  const { c } = exact(s, a, b);
  const [found] = await runProgram(device.gpu, program, [packed(a), packed(b)], [c.length]);
  // Sums of so few digits are exact.
  expect([...found!]).toEqual([...c]);
});
