import {
  add,
  cpu,
  defineKernel,
  linearScan,
  mul,
  reference,
  reshape,
  sliceAxis,
  stopGradient,
  tanh,
  type Device,
  type KernelRecord,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { checkKernel } from "./index.js";

type Inputs = { readonly a: string; readonly x: string; readonly skip: string; readonly h0: string };
type Outputs = { readonly y: string; readonly hT: string };
type Record_ = KernelRecord<Inputs, Outputs, { readonly reverse: boolean }>;

/** h_t = a_t h_(t-1) + x_t, y = tanh(h) + skip x: the smallest kernel with a state. */
const record: Record_ = {
  name: "decayScan",
  inputs: { a: "B L D", x: "B L D", skip: "D", h0: "B D" },
  optional: ["h0", "skip"],
  outputs: { y: "B L D", hT: "B D" },
  reference({ a, x, skip, h0 }, { reverse }, { B, L, D }) {
    const h = linearScan({ a, b: x, h0, axis: 1, reverse });
    const last = reverse ? 0 : L! - 1;
    return { y: skip ? add(tanh(h), mul(skip, x)) : tanh(h), hT: reshape(sliceAxis(h, 1, last, last + 1), [B!, D!]) };
  },
  cost: ({ B, L, D }) => ({ flops: 5 * B! * L! * D!, bytes: 12 * B! * L! * D! }),
  variants: [],
  samples: [
    { name: "plain", dims: { B: 2, L: 9, D: 3 }, options: { reverse: false } },
    { name: "reversed", dims: { B: 1, L: 4, D: 5 }, options: { reverse: true } },
    { name: "from zero", dims: { B: 2, L: 63, D: 1 }, options: { reverse: false }, without: ["h0", "skip"] },
  ],
};

const kernelOf = (
  changes: Partial<Record_>,
): ReturnType<typeof defineKernel<Inputs, Outputs, { readonly reverse: boolean }>> =>
  defineKernel({ ...record, ...changes });

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  test("a kernel that keeps the laws passes, at every length", async () => {
    const report = await checkKernel(kernelOf({}), device);
    // 3 samples, and 6 lengths of 3 kinds but for the one that is a sample.
    expect(report).toEqual({ kernel: "decayScan", cases: 3 + 3 + 17, worst: report.worst });
    expect(report.worst).toBeLessThanOrEqual(1);
  });
});

/** A device that is wrong by a thousandth at the second element. */
function skewed(): Device {
  const right = reference();
  return {
    ...right,
    name: "skewed",
    download: async (buffer) => (await right.download(buffer)).map((x: number, k: number) => (k === 1 ? x + 1e-3 : x)),
  };
}

test("a device that is wrong is named with the element", async () => {
  await expect(checkKernel(kernelOf({}), skewed())).rejects.toThrow(
    /kernel decayScan, sample plain \(B2 L9 D3\): skewed = reference, y: expected .* at \[0,0,1\] of \[2,9,3\], got .* off by 0\.00100/,
  );
});

test("a gradient that is cut is found by finite differences", async () => {
  const cut = (x: Tensor): Tensor => stopGradient(x);
  const broken = kernelOf({
    reference: (inputs, options, dims) =>
      record.reference({ ...inputs, ...(inputs.h0 && { h0: cut(inputs.h0) }) }, options, dims),
  });
  await expect(checkKernel(broken, reference())).rejects.toThrow(
    /sample plain, small .*gradient = finite differences: for h0 \[2,3\].* got 0/,
  );
});

test("a final state that is not the last one is found by carrying it on", async () => {
  const early = kernelOf({
    reference(inputs, options, dims) {
      const { y } = record.reference(inputs, options, dims);
      return { y, hT: reshape(sliceAxis(y, 1, 0, 1), [dims.B!, dims.D!]) };
    },
  });
  await expect(checkKernel(early, reference())).rejects.toThrow(
    /1 and then 69 elements from the carried state = 70 at once, y: expected/,
  );
});

test("a variant that does not run is found", async () => {
  await expect(checkKernel(kernelOf({}), cpu(), { variant: "hand-written" })).rejects.toThrow(
    /variant hand-written runs: got the plan/,
  );
});

test("a reference that fails is named with the case", async () => {
  const failing = kernelOf({
    reference(inputs, options, dims) {
      if (dims.L === 64) throw new RangeError("no sixty-four");
      return record.reference(inputs, options, dims);
    },
  });
  await expect(checkKernel(failing, reference())).rejects.toThrow(/L=64 .*no sixty-four/);
});
