import { Command } from "commander";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpu, key, mul, normal, sigmoid, sum, type Device, type Tensor } from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { UsageError } from "../commands/usage-error.js";
import { atMost, fasterThan, shareOfTime, teraBytes, teraFlops, tokenRate } from "./bars.js";
import { casesOf } from "./cases/index.js";
import { registerKernels } from "./command.js";
import { maxUlp, relativeError } from "./compare.js";
import type { BenchmarkCase } from "./contestant.js";
import { deviceCase } from "./device-case.js";
import { forwardCase, pickUnits, spread } from "./forward-case.js";
import { uniformValues } from "./host-values.js";
import { measure, type MeasureOptions } from "./measure.js";
import { encodeOnnxModel } from "./onnx-model.js";
import { measureInTurn } from "./in-turn.js";
import { assertWritable, writeReport } from "./report.js";
import type { KernelRow } from "./row.js";
import { rowOf, runCase, type Findings } from "./run-kernels.js";
import { formatMs, formatRows } from "./show.js";
import { median, timingOf } from "./statistics.js";

const folder = mkdtempSync(join(tmpdir(), "seqmix-kernels-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const brief: MeasureOptions = { warmupRuns: 1, warmupMs: 0, measureMs: 0, runs: 3, turnMs: 0, patienceMs: 1000 };

/** silu, small, with a loop that is right or wrong. */
const silu = (
  options: { readonly compute?: (x: Tensor) => Tensor; readonly loop?: (x: number) => number } = {},
): BenchmarkCase => {
  const { compute = (x: Tensor) => mul(x, sigmoid(x)), loop = (x: number) => x / (1 + Math.exp(-x)) } = options;
  return forwardCase({
    kernel: "silu",
    shape: "6x4",
    mode: "fwd",
    flops: 96,
    bytes: 192,
    rate: "GB/s",
    bars: [fasterThan(1e-9, ["typed-array loop"], 1)],
    units: 6,
    checkedUnits: 3,
    unitName: "rows",
    tolerance: { tolerance: 1e-6, unit: "relative" },
    inputs: () => ({ x: { values: uniformValues(24, 1), shape: (rows) => [rows, 4] } }),
    compute: ({ x }) => [compute(x)],
    loop: { size: 24, run: ({ x }, out) => x.forEach((value, i) => (out[i] = loop(value))) },
  });
};

const run = (case_: BenchmarkCase, warnings: string[] = []): ReturnType<typeof runCase> =>
  runCase(case_, {
    device: "cpu",
    products: "f32",
    threads: [1],
    packages: undefined,
    measure: brief,
    warn: (sentence) => void warnings.push(sentence),
  });

test("cases in f16 say why a device without it does not run them", () => {
  const half = casesOf["webgpu"]!.filter(({ dtype }) => dtype === "f16");
  expect(half.map(({ kernel }) => kernel)).toContain("matmul");
  for (const each of half) expect(each.missing?.(cpu())).toMatch(/no shader-f16/);
});

describe("statistics", () => {
  test("the median is the middle value, or the mean of the two", () => {
    expect(median([3, 1, 10])).toBe(3);
    expect(median([4, 1, 10, 2])).toBe(3);
    expect(() => median([])).toThrow(RangeError);
    expect(timingOf([5, 1, 3])).toEqual({ ms: 3, minMs: 1, maxMs: 5 });
  });

  test("every contestant runs at least as often as asked, in turns", async () => {
    const order: string[] = [];
    const timings = await measure(new Map(["a", "b"].map((name) => [name, { run: () => void order.push(name) }])), {
      ...brief,
      warmupRuns: 2,
    });
    expect([...timings.keys()]).toEqual(["a", "b"]);
    expect(order.slice(0, 4)).toEqual(["a", "a", "b", "b"]);
    // Three rounds of an untimed and at least one timed run each.
    expect(order.filter((name) => name === "a").length).toBeGreaterThanOrEqual(2 + 3 + 1);
    for (const { ms, minMs, maxMs } of timings.values()) expect(minMs <= ms && ms <= maxMs).toBe(true);
  });

  test("values are the same in every run and fill their range", () => {
    expect(uniformValues(1000, 7)).toEqual(uniformValues(1000, 7));
    const values = uniformValues(10_000, 7, 2, 4);
    expect(values.every((x) => x >= 2 && x <= 4)).toBe(true);
    expect(values.reduce((a, b) => a + b) / values.length).toBeCloseTo(3, 1);
  });
});

describe("comparison", () => {
  test("relative to the largest magnitude; what is missing or NaN is infinitely far", () => {
    expect(relativeError([1, 2.5], [1, 2])).toBe(0.25);
    expect(relativeError([0, 0], [0, 0])).toBe(0);
    expect(relativeError([1e-9], [0])).toBe(Infinity);
    expect(relativeError([1, NaN], [1, 2])).toBe(Infinity);
    expect(relativeError([1], [1, 2])).toBe(Infinity);
  });

  test("ulp: distances in spacings of float32 around the reference", () => {
    expect(maxUlp([1 + 2 ** -23], [1])).toBe(1);
    expect(maxUlp([4 + 2 ** -21 * 3], [4])).toBe(3);
    expect(maxUlp([1 - 2 ** -24], [1])).toBe(0.5);
    // Spacing is 2^-149 for all numbers too small for a full significand, and for 0.
    expect(maxUlp([2 ** -148], [2 ** -149])).toBe(1);
    expect(maxUlp([2 ** -149], [0])).toBe(1);
    expect(maxUlp([NaN], [1])).toBe(Infinity);
    expect(maxUlp([Infinity], [3e38])).toBe(Infinity);
  });

  test("units are picked evenly, the first and the last among them", () => {
    expect(spread(64, 4)).toEqual([0, 21, 42, 63]);
    expect(spread(3, 8)).toEqual([0, 1, 2]);
    expect(spread(5, 1)).toEqual([0]);
    expect(pickUnits(Float32Array.of(0, 1, 2, 3, 4, 5), 3, [0, 2])).toEqual(Float32Array.of(0, 1, 4, 5));
  });
});

describe("onnx model", () => {
  /** Fields of a protocol buffer message: numbers for varints, bytes for the rest. */
  function decode(bytes: Uint8Array): [field: number, value: bigint | Uint8Array][] {
    const fields: [number, bigint | Uint8Array][] = [];
    let at = 0;
    const varint = (): bigint => {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = BigInt(bytes[at++]!);
        value |= (byte & 127n) << shift;
        if (byte < 128n) return value;
      }
    };
    while (at < bytes.length) {
      const tag = Number(varint());
      const wire = tag & 7;
      if (wire === 0) fields.push([tag >> 3, varint()]);
      else {
        const length = wire === 5 ? 4 : Number(varint());
        fields.push([tag >> 3, bytes.slice(at, at + length)]);
        at += length;
      }
    }
    return fields;
  }
  const text = (value: unknown): string => new TextDecoder().decode(value as Uint8Array);
  const all = (message: unknown, field: number): (bigint | Uint8Array)[] =>
    decode(message as Uint8Array).flatMap(([number, value]) => (number === field ? [value] : []));
  const one = (message: unknown, ...path: readonly number[]): bigint | Uint8Array =>
    path.reduce<unknown>((inner, field) => all(inner, field)[0], message) as bigint | Uint8Array;

  const model = encodeOnnxModel({
    opset: 17,
    inputs: [{ name: "x", shape: [64, 16384] }],
    outputs: [{ name: "out", shape: [64, 16384] }],
    nodes: [
      { op: "CumSum", inputs: ["x", "axis"], outputs: ["s"] },
      { op: "Gemm", inputs: ["s"], outputs: ["out"], integers: { transA: -1 }, floats: { alpha: 0.5 } },
    ],
    constants: { axis: -1 },
  });

  test("field by field as in onnx.proto", () => {
    expect(one(model, 1)).toBe(10n);
    expect(one(model, 8, 2)).toBe(17n);
    const [first, second] = all(one(model, 7), 1);
    expect(all(first, 1).map(text)).toEqual(["x", "axis"]);
    expect(text(one(first, 4))).toBe("CumSum");
    const [integer, float] = all(second, 5);
    expect([text(one(integer, 1)), BigInt.asIntN(64, one(integer, 3) as bigint), one(integer, 20)]).toEqual([
      "transA",
      -1n,
      2n,
    ]);
    expect(new DataView((one(float, 2) as Uint8Array).buffer).getFloat32(0, true)).toBe(0.5);
    const constant = one(model, 7, 5);
    expect([one(constant, 2), text(one(constant, 8)), ...(one(constant, 9) as Uint8Array)]).toEqual([
      7n,
      "axis",
      ...new Array<number>(8).fill(255),
    ]);
    const input = one(model, 7, 11);
    expect([text(one(input, 1)), one(input, 2, 1, 1)]).toEqual(["x", 1n]);
    expect(all(one(input, 2, 1, 2), 1).map((dimension) => one(dimension, 1))).toEqual([64n, 16384n]);
  });

  test("the bytes of a small message are those of the format", () => {
    // ir_version 10; graph: name "benchmark"; opset: domain "", version 300 as two bytes.
    const name = [18, 9, ...new TextEncoder().encode("benchmark")];
    expect([...encodeOnnxModel({ opset: 300, inputs: [], outputs: [], nodes: [] })]).toEqual([
      8,
      10,
      58,
      11,
      ...name,
      66,
      5,
      10,
      0,
      16,
      172,
      2,
    ]);
  });
});

describe("rows", () => {
  const findings = (check: "green" | "red"): Findings => ({
    device: "cpu",
    products: "f32",
    threads: 1,
    variant: "loop",
    timing: { ms: 2, minMs: 1, maxMs: 3 },
    peers: { "typed-array loop": 8 },
    check: { check, error: 1, tolerance: 0.5, unit: "relative", coverage: "all 6 rows" },
  });
  const rateOf = (): "GB/s" => "GB/s";

  test("have the fields of the format", () => {
    const { checkDetail, bar, ...row } = rowOf(silu(), findings("green"));
    expect(row).toEqual({
      kernel: "silu",
      variant: "loop",
      device: "cpu",
      products: "f32",
      threads: 1,
      shape: "6x4",
      dtype: "f32",
      mode: "fwd",
      ms: 2,
      minMs: 1,
      maxMs: 3,
      bytes: 192,
      flops: 96,
      check: "green",
      peers: { "typed-array loop": 8 },
    });
    expect(checkDetail.coverage).toBe("all 6 rows");
    expect(bar).toMatchObject({ reached: "4.00x", met: true });
    expect(rowOf({ ...silu(), tokens: 100 }, findings("green")).tokensPerSecond).toBe(50_000);
  });

  test("no speed-up is shown for a red check", () => {
    const row = rowOf(silu(), findings("red"));
    expect(row.bar).toMatchObject({ reached: null, met: null });
    expect(formatRows([rowOf(silu(), findings("green"))], rateOf)).toContain("8.00 (4.00x)");
    const shown = formatRows([row], rateOf);
    expect(shown).toContain("RED 1.0e+0 > 5.0e-1");
    expect(shown).not.toMatch(/\d x|\dx\)/);
    expect(shown).toContain("not judged");
  });

  test("bars need the peers they name", () => {
    expect(fasterThan(3, ["a", "b"], 2).judge({ flops: 1, bytes: 1, ms: 2, peers: { a: 8, b: 7 } })).toEqual({
      reached: "3.50x",
      met: true,
    });
    expect(fasterThan(3, ["a", "b"], 2).judge({ flops: 1, bytes: 1, ms: 2, peers: { a: 8 } })).toBeUndefined();
    expect(shareOfTime(0.4, "a", 2).judge({ flops: 1, bytes: 1, ms: 5, peers: { a: 10 } })).toEqual({
      reached: "0.50x",
      met: false,
    });
    expect(tokenRate(20_000, 2).judge({ flops: 1, bytes: 1, ms: 5, peers: {}, tokensPerSecond: 20_001 })).toEqual({
      reached: "20,001",
      met: true,
    });
  });

  test("times have three digits or so", () => {
    expect([0.16444, 3.714, 42.51, 1340.4].map(formatMs)).toEqual(["0.164", "3.71", "42.5", "1,340"]);
  });

  test("cases differ in kernel, shape, mode or type", () => {
    const cases = Object.values(casesOf).flat();
    const names = Object.entries(casesOf).flatMap(([device, list]) =>
      list.map(({ kernel, shape, mode, dtype = "f32" }) => `${device} ${kernel} ${shape} ${mode} ${dtype}`),
    );
    expect(new Set(names).size).toBe(names.length);
    expect(
      cases.every(
        ({ flops, bytes, rate, tokens }) => flops > 0 && bytes > 0 && (rate === "tokens/s") === (tokens !== undefined),
      ),
    ).toBe(true);
  });
});

