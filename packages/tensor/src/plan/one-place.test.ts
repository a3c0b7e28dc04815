import { expect, test } from "vitest";
import {
  add,
  concat,
  cpu,
  explain,
  key,
  mul,
  normal,
  pad,
  realize,
  reference,
  sub,
  sum,
  type Tensor,
} from "../index.js";

/** The gradient of a gate, as one half of a larger one: p = a b is used twice, at one point of one kernel. */
function halves([a, b, s]: readonly Tensor[]): Tensor {
  const p = mul(a!, b!);
  const gate = add(mul(p, s!), mul(mul(p, a!), sub(1, s!)));
  return add(pad(gate, [0, 0], [0, 16]), pad(mul(a!, s!), [0, 16], [0, 0]));
}

const drawn = (): Tensor[] => [1, 2, 3].map((seed) => normal(key(seed), [32, 16]));

/** To a few roundings of f32 and of its sums. */
const expectNear = (found: number, exact: number): void =>
  expect(Math.abs(found - exact)).toBeLessThan(1e-5 * Math.max(1, Math.abs(exact)));

test("what is used twice at one point of a kernel is computed there", async () => {
  const device = cpu();
  const given = await realize(drawn(), { device });
  const y = halves(given);
  const text = await explain(y, { device });
  expect(text.match(/^.*\[32,\d+\].*$/gm)).toHaveLength(1);
  const [found, exact] = [await y.data(), await (await realize(halves(drawn()), { device: reference() })).data()];
  found.forEach((value: number, k: number) => expectNear(value, exact[k]!));
  await device.close();
});

test.each<[string, (a: Tensor, b: Tensor) => readonly Tensor[]]>([
  ["by two kernels", (a, b) => [mul(mul(a, b), 2), sum(mul(a, b))]],
  [
    "at two points",
    (a, b) => {
      const p = mul(a, b);
      return [add(pad(mul(p, 2), [0, 0], [0, 1]), pad(mul(p, 3), [0, 1], [0, 0]))];
    },
  ],
  [
    "behind what two kernels read",
    (a, b) => {
      const p = mul(a, b);
      const q = concat([mul(p, 2), mul(p, 3)], 1);
      return [sum(q, 0), sum(mul(q, q), 1)];
    },
  ],
])("values stay the same where it is used %s", async (_, make) => {
  const device = cpu();
  const [a, b] = drawn() as [Tensor, Tensor];
  const found = await realize(make(a, b), { device });
  const [c, d] = drawn() as [Tensor, Tensor];
  const exact = await realize(make(c, d), { device: reference() });
  for (const [k, y] of found.entries()) {
    const expected = await exact[k]!.data();
    (await y.data()).forEach((value: number, i: number) => expectNear(value, expected[i]!));
  }
  await device.close();
});
