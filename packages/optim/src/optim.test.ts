import {
  cpu,
  mul,
  realize,
  reference,
  sub,
  sum,
  square,
  tensor,
  valueAndGrad,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  adamw,
  clipByGlobalNorm,
  constantSchedule,
  cosineSchedule,
  globalNorm,
  linearWarmup,
  sgd,
  type Optimizer,
  type Schedule,
} from "./index.js";

const oracle = reference();

async function values(x: Tensor, device: Device = oracle): Promise<number[]> {
  await realize({ x }, { device });
  return [...(await x.data())];
}

function expectClose(actual: readonly number[], expected: readonly number[], digits: number): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, k) => expect(actual[k], `element ${k}`).toBeCloseTo(value, digits));
}

/** Gradients of step t for parameters of two leaves: anything that changes from step to step. */
const gradientAt = (t: number): { a: number[]; b: number[] } => ({ a: [Math.sin(t + 1), 1e-3 * t, -2], b: [0.5 - t] });

/** Runs `steps` updates and returns both leaves, the step tensor and all else on the host. */
async function train(
  optimizer: Optimizer,
  steps: number,
  device: Device,
): Promise<{ a: number[]; b: number[]; step: number }> {
  let params = { layer: { a: tensor([1, -2, 0.5]) }, A_log: tensor([3]) };
  let state = optimizer.init(params);
  for (let t = 0; t < steps; t++) {
    const { a, b } = gradientAt(t);
    const [next, after] = optimizer.update({ layer: { a: tensor(a) }, A_log: tensor(b) }, state, params);
    await realize([next, after] as readonly Tree[], { device, donate: t === 0 ? [] : [params, state] });
    [params, state] = [next, after];
  }
  return { a: [...(await params.layer.a.data())], b: [...(await params.A_log.data())], step: await state.step.item() };
}

/** The published formulas in a float64 loop over single numbers. */
function adamwLoop(
  p: number,
  gradients: readonly number[],
  {
    rate,
    betas: [b1, b2],
    eps,
    decay,
  }: { rate: (t: number) => number; betas: readonly [number, number]; eps: number; decay: number },
): number {
  let [m, v] = [0, 0];
  gradients.forEach((g, k) => {
    const t = k + 1;
    const lr = rate(k);
    p -= lr * decay * p;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    p -= (lr * (m / (1 - b1 ** t))) / (Math.sqrt(v / (1 - b2 ** t)) + eps);
  });
  return p;
}

const steps = [...Array(25).keys()];
const leafGradients = [0, 1, 2].map((k) => steps.map((t) => gradientAt(t).a[k]!));
const lastGradients = steps.map((t) => gradientAt(t).b[0]!);

describe.each([
  ["reference", oracle, 10],
  ["cpu", cpu(), 4],
] as const)("on %s", (_, device, digits) => {
  test("adamw follows the published formulas, with a schedule and groups", async () => {
    const options = { betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.1 } as const;
    const learningRate = cosineSchedule({ peak: 0.05, warmupSteps: 5, totalSteps: 20, floor: 0.01 });
    const rate = (t: number): number =>
      t < 5 ? (0.05 * (t + 1)) / 5 : 0.01 + (0.04 / 2) * (1 + Math.cos(Math.PI * Math.min(1, (t - 5) / 15)));
    const result = await train(
      adamw({ learningRate, ...options, groups: [{ match: /A_log$/, weightDecay: 0, learningRateScale: 0.5 }] }),
      25,
      device,
    );
    const expected = [1, -2, 0.5].map((p, k) =>
      adamwLoop(p, leafGradients[k]!, { rate, betas: options.betas, eps: options.eps, decay: 0.1 }),
    );
    expectClose(result.a, expected, digits);
    expectClose(
      result.b,
      [adamwLoop(3, lastGradients, { rate: (t) => rate(t) / 2, betas: options.betas, eps: options.eps, decay: 0 })],
      digits,
    );
    expect(result.step).toBe(25);
  });

  test("adamw without momentum of either kind steps by the sign of the gradient", async () => {
    const result = await train(adamw({ learningRate: 0.5, betas: [0, 0], eps: 0, weightDecay: 0 }), 1, device);
    // The middle gradient is 0 at the first step, and 0 / 0 without eps; the others move by the rate.
    expectClose([result.a[0]!, result.a[2]!, result.b[0]!], [0.5, 1, 2.5], digits);
  });

  test("sgd follows v = mu v + g + decay p, p -= rate v", async () => {
    const result = await train(
      sgd({ learningRate: 0.02, momentum: 0.9, weightDecay: 0.1, groups: [{ match: /A_log/g, weightDecay: 0 }] }),
      25,
      device,
    );
    const loop = (p: number, gradients: readonly number[], decay: number): number => {
      let v = 0;
      for (const g of gradients) {
        v = 0.9 * v + g + decay * p;
        p -= 0.02 * v;
      }
      return p;
    };
    expectClose(
      result.a,
      [1, -2, 0.5].map((p, k) => loop(p, leafGradients[k]!, 0.1)),
      digits,
    );
    expectClose(result.b, [loop(3, lastGradients, 0)], digits);
  });

  test("Nesterov's momentum steps along g + mu v", async () => {
    const result = await train(sgd({ learningRate: 0.02, momentum: 0.9, nesterov: true }), 25, device);
    const loop = (p: number, gradients: readonly number[]): number => {
      let v = 0;
      for (const g of gradients) {
        v = 0.9 * v + g;
        p -= 0.02 * (g + 0.9 * v);
      }
      return p;
    };
    expectClose(
      result.a,
      [1, -2, 0.5].map((p, k) => loop(p, leafGradients[k]!)),
      digits,
    );
    expect(() => sgd({ learningRate: 1, nesterov: true })).toThrow(/momentum above 0/);
  });

  test("clipping scales to the norm, and leaves shorter gradients alone", async () => {
    const tree = { a: tensor([3, 0]), b: [tensor([[4]])] };
    expectClose(await values(globalNorm(tree), device), [5], 6);
    const [clipped, norm] = clipByGlobalNorm(tree, 1);
    expectClose(await values(norm, device), [5], 6);
    expectClose(await values(clipped.a, device), [0.6, 0], 6);
    expectClose(await values(clipped.b[0]!, device), [0.8], 6);
    expectClose(await values(clipByGlobalNorm(tree, 10)[0].a, device), [3, 0], 6);
    // 1e-6 beside the norm, as PyTorch has it: a thousandth here
    expectClose(await values(clipByGlobalNorm(tensor([1e-3]), 1e-4)[0], device), [1e-7 / 1.001e-3], 9);
  });
});