describe("running a case", () => {
  test("a right result is green, and the loop is a peer", async () => {
    const [row] = await run(silu());
    expect(row).toMatchObject({
      kernel: "silu",
      check: "green",
      device: "cpu",
      products: "f32",
      threads: 1,
      checkDetail: { coverage: "3 of 6 rows, evenly spread" },
      bar: { met: true },
    });
    expect(Object.keys(row!.peers)).toEqual(["typed-array loop"]);
  });

  test("a result that differs from the reference is red", async () => {
    // Wrong on all six rows, right on the three that the reference gets.
    const [row] = await run(silu({ compute: (x) => mul(x, x.shape[0] === 6 ? 1.001 : 1), loop: (x) => x }));
    expect(row).toMatchObject({ check: "red", bar: { reached: null, met: null } });
    expect(row!.checkDetail.error).toBeCloseTo(1e-3, 5);
  });

  test("a peer that computes something else is left out with a sentence", async () => {
    const warnings: string[] = [];
    const [row] = await run(silu({ loop: (x) => x }), warnings);
    expect(row!.peers).toEqual({});
    expect(row!.bar).toMatchObject({ met: null });
    expect(warnings).toEqual([
      expect.stringMatching(/^typed-array loop is left out of silu 6x4: its result differs from ours by/),
    ]);
  });

  test("a case with inputs made on the device is checked by units and by a smaller instance", async () => {
    const draw = (rows: number) => () => ({ x: normal(key(1), [rows, 5]), w: normal(key(2), [5]) });
    const case_ = (factor: number, size: number): BenchmarkCase =>
      deviceCase({
        kernel: "weighted",
        shape: "6x5",
        mode: "fwd",
        flops: 60,
        bytes: 240,
        rate: "GB/s",
        bars: [atMost(1e6), teraFlops(1e-12), teraBytes(1e-12)],
        inputs: draw(6),
        compute: ({ x, w }) => [
          mul(mul(x, w), x.shape[0] === size ? factor : 1),
          mul(sum(x, 0), x.shape[0] === 4 ? factor : 1),
        ],
        units: { count: 6, checked: 2, name: "rows", inputAxis: { x: 0 }, outputAxis: [0, undefined] },
        smaller: { size: "4x5", inputs: draw(4) },
        tolerance: 1e-6,
      });
    const rows = await Promise.all(
      [case_(1, 6), case_(1.001, 6), case_(1.001, 1)].map(async (each) => (await run(each))[0]!),
    );
    expect(rows.map(({ check }) => check)).toEqual(["green", "red", "red"]);
    expect(rows[0]).toMatchObject({
      bar: { met: true },
      checkDetail: { coverage: "2 of 6 rows, evenly spread; all outputs of a smaller instance, 4x5" },
    });
  });

  test("memory counted is that of the work, where making its inputs takes more", async () => {
    const device: Device = cpu({ threads: 1 });
    const case_ = deviceCase({
      kernel: "double",
      shape: "512x256",
      mode: "fwd",
      flops: 131_072,
      bytes: 525_312,
      rate: "GB/s",
      bars: [],
      inputs: () => ({ x: normal(key(0), [512, 256]) }),
      compute: ({ x }) => [mul(x, 2)],
      units: { count: 512, checked: 1, name: "rows", inputAxis: { x: 0 }, outputAxis: [0] },
      tolerance: 1e-6,
    });
    const { extraBytes, close } = await case_.prepare().open(device, "f32");
    const { bytes, peakBytes } = device.memory();
    await close();
    await device.close();
    expect(peakBytes).toBeGreaterThan(bytes + 1.5 * 512 * 256 * 4);
    // blocks are whole multiples of 64 bytes
    expect(extraBytes! / (512 * 256 * 4)).toBeCloseTo(1, 3);
  });

  test("the checks of the training steps hold, and nothing stays on the device", async () => {
    const device: Device = cpu({ threads: 1 });
    for (const case_ of casesOf["cpu"]!.filter(({ kernel }) => kernel === "mlpStep")) {
      const contestant = await case_.prepare().open(device, "f32");
      expect(await contestant.check()).toMatchObject({
        check: "green",
        coverage: "loss and gradients of a smaller instance, 64x128x128",
      });
      await contestant.run();
      await contestant.close();
    }
    expect(device.memory().buffers).toBe(0);
    await device.close();
  });
});

