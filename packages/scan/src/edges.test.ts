// Recurrences at the ends of what numbers can be: NaN and infinity before a reset, decays whose product overflows though no
// state does. Expected states are those of the plain loop, one step after the other.
import { cpu, grad, mul, realize, reference, reshape, sum, tensor, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { linearScan } from "./index.js";

const devices = [
  ["reference", reference()],
  ["cpu", cpu()],
] as const;
const inf = Infinity;

/** h_t = a_t h_(t-1) + b_t; a reset forgets the state. */
function plain(a: number[], b: number[], h0 = 0, resets: number[] = [], reverse = false): number[] {
  const h: number[] = [];
  let state = h0;
  for (let s = 0; s < a.length; s++) {
    const t = reverse ? a.length - 1 - s : s;
    h[t] = state = resets[t] ? b[t]! : a[t]! * state + b[t]!;
  }
  return h;
}

const repeat = (length: number, ...values: number[]): number[] =>
  Array.from({ length }, (_, t) => values[t % values.length]!);
const at = (length: number, values: Record<number, number>, fill = 0): number[] =>
  Array.from({ length }, (_, t) => values[t] ?? fill);

const given: [string, number[], number[], number?, number[]?][] = [
  ["NaN before a reset", [0.5, 0.5], [NaN, 1], 0, [1, 1]],
  ["an infinite initial state and a reset at the first step", [0.5, 0.5], [1, 1], inf, [1, 0]],
  ["NaN in the decay of a reset", [0.5, NaN, 0.5], [1, 1, 1], 0, [0, 1, 0]],
  [
    "NaN and infinity in turns, resets",
    repeat(37, 0.5),
    at(37, { 3: NaN, 11: inf, 20: -inf }),
    1,
    at(37, { 5: 1, 12: 1, 21: 1 }),
  ],
  [
    "a long sequence with NaN and a reset",
    repeat(9000, 0.9),
    at(9000, { 100: NaN, 4100: inf }, 1),
    1,
    at(9000, { 4097: 1, 8200: 1 }),
  ],
  ["two decays of 1e20, nothing driven", [1e20, 1e20], [0, 0]],
  ["129 decays of 2, nothing driven", repeat(129, 2), repeat(129, 0)],
  ["9000 decays of 2, nothing driven", repeat(9000, 2), repeat(9000, 0)],
  ["9000 decays of 2, driven at the end", repeat(9000, 2), at(9000, { 8999: 3, 8990: 1 })],
  ["large decays of a small state", [1e20, 1e20, 1e-30, 1e10], [1e-30, 0, 0, 0]],
  [
    "decays that overflow and come back",
    repeat(4100, 2 ** 100, 2 ** 100, 2 ** -100, 2 ** -100),
    repeat(4100, 0),
    2 ** -90,
  ],
  [
    "decays that vanish and come back, of a large state",
    at(4200, { 500: 2 ** -100, 501: 2 ** -100, 502: 2 ** 100, 503: 2 ** 100 }, 1),
    repeat(4200, 0),
    2 ** 110,
  ],
  [
    "decays that vanish and come back within a few steps",
    at(4200, { 2: 1e-30, 3: 1e-30, 4: 1e30, 5: 1e30, 4098: 1e-20, 4099: 1e-22, 4101: 1e21, 4102: 1e21 }, 1),
    repeat(4200, 0),
    2 ** 90,
  ],
  ["decays of 1e-42 before growth", [1e-21, 1e-21, 1e20, 1e22, 1], [0, 0, 0, 0, 1], 3e18],
  [
    "decays that vanish and come back again and again",
    repeat(9000, 2 ** -70, 2 ** -70, 1, 2 ** 70, 2 ** 70),
    repeat(9000, 0),
    2 ** 80,
  ],
  [
    "two decays that overflow between two that do not",
    [2 ** -20, 2 ** 100, 2 ** 100, 2 ** -100],
    [0, 0, 0, 0],
    2 ** -90,
  ],
  ["decays that overflow before a 0", [1e20, 1e20, 0, 1e20], [0, 0, 1, 0]],
];

const cases = given.map(([name, a, b, h0 = 0, resets = []]): [string, number[], number[], number, number[]] => [
  name,
  a,
  b,
  h0,
  resets,
]);
describe.each(devices)("on %s", (_, device) => {
  const values = async (x: Tensor, fuse = true): Promise<number[]> => [
    ...(await (await realize(x, { device, fuse })).data()),
  ];
  const close = (actual: readonly number[], expected: readonly number[], what: string): void =>
    expected.forEach((value, t) => {
      const got = actual[t]!;
      const same = Number.isFinite(value)
        ? Math.abs(got - value) <= 2e-5 * Math.abs(value) + 1e-29
        : Object.is(got, value);
      if (!same) throw new Error(`${what}: expected ${value} at step ${t}, got ${got}`);
    });

  test.each(cases)("%s", async (_name, a, b, h0, resets) => {
    for (const reverse of [false, true])
      for (const inner of [1, 3, 40]) {
        if (inner * a.length > 40_000) continue;
        const turned = (x: number[]): number[] => (reverse ? x.toReversed() : x);
        const column = (x: number[]): Tensor => {
          const list = turned(x).flatMap((value) => Array.from({ length: inner }, () => value));
          return tensor(Float32Array.from(list), [a.length, inner]);
        };
        const given = {
          a: column(a),
          b: column(b),
          h0: tensor(new Float32Array(inner).fill(h0)),
          axis: 0,
          reverse,
          ...(resets.length > 0 && { resets: tensor(Float32Array.from(turned(resets)), [a.length, 1]) }),
        };
        const expected = plain(turned(a).map(Math.fround), turned(b).map(Math.fround), h0, turned(resets), reverse);
        for (const fuse of [true, false]) {
          const what = `reverse ${reverse}, ${inner} columns, fused ${fuse}`;
          const h = await values(linearScan(given), fuse);
          close(
            h.filter((__, k) => k % inner === inner - 1),
            expected,
            what,
          );
          // computed into the recurrence, and out of it
          const one = tensor(new Float32Array(inner).fill(1), [1, inner]);
          const inside = mul(linearScan({ ...given, a: mul(given.a, one), b: mul(given.b, one) }), one);
          if (fuse)
            close(
              (await values(inside)).filter((__, k) => k % inner === 0),
              expected,
              `${what}, computed inside`,
            );
          // the same as a real part: complex rows have programs of their own
          const zero = reshape(tensor(new Float32Array(a.length * inner)), [a.length, inner]);
          const parts = linearScan({
            ...given,
            a: { re: given.a, im: zero },
            b: { re: given.b, im: zero },
            h0: { re: given.h0, im: tensor(new Float32Array(inner)) },
          });
          if (fuse && expected.every(Number.isFinite))
            close(
              (await values(parts.re)).filter((__, k) => k % inner === 0),
              expected,
              `${what}, complex`,
            );
        }
      }
  });

  test("the gradient ends at a reset too", async () => {
    const loss = (given: readonly Tensor[]): Tensor => {
      const [a, b, h0] = given as [Tensor, Tensor, Tensor];
      return sum(linearScan({ a, b, h0, axis: 0, resets: tensor([0, 1, 0], undefined, "bool") }));
    };
    const from = [tensor([0.5, 0.5, 0.5]), tensor([NaN, 1, 2]), tensor([3])].map((x, k) =>
      k === 2 ? reshape(x, []) : x,
    );
    const [da, db, dh0] = grad(loss)(from);
    expect([await values(da!), await values(db!), await values(dh0!)]).toEqual([[3, 0, 1], [1, 1.5, 1], [0.5]]);
    const late = grad((given: readonly Tensor[]) => {
      const [a, b, h0] = given as [Tensor, Tensor, Tensor];
      const h = linearScan({ a, b, h0, axis: 0, resets: tensor([0, 1, 0], undefined, "i32") });
      return sum(linearScan({ a: h, b: h, axis: 0, resets: tensor([1, 1, 1]) }));
    })([tensor([0.5, 0.5, 0.5]), tensor([1, inf, 2]), reshape(tensor([3]), [])]);
    expect((await values(late[1]!))[0]).toBe(1);
  });
});