test("the rate of a group scales its decay too, as that of PyTorch's groups", async () => {
  const groups = [{ match: /^slow$/, learningRateScale: 0.5, weightDecay: 0.2 }];
  const params = { slow: tensor([2]), other: tensor([2]) };
  const still = { slow: tensor([0]), other: tensor([0]) };
  for (const optimizer of [adamw, sgd].map((make) => make({ learningRate: 0.1, weightDecay: 0.2, groups }))) {
    const [next] = optimizer.update(still, optimizer.init(params), params);
    expectClose(await values(next.slow), [2 * (1 - 0.05 * 0.2)], 12);
    expectClose(await values(next.other), [2 * (1 - 0.1 * 0.2)], 12);
  }
});

test("sgd without momentum keeps no moments and finds the minimum of a bowl", async () => {
  const optimizer = sgd({ learningRate: 0.2 });
  const loss = valueAndGrad((p: { x: Tensor }) => sum(square(sub(p.x, tensor([1, -2])))));
  let params = { x: tensor([5, 5]) };
  let state = optimizer.init(params);
  expect(Object.keys(state)).toEqual(["step"]);
  for (let t = 0; t < 40; t++) {
    const [, gradients] = loss(params);
    [params, state] = optimizer.update(gradients, state, params);
    await realize([params, state] as readonly Tree[], { device: oracle });
  }
  expectClose(await values(params.x), [1, -2], 6);
});

test("f16 gradients are clipped, and f16 parameters refused", async () => {
  const tree = { a: tensor([3, 0], [2], "f16"), b: tensor([4]) };
  const [clipped, norm] = clipByGlobalNorm(tree, 1);
  expect([clipped.a.dtype, clipped.b.dtype]).toEqual(["f16", "f32"]);
  expect(await values(norm)).toEqual([5]);
  expectClose(await values(clipped.a), [0.6, 0], 3);
  const optimizer = sgd({ learningRate: 1 });
  expect(() => optimizer.update(tree, optimizer.init(tree), tree)).toThrow(/^update: expected f32 for "a", got f16/);
});

test("schedules at their corners", async () => {
  const at = async (schedule: Schedule, step: number): Promise<number> => (await values(schedule(tensor(step))))[0]!;
  expect(await at(constantSchedule(0.3), 17)).toBe(0.3);
  const warmup = linearWarmup({ peak: 1, warmupSteps: 4 });
  expectClose([await at(warmup, 0), await at(warmup, 3), await at(warmup, 100)], [0.25, 1, 1], 12);
  expect(await at(linearWarmup({ peak: 2, warmupSteps: 0 }), 0)).toBe(2);
  const cosine = cosineSchedule({ peak: 1, warmupSteps: 10, totalSteps: 110, floor: 0.1 });
  const corners = [
    await at(cosine, 0),
    await at(cosine, 9),
    await at(cosine, 10),
    await at(cosine, 60),
    await at(cosine, 110),
    await at(cosine, 1000),
  ];
  expectClose(corners, [0.1, 1, 1, 0.55, 0.1, 0.1], 12);
  expect(() => cosineSchedule({ peak: 1, warmupSteps: 10, totalSteps: 10 })).toThrow(
    /more totalSteps than warmupSteps, got 10 and 10/,
  );
  expect(() => linearWarmup({ peak: 1, warmupSteps: -1 })).toThrow(/at least 0, got -1/);
});

