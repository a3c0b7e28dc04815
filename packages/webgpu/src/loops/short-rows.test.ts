import { mul, realize, reference, sum, tensor } from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const oracle = reference();
afterAll(async () => {
  await device.close();
  await oracle.close();
});

test.each([
  [4096, 64],
  [24, 80],
  [65536, 68],
  [7, 256],
])("sums over %d short rows of %d, several to a workgroup", async (rows, columns) => {
  const x = tensor(
    Float32Array.from({ length: rows * columns }, (_, k) => Math.sin(k)),
    [rows, columns],
  );
  const compute = () => sum(mul(x, x), 1);
  const [found] = await realize([compute()], { device });
  const [expected] = await realize([compute()], { device: oracle });
  const [mine, theirs] = [await found!.data(), await expected!.data()];
  expect(theirs.every((value, k) => Math.abs(mine[k]! - value) < 1e-4)).toBe(true);
});
