import { describe, expect, test } from "vitest";
import {
  argsort,
  cpu,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sort,
  sum,
  tensor,
  topk,
  type Tensor,
} from "../index.js";

/** Many equal numbers, infinities, both zeros and what is no number. */
const numbers = (n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => {
    const k = (i * 7919) % 101;
    if (k === 3) return NaN;
    if (k === 5) return i % 2 === 0 ? Infinity : -Infinity;
    return k === 7 ? -0 : k % 13;
  });

/** Indices in order: stable, NaN last, or first if descending. */
function expectedOrder(x: ArrayLike<number>, descending = false): number[] {
  const compare = (a: number, b: number): number =>
    Number.isNaN(a) || Number.isNaN(b) ? Number(Number.isNaN(a)) - Number(Number.isNaN(b)) : a < b ? -1 : Number(a > b);
  return Array.from({ length: x.length }, (_, i) => i).sort(
    (i, j) => (descending ? compare(x[j]!, x[i]!) : compare(x[i]!, x[j]!)) || i - j,
  );
}

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  const values = async (x: Tensor): Promise<number[]> => [...(await (await realize(x, { device })).data())];

  // 128 are ordered by ranks, more by a network; 256 fill one up.
  test.each([1, 2, 3, 127, 128, 129, 200, 256, 257, 600])("%i elements, both ways", async (n) => {
    const x = numbers(n);
    for (const descending of [false, true]) {
      const order = expectedOrder(x, descending);
      expect(await values(argsort(tensor(x.slice()), 0, { descending }))).toEqual(order);
      const sorted = await values(sort(tensor(x.slice()), 0, { descending }));
      // Zeros are equal, whatever their sign.
      expect(sorted.map((value) => value + 0)).toEqual(order.map((i) => x[i]! + 0));
    }
  });

  test("whole numbers to both ends, and bools", async () => {
    const x = Int32Array.from({ length: 300 }, (_, i) => [2 ** 31 - 1, -(2 ** 31), 0, -1, 5][(i * 3) % 5]!);
    for (const descending of [false, true])
      expect(await values(argsort(tensor(x.slice()), 0, { descending }))).toEqual(expectedOrder(x, descending));
    const flags = Uint8Array.from({ length: 200 }, (_, i) => Number(i % 3 === 0));
    expect(await values(argsort(tensor(flags.slice())))).toEqual(expectedOrder(flags));
  });

  test("along any axis, with a gradient to where each element came from", async () => {
    const shape = [2, 150, 3];
    const x = Float64Array.from({ length: 900 }, (_, i) => Math.fround(Math.sin(i * i)));
    const at = (b: number, i: number, c: number): number => (b * 150 + i) * 3 + c;
    const [sorted, slopes] = [new Array<number>(900), new Array<number>(900)];
    for (let b = 0; b < 2; b++)
      for (let c = 0; c < 3; c++) {
        const column = Array.from({ length: 150 }, (_, i) => x[at(b, i, c)]!);
        expectedOrder(column).forEach((from, to) => {
          sorted[at(b, to, c)] = column[from]!;
          slopes[at(b, from, c)] = at(b, to, c);
        });
      }
    const given = (): Tensor => tensor(x.slice(), shape);
    expect(await values(sort(given(), 1))).toEqual(sorted);
    const weights = tensor(
      Float32Array.from({ length: 900 }, (_, i) => i),
      shape,
    );
    expect(await values(grad((y: Tensor) => sum(mul(sort(y, 1), weights)))(given()))).toEqual(slopes);
  });

  test("the largest few", async () => {
    const x = numbers(500);
    const order = expectedOrder(x, true).slice(0, 9);
    const { values: largest, indices } = topk(tensor(x.slice()), 9);
    expect(await values(indices)).toEqual(order);
    expect(await values(largest)).toEqual(order.map((i) => x[i]!));
    expect(topk(normal(key(0), [3, 200]), 0, 1).values.shape).toEqual([3, 0]);
  });
});
