import {
  add,
  concat,
  cpu,
  grad,
  key,
  leavesOf,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  sum,
  tensor,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { fftConv, packedFftConv } from "./index.js";

const values = async (x: Tensor, device = reference()): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};

/** Sequences that begin at these positions, each convolved alone. */
function alone(u: Tensor, k: Tensor, starts: readonly number[]): Tensor {
  const L = u.shape[2]!;
  const parts = starts.map((start, n) => {
    const end = starts[n + 1] ?? L;
    const taps = Math.min(k.shape[1]!, end - start);
    return fftConv({ u: sliceAxis(u, 2, start, end), k: sliceAxis(k, 1, 0, taps) });
  });
  return concat(parts, 2);
}

const flags = (B: number, L: number, starts: readonly number[]): Tensor =>
  tensor(
    Uint8Array.from({ length: B * L }, (_, i) => Number(starts.includes(i % L))),
    [B, L],
  );

test.each([
  [1, 1, [0]],
  [16, 16, [0, 3]],
  [17, 9, [0, 16]],
  [70, 70, [0, 1, 2, 31, 33, 64]],
  [130, 40, [0, 5, 129]],
  [64, 64, [0]],
])("%i positions, %i taps, sequences from %j: each is convolved alone, with its gradients", async (L, K, starts) => {
  const given = { u: normal(key(1), [2, 3, L]), k: normal(key(2), [3, K]) };
  const weights = normal(key(3), [2, 3, L]);
  const packed = ({ u, k }: typeof given): Tensor => packedFftConv({ u, k, resets: flags(2, L, starts) });
  const expected = await values(alone(given.u, given.k, starts));
  const slope = (run: (x: typeof given) => Tensor): Tensor[] =>
    leavesOf(grad((x: typeof given) => sum(mul(run(x), weights)))(given));
  const right = await Promise.all(slope(({ u, k }) => alone(u, k, starts)).map((x) => values(x)));
  for (const [device, digits] of [
    [reference(), 9],
    [cpu(), 3],
  ] as const) {
    (await values(mul(packed(given), 1), device)).forEach((y, i) => expect(y).toBeCloseTo(expected[i]!, digits));
    for (const [n, x] of slope(packed).entries())
      (await values(mul(x, 1), device)).forEach((y, i) => expect(y).toBeCloseTo(right[n]![i]!, digits));
  }
});

test("what is no number in one sequence does not reach the next", async () => {
  const resets = flags(1, 40, [0, 21]);
  const clean = normal(key(4), [1, 2, 40]);
  const bad = add(clean, where(tensor(Uint8Array.from({ length: 40 }, (_, i) => Number(i < 21))), NaN, 0));
  const k = normal(key(5), [2, 40]);
  const later = (u: Tensor): Tensor => sliceAxis(packedFftConv({ u, k, resets }), 2, 21, 40);
  expect(await values(mul(later(bad), 1))).toEqual(await values(mul(later(clean), 1)));
  expect(() => packedFftConv({ u: clean, k, resets: flags(2, 20, [0]) })).toThrow(
    "expected resets [B L] of shape [1,40]",
  );
});
