import {
  product,
  whenLoaded,
  type Scalar,
  type ScanKernel,
  type ScanOutput,
  type ScanSum,
  type ScanValue,
} from "@seqmix/tensor/backend";
import { afterAll, expect, test } from "vitest";
import { fusedScanProgram, supportsScan, takesTotalsInPass } from "./program.js";
import { TUNING, tuningOf, type Tuning } from "./tuning.js";
import { runProgram } from "../../testing/run-program.js";
import { interpretScan } from "@seqmix/tensor/backend";
import {
  add,
  builder,
  constant,
  mambaBackward,
  mambaForward,
  mul,
  op,
  reduced,
  state,
} from "../../testing/scan-kernels.js";
import { testDevice } from "../../testing/test-device.js";

const device = await testDevice();
afterAll(() => device.close());

/** Small parts, so that short sequences have several segments and chunks. */
const SMALL: Tuning = {
  ...TUNING,
  threads: 2 ** 20,
  chunk: 4,
  stage: 8,
  shortest: 5,
  ahead: 2,
  workgroup: 32,
  chunkWorkgroup: 32,
};

function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => ((x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0) >>> 0) / 2 ** 32;
}

/** Largest error relative to the largest value of each output. */
async function error(kernel: ScanKernel, tuning = SMALL, buffers = 12, seed = 1): Promise<number> {
  const next = random(seed);
  const inputs = kernel.inputs.map(({ size }) => Float32Array.from({ length: size }, () => next() * 2 - 1));
  const expected = interpretScan(kernel, inputs);
  const program = fusedScanProgram(kernel, buffers, tuning);
  const actual = await runProgram(
    device.gpu,
    program,
    inputs,
    kernel.outputs.map(({ keeps }) => product(keeps.map((axis) => kernel.extents[axis]!))),
  );
  let worst = 0;
  expected.forEach((want, k) => {
    const largest = want.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-3);
    want.forEach((x, i) => {
      const e = Math.abs(actual[k]![i]! - x) / largest;
      worst = Number.isNaN(e) ? Infinity : Math.max(worst, e);
    });
  });
  return worst;
}

test.each([
  { extents: [2, 21, 5, 4] },
  { extents: [1, 1, 1, 1] },
  { extents: [1, 16, 33, 3] },
  { extents: [3, 9, 40, 16] },
])("Mamba $extents", async ({ extents }) => {
  expect(
    await error(mambaForward(extents as [number, number, number, number], { last: true, gate: true })),
  ).toBeLessThan(1e-5);
  expect(await error(mambaBackward(extents as [number, number, number, number]))).toBeLessThan(1e-5);
});

test("outputs of one sum in as few passes as the buffers allow", async () => {
  const extents = [9, 3, 4];
  const { input, inputs } = builder(extents);
  const decay = input([0, 1]),
    drive = input([0, 1, 2]);
  const outputs = [1, 2, 3].map((): ScanOutput => ({
    dtype: "f32",
    keeps: [0, 1],
    step: "each",
    value: mul(reduced(0), input([0, 1])),
  }));
  const kernel: ScanKernel = {
    extents,
    along: 0,
    reverse: false,
    inputs,
    decay: [mul(decay, constant(0.5))],
    drive: [drive],
    sums: [{ value: state("current"), keeps: [0, 1], step: "each" }],
    outputs,
  };
  expect(fusedScanProgram(kernel, 7, { ...SMALL, shortest: 9 }).passes.map(({ buffers }) => buffers.length)).toEqual([
    6, 4,
  ]);
  expect(await error(kernel, { ...SMALL, shortest: 9 }, 7)).toBeLessThan(1e-6);
});

test("in the sizes for a large GPU, and in those for the software adapter", async () => {
  for (const sizes of [TUNING, tuningOf({ software: true, subgroup: 4, workgroupBytes: 16384 })]) {
    const tuning = { ...sizes, stage: 16, shortest: 16 };
    expect(fusedScanProgram(mambaForward([2, 37, 3, 4]), 12, tuning).name).toContain("2 segments");
    expect(await error(mambaForward([2, 37, 3, 4], { last: true }), tuning)).toBeLessThan(1e-5);
    expect(await error(mambaBackward([2, 37, 3, 4]), tuning)).toBeLessThan(1e-5);
  }
});

