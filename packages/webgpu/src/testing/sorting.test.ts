import {
  arange,
  argsort,
  bitAnd,
  reference,
  reshape,
  sliceAxis,
  sort,
  tensor,
  topk,
  type Tensor,
} from "@seqmix/tensor";
import { evaluate } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice();
afterAll(() => device.close());

// 128 are ordered by ranks, more by a network.
test.each([100, 300])("%i elements of each row in order, as on the reference device", async (n) => {
  const x = Float32Array.from({ length: 2 * n }, (_, i) => {
    const k = (i * 7919) % 31;
    return k === 3 ? NaN : k === 5 ? -Infinity : k;
  });
  const build = (): Tensor[] => {
    const given = tensor(x.slice(), [2, n]);
    const { values, indices } = topk(given, 5, 1);
    return [sort(given), argsort(given, 1, { descending: true }), values, indices];
  };
  const [expected, actual] = [await evaluate(reference(), build), await evaluate(device, build)];
  actual.forEach(({ data }, k) => expect([...data]).toEqual([...expected[k]!.data]));
});

test("every second position is an operand of an operation on bits", async () => {
  const build = (): Tensor[] => [bitAnd(reshape(sliceAxis(reshape(arange(12), [6, 2]), 1, 0, 1), [6]), 6)];
  expect([...(await evaluate(device, build))[0]!.data]).toEqual([0, 2, 4, 6, 0, 2]);
});
