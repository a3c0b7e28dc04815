import {
  compile,
  cpu,
  div,
  dispose,
  foldIn,
  key,
  matmul,
  mean,
  mul,
  normal,
  realize,
  reference,
  scope,
  square,
  sub,
  sum,
  tanh,
  tensor,
  uniform,
  valueAndGrad,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import {
  adamw,
  clipByGlobalNorm,
  cosineSchedule,
  sgd,
  trainer,
  type OptimizerState,
  type TrainerState,
} from "./index.js";

type Parameters = { readonly layers: readonly [{ readonly weight: Tensor }, { readonly weight: Tensor }] };
type Batch = { readonly x: Tensor; readonly y: Tensor };

const init = (): Parameters => ({
  layers: [{ weight: normal(foldIn(key(0), 1), [3, 4]) }, { weight: normal(foldIn(key(0), 2), [4, 1]) }],
});
const batchAt = (t: number): Batch => {
  const x = uniform(foldIn(key(1), t), [5, 3]);
  return { x, y: sum(square(x), [1], { keepDims: true }) };
};
const loss = ({ layers: [first, second] }: Parameters, { x, y }: Batch): Tensor =>
  mean(square(sub(matmul(tanh(matmul(x, first.weight)), second.weight), y)));
const optimizer = adamw({ learningRate: cosineSchedule({ peak: 0.05, warmupSteps: 3, totalSteps: 30 }) });

const device = cpu({ threads: 1 });
afterAll(() => device.close());

const valuesOf = async ({ layers: [first, second] }: Parameters): Promise<number[]> => [
  ...(await first.weight.data()),
  ...(await second.weight.data()),
];

test("its losses and parameters are those of the loop written out, bit for bit", async () => {
  const lossAndGradient = valueAndGrad(loss);
  const advance = compile(
    (params: Parameters, state: OptimizerState, batch: Batch): readonly [Parameters, OptimizerState, Tensor] => {
      const [value, gradients] = lossAndGradient(params, batch);
      return [...optimizer.update(clipByGlobalNorm(gradients, 0.1)[0], state, params), value];
    },
    { device, donate: [0, 1] },
  );
  let params = await realize(init(), { device });
  let state = await realize(optimizer.init(params), { device });
  const expected: number[] = [];
  for (let t = 0; t < 20; t++) {
    const [next, after, value] = await advance(params, state, batchAt(t));
    [params, state] = [next, after];
    expected.push(await value.item());
  }

  const step = trainer({ loss, optimizer, params: init(), clip: 0.1, device });
  const seen: number[] = [];
  for (let t = 0; t < 20; t++) seen.push((await step(batchAt(t))).loss);
  expect(seen).toEqual(expected);
  expect(seen.at(-1)).toBeLessThan(seen[0]!);
  expect(await valuesOf(step.params)).toEqual(await valuesOf(params));
  step.dispose();
});

test("metrics of any form and the norm of the gradients come back as numbers", async () => {
  const step = trainer({
    loss: ({ w }: { w: Tensor }, x: Tensor) => [sum(square(sub(w, x))), { error: sub(w, x), half: [div(sum(w), 2)] }],
    optimizer: sgd({ learningRate: 0.5 }),
    params: { w: tensor([3, 4]) },
    clip: 1,
    device: reference(),
  });
  expect(await step(tensor([0, 0]))).toEqual({ loss: 25, gradientNorm: 10, metrics: { error: [3, 4], half: [3.5] } });
  const [a, b] = await step.params.w.data();
  expect(a).toBeCloseTo(3 - 0.5 * 0.6, 6);
  expect(b).toBeCloseTo(4 - 0.5 * 0.8, 6);
});

test("without clip and metrics a step reports its loss alone", async () => {
  const step = trainer({
    loss: (w: Tensor, x: Tensor) => sum(square(sub(w, x))),
    optimizer: sgd({ learningRate: 0.25 }),
    params: tensor([2]),
    device,
  });
  expect(await step(tensor([0]))).toEqual({ loss: 4, metrics: {} });
  expect([...(await step.params.data())]).toEqual([1]);
  step.dispose();
});

describe("state", () => {
  const run = async (step: (batch: Batch) => Promise<{ readonly loss: number }>, from: number): Promise<number[]> => {
    const seen: number[] = [];
    for (let t = from; t < from + 5; t++) seen.push((await step(batchAt(t))).loss);
    return seen;
  };
  /** On the host, its keys in another order, as a file may have them. */
  const saved = async ({ params, optimizer: { step, firstMoment, secondMoment } }: TrainerState<Parameters>) => {
    const copy = async (x: Tensor): Promise<Tensor> => tensor(await x.data(), x.shape, x.dtype);
    const weights = async ({ layers: [first, second] }: Parameters): Promise<Parameters> => ({
      layers: [{ weight: await copy(first.weight) }, { weight: await copy(second.weight) }],
    });
    return {
      optimizer: {
        secondMoment: await weights(secondMoment as Parameters),
        firstMoment: await weights(firstMoment as Parameters),
        step: await copy(step),
      },
      params: await weights(params),
    };
  };

  test("a trainer restored ends with the numbers of one that was not", async () => {
    const whole = trainer({ loss, optimizer, params: init(), device });
    const first = await run(whole, 0);
    const kept = await saved(whole.state);
    const second = await run(whole, 5);
    const other = trainer({ loss, optimizer, params: init(), device });
    expect(await run(other, 0)).toEqual(first);
    await run(other, 100);
    await other.restore(kept);
    expect(await run(other, 5)).toEqual(second);
    expect(await valuesOf(other.params)).toEqual(await valuesOf(whole.params));
    await expect(other.restore({ ...other.state, params: { layers: [] } as never })).rejects.toThrow(
      /expected "params.layers.0"/,
    );
    const wrong = { layers: [{ weight: tensor([1]) }, { weight: tensor([1]) }] } as const;
    await expect(other.restore({ ...other.state, params: wrong })).rejects.toThrow(
      /^trainer: expected Tensor f32 \[3,4\] at "params.layers.0.weight", got Tensor f32 \[1\]/,
    );
    // A restore that failed changed nothing.
    expect((await other(batchAt(10))).loss).toBe((await whole(batchAt(10))).loss);
    whole.dispose();
    other.dispose();
  });
});

test("steps asked for at once run in order, each on the parameters of the one before", async () => {
  const one = trainer({ loss, optimizer, params: init(), device });
  const two = trainer({ loss, optimizer, params: init(), device });
  const expected: number[] = [];
  for (let t = 0; t < 4; t++) expected.push((await one(batchAt(t))).loss);
  const seen = await Promise.all([0, 1, 2, 3].map((t) => two(batchAt(t))));
  expect(seen.map(({ loss: value }) => value)).toEqual(expected);
  one.dispose();
  two.dispose();
});

test("memory does not grow from step to step, and dispose gives all of it back", async () => {
  const own = cpu({ threads: 1 });
  const step = trainer({ loss, optimizer, params: init(), device: own, clip: 1, disposeBatch: true });
  await step(batchAt(0));
  await step(batchAt(1));
  const held = own.memory();
  for (let t = 2; t < 12; t++) await step(batchAt(t));
  expect(own.memory()).toEqual(held);
  const last = step(batchAt(12));
  step.dispose();
  await last;
  expect(own.memory()).toMatchObject({ buffers: 0, bytes: 0, collected: 0 });
  await expect(step(batchAt(13))).rejects.toThrow(/^trainer: expected a live trainer/);
  await own.close();
});

test("a scope around a step frees what the step reports, not what it trains", async () => {
  const own = cpu({ threads: 1 });
  const step = trainer({ loss, optimizer, params: init(), device: own });
  const held = await scope(async () => {
    await step.unread(batchAt(0));
    return own.memory().buffers;
  });
  expect(own.memory().buffers).toBeLessThan(held);
  const left = own.memory().buffers;
  await scope(() => step.unread(batchAt(1)).then(() => undefined));
  expect(own.memory().buffers).toBe(left);
  expect((await valuesOf(step.params)).every(Number.isFinite)).toBe(true);
  await own.close();
});

test("a step that fails leaves the state, and the next one goes on", async () => {
  const step = trainer({
    loss: (w: Tensor, x: Tensor) => sum(square(sub(w, x))),
    optimizer: sgd({ learningRate: 0.25 }),
    params: tensor([2, 2]),
    device,
  });
  await expect(step(tensor([1, 2, 3]))).rejects.toThrow(/\[2\].*\[3\]/);
  expect((await step(tensor([0, 0]))).loss).toBe(8);
  step.dispose();
});

test("unread steps hand out tensors, explain prints the kernels, names are checked", async () => {
  const step = trainer({ loss, optimizer, params: init(), device });
  const report = await step.unread(batchAt(0));
  expect(report.loss.shape).toEqual([]);
  expect(await step.explain(batchAt(0))).toMatch(/matmul/);
  dispose(report as never);
  step.dispose();
  expect(() => trainer({ loss, optimizer, params: init(), learningRate: 1 } as never)).toThrow(
    /^trainer: expected settings out of loss, .*, got learningRate/,
  );
});

describe("half precision", () => {
  const wide = (): Parameters => ({
    layers: [{ weight: normal(foldIn(key(0), 1), [3, 16]) }, { weight: normal(foldIn(key(0), 2), [16, 1]) }],
  });
  const lossesOf = async (halfPrecision: false | { readonly scale: number }): Promise<number[]> => {
    using step = trainer({ loss, optimizer, params: wide(), device, clip: 1, halfPrecision });
    const losses: number[] = [];
    for (let t = 0; t < 30; t++) losses.push((await step(batchAt(t))).loss);
    return losses;
  };

  test("products of f16 learn as those of f32 do", async () => {
    // Errors of this task are large: a larger scale would skip the first steps.
    const [half, single] = [await lossesOf({ scale: 64 }), await lossesOf(false)];
    expect(half).not.toEqual(single);
    half.forEach((value, t) => expect(Math.abs(value - single[t]!)).toBeLessThan(0.02 * (1 + single[t]!)));
  });

  test("a step whose gradients are not finite changes the scale and its count alone; long streaks raise the scale", async () => {
    using step = trainer({
      loss: (params: Parameters, batch: Batch & { readonly factor: Tensor }) => mul(loss(params, batch), batch.factor),
      optimizer,
      params: wide(),
      device,
      halfPrecision: { scale: 1024, interval: 3 },
    });
    const seen: string[] = [];
    for (const [t, factor] of [1, 1, Infinity, 1, 1, 1, 1e30].entries()) {
      const before = t === 0 ? [] : await valuesOf(step.params);
      await step({ ...batchAt(t), factor: tensor([factor], []) });
      const { scale, streak, skipped } = step.state.lossScaling!;
      const moved = String(await valuesOf(step.params)) !== String(before);
      seen.push(`${await scale.item()} ${await streak.item()} ${await skipped.item()} ${moved}`);
    }
    expect(seen).toEqual([
      "1024 1 0 true",
      "1024 2 0 true",
      "512 0 1 false",
      "512 1 1 true",
      "512 2 1 true",
      "1024 0 1 true",
      "512 0 2 false",
    ]);
    expect(() => trainer({ loss, optimizer, params: wide(), halfPrecision: { scale: 0 } })).toThrow(/scale from 1 to/);
  });
});
