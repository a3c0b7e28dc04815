// The edges of recurrences that packages/scan tries on the other devices, on this one: fused in segments, and by themselves.
import {
  broadcastTo,
  exp,
  grad,
  linearScan,
  mul,
  realize,
  reference,
  reshape,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { checkWanderingRecurrence } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());
const inf = Infinity;

const values = async (x: Tensor, fuse: boolean): Promise<number[]> => [
  ...(await (await realize(x, { device, fuse })).data()),
];
const repeat = (length: number, ...list: number[]): number[] =>
  Array.from({ length }, (_, t) => list[t % list.length]!);
const at = (length: number, places: Record<number, number>, fill = 0): number[] =>
  Array.from({ length }, (_, t) => places[t] ?? fill);

/** h_t = a_t h_(t-1) + b_t; a decay of 0 forgets. */
function plain(a: readonly number[], b: readonly number[], h0: number): number[] {
  let state = h0;
  return a.map((decay, t) => (state = (decay === 0 ? 0 : decay * state) + b[t]!));
}

const cases: [string, number[], number[], number][] = [
  ["129 decays of 2, nothing driven", repeat(129, 2), repeat(129, 0), 0],
  ["3000 decays of 2, driven at the end", repeat(3000, 2), at(3000, { 2990: 1, 2999: 3 }), 0],
  ["decays of 1e20 before a 0", at(700, { 350: 0 }, 1e20), at(700, { 699: 1 }), 0],
  [
    "decays that overflow and come back",
    at(1400, { 500: 2 ** 100, 501: 2 ** 100, 502: 2 ** -100, 503: 2 ** -100 }, 1),
    repeat(1400, 0),
    2 ** -90,
  ],
  [
    "decays that vanish and come back, of a large state",
    at(1400, { 500: 2 ** -100, 501: 2 ** -100, 502: 2 ** 100, 503: 2 ** 100 }, 1),
    repeat(1400, 0),
    2 ** 110,
  ],
  [
    "decays that vanish and come back again and again",
    repeat(2500, 2 ** -50, 2 ** -50, 1, 2 ** 50, 2 ** 50),
    repeat(2500, 0),
    2 ** 80,
  ],
  [
    "NaN and infinity before decays of 0",
    at(1300, { 8: 0, 700: 0, 1299: 0 }, 0.5),
    at(1300, { 3: NaN, 600: inf, 1298: -inf }),
    1,
  ],
  ["an infinite initial state, forgotten at once", at(300, { 0: 0 }, 0.5), repeat(300, 1), inf],
];

test.each(cases)("%s", async (_, a, b, h0) => {
  const expected = plain(a, b, h0);
  for (const inner of [1, 20])
    for (const fuse of [true, false])
      for (const reverse of [false, true]) {
        const column = (x: readonly number[]): Tensor =>
          tensor(
            Float32Array.from(
              (reverse ? x.toReversed() : x).flatMap((value) => Array.from({ length: inner }, () => value)),
            ),
            [a.length, inner],
          );
        // computed into the recurrence where that is fused
        const one = tensor(new Float32Array(inner).fill(1), [1, inner]);
        const start = tensor(new Float32Array(inner).fill(h0));
        const h = await values(
          linearScan({ a: mul(column(a), one), b: column(b), h0: start, axis: 0, reverse, forgets: true }),
          fuse,
        );
        const got = h.filter((__, k) => k % inner === 0);
        const states = reverse ? got.toReversed() : got;
        expected.forEach((value, t) => {
          const same = Number.isFinite(value)
            ? Math.abs(states[t]! - value) <= 1e-5 * Math.abs(value) + 1e-30
            : Object.is(states[t], value);
          if (!same)
            throw new Error(
              `${inner} columns, fused ${fuse}, reverse ${reverse}: expected ${value} at ${t}, got ${states[t]}`,
            );
        });
      }
});

test("gradients through overflowing decays and forgotten states", async () => {
  const L = 200;
  const loss = (given: readonly Tensor[]): Tensor => {
    const h = linearScan({ a: given[0]!, b: given[1]!, axis: 0, forgets: true });
    return sum(mul(h, tensor(Float32Array.from(at(L, { 199: 1, 90: 1 })), [L, 1])));
  };
  const a = at(L, { 80: 0, 150: 0 }, 2);
  const from = [a, at(L, { 70: inf, 190: 1 })].map((x) => reshape(tensor(Float32Array.from(x)), [L, 1]));
  const expected = at(L, { 199: 1 });
  for (let t = L - 2; t >= 0; t--) expected[t] = a[t + 1]! * expected[t + 1]! + (t === 90 ? 1 : 0);
  for (const fuse of [true, false]) {
    const [, db] = grad(loss)(from);
    expect(await values(db!, fuse)).toEqual(expected);
  }
  const still = grad((given: readonly Tensor[]) =>
    sum(mul(linearScan({ a: given[0]!, b: given[1]!, axis: 0 }), tensor(new Float32Array(300), [300, 1]))),
  )([1, 0].map((value) => tensor(new Float32Array(300).fill(value === 1 ? 2 : 0), [300, 1])));
  for (const g of still) expect((await values(g, true)).every((x) => x === 0)).toBe(true);
});

test("gradients through decays e^(x y) that grow by 2^160 within a segment, and shrink again", async () => {
  const L = 700;
  const bits = Array.from({ length: L }, (_, t) => (t >= 96 && t < 104 ? 20 : t >= 300 && t < 380 ? -2 : 0));
  let level = -80;
  const levels = bits.map((step) => (level += step));
  const column = (list: readonly number[]): Tensor => tensor(Float32Array.from(list), [L, 1]);
  const w = column(levels.map((l, t) => 2 ** -l * Math.sin(t)));
  const rates = tensor([1, 1, 1], [1, 3]);
  const gradients = (): readonly Tensor[] =>
    grad(([x, b, h0]: readonly Tensor[]) =>
      sum(mul(linearScan({ a: exp(mul(x!, rates)), b: broadcastTo(b!, [L, 3]), h0: h0!, axis: 0 }), w)),
    )([
      column(bits.map((x) => x * Math.LN2)),
      column(levels.map((l, t) => 2 ** l * Math.cos(t))),
      tensor(new Float32Array(3).fill(2 ** -80)),
    ]);
  const right = gradients();
  await realize(right, { device: reference() });
  for (const [k, g] of gradients().entries()) {
    const got = await values(g, true);
    // of the sizes of what is added up
    const size = (t: number): number => (k === 0 ? 300 : k === 1 ? 100 * 2 ** -levels[t]! : 100 * 2 ** 80);
    (await right[k]!.data()).forEach((value, t) =>
      expect(Math.abs(got[t]! - value), `${k}, ${t}`).toBeLessThanOrEqual(1e-5 * size(t)),
    );
  }
});

test.each([
  { length: 700, columns: 20, jump: 50, decays: "real" },
  { length: 1300, columns: 3, jump: 5, decays: "real", reverse: true },
  { length: 700, columns: 17, jump: 30, decays: "complex" },
  { length: 700, columns: 4, jump: 0.5, decays: "powers" },
] as const)("states that wander over the range of numbers: %o", (of) => checkWanderingRecurrence(device, of));
