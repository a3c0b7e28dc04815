// Products with k in parts, whose partial products are summed by what reads them.
import {
  add,
  cast,
  explain,
  key,
  matmul,
  mul,
  normal,
  realize,
  reference,
  sigmoid,
  sliceAxis,
  softmax,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const oracle = reference();
afterAll(async () => {
  await device.close();
  await oracle.close();
});

const draw = (seed: number, shape: readonly number[]): Tensor => normal(key(seed), shape);
/** A product [16, 12] over 1,024, which is divided. */
const long = (): Tensor => matmul(mul(draw(1, [16, 1024]), 0.03), draw(2, [1024, 12]));

async function agrees(make: () => Tensor | readonly Tensor[]): Promise<void> {
  const [found, exact] = [[make()].flat(), [make()].flat()];
  await realize(found, { device });
  await realize(exact, { device: oracle });
  for (const [k, y] of found.entries()) {
    const [mine, theirs] = [await y.data(), await exact[k]!.data()];
    mine.forEach((value: number, i: number) => expect(Math.abs(value - theirs[i]!)).toBeLessThan(2e-5));
  }
}

test.each([
  ["rows", () => softmax(long(), 1)],
  [
    "two kernels",
    () => {
      const y = long();
      return [softmax(sliceAxis(y, 1, 0, 8), 1), sum(sigmoid(sliceAxis(y, 1, 8, 12)), 1)];
    },
  ],
] as const)("read by %s", async (_, make) => {
  const text = await explain([make()].flat(), { device });
  expect(text).toContain("summed where they are read");
  await agrees(make);
});

const weights = tensor(
  Array.from({ length: 240 }, (_, k) => Math.sin(k)),
  [12, 20],
);

test("a reader that is no loop reads the sum, which runs beside a loop that does without", async () => {
  const make = (): readonly Tensor[] => {
    const y = long();
    return [matmul(y, weights), cast(sliceAxis(y, 1, 0, 4), "f16")];
  };
  const text = await explain(make(), { device });
  expect(text).toContain("summed where they are read");
  expect(text).toMatch(/sum: loop \[192\] \d+ loads/);
  await agrees(make);
});

test("results that are asked for, or read too often, are summed", async () => {
  expect(await explain(long(), { device })).not.toContain("summed where");
  // Of every element of the product 64 sums are made.
  const spread = (): Tensor => sum(mul(long(), draw(4, [64, 1, 12])), 2);
  expect(await explain(spread(), { device })).not.toContain("summed where");
  await agrees(() => add(spread(), 1));
});
