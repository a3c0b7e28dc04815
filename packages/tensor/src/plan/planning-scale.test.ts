/** Graphs of many calls are planned in time that grows with their number: what was quadratic ran out of the test's time. */
import { expect, test } from "vitest";
import {
  add,
  concat,
  cpu,
  explain,
  grad,
  leavesOf,
  linearScan,
  mul,
  pad,
  prod,
  realize,
  reference,
  reshape,
  setDebug,
  sliceAxis,
  softmax,
  sum,
  tanh,
  tensor,
  transpose,
  type Device,
  type Tensor,
  type Tree,
} from "../index.js";

const wave = (size: number, step = 1): Tensor =>
  tensor(Float32Array.from({ length: size }, (_, k) => Math.sin(step * (k + 1))));

const repeat = (times: number, x: Tensor, f: (x: Tensor, k: number) => Tensor): Tensor => {
  let y = x;
  for (let k = 0; k < times; k++) y = f(y, k);
  return y;
};

/** x_i + x_(i + n/2). */
const halves = (x: Tensor): Tensor => add(sliceAxis(x, 0, 0, x.size / 2), sliceAxis(x, 0, x.size / 2, x.size));
/** x_(i - n), 0 at the first n. */
const later = (x: Tensor, n: number): Tensor => pad(sliceAxis(x, 0, 0, x.size - n), [n], [0]);

async function valuesOn(device: Device, build: () => Tree): Promise<number[]> {
  const tree = build();
  await realize(tree, { device });
  const values: number[] = [];
  for (const x of leavesOf(tree)) values.push(...(await x.data()));
  await device.close();
  return values;
}

const graphs: Record<string, () => Tree> = {
  "a chain of 30,000 calls": () => repeat(30_000, wave(4), (x, k) => (k % 2 ? mul(x, 0.5) : add(x, 1))),
  "its gradient": () => grad((x: Tensor) => sum(repeat(10_000, x, (y, k) => mul(y, k % 2 ? 2 : 0.5))))(wave(4)),
  "5,000 numbers put together": () =>
    concat(
      Array.from({ length: 5000 }, (_, k) => mul(wave(1, k), 2)),
      0,
    ),
  "2,000 results of one input": () => {
    const x = wave(4);
    return Array.from({ length: 2000 }, (_, k) => add(mul(x, k), 1));
  },
  "1,000 sums of one input": () => {
    const x = wave(4);
    return Array.from({ length: 1000 }, (_, k) => sum(mul(x, k)));
  },
  "5,000 summands": () => repeat(5000, wave(4), (x, k) => add(x, wave(4, k))),
  "1,000 reductions, each of the result before": () =>
    repeat(1000, wave(8), (x) => add(mul(x, 0.5), mul(sum(x), 0.01))),
  "300 softmaxes": () => repeat(300, reshape(wave(32), [4, 8]), (x) => softmax(mul(x, 2), -1)),
  "2,000 reshapes that are no views": () =>
    repeat(2000, wave(12), (x, k) => reshape(transpose(reshape(x, [k % 2 ? 3 : 4, k % 2 ? 4 : 3])), [12])),
  // x_i and x_j of the same value in one sum: computed in place, each level would take twice the work of the one before
  "32,768 numbers added up by halves": () => repeat(15, wave(2 ** 15), (x) => halves(x)),
  "a running sum by 12 doublings, and its gradient": () => {
    const doublings = (x: Tensor): Tensor => repeat(12, x, (y, k) => add(mul(y, 0.5), later(y, 2 ** k)));
    return [doublings(wave(4096)), grad((x: Tensor) => sum(mul(doublings(x), wave(4096, 2))))(wave(4096))];
  },
  "a product of 20,000 numbers": () => prod(add(mul(wave(20_000), 0.01), 1)),
  "24 rotations": () =>
    repeat(24, wave(500), (x, k) => concat([sliceAxis(x, 0, k + 1, 500), sliceAxis(x, 0, 0, k + 1)], 0)),
  "200 recurrences": () =>
    repeat(200, reshape(wave(32), [4, 8]), (x) => linearScan({ a: mul(tanh(x), 0.5), b: mul(x, 0.4), axis: 0 })),
};

test.each(Object.entries(graphs))(
  "%s: fused values are the reference's",
  async (_, build) => {
    const [actual, expected] = [await valuesOn(cpu({ threads: 1 }), build), await valuesOn(reference(), build)];
    expect(actual.length).toBe(expected.length);
    const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
    actual.forEach((x, k) => expect(Math.abs(x - expected[k]!) / scale, `element ${k}`).toBeLessThan(1e-4));
  },
  60_000,
);

test("kernels of a long chain are bounded, and equal ones", async () => {
  const text = await explain(
    repeat(10_000, wave(4), (x) => add(x, 1)),
    { device: cpu({ threads: 1 }) },
  );
  const lines = text.split("\n");
  expect(lines.length).toBeGreaterThan(10_000 / 512);
  expect(new Set(lines).size).toBeLessThan(4);
});

test("kernels that read many elements of one value are bounded", async () => {
  const text = await explain(
    repeat(12, wave(4096), (x) => halves(x)),
    { device: cpu({ threads: 1 }) },
  );
  const loads = [...text.matchAll(/(\d+) loads?/g)].map(([, count]) => Number(count));
  expect(loads.length).toBeLessThanOrEqual(6);
  expect(Math.max(...loads)).toBeLessThanOrEqual(64);
});

test("a long chain in debug mode and without fusion", async () => {
  const chain = (): Tensor => repeat(2000, wave(4), (x) => mul(x, 1.0001));
  const plain = chain();
  await realize(plain, { device: reference(), fuse: false });
  setDebug(true);
  const debugged = chain();
  try {
    await realize(debugged, { device: reference() });
  } finally {
    setDebug(false);
  }
  expect(await debugged.data()).toEqual(await plain.data());
});
