import {
  cpu,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  sum,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { chunkedFftConv, fftConv, fftConvChunk } from "./index.js";

const two = cpu({ threads: 2 });
afterAll(() => two.close());

const [B, D] = [2, 3];
const drawn = (L: number, K: number): { u: Tensor; k: Tensor; skip: Tensor; gate: Tensor } => ({
  u: normal(key(1), [B, D, L]),
  k: normal(key(2), [D, K]),
  skip: normal(key(3), [D]),
  gate: normal(key(4), [B, D, L]),
});

const values = async (x: Tensor, device: Device): Promise<number[]> => {
  const y = await realize(mul(x, 1), { device });
  return [...(await y.data())];
};

function expectClose(found: readonly number[], expected: readonly number[], digits: number): void {
  expect(found.length).toBe(expected.length);
  found.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
}

test.each([
  ["pieces as long as the kernel", 40, 8, 8],
  ["pieces longer than the kernel, the last one short", 50, 7, 16],
  ["a kernel longer than several pieces", 30, 25, 4],
  ["a kernel longer than the sequence", 9, 20, 4],
  ["one step at a time", 11, 6, 1],
  ["a kernel of one tap has no state", 10, 1, 4],
] as const)("chunked = whole: %s", async (_, L, K, piece) => {
  for (const [device, digits] of [
    [reference(), 10],
    [two, 4],
  ] as const) {
    const given = drawn(L, K);
    expectClose(await values(chunkedFftConv(given, piece), device), await values(fftConv(given), reference()), digits);
  }
});

test("gradients through the state are those of the whole", async () => {
  const weights = normal(key(5), [B, D, 20]);
  const gradients = (f: (x: ReturnType<typeof drawn>) => Tensor): ReturnType<typeof drawn> =>
    grad((x: ReturnType<typeof drawn>) => sum(mul(f(x), weights)))(drawn(20, 9));
  const [pieces, whole] = [gradients((x) => chunkedFftConv(x, 6)), gradients(fftConv)];
  for (const name of ["u", "k", "skip", "gate"] as const)
    expectClose(await values(pieces[name], reference()), await values(whole[name], reference()), 9);
});

test("pieces of different lengths may follow each other", async () => {
  const { u, k } = drawn(17, 12);
  const y: number[][] = [];
  let state: Tensor | undefined;
  for (const [start, end] of [
    [0, 5],
    [5, 5],
    [5, 6],
    [6, 17],
  ] as const) {
    const piece = fftConvChunk({ u: sliceAxis(u, 2, start, end), k, state });
    expect(piece.state.shape).toEqual([B, D, 11]);
    ({ state } = piece);
    y.push(await values(piece.y, reference()));
  }
  const whole = await values(fftConv({ u, k }), reference());
  const rows = Array.from({ length: B * D }, (_, row) =>
    y.flatMap((part) => part.slice((row * part.length) / (B * D), ((row + 1) * part.length) / (B * D))),
  );
  expectClose(rows.flat(), whole, 10);
});

test("after the last input the state plays on without it", async () => {
  const { u, k } = drawn(8, 5);
  const { state } = fftConvChunk({ u, k });
  const silence = fftConvChunk({ u: mul(sliceAxis(u, 2, 0, 4), 0), k, state });
  expectClose(await values(silence.y, reference()), await values(state, reference()), 10);
  expect((await values(silence.state, reference())).every((x) => Math.abs(x) < 1e-12)).toBe(true);
});

test("a state of another kernel is refused", () => {
  const { u, k } = drawn(8, 5);
  expect(() => fftConvChunk({ u, k, state: normal(key(9), [B, D, 5]) })).toThrow(
    "expected a state [B D K-1] = [2,3,4], got [2,3,5]",
  );
});
