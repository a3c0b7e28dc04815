import { expect, test } from "vitest";
import {
  add,
  cpu,
  div,
  expandDims,
  explain,
  key,
  mul,
  normal,
  realize,
  reference,
  sub,
  sum,
  uniform,
  type Tensor,
} from "../index.js";

/** Sums of the terms w_n / (z_f - a_n) and of their squares, over poles and over points. */
function sums(): Tensor[] {
  const [w, a] = [normal(key(1), [40, 1]), uniform(key(2), [40, 1])];
  const z = expandDims(add(2, uniform(key(3), [64])), 0);
  const term = div(mul(w, 1), sub(z, a));
  const squared = mul(term, term);
  return [sum(term, 0), sum(term, 1), sum(squared, 0), sum(add(squared, term), 1)];
}

test("products of broadcasts are computed again by every reduction that reads them", async () => {
  const device = cpu();
  const outputs = sums();
  const text = await explain(outputs, { device });
  expect(text).not.toContain("[40,64] ");
  const held = device.memory().bytes;
  await realize(outputs, { device });
  // Less than the 40 x 64 terms would take.
  expect(device.memory().peakBytes - held).toBeLessThan(4 * 40 * 64);
  const exact = sums();
  await realize(exact, { device: reference() });
  for (const [k, y] of outputs.entries()) {
    const expected = await exact[k]!.data();
    (await y.data()).forEach((value: number, i: number) => expect(value).toBeCloseTo(expected[i]!, 3));
  }
  await device.close();
});

test("what is as large as its input, or much work, keeps its memory", async () => {
  const device = cpu();
  const x = normal(key(1), [8, 64]);
  await realize(x, { device });
  const y = mul(sub(x, 1), x);
  expect(await explain([sum(y, 0), sum(y, 1)], { device })).toContain("[8,64]");
  await device.close();
});
