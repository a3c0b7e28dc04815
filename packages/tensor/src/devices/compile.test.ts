import { expect, test } from "vitest";
import {
  add,
  compile,
  cpu,
  div,
  dispose,
  explain,
  full,
  linearScan,
  matmul,
  mean,
  mul,
  realize,
  reference,
  setDebug,
  softmax,
  square,
  sub,
  sum,
  tanh,
  tensor,
  transpose,
  valueAndGrad,
  type Device,
  type Tensor,
  type Tree,
} from "../index.js";

const wave = (shape: readonly number[], phase: number): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, k) => Math.sin(1.7 * k + phase)),
    shape,
  );
};

interface Learner {
  readonly [name: string]: Tree;
  readonly params: { readonly a: Tensor; readonly w: Tensor };
  readonly momentum: { readonly a: Tensor; readonly w: Tensor };
  readonly step: Tensor;
}

const start = (): Learner => ({
  params: { a: wave([3], 1), w: wave([3, 4], 2) },
  momentum: { a: full([3], 0), w: full([3, 4], 0) },
  step: tensor(0),
});

const loss = valueAndGrad(({ a, w }: Learner["params"], x: Tensor): Tensor => {
  const y = softmax(matmul(tanh(x), w), -1);
  const h = linearScan({ a: mul(add(mul(x, 0), 1), a), b: tanh(x), axis: 0 });
  return add(mean(square(sub(matmul(h, w), 0.5))), sum(mul(y, transpose(wave([4, 5], 3)))));
});

/** A step of momentum with a rate that falls from step to step. */
function advance(
  { params, momentum, step }: Learner,
  x: Tensor,
): { readonly learner: Learner; readonly value: Tensor } {
  const [value, gradient] = loss(params, x);
  const rate = mul(0.1, sub(1, mul(step, 0.001)));
  const m = {
    a: add(mul(momentum.a, 0.9), gradient.a),
    w: add(mul(momentum.w, 0.9), gradient.w),
  };
  const next = { a: sub(params.a, mul(m.a, rate)), w: sub(params.w, mul(m.w, rate)) };
  return { learner: { params: next, momentum: m, step: add(step, 1) }, value };
}

type Step = (learner: Learner, x: Tensor) => Promise<{ readonly learner: Learner; readonly value: Tensor }>;

async function train(step: Step, steps: number): Promise<number[]> {
  let learner = start();
  const seen: number[] = [];
  for (let t = 0; t < steps; t++) {
    const x = wave([5, 3], 0.1 * t);
    const { learner: next, value } = await step(learner, x);
    seen.push(await value.item());
    dispose([value, x]);
    learner = next;
  }
  for (const x of [learner.params.a, learner.params.w, learner.step]) seen.push(...(await x.data()));
  dispose({ ...learner });
  return seen;
}

const plainly =
  (device: Device): Step =>
  async (learner, x) => {
    const next = advance(learner, x);
    await realize([{ ...next.learner }, next.value], { device, donate: [{ ...learner }] });
    return next;
  };
const compiled = (device: Device): Step => compile(advance, { device, donate: [0] });

test("a compiled training run gives the numbers of the uncompiled one, bit for bit", async () => {
  const device = cpu({ threads: 2 });
  expect(await train(compiled(device), 200)).toEqual(await train(plainly(device), 200));
  await device.close();
  const oracle = reference();
  expect(await train(compiled(oracle), 5)).toEqual(await train(plainly(oracle), 5));
});

test("memory stays flat over 10,000 compiled steps, and parameters stay where they are", async () => {
  const device = cpu({ threads: 1 });
  const step = compile(advance, { device, donate: [0] });
  let learner = start();
  const x = wave([5, 3], 0);
  const counts: string[] = [];
  for (let t = 0; t < 10_000; t++) {
    const { learner: next, value } = await step(learner, x);
    value.dispose();
    learner = next;
    if (t % 2500 === 2499) {
      const { buffers, bytes, peakBytes } = device.memory();
      counts.push(`${buffers} ${bytes} ${peakBytes}`);
    }
  }
  expect(new Set(counts).size).toBe(1);
  await device.close();
});

