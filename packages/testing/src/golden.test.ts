import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { add, full, mul, reference, stopGradient, sub, Tensor } from "@seqmix/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensors, runGolden, type GoldenAdapter, type GoldenReport } from "./index.js";

/** A file of float64 tensors. */
function safetensors(tensors: Readonly<Record<string, { shape: number[]; data: number[] }>>): Uint8Array {
  let offset = 0;
  const header: Record<string, unknown> = { __metadata__: { made: "here" } };
  for (const [name, { shape, data }] of Object.entries(tensors))
    header[name] = { dtype: "F64", shape, data_offsets: [offset, (offset += 8 * data.length)] };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + offset);
  const view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  Object.values(tensors)
    .flatMap(({ data }) => data)
    .forEach((value, k) => view.setFloat64(8 + text.length + 8 * k, value, true));
  return file;
}

// y = x c and its complex square z = x c i; the loss is sum(w_y y) + Re(w_z) Re(z) + Im(w_z) Im(z).
const CASE = {
  x: { role: "input", shape: [2], data: [1, 2] },
  c: { role: "param", shape: [], data: [3] },
  y: { role: "output", shape: [2], data: [3, 6] },
  z: { role: "output", shape: [2, 2], data: [0, 3, 0, 6], complex: true },
  loss: { role: "output", shape: [], data: [0] },
  w_y: { role: "weight", shape: [2], data: [1, 10] },
  w_z: { role: "weight", shape: [2, 2], data: [5, 100, 5, 1000], complex: true },
  grad_x: { role: "grad", shape: [2], data: [3 * 101, 3 * 1010] },
  grad_c: { role: "grad", shape: [], data: [101 + 2 * 1010] },
};

const product: GoldenAdapter = {
  operator: "product",
  options: ["L"],
  run({ x, c }) {
    if (!(x instanceof Tensor && c instanceof Tensor)) throw new TypeError("expected real inputs");
    const y = mul(x, c);
    return { y, z: { re: mul(y, 0), im: y } };
  },
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "golden-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function run(
  adapters: readonly GoldenAdapter[],
  options: Record<string, unknown> = { L: 2 },
  precision: "float64" | "float32" = "float64",
): Promise<GoldenReport> {
  await mkdir(join(directory, "product"), { recursive: true });
  const entry = {
    operator: "product",
    case: "tiny",
    json: "product/tiny.json",
    safetensors: "product/tiny.safetensors",
  };
  await writeFile(join(directory, "index.json"), JSON.stringify({ cases: [entry] }));
  await writeFile(
    join(directory, entry.json),
    JSON.stringify({
      options,
      tolerance: { float64: { rtol: 1e-9, atol: 1e-10 }, float32: { rtol: 1e-4, atol: 0 } },
      tensors: CASE,
    }),
  );
  await writeFile(join(directory, entry.safetensors), safetensors(CASE));
  return runGolden({ directory, device: reference(), precision, adapters });
}

describe("runGolden", () => {
  test("compares outputs and gradients, complex ones in both parts", async () => {
    const report = await run([product]);
    expect(report.operators).toEqual({
      product: { passed: 1, failed: 0, unsupported: 0, worstErrorOverTolerance: 0, relaxed: 0 },
    });
  });

  test("a value out of tolerance fails by name", async () => {
    const wrong: GoldenAdapter = {
      ...product,
      run: (inputs, golden) => ({
        ...product.run(inputs, golden),
        y: add(product.run(inputs, golden)["y"] as Tensor, 1e-7),
      }),
    };
    const [result] = (await run([wrong])).cases;
    expect(result).toMatchObject({ status: "failed", worstTensor: "y" });
    expect(result!.worst).toBeCloseTo(1e-7 / (1e-10 + 6e-9), 3);
  });

  test.each([
    ["missing", (inputs, golden) => ({ z: product.run(inputs, golden)["z"]! }), "y: expected a value, got none"],
    [
      "misshapen",
      (inputs, golden) => ({ ...product.run(inputs, golden), y: full([2, 1], 3) }),
      "y: expected [2], got [2,1]",
    ],
    [
      "real for complex",
      (inputs, golden) => ({ ...product.run(inputs, golden), z: full([2], 3) }),
      "z: expected complex [2], got [2]",
    ],
    ["not a number", (inputs, golden) => ({ ...product.run(inputs, golden), y: full([2], NaN) }), "y: error is"],
  ] as [string, GoldenAdapter["run"], string][])("a value that is %s fails", async (_, runCase, reason) => {
    const [result] = (await run([{ ...product, run: runCase }])).cases;
    expect(result!.status).toBe("failed");
    expect(result!.reason).toContain(reason);
  });

  test("an error in an adapter fails its case", async () => {
    const [result] = (
      await run([
        {
          ...product,
          run: () => {
            throw new RangeError("no");
          },
        },
      ])
    ).cases;
    expect(result).toMatchObject({ status: "failed", reason: "RangeError: no" });
  });

  test("gradients of long sequences may be ten times as far off in single precision, and the report says so", async () => {
    // The right value with a derivative that is 5e-4 of its size too large: f + 5e-4 (f - constant f).
    const skewed: GoldenAdapter = {
      ...product,
      run: (inputs, golden) => {
        const tilt = (y: Tensor): Tensor => add(y, mul(5e-4, sub(y, stopGradient(y))));
        const { y, z } = product.run(inputs, golden) as { y: Tensor; z: { re: Tensor; im: Tensor } };
        return { y: tilt(y), z: { re: z.re, im: tilt(z.im) } };
      },
    };
    const long = await run([skewed], { L: 200 }, "float32");
    expect(long.cases[0]).toMatchObject({ status: "passed", relaxed: true });
    expect((await run([skewed], { L: 128 }, "float32")).cases[0]!.status).toBe("failed");
  });

  test("operators and options that no adapter knows are unsupported, not skipped", async () => {
    expect((await run([])).cases[0]).toMatchObject({ status: "unsupported", reason: "no adapter for this operator" });
    expect((await run([product], { L: 2, mask: true })).cases[0]).toMatchObject({
      status: "unsupported",
      reason: "unknown option mask=true",
    });
    expect((await run([product], { L: 2, mask: false, other: null })).cases[0]!.status).toBe("passed");
    expect((await run([{ ...product, supports: () => "too long" }])).operators["product"]!.unsupported).toBe(1);
  });

  test("a directory without an index is named", async () => {
    await expect(
      runGolden({ directory: join(directory, "none"), device: reference(), precision: "float64", adapters: [] }),
    ).rejects.toThrow("name a fixture directory");
  });
});

describe("readSafetensors", () => {
  test("reads what was stored", () => {
    expect(readSafetensors(safetensors({ a: { shape: [2], data: [1.5, -2] }, b: { shape: [], data: [7] } }))).toEqual({
      a: { dtype: "F64", shape: [2], data: Float64Array.of(1.5, -2) },
      b: { dtype: "F64", shape: [], data: Float64Array.of(7) },
    });
  });

  test("a file cut short is refused", () => {
    const file = safetensors({ a: { shape: [2], data: [1, 2] } });
    expect(() => readSafetensors(file.subarray(0, file.length - 1))).toThrow("cut short");
    expect(() => readSafetensors(file.subarray(0, 5))).toThrow("header");
  });
});
