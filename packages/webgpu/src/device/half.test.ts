// f16 where it is kept as f32 (the software adapter has none), and the kernels that store it in two bytes, as far as they can be
// tested without an adapter that does: Dawn's null backend checks their WGSL and computes nothing.
import {
  add,
  broadcastTo,
  cast,
  concat,
  cumsum,
  exp,
  explain,
  gather,
  gelu,
  grad,
  identity,
  key,
  leavesOf,
  linearScan,
  matmul,
  max,
  mul,
  neg,
  normal,
  realize,
  reference,
  reshape,
  roundToHalf,
  sliceAxis,
  softmax,
  sum,
  tensor,
  transpose,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { webgpu } from "./device.js";
import { withExtensions } from "@seqmix/tensor/wgsl";
import { matmulProgram } from "../matmul/program.js";
import { singleTiles } from "../matmul/choose-tile.js";
import { matrixUnitProgram } from "../matmul/matrix-units.js";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const oracle = reference();
/** Has every feature, and does nothing. */
const unreal = await webgpu({ halfPrecision: true, dawn: ["backend=null"] });
afterAll(async () => {
  await device.close();
  await unreal.close();
});

const half = (seed: number, shape: readonly number[]): Tensor => cast(normal(key(seed), shape), "f16");

describe("kept as f32, the numbers are those of the reference", () => {
  test("a cast rounds to the nearest", async () => {
    const list = [
      0,
      -0,
      65504,
      65519.996,
      65520,
      -1e30,
      Infinity,
      NaN,
      2 ** -24,
      2 ** -25,
      2 ** -26,
      -(2 ** -25) * 1.0001,
      1e-40,
      2 ** -14,
      2 ** -14 - 2 ** -26,
    ];
    for (let k = 0; k < 5000; k++)
      list.push(((k * 7919) % 10007) * 2 ** ((k % 41) - 33), 1 + (2 * k + 1) * 2 ** -11, -(2 * k + 1) * 2 ** -25);
    const x = Float32Array.from(list);
    const y = await realize(cast(tensor(x), "f16"), { device });
    expect([...(await y.data())]).toEqual([...x].map(roundToHalf));
  });

  /** Graphs whose results are exact or rounded alike. */
  const graphs: Record<string, () => Tree> = {
    "a chain": () => mul(add(mul(half(1, [9, 12]), 0.3), half(2, [12])), half(1, [9, 12])),
    "moved and joined": () => concat([transpose(half(1, [5, 8])), sliceAxis(half(2, [8, 9]), 1, 2, 5)], 1),
    "rows by index": () => gather(half(3, [7, 6]), tensor(Int32Array.of(3, 3, 0)), 0),
    "the largest": () => max(half(4, [6, 80]), 1),
    "a product's result in f16": () => cast(matmul(half(5, [8, 4]), half(6, [4, 12])), "f16"),
  };
  test.each(Object.entries(graphs))("%s", async (_, build) => {
    const expected = leavesOf(await realize(build(), { device: oracle }));
    for (const fuse of [true, false])
      for (const [k, y] of leavesOf(await realize(build(), { device, fuse })).entries()) {
        const [found, exact] = [await y.data(), await expected[k]!.data()];
        for (let i = 0; i < exact.length; i++)
          expect(Math.abs(found[i]! - exact[i]!)).toBeLessThanOrEqual(2 ** -10 * Math.abs(exact[i]!) + 2 ** -24);
      }
  });
});

describe("stored in two bytes, the kernels are valid", () => {
  test("the device says so, and counts the bytes", async () => {
    expect(unreal.description).toContain("shader-f16");
    const before = unreal.memory().bytes;
    const x = await realize(half(1, [1000]), { device: unreal });
    expect(unreal.memory().bytes - before).toBe(2000);
    expect(await x.data()).toHaveLength(1000);
    x.dispose();
  });

  const x = (): Tensor => half(1, [64, 96]);
  const graphs: Record<string, () => Tree> = {
    "points in vectors and singly": () => [mul(half(1, [64, 256]), 2), mul(half(2, [7, 5]), 2)],
    "several results": () => {
      const y = mul(x(), x());
      return [y, exp(y), cast(y, "f32")];
    },
    "short reductions": () => sum(half(1, [300, 8]), 1),
    "long reductions": () => [sum(half(1, [4, 9000])), max(half(1, [600, 3000]), 1)],
    rows: () => softmax(x(), -1),
    "rows across": () => softmax(x(), 0),
    "moved, joined and looked up": () => [
      concat([transpose(x()), transpose(x())], 1),
      gather(x(), tensor(Int32Array.of(3, 1)), 0),
    ],
    "a product of few bytes": () => matmul(x(), half(2, [96, 33])),
    "a product with transposed operands": () => matmul(transpose(half(1, [97, 64])), transpose(half(2, [12, 97]))),
    "a product with work behind it": () => cast(gelu(add(matmul(x(), half(2, [96, 32])), normal(key(3), [32]))), "f16"),
    "a product stored in f16, k in parts": () => cast(matmul(half(1, [4, 2000]), half(2, [2000, 6])), "f16"),
    gradients: () => grad((w: Tensor) => sum(cast(exp(matmul(x(), w)), "f32")))(half(2, [96, 8])),
    "what goes on in f32": () => cumsum(cast(x(), "f32"), 1),
  };
  test.each(Object.entries(graphs))("%s", async (_, build) => {
    for (const fuse of [true, false]) await realize(build(), { device: unreal, fuse });
  });

  test("a recurrence computed from f16, into f16, and its gradient", async () => {
    const scans = await webgpu({ halfPrecision: true, dawn: ["backend=null"] });
    const build = (): readonly [Tensor, Tensor] => {
      const [u, b] = [half(1, [2, 40, 24]), half(2, [2, 40, 4])];
      const f = (x: Tensor): Tensor => {
        const drive = mul(reshape(cast(x, "f32"), [2, 40, 24, 1]), reshape(cast(b, "f32"), [2, 40, 1, 4]));
        return cast(
          sum(
            linearScan({
              a: broadcastTo(reshape(exp(neg(normal(key(3), [24, 4]))), [1, 1, 24, 4]), [2, 40, 24, 4]),
              b: drive,
              axis: 1,
            }),
            3,
          ),
          "f16",
        );
      };
      return [f(u), grad((x: Tensor) => sum(cast(f(x), "f32")))(u)];
    };
    const [u, gradient] = build();
    expect([u.dtype, gradient.dtype]).toEqual(["f16", "f16"]);
    // one step takes the recurrence from the product in front of it to the sum behind it
    expect(await explain(u, { device: scans })).toMatch(/^scan \[2,40,24,4\] along 1: recurrence/m);
    await realize(build(), { device: scans });
    await scans.close();
  });

  test("results take over donated memory of as many bytes", async () => {
    for (const build of [
      (x: Tensor) => mul(x, 2),
      (x: Tensor) => cast(x, "f32"),
      (x: Tensor) => [exp(x), cast(exp(x), "f32")],
    ] as ((x: Tensor) => Tree)[]) {
      const x = await realize(half(7, [1000]), { device: unreal });
      await realize(build(x), { device: unreal, donate: [x] });
    }
  });

  test("tensors beyond a binding", async () => {
    const small = await webgpu({
      halfPrecision: true,
      dawn: ["backend=null"],
      limits: { maxStorageBufferBindingSize: 32768 },
    });
    const y = half(1, [64, 320]);
    await realize(y, { device: small });
    await realize(
      [add(y, 1), transpose(y), sum(y, 0), sum(y, 1), matmul(reshape(y, [320, 64]), y), identity(softmax(y))],
      { device: small },
    );
    await small.close();
  });
});

describe("products on matrix units", () => {
  const limits = { matrixUnits: true, workgroupBytes: 49152, threads: 1024, buffers: 16, bytes: 2 ** 31 };
  const spec = (m: number, n: number, k: number, layout: "NN" | "NT" | "TN") =>
    ({
      operands: "f16",
      batch: [],
      m,
      n,
      k,
      a: layout === "TN" ? { batch: [], row: 1, column: m } : { batch: [], row: k, column: 1 },
      b: layout === "NT" ? { batch: [], row: 1, column: k } : { batch: [], row: n, column: 1 },
    }) as const;
  const valid = async (text: string): Promise<string | undefined> => {
    unreal.gpu.pushErrorScope("validation");
    unreal.gpu.createShaderModule({ code: withExtensions(text) });
    return (await unreal.gpu.popErrorScope())?.message;
  };

  test.each([
    [4096, 4096, 4096],
    [2048, 1024, 520],
    [1000, 1032, 72],
    [72, 136, 512],
    [136, 8192, 40],
  ])("%i x %i x %i in every layout", async (m, n, k) => {
    for (const layout of ["NN", "NT", "TN"] as const)
      for (const own of [1, Infinity]) {
        const program = matrixUnitProgram(spec(m, n, k, layout), limits, undefined, { ownKernel: own })!;
        expect(program.name).toMatch(/tiles on matrix units(, k in \d+ parts)?(, \w+ operands? transposed first)?$/);
        for (const { code } of program.passes) expect(await valid(code)).toBeUndefined();
      }
  });

  test("with a batch, and work behind them in f32 and f16", async () => {
    const [m, n, k] = [256, 512, 128];
    const operand = (row: number, column: number) => ({ batch: [0, row * k], row, column });
    const batched = {
      operands: "f16",
      batch: [2, 16],
      m,
      n,
      k,
      a: operand(k, 1),
      b: { batch: [8 * k, 0], row: n, column: 1 },
    } as const;
    for (const dtype of ["f32", "f16"] as const) {
      const value = {
        op: "add",
        dtype: "f32",
        args: [
          { op: "reduced", dtype: "f32", reduction: 0 },
          { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [0, 1] } },
        ],
      } as const;
      const program = matrixUnitProgram(batched, limits, {
        extents: [32 * m, n],
        inputs: [{ dtype: "f16", size: n }],
        value,
        dtype,
      })!;
      expect(program.name).toMatch(/on matrix units, then 1 operation$/);
      expect(await valid(program.passes[0]!.code)).toBeUndefined();
    }
  });

  test.each([
    [4096, 4096, 4096],
    [1000, 1030, 72],
    [768, 48, 8192],
  ])("%i x %i x %i of f32, in every layout, as one number and as two", async (m, n, k) => {
    for (const layout of ["NN", "NT", "TN"] as const)
      for (const products of ["f32", "tf32"] as const) {
        const { operands: _, ...shape } = spec(m, n, k, layout);
        for (const how of ["given", "found", "packed"] as const) {
          const tiles = singleTiles[products === "f32" ? 3 : 1];
          const program = matrixUnitProgram(shape, { ...limits, products }, undefined, { tiles, how })!;
          for (const { code } of program.passes) expect(await valid(code)).toBeUndefined();
        }
      }
  });

  test("other tiles take what is not aligned, and adapters without; small results of many steps divide k", () => {
    const wide = spec(4096, 4096, 4096, "NN");
    expect(matrixUnitProgram(wide, { ...limits, matrixUnits: false })).toBeUndefined();
    expect(matrixUnitProgram({ ...wide, a: { ...wide.a, offset: 4 } }, limits)).toBeUndefined();
    expect(matrixUnitProgram(spec(4096, 4100, 4096, "NN"), limits)).toBeUndefined();
    expect(matrixUnitProgram(spec(8, 8, 2 ** 20, "NN"), limits)!.name).toMatch(/k in \d+ parts/);
    expect(matmulProgram(spec(8, 8, 2 ** 20, "NN"), 32768).name).toMatch(/k in \d+ parts/);
  });
});