/** A kernel over random axes: each term of its expressions lacks some of them. */
function randomKernel(seed: number, complex: boolean): ScanKernel {
  const next = random(seed * 7919 + 13);
  const whole = (n: number): number => Math.floor(next() * n);
  const rank = 1 + whole(4);
  const extents = Array.from({ length: rank }, () => [1, 2, 3, 5, 8, 17][whole(6)]!);
  const along = whole(rank);
  extents[along] = [1, 4, 13, 24][whole(4)]!;
  const { input, inputs } = builder(extents);
  const some = (): number[] => extents.map((_, axis) => axis).filter(() => next() < 0.6);
  const others = extents.map((_, axis) => axis).filter((axis) => axis !== along);
  // few inputs, so that the kernel fits the adapter's buffers
  const pool = Array.from({ length: 4 }, () => input(some()));
  const term = (): Scalar => pool[whole(4)]!;
  const value = (make: () => Scalar): ScanValue => (complex ? [make(), make()] : [make()]);
  const twice = whole(2) === 1;
  const hasAdjoint = whole(2) === 1;
  const states = (
    hasAdjoint ? (["adjoint", "previous", "current"] as const) : (["previous", "current"] as const)
  ).flatMap((which) => (complex ? [state(which), state(which, "im")] : [state(which)]));
  const stateOf = (): Scalar => states[whole(states.length)]!;
  const sums: ScanSum[] = [];
  const outputs: ScanOutput[] = [];
  for (let k = 0; k <= whole(3); k++) {
    const step = (["each", "each", "first", "last"] as const)[whole(4)]!;
    const keeps = some().filter((axis) => step === "each" || axis !== along);
    sums.push({ value: mul(stateOf(), term()), keeps, step });
    const kept = keeps.filter(() => next() < 0.7);
    outputs.push({
      dtype: "f32",
      keeps,
      step,
      value: k === 0 ? add(mul(reduced(0), constant(0.5)), input(kept)) : reduced(k),
    });
  }
  if (whole(2) === 1)
    outputs.push({ dtype: "f32", keeps: extents.map((_, axis) => axis), step: "each", value: mul(stateOf(), term()) });
  if (whole(2) === 1) outputs.push({ dtype: "f32", keeps: others, step: "last", value: stateOf() });
  const a = value(() => (twice ? mul(term(), term()) : mul(term(), constant(0.6))));
  return {
    extents,
    along,
    reverse: whole(2) === 1,
    inputs,
    decay: complex || whole(3) > 0 ? a : [op("exp", mul(op("neg", op("abs", term())), op("abs", term())))],
    drive: value(() => add(term(), mul(term(), term()))),
    ...(whole(2) === 1 && { initial: value(() => input(others.filter(() => next() < 0.7))) }),
    ...(hasAdjoint && { adjoint: { seed: value(term) } }),
    sums,
    outputs,
  };
}

test("partial sums in the place of the states that segments begin with", async () => {
  const all = mambaBackward([2, 33, 40, 16]);
  const kernel: ScanKernel = {
    ...all,
    sums: all.sums.slice(0, 3),
    outputs: [
      { ...all.outputs[0]!, value: add(reduced(0), reduced(1)) },
      { ...all.outputs[2]!, value: reduced(2) },
    ],
  };
  const { passes } = fusedScanProgram(kernel, 10, SMALL);
  // ends, carry, chunks, then the sum over segments and batch in the order of memory, turned
  expect(passes).toHaveLength(5);
  expect(passes[2]!.code).toContain("read_write> ends");
  expect(passes.some(({ code }) => code.includes("partials"))).toBe(false);
  expect(await error(kernel, SMALL, 10)).toBeLessThan(1e-5);
});

