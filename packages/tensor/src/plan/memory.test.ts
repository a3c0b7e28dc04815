import { beforeAll, expect, test } from "vitest";
import { whenLoaded } from "../graph/on-demand.js";
import {
  add,
  broadcastTo,
  cpu,
  cumsum,
  div,
  explain,
  grad,
  key,
  leavesOf,
  linearScan,
  matmul,
  mul,
  normal,
  pad,
  realize,
  reference,
  reshape,
  sigmoid,
  sliceAxis,
  sum,
  tanh,
  tensor,
  transpose,
  valueAndGrad,
  type Tensor,
  type Tree,
} from "../index.js";
import { peakOf } from "./peak.js";
import { makePlan } from "./planner.js";
import type { PlanOptions } from "./draft.js";
import { scanPasses } from "./scan-passes.js";
import { graphOf } from "./signature.js";

const OPTIONS: PlanOptions = { device: "cpu", fuse: true, maxBuffers: 16 };
const matrix = (rows: number, columns: number, seed: number): Tensor =>
  tensor(
    Float32Array.from({ length: rows * columns }, (_, k) => Math.sin(seed + 1.3 * k) / 8),
    [rows, columns],
  );
const planOf = (tree: Tree, options = OPTIONS): ReturnType<typeof makePlan> => {
  const { roots, leaves } = graphOf(leavesOf(tree));
  return makePlan(roots, leaves, options);
};

/** Passes among several kernels are loaded with the first plan that has them. */
beforeAll(async () => void (await whenLoaded(() => planOf(gradients()))));

const [LAYERS, ROWS, WIDTH] = [12, 64, 8];
/** Gradients of the weights of a deep perceptron: 64 rows are much more than a weight. */
const gradients = (): Tree =>
  grad((weights: readonly Tensor[]) => {
    let x = matrix(ROWS, WIDTH, 1);
    for (const w of weights) x = tanh(matmul(x, w));
    return sum(mul(x, x));
  })(Array.from({ length: LAYERS }, (_, k) => matrix(WIDTH, WIDTH, k)));

test("a backward pass gives back what it has used: at its start lie the activations, and never as many cotangents beside them", () => {
  const { bytes, alive } = peakOf(planOf(gradients()));
  const activation = 4 * ROWS * WIDTH;
  const given = alive.reduce((total, { use, bytes: own }) => total + (use === "temporary" ? 0 : own), 0);
  expect(bytes - given).toBeLessThan((LAYERS + 4) * activation);
});

test("kernels that run early have what they read: gradients are those of the reference", async () => {
  const [found, expected] = [gradients(), gradients()];
  await realize(found, { device: cpu() });
  await realize(expected, { device: reference() });
  for (const [k, x] of leavesOf(found).entries()) {
    const exact = await leavesOf(expected)[k]!.data();
    (await x.data()).forEach((value: number, i: number) => expect(value).toBeCloseTo(exact[i]!, 5));
  }
});

/** So large that starting a kernel is nothing beside what it computes. */
const SIDE = 1024;

/** Two reductions that read the same gate of a value in memory. */
function gated(value: (x: Tensor) => Tensor, side = SIDE): Tensor[] {
  const given = (seed: number): Tensor => normal(key(seed), [side, side]);
  const x = matmul(given(1), given(2));
  const gate = value(x);
  return [sum(mul(gate, x), 0), sum(mul(gate, given(3)), 1)];
}

test("little work on one value in memory is computed again where it is used, if the device asks for it", () => {
  const stores = (value: (x: Tensor) => Tensor, computedAgain: number, side = SIDE): number =>
    planOf(gated(value, side), { ...OPTIONS, computedAgain }).slots.filter(({ size }) => size === side * side).length;
  const few = stores(sigmoid, 32);
  expect(stores(sigmoid, 0)).toBe(few + 1);
  // Constants are read from no memory.
  expect(stores((x) => mul(add(sigmoid(mul(x, 0.5)), 1), 0.5), 32)).toBe(few);
  // More work than that, or another value to be read.
  const much = (x: Tensor): Tensor => sigmoid(sigmoid(sigmoid(sigmoid(x))));
  expect(stores(much, 32)).toBe(few + 1);
  // Where there are few elements, starting a kernel takes longer than that.
  expect(stores(much, 32, 32)).toBe(stores(sigmoid, 32, 32));
});

test("a small value that a broadcast spreads is not computed at each of the many elements", () => {
  const [x, rows] = [matrix(1, 64, 1), matrix(4096, 64, 2)];
  const much = sigmoid(sigmoid(sigmoid(sigmoid(add(x, 0.25)))));
  const plan = planOf([mul(broadcastTo(much, [4096, 64]), rows), mul(much, 2)], { ...OPTIONS, computedAgain: 32 });
  // x, much and its double.
  expect(plan.slots.filter(({ size }) => size === 64)).toHaveLength(3);
});