describe("command", () => {
  const call = (...args: readonly string[]): Promise<unknown> => {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
    registerKernels(program, () => {});
    return program.parseAsync(["kernels", ...args], { from: "user" });
  };

  test("mistakes are named before anything is measured", async () => {
    await expect(call("--only", "matmull")).rejects.toThrow(
      new UsageError('Unknown kernel "matmull"; did you mean matmul?'),
    );
    await expect(call("--device", "cpuu", "--only", "cumsum")).rejects.toThrow(
      'Unknown device "cpuu"; did you mean cpu?',
    );
    await expect(call("--device", "reference")).rejects.toThrow(UsageError);
    await expect(call("--json", folder, "--only", "cumsum")).rejects.toThrow(
      /--json cannot be written .* it is a folder/,
    );
    await expect(call("--threads", "1,x")).rejects.toThrow(/whole numbers from 1 to 256/);
  });

  test("a run that ends in the middle has saved every case before that", async () => {
    const [first, second, third] = casesOf["cpu"]!.slice(0, 3) as [BenchmarkCase, BenchmarkCase, BenchmarkCase];
    const path = join(folder, "kernels-so-far.json");
    const { kernel, shape, mode } = first;
    const measuring = measureInTurn([first, second, third], {
      missing: (each) => (each === second ? "no such device" : undefined),
      async rowsOf(each) {
        if (each === third) throw new Error("out of time");
        return [{ kernel, shape, mode } as KernelRow];
      },
      save: (found) =>
        writeReport(path, { measured: "2026-01-01", machine: "m", adapter: "a", versions: {}, ...found }),
    });
    await expect(measuring).rejects.toThrow("out of time");
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
      rows: [{ kernel, shape, mode }],
      notRun: [{ kernel: second.kernel, shape: second.shape, reason: "no such device" }],
    });
  });

  test("a trial write leaves nothing behind, and the file is whole", () => {
    const path = join(folder, "made", "kernels.json");
    assertWritable(path);
    expect(readdirSync(join(folder, "made"))).toEqual([]);
    writeReport(path, { measured: "2026-01-01", machine: "m", adapter: "a", versions: {}, rows: [] });
    expect(readdirSync(join(folder, "made"))).toEqual(["kernels.json"]);
    expect(() => assertWritable(join(folder, "no", "such", "folder.json"))).toThrow(UsageError);
  });
});