test.each([
  { extents: [2, 21, 5, 4], outputs: [1, 5, 6] },
  { extents: [1, 9, 40, 16], outputs: [5, 6] },
  { extents: [3, 16, 33, 3], outputs: [0, 2, 5] },
  { extents: [2, 7, 24, 2], outputs: [6] },
])("totals of results and of operands, $extents", async ({ extents, outputs }) => {
  const whole = mambaBackward(extents as [number, number, number, number], { totals: true });
  // as many as bind the buffers that the adapter has
  const kernel: ScanKernel = { ...whole, outputs: outputs.map((k) => whole.outputs[k]!) };
  expect(takesTotalsInPass(kernel, 16, SMALL)).toBe(true);
  const { passes } = fusedScanProgram(kernel, 16, SMALL);
  expect(await error(kernel, SMALL, 16)).toBeLessThan(1e-5);
  expect(await error(kernel, { ...SMALL, chunks: 1, ahead: 1 }, 16)).toBeLessThan(1e-5);
  // nothing but the results pass reads the cotangents: input 7
  expect(passes.filter(({ buffers }) => buffers.some(({ buffer }) => buffer === 7)).length).toBeLessThanOrEqual(2);
});

test("totals are taken where a thread has whole sums over its states", () => {
  const kernel = mambaBackward([2, 21, 40, 32], { totals: true });
  expect(takesTotalsInPass(kernel, 16, SMALL)).toBe(false);
  expect(takesTotalsInPass(mambaBackward([2, 21, 40, 16], { totals: true }), 16, SMALL)).toBe(true);
  expect(takesTotalsInPass(mambaBackward([2, 21, 40, 16], { totals: true }), 8, SMALL)).toBe(false);
});

test("a large recurrence takes segments and workgroups that need less scratch", async () => {
  const tuning = tuningOf({ software: false, subgroup: 32, workgroupBytes: 49152 });
  await whenLoaded(() => fusedScanProgram(mambaBackward([8, 2048, 2048, 16]), 16, tuning));
  const mebibytes = (extents: readonly [number, number, number, number]): number =>
    fusedScanProgram(mambaBackward(extents), 16, tuning).scratch.reduce((total, bytes) => total + bytes, 0) / 2 ** 20;
  // threads share channels, and the states before every sixteenth step are kept
  expect(mebibytes([8, 2048, 2048, 16])).toBeLessThan(200);
  expect(mebibytes([2, 8192, 2048, 16])).toBeLessThan(128);
  // 2.5 and 5 GiB are read and written
  expect(mebibytes([1, 65536, 2048, 16])).toBeLessThan(220);
  expect(mebibytes([1, 1048576, 256, 16])).toBeLessThan(290);
});

test("sums in subgroups, of segments of one, two and more chunks", async () => {
  expect(device.gpu.features.has("subgroups")).toBe(true);
  const subgroup = device.gpu.adapterInfo.subgroupMinSize;
  expect(device.gpu.adapterInfo.subgroupMaxSize).toBe(subgroup);
  for (const chunks of [1, 2, 5])
    expect(
      await error(mambaBackward([2, 33, 40, 16]), { ...SMALL, subgroup, chunks }),
      `${chunks} chunks`,
    ).toBeLessThan(1e-5);
  expect(
    await error(mambaBackward([2, 33, 75, 16]), { ...SMALL, subgroup, chunks: 2, chunkWorkgroup: 16 }),
    "several workgroups of channels",
  ).toBeLessThan(1e-5);
  for (let seed = 100; seed < 112; seed++)
    expect(
      await error(randomKernel(seed, seed % 3 === 2), { ...SMALL, subgroup, chunks: 2, chunkWorkgroup: 4 }, 12, seed),
      `kernel ${seed}`,
    ).toBeLessThan(2e-5);
});

test.each([0, 1, 2, 3])("random kernels over subsets of the axes, part %i", async (part) => {
  for (let k = 0; k < 10; k++) {
    const seed = part * 10 + k;
    const kernel = randomKernel(seed, seed % 3 === 2);
    expect(supportsScan(kernel, { buffers: 12, bytes: Infinity })).toBe(true);
    expect(
      await error(kernel, SMALL, 12, seed),
      `kernel ${seed}: ${JSON.stringify(kernel.extents)} along ${kernel.along}`,
    ).toBeLessThan(2e-5);
  }
});
