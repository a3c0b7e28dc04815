import { afterAll, describe, expect, test } from "vitest";
import {
  add,
  complexLinearScan,
  cpu,
  explain,
  exp,
  grad,
  linearScan,
  matmul,
  mul,
  realize,
  reference,
  sigmoid,
  sub,
  sum,
  tensor,
  type Device,
  type Tensor,
} from "../../../index.js";

const [one, two, oracle] = [cpu({ threads: 1 }), cpu({ threads: 2 }), reference()];
afterAll(async () => {
  for (const device of [one, two]) await device.close();
});

let seed = 1;
const draw = (shape: readonly number[], low: number, high: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return low + ((high - low) * seed) / 2 ** 32;
  });

interface Case {
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly loss: (x: Readonly<Record<string, Tensor>>) => Tensor;
}

/** A nonlinear function of y, so that the gradient has to wait for it. */
const end = (y: Tensor): Tensor => sum(mul(sigmoid(y), y));

/** A decay for each of [B L D N], driven by an outer product, read by one vector a step: what Mamba does. */
const selective = ([B, L, D, N]: readonly [number, number, number, number], reverse: boolean): Case => ({
  shapes: { x: [B, L, D, 1], a: [1, 1, D, N], b: [B, L, 1, N], c: [B, L, 1, N], h0: [B, D, N] },
  loss: ({ x, a, b, c, h0 }) => {
    const decay = exp(mul(mul(-1, sigmoid(x!)), exp(a!)));
    return end(sum(mul(linearScan({ a: decay, b: mul(x!, mul(b!, exp(a!))), h0: h0!, axis: 1, reverse }), c!), 3));
  },
});

const cases: Readonly<Record<string, Case>> = {
  "states inside, lanes left over": selective([2, 83, 7, 5], false),
  "the other way": selective([1, 70, 9, 4], true),
  "one point a lane": {
    shapes: { x: [3, 150, 21], w: [21, 4] },
    loss: ({ x, w }) => {
      const h = linearScan({ a: sigmoid(x!), b: mul(x!, sigmoid(x!)), axis: 1 });
      return end(matmul(mul(h, sigmoid(x!)), w!));
    },
  },
  "decays of 0 that forget": {
    shapes: { x: [2, 100, 6, 1], b: [2, 100, 1, 8] },
    loss: ({ x, b }) => {
      const decay = mul(sigmoid(mul(x!, exp(b!))), sub(1, mul(0, x!)));
      return end(sum(linearScan({ a: decay, b: mul(x!, b!), axis: 1, forgets: true }), 3));
    },
  },
  complex: {
    shapes: { x: [2, 90, 5, 1], w: [1, 1, 5, 6], c: [2, 90, 1, 6] },
    loss: ({ x, w, c }) => {
      const size = sigmoid(add(x!, w!));
      const h = complexLinearScan({
        a: { re: mul(size, 0.8), im: mul(size, w!) },
        b: { re: mul(x!, c!), im: mul(x!, w!) },
        axis: 1,
      });
      return end(sum(sub(mul(h.re, c!), mul(h.im, w!)), 3));
    },
  },
};

async function gradients({ loss, shapes }: Case, values: readonly Float32Array[], device: Device) {
  const leaves = (): Record<string, Tensor> =>
    Object.fromEntries(Object.entries(shapes).map(([name, shape], k) => [name, tensor(values[k]!, shape)]));
  const tree = (): readonly Tensor[] => {
    const given = leaves();
    return [loss(given), ...Object.values(grad(loss)(given))];
  };
  const results = tree();
  await realize(results, { device });
  return {
    plan: await explain(tree(), { device }),
    data: await Promise.all(results.map(async (x) => (await x.data()) as Float32Array)),
  };
}

describe("a gradient that begins with the states that the recurrence kept", () => {
  test.each(Object.keys(cases))("%s", async (name) => {
    const each = cases[name]!;
    const values = Object.values(each.shapes).map((shape) => draw(shape, -1, 1));
    const [single, both, expected] = [
      await gradients(each, values, one),
      await gradients(each, values, two),
      await gradients(each, values, oracle),
    ];
    expect(single.plan).toMatch(/states kept every \d+ steps/);
    expect(single.plan).toMatch(/states given every \d+ steps/);
    expect(both.data).toEqual(single.data);
    expected.data.forEach((data, k) => {
      const scale = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      data.forEach((x, i) => expect(Math.abs(single.data[k]![i]! - x)).toBeLessThanOrEqual(4e-6 * scale));
    });
  });
});
