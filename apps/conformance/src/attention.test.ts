// Attention on matrix units, with fragments emulated on the software adapter: the same texts, the same arithmetic.
import { kernels, type AnyKernel } from "@seqmix/catalog";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import {
  cast,
  defineKernel,
  explain,
  floor,
  foldIn,
  key,
  normal,
  realize,
  reference,
  uniform,
  vjp,
  type Device,
  type GpuVariant,
  type Tensor,
} from "@seqmix/tensor";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { emulatedFragments } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, expect, test } from "vitest";

useSoftwareAdapter();
const device = await webgpu({ poison: true });
const oracle = reference();
afterAll(() => device.close());

const { record } = kernels.find((kernel) => kernel.record.name === "scaledDotProductAttention")!;
const name = "online softmax on matrix units";

/** The record with its program for adapters that have matrix units. */
function onMatrixUnits(products: "f32" | "tf32"): AnyKernel {
  const limits: GpuLimits = {
    buffers: device.gpu.limits.maxStorageBuffersPerShaderStage,
    bytes: 2 ** 27,
    threads: 1024,
    workgroupBytes: device.gpu.limits.maxComputeWorkgroupStorageSize,
    matrixUnits: true,
    products,
    fragments: emulatedFragments,
  };
  const found = record.variants.find((variant) => variant.name === name) as GpuVariant<unknown>;
  const variant: GpuVariant<unknown> = {
    ...found,
    supports: (kase) => found.supports!(kase, limits),
    forward: (kase) => found.forward(kase, limits),
    backward: (kase) => found.backward!(kase, limits),
  };
  return defineKernel({ ...record, variants: [variant] });
}

interface Case {
  readonly dims: Readonly<Record<"B" | "H" | "G" | "L" | "S" | "K" | "V", number>>;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly half?: boolean;
  readonly labelled?: boolean;
}

/** Queries whose scores grow along the keys raise the reference, so that sums leave before the end. */
function inputsOf({ dims: { B, H, G, L, S, K, V }, half, labelled }: Case): Record<string, Tensor> {
  const draw = (what: string, shape: readonly number[], size: number): Tensor => {
    const x = normal(foldIn(key(7), what), shape, 0, size);
    return half ? cast(x, "f16") : x;
  };
  const label = (what: string, shape: readonly number[], low: number, high: number): Tensor =>
    cast(floor(uniform(foldIn(key(8), what), shape, low, high)), "i32");
  return {
    q: draw("q", [B, H, L, K], 3),
    k: draw("k", [B, G, S, K], 2),
    v: draw("v", [B, G, S, V], 1),
    ...(labelled && {
      querySegments: label("querySegments", [B, L], 0, 2),
      keySegments: label("keySegments", [B, S], 0, 2),
      queryPositions: label("queryPositions", [B, L], 0, S),
      keyPositions: label("keyPositions", [B, S], -5, S),
    }),
  };
}

/** Results and gradients: out, logSumExp, dq, dk, dv. */
async function results(kernel: AnyKernel, kase: Case, on: Device): Promise<ArrayLike<number>[]> {
  const options = { causal: true, window: 0, scale: 0.5, alibi: false, ...kase.options };
  const { q, k, v, ...labels } = inputsOf(kase);
  const given = { q: q!, k: k!, v: v! };
  const both = kernel({ ...given, ...labels }, options);
  const [out, pullBack] = vjp((x: typeof given) => kernel({ ...x, ...labels }, options)["out"]!, given);
  const cotangent = normal(key(9), out.shape, 0, 1e-3);
  const { q: dq, k: dk, v: dv } = pullBack(cotangent);
  const all = [both["out"]!, both["logSumExp"]!, dq, dk, dv];
  if (on === device) {
    const plan = await explain(all, { device });
    expect(plan).toContain(`scaledDotProductAttention (${name})`);
    expect(plan).toContain(`scaledDotProductAttention backward (${name})`);
  }
  await realize(all, { device: on });
  return Promise.all(all.map((x) => x.data()));
}

/** The largest error of each result, relative to its largest number. */
async function errorsOf(products: "f32" | "tf32", kase: Case): Promise<number[]> {
  const [found, expected] = [
    await results(onMatrixUnits(products), kase, device),
    await results(defineKernel({ ...record, variants: [] }), kase, oracle),
  ];
  return found.map((x, n) => {
    const size = Array.from(expected[n]!).reduce((most, y) => Math.max(most, Math.abs(y)), 0);
    return Array.from(x).reduce((worst, y, at) => Math.max(worst, Math.abs(y - expected[n]![at]!)), 0) / size;
  });
}

const grouped = { B: 1, H: 2, G: 1, L: 70, S: 90, K: 16, V: 20 };
const cases: Readonly<Record<string, Case>> = {
  "grouped, longer keys": { dims: grouped },
  "window and alibi, odd widths": {
    dims: { ...grouped, G: 2, S: 70, K: 5, V: 7 },
    options: { window: 20, alibi: true },
  },
  "all that a pair is given": {
    dims: { ...grouped, B: 2, L: 40, V: 16 },
    options: { window: 40, causal: false },
    labelled: true,
  },
};

test.each(Object.entries(cases))(
  "%s: as exact as f32, in values and gradients",
  async (_, kase) => {
    for (const error of await errorsOf("f32", kase)) expect(error).toBeLessThan(5e-6);
  },
  300_000,
);

test("products of tf32 keep three digits, as operands of f16 do", async () => {
  for (const half of [false, true]) {
    const errors = await errorsOf("tf32", { dims: { ...grouped, S: 70 }, half });
    for (const error of errors) expect(error).toBeLessThan(half ? 2e-3 : 5e-3);
    expect(Math.max(...errors)).toBeGreaterThan(1e-5);
  }
}, 300_000);
