// The programs of the long convolution that need long sequences or other adapters, at sizes the reference can follow.
import { kernels, type AnyKernel } from "@seqmix/catalog";
import { fftConv } from "@seqmix/fft";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import {
  cast,
  defineKernel,
  explain,
  grad,
  key,
  normal,
  realize,
  sum,
  type GpuVariant,
  type Tensor,
} from "@seqmix/tensor";
import { PORTABLE_LIMITS, type GpuLimits } from "@seqmix/tensor/wgsl";
import { checkKernel } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, expect, test } from "vitest";

useSoftwareAdapter();
const device = await webgpu({ poison: true });
afterAll(() => device.close());

const { record } = kernels.find((kernel) => kernel.record.name === "fftConv")!;
type Sample = (typeof record.samples)[number];

/** The record with its programs made for other limits. */
const within = (limits: GpuLimits, samples: readonly Sample[]): AnyKernel =>
  defineKernel({
    ...record,
    samples,
    variants: record.variants.flatMap((variant) =>
      variant.device === "webgpu"
        ? [
            {
              ...variant,
              needs: "the limits it was made for",
              supports: (kase) => variant.supports!(kase, limits),
              tables: (kase) => variant.tables!(kase, limits),
              forward: (kase) => variant.forward(kase, limits),
              backward: (kase) => variant.backward!(kase, limits),
            } satisfies GpuVariant<unknown>,
          ]
        : [],
    ),
  });

const sample = (name: string, dims: Readonly<Record<string, number>>, without: Sample["without"] = []): Sample => ({
  name,
  dims,
  options: undefined,
  without,
});
const LONG = "modulo x^n - i, three passes";
const ROWS = "modulo x^n - i, a workgroup a row";
/** Rows of 256 points at most fit into a workgroup. */
const small: GpuLimits = { ...PORTABLE_LIMITS, workgroupBytes: 1200 };
/** Rows of 8,192 points fit. */
const wide: GpuLimits = { ...PORTABLE_LIMITS, workgroupBytes: 32768 };
const bare: Sample["without"] = ["kReverse", "skip", "gate"];

test.each([
  ["columns of one step", LONG, small, [sample("1024", { B: 2, D: 2, L: 1024, K: 30, R: 1000 })]],
  ["one row a channel", LONG, small, [sample("600", { B: 1, D: 2, L: 600, R: 300 }, ["k"])]],
  ["columns of two steps", LONG, small, [sample("8192", { B: 1, D: 1, L: 8192, K: 8000 }, bare)]],
  [
    "channels in several batches",
    LONG,
    { ...small, bytes: 8 * 512 * 2 * 3 },
    [sample("512", { B: 2, D: 5, L: 400, K: 400 }, bare)],
  ],
  ["two butterflies a thread", ROWS, wide, [sample("5000", { B: 1, D: 1, L: 5000, K: 5000 }, bare)]],
] as const)(
  "%s",
  async (_, variant, limits, samples) => {
    const report = await checkKernel(within(limits, samples), device, {
      variant,
      lengths: [],
      relative: 1e-5,
      gradientRelative: 1e-5,
    });
    // The sample, and the same with every extent 1.
    expect(report.cases).toBe(2 * samples.length);
  },
  120_000,
);

// Dawn's null backend has f16: it checks the programs and computes nothing.
test.each([
  ["rows", 2048],
  ["long rows", 40000],
])("gradients of f16 operands are stored as f16 by the programs: %s", async (_, L) => {
  const unreal = await webgpu({ halfPrecision: true, dawn: ["backend=null"] });
  const half = (seed: number, shape: readonly number[]): Tensor => cast(normal(key(seed), shape), "f16");
  const operands = await realize(
    { u: half(1, [4, 2, L]), k: half(2, [2, L]), kReverse: half(3, [2, 9]), gate: half(4, [4, 2, L]) },
    { device: unreal },
  );
  const gradients = grad((x: typeof operands) => sum(fftConv(x)))(operands);
  expect(Object.values(gradients).map(({ dtype }) => dtype)).toEqual(["f16", "f16", "f16", "f16"]);
  const text = await explain(gradients, { device: unreal });
  expect(text).toContain("fftConv backward");
  expect(text).not.toMatch(/\bcast\b/);
  // One that is read as f32 too stays so.
  const both = [cast(gradients.u, "f32"), gradients.k];
  expect(await explain(both, { device: unreal })).toContain("fftConv backward");
  await realize([gradients, both], { device: unreal });
  await unreal.close();
});