test("the first matching group counts", async () => {
  const optimizer = sgd({
    learningRate: 1,
    groups: [
      { match: /\.dt_bias$/, learningRateScale: 0.1 },
      { match: /^layers/, learningRateScale: 0.5 },
    ],
  });
  const params = {
    layers: [{ dt_bias: tensor([0]), weight: tensor([0]) }],
    head: tensor([0]),
    steps: tensor([7], undefined, "i32"),
  };
  const ones = {
    layers: [{ dt_bias: tensor([1]), weight: tensor([1]) }],
    head: tensor([1]),
    steps: tensor([0], undefined, "i32"),
  };
  const [next] = optimizer.update(ones, optimizer.init(params), params);
  expectClose(await values(next.layers[0]!.dt_bias), [-0.1], 12);
  expectClose(await values(next.layers[0]!.weight), [-0.5], 12);
  expectClose(await values(next.head), [-1], 12);
  expect(await values(next.steps)).toEqual([7]);
});

test("wrong settings and trees are named", () => {
  expect(() => adamw({ learningRate: 0.1, betas: [1, 0.9] })).toThrow(/beta1 of at least 0 and below 1, got 1/);
  expect(() => sgd({ learningRate: -1 })).toThrow(/learningRate of at least 0, got -1/);
  expect(() => clipByGlobalNorm(tensor([1]), 0)).toThrow(/maxNorm, a number above 0, got 0/);
  const params = { w: tensor([1]) };
  const optimizer = adamw({ learningRate: 0.1 });
  expect(() =>
    optimizer.update({ v: tensor([1]) } as unknown as typeof params, optimizer.init(params), params),
  ).toThrow(/expected "w"/);
  expect(() => optimizer.update({ w: mul(params.w, 1) }, { step: tensor(0, undefined, "i32") }, params)).toThrow(
    /state that init made/,
  );
});

test.each([
  ["adamw", adamw({ learningRate: 0.1, weightDecay: 0 })],
  ["sgd", sgd({ learningRate: 0.1, momentum: 0.9 })],
] as [string, Optimizer][])(
  "%s: the leaves of a list of an object and a tensor stay in their places",
  async (_, optimizer) => {
    const params = [{ w: tensor([1]) }, tensor([2]), { "a.b": tensor([3]), a: { b: tensor([4]) } }] as const;
    const still = optimizer.update(params, optimizer.init(params), params);
    const rest = adamw({ learningRate: 0 }).update(params, adamw({ learningRate: 0 }).init(params), params);
    const list = ([p, q, r]: typeof params): Tensor[] => [p.w, q, r["a.b"], r.a.b];
    expect((await Promise.all(list(rest[0]).map((x) => values(x)))).flat()).toEqual([1, 2, 3, 4]);
    const moved = (await Promise.all(list(still[0]).map((x) => values(x)))).flat();
    const alone = await Promise.all(
      [1, 2, 3, 4].map(async (v) => {
        const p = { w: tensor([v]) };
        return (await values(optimizer.update(p, optimizer.init(p), p)[0].w))[0]!;
      }),
    );
    expect(moved).toEqual(alone);
  },
);

test("a state whose keys come in another order is matched by name", async () => {
  const optimizer = sgd({ learningRate: 1, momentum: 0.5 });
  const params = { b: tensor([0]), a: tensor([0]) };
  const state = { velocity: { a: tensor([10]), b: tensor([20]) }, step: tensor(0, undefined, "i32") };
  const [next, after] = optimizer.update({ a: tensor([1]), b: tensor([2]) }, state, params);
  const velocity = after.velocity as typeof params;
  expect([await values(next.a), await values(next.b)]).toEqual([[-6], [-12]]);
  expect([await values(velocity.a), await values(velocity.b)]).toEqual([[6], [12]]);
});

test("settings that do not exist are named, and the learning rate must be there", () => {
  expect(() => adamw({ lr: 0.1 } as never)).toThrow(
    /^adamw: expected settings out of learningRate, .* got lr; write learningRate/,
  );
  expect(() => adamw({ learningRate: 0.1, weight_decay: 0 } as never)).toThrow(/got weight_decay/);
  expect(() => adamw({ learningRate: 0.1, betas: 0.9 } as never)).toThrow(
    /^adamw: expected betas, a list of two numbers/,
  );
  expect(() => adamw({ learningRate: 0.1, groups: [{ match: "bias" }] } as never)).toThrow(
    /^adamw, groups: expected match, a regular expression for paths, got bias; /,
  );
  expect(() => sgd({ learningRate: 0.1, groups: [{ match: /bias/, lr: 0 }] } as never)).toThrow(
    /^sgd, groups: expected settings out of match, weightDecay, learningRateScale, got lr; /,
  );
  expect(() => cosineSchedule({ peak: 1, total: 5 } as never)).toThrow(/^cosineSchedule: .* got total; /);
  expect(() => constantSchedule(NaN)).toThrow(/^constantSchedule: expected rate of at least 0, got NaN/);
  expect(() => adamw({} as never)).toThrow(
    /^adamw: expected learningRate, a number or a function of the step, got undefined/,
  );
  expect(() => sgd({ learningRate: 0.1, betas: [0, 0] } as never)).toThrow(/^sgd: .* got betas/);
});
