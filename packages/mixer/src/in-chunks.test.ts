import { add, cumsum, reshape, sliceAxis, tensor, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { inChunks } from "./index.js";

/** Running sums of x [1 L 1]; the state [1 1 1] is the sum so far. */
const runningSum = (x: Tensor, state: Tensor | undefined): readonly [Tensor, Tensor] => {
  const sums = state ? add(cumsum(x, 1), state) : cumsum(x, 1);
  return [sums, sliceAxis(sums, 1, x.shape[1]! - 1, x.shape[1]!)];
};

test.each([1, 2, 3, 7, 100])("pieces of %i positions give what the whole sequence gives", async (chunkSize) => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7], [1, 7, 1]);
  const lengths: number[] = [];
  const [y, state] = inChunks(
    (piece, carried: Tensor | undefined) => {
      lengths.push(piece.shape[1]!);
      return runningSum(piece, carried);
    },
    chunkSize,
    x,
    undefined,
  );
  expect([...(await y.data())]).toEqual([1, 3, 6, 10, 15, 21, 28]);
  expect([...(await reshape(state, [1]).data())]).toEqual([28]);
  expect(Math.max(...lengths)).toBe(Math.min(7, chunkSize));
  expect(lengths.reduce((a, b) => a + b)).toBe(7);
});

test.each([0, -1, 1.5])("a chunkSize of %f is refused", (chunkSize) => {
  expect(() => inChunks(runningSum, chunkSize, tensor([1], [1, 1, 1]), undefined)).toThrow(
    `expected a chunkSize of at least 1, got ${chunkSize}`,
  );
});
