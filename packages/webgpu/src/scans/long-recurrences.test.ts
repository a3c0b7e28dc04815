/** Recurrences at the ends of what float32 holds: a million steps, decays near 1, decays that underflow, steps of nothing. */
import {
  abs,
  broadcastTo,
  complexLinearScan,
  cos,
  exp,
  expandDims,
  explain,
  grad,
  linearScan,
  max,
  mul,
  realize,
  softplus,
  sin,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice();
afterAll(() => device.close());

function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => ((x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0) >>> 0) / 2 ** 32;
}

/** Largest difference over the largest magnitude. */
function error(actual: ArrayLike<number>, expected: Float64Array): number {
  let worst = 0,
    largest = 0;
  expected.forEach((x, i) => {
    const e = Math.abs(actual[i]! - x);
    worst = Number.isNaN(e) ? Infinity : Math.max(worst, e);
    largest = Math.max(largest, Math.abs(x));
  });
  return worst / largest;
}

describe("2^20 steps are within 1e-4 of float64", () => {
  const L = 2 ** 20;
  const next = random(1);
  const values = (low: number, high: number): Float32Array =>
    Float32Array.from({ length: L }, () => low + (high - low) * next());

  test("real, stored and fused, decays from 0.999 to 1", async () => {
    const [a, b, c] = [values(0.999, 1), values(-1, 1), values(-1, 1)];
    const h = new Float64Array(L),
      y = new Float64Array(L);
    let state = 0;
    for (let t = 0; t < L; t++) {
      h[t] = state = a[t]! * state + b[t]!;
      y[t] = state * c[t]!;
    }
    const states = linearScan({ a: tensor(a), b: tensor(b), axis: 0 });
    await realize(states, { device });
    expect(error(await states.data(), h)).toBeLessThan(1e-4);
    const column = (x: Float32Array): Tensor => tensor(x, [L, 1]);
    const read = sum(mul(linearScan({ a: mul(column(a), 1), b: mul(column(b), 1), axis: 0 }), column(c)), 1);
    expect(await explain(read, { device })).toMatch(/fused scan \[1048576,1\]/);
    await realize(read, { device });
    expect(error(await read.data(), y)).toBeLessThan(1e-4);
  });

  test("complex, of modulus 0.9999 and any angle, from polar form", async () => {
    const [radius, angle] = [Float32Array.of(0.9999), Float32Array.of(2.5)];
    const [re, im] = [values(-1, 1), values(-1, 1)];
    const polar = { re: mul(tensor(radius), cos(tensor(angle))), im: mul(tensor(radius), sin(tensor(angle))) };
    await realize(polar, { device });
    const [aRe, aIm] = [(await polar.re.data())[0]!, (await polar.im.data())[0]!];
    expect(Math.hypot(aRe, aIm)).toBeCloseTo(0.9999, 6);
    const h = complexLinearScan({
      a: { re: broadcastTo(polar.re, [L]), im: broadcastTo(polar.im, [L]) },
      b: { re: tensor(re), im: tensor(im) },
      axis: 0,
    });
    await realize([h.re, h.im], { device });
    const expected = [new Float64Array(L), new Float64Array(L)] as const;
    let [x, y] = [0, 0];
    for (let t = 0; t < L; t++) {
      [x, y] = [aRe * x - aIm * y + re[t]!, aRe * y + aIm * x + im[t]!];
      expected[0][t] = x;
      expected[1][t] = y;
    }
    expect(error(await h.re.data(), expected[0])).toBeLessThan(1e-4);
    expect(error(await h.im.data(), expected[1])).toBeLessThan(1e-4);
  });
});

test("decays that underflow, and steps of length 0, have finite gradients", async () => {
  const [L, D, N] = [70, 6, 4];
  const next = random(2);
  const draw = (shape: readonly number[], low: number, high: number): Tensor =>
    tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => low + (high - low) * next()),
      shape,
    );
  // softplus of -200 is 0 in float32; of 100, with rates of -8, the decay is e^-800
  const before = tensor(
    Float32Array.from({ length: L * D }, (_, i) => (i % 3 === 0 ? -200 : i % 3 === 1 ? 100 : 0)),
    [1, L, D],
  );
  const [u, rate, B] = [draw([1, L, D], -1, 1), draw([D, N], -8, -1), draw([1, L, N], -1, 1)];
  const loss = ([delta, x, A, b]: readonly Tensor[]): Tensor => {
    const step = expandDims(softplus(delta!), 3);
    return sum(
      sum(linearScan({ a: exp(mul(step, A!)), b: mul(mul(step, expandDims(x!, 3)), expandDims(b!, 2)), axis: 1 }), 3),
    );
  };
  const gradients = grad(loss)([before, u, rate, B]) as readonly Tensor[];
  await realize(gradients, { device });
  for (const gradient of gradients) {
    for (const value of await gradient.data()) expect(Number.isFinite(value)).toBe(true);
    expect(await max(abs(gradient)).item()).toBeGreaterThan(0);
  }
});