test("what a product reads in another order is computed in that order at once, where computing is cheap", () => {
  const [u, w] = [tensor(new Float32Array(2 * 6 * 40).fill(1), [2, 6, 40]), matrix(6, 5, 1)];
  const before = cumsum(u, 2);
  const product = (): Tensor => matmul(reshape(transpose(sigmoid(before), [0, 2, 1]), [80, 6]), w);
  const large = (computedAgain: number): number =>
    planOf(product(), { ...OPTIONS, computedAgain }).slots.filter(({ size }) => size === u.size).length;
  // The input, its sums, and the sigmoid in one order or two.
  expect(large(32)).toBe(3);
  expect(large(0)).toBe(4);
  // Axes that only change their strides are no new order: nothing is copied.
  const views = matmul(transpose(reshape(sigmoid(before), [12, 40])), matrix(12, 5, 2));
  expect(planOf(views, { ...OPTIONS, computedAgain: 32 }).slots.filter(({ size }) => size === u.size)).toHaveLength(3);
});

test("what a recurrence reads in each pass has memory, if it is made of several readings of one tensor", () => {
  // A short convolution of a product, read by a recurrence and by a sum; large ones, since small ones are computed again.
  const [L, D] = [1024, 512];
  const stores = (taps: number): number => {
    const x = matmul(matrix(L, D, 1), matrix(D, D, 2));
    const padded = pad(x, [taps - 1, 0], [0, 0]);
    const shifted = Array.from({ length: taps }, (_, k) => mul(sliceAxis(padded, 0, k, k + L), matrix(1, 1, k)));
    const y = shifted.reduce((p, q) => add(p, q));
    const states = linearScan({ a: mul(matrix(L, D, 3), 0.5), b: mul(y, x), axis: 0 });
    const plan = planOf([sum(states, 1), sum(mul(y, matrix(L, D, 4)), 0)], {
      ...OPTIONS,
      computedAgain: 32,
      scans: { passes: scanPasses, maxBuffers: 16, accepts: () => true },
    });
    return plan.slots.filter(({ size }) => size === L * D).length;
  };
  // Given are three matrices of this size, made is the product: the recurrence's own states take none.
  expect(stores(1)).toBe(4);
  expect(stores(3)).toBe(5);
});

test("what is made of a value that several kernels use is computed again too", () => {
  // As a norm: x is kept, and x / r is used by two kernels.
  const [a, b] = [matrix(32, 32, 1), matrix(32, 32, 2)];
  const x = tanh(tanh(tanh(tanh(add(a, b)))));
  const r = add(sum(mul(x, x), -1, { keepDims: true }), 1);
  const unit = div(x, broadcastTo(r, [32, 32]));
  const plan = planOf([sum(mul(unit, a), 0), sum(mul(unit, b), 1), x], { ...OPTIONS, computedAgain: 32 });
  // a, b, x.
  expect(plan.slots.filter(({ size }) => size === 32 * 32)).toHaveLength(3);
});

test("the gradient of a weight used in pieces is added up product by product, as each is stored", () => {
  const [PIECES, D, V] = [5, 8, 512];
  const inputs = Array.from({ length: PIECES }, (_, k) => matrix(16, D, k));
  const both = valueAndGrad((w: Tensor) => inputs.map((x) => sum(tanh(matmul(x, w)))).reduce((p, q) => add(p, q)))(
    matrix(D, V, 9),
  );
  const plan = planOf(both, { ...OPTIONS, epilogues: new Set(["matmul"]) });
  const adds = plan.steps.filter((step) => step.kind === "native" && step.call.epilogue && step.inputs.length === 3);
  expect(adds).toHaveLength(PIECES - 1);
  // At every kernel, the sums so far that it or a later one reads.
  const isSum = (slot: number): boolean => plan.slots[slot]!.shape.join() === `${D},${V}` && slot >= plan.leafCount;
  plan.steps.forEach((_, k) => {
    const made = new Set(plan.steps.slice(0, k + 1).flatMap(({ outputs }) => outputs));
    const read = new Set(plan.steps.slice(k).flatMap(({ inputs }) => inputs));
    expect([...made].filter((slot) => isSum(slot) && read.has(slot)).length).toBeLessThanOrEqual(2);
  });
});

test("reductions are joined as long as their partial results have buffers too", () => {
  const x = matrix(64, 8, 1);
  const sums = Array.from({ length: 6 }, (_, k) => sum(mul(x, matrix(64, 8, k + 2)), 0));
  const joined = (maxBuffers: number): number => planOf(sums, { ...OPTIONS, maxBuffers }).steps.length;
  // Seven inputs, six results, six partial ones.
  expect(joined(19)).toBe(1);
  expect(joined(18)).toBe(2);
});

test("states of a short axis are stored by the kernel that sums over them", async () => {
  const device = cpu();
  const [h, c] = await realize([normal(key(1), [3, 20, 16]), normal(key(2), [3, 1, 16])], { device });
  const next = add(mul(h, 0.5), c);
  const y = sum(mul(next, c), 2);
  expect((await explain([next, y], { device })).split("\n")).toHaveLength(1);
  await realize([next, y], { device });
  const states = await next.data();
  const inputs = await c.data();
  (await y.data()).forEach((value: number, at: number) => {
    const b = Math.floor(at / 20);
    let total = 0;
    for (let n = 0; n < 16; n++) total += states[16 * at + n]! * inputs[16 * b + n]!;
    expect(value).toBeCloseTo(total, 5);
  });
  await device.close();
});