test("the function is traced once for each structure: form, shapes, types, constants, shared tensors", async () => {
  const device = cpu({ threads: 1 });
  let traced = 0;
  const f = compile(
    (x: Tensor, options: { readonly scale: number; readonly more?: Tensor }): Tensor => {
      traced++;
      return add(mul(x, options.scale), options.more ?? 0);
    },
    { device, traces: 3 },
  );
  const value = async (...args: Parameters<typeof f>): Promise<number[]> => [...(await (await f(...args)).data())];
  expect(await value(tensor([1, 2]), { scale: 2 })).toEqual([2, 4]);
  expect(await value(tensor([3, 4]), { scale: 2 })).toEqual([6, 8]);
  expect(traced).toBe(1);
  expect(await value(tensor([1, 2]), { scale: 3 })).toEqual([3, 6]);
  expect(await value(tensor([1, 2, 3]), { scale: 3 })).toEqual([3, 6, 9]);
  expect(traced).toBe(3);
  const shared = tensor([1, 2]);
  expect(await value(shared, { scale: 3, more: shared })).toEqual([4, 8]);
  expect(await value(tensor([1, 2]), { scale: 3, more: tensor([5, 6]) })).toEqual([8, 12]);
  expect(traced).toBe(5);
  // The least recently used trace is gone.
  await value(tensor([1, 2]), { scale: 2 });
  expect(traced).toBe(6);
  await device.close();
});

test("results that are arguments, tensors from outside, or the same twice", async () => {
  const device = cpu({ threads: 1 });
  const outside = tensor([7, 8]);
  const f = compile(
    (x: Tensor, y: Tensor) => {
      const z = add(x, y);
      return { x, outside, twice: [z, z] as const };
    },
    { device, donate: [0, 1] },
  );
  const [x, y] = [tensor([1, 2]), tensor([3, 4])];
  await realize([x, y], { device });
  const { x: same, outside: copy, twice } = await f(x, y);
  expect(same).toBe(x);
  expect(twice[0]).toBe(twice[1]);
  expect([...(await twice[0].data())]).toEqual([4, 6]);
  expect([...(await x.data())]).toEqual([1, 2]);
  await expect(y.data()).rejects.toThrow(/donated/);
  copy.dispose();
  expect([...(await (await f(x, tensor([0, 0]))).outside.data())]).toEqual([7, 8]);
  await device.close();
});

test("lazy arguments are realized first; explain prints the kernels", async () => {
  const device = cpu({ threads: 1 });
  const f = compile((x: Tensor): Tensor => mul(add(x, 1), 2), { device });
  const lazy = mul(tensor([1, 2]), 3);
  expect([...(await (await f(lazy)).data())]).toEqual([8, 14]);
  expect([...(await lazy.data())]).toEqual([3, 6]);
  expect(await f.explain(tensor([1, 2]))).toBe(await explain(mul(add(tensor([1, 2]), 1), 2), { device }));
  await device.close();
});

test("errors: values read while tracing, a compiled function inside, disposed arguments, NaN in debug mode", async () => {
  const device = cpu({ threads: 1 });
  const failing: Promise<unknown>[] = [];
  const reads = compile(
    (x: Tensor): Tensor => {
      failing.push(x.data());
      return x;
    },
    { device },
  );
  await reads(tensor([1]));
  await expect(failing[0]).rejects.toThrow(/argument f32 \[1\] of a function that is being compiled/);
  const inner = compile((x: Tensor): Tensor => add(x, 1), { device });
  const outer = compile(
    (x: Tensor): Tensor => {
      failing.push(inner(x));
      return x;
    },
    { device },
  );
  await outer(tensor([1]));
  await expect(failing[1]).rejects.toThrow(/call the function itself there/);
  const gone = tensor([1]);
  gone.dispose();
  await expect(inner(gone)).rejects.toThrow(/compile: expected a live tensor/);
  setDebug(true);
  try {
    await expect(compile((x: Tensor): Tensor => div(x, 0), { device })(tensor([1]))).rejects.toThrow(
      /div: expected finite values/,
    );
  } finally {
    setDebug(false);
  }
  await device.close();
});
