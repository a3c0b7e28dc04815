// Loops that read across, in squares: what transposes, alone and with arithmetic around it.
import { add, cpu, key, mul, normal, realize, relu, sliceAxis, transpose, type Tensor } from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const host = cpu();
afterAll(() => device.close());

const draw = (seed: number, shape: readonly number[]): Tensor => normal(key(seed), shape);

/** Large enough for squares, with ragged edges. */
const cases: Readonly<Record<string, () => Tensor>> = {
  "a transposition": () => transpose(draw(1, [3, 300, 100])),
  "with an operand that lies as the result": () =>
    add(mul(transpose(draw(1, [2, 257, 150])), 2), draw(2, [2, 150, 257])),
  "two operands across, and one tile of a third": () =>
    mul(add(transpose(draw(1, [310, 270])), transpose(draw(2, [310, 270]))), relu(transpose(draw(3, [310, 270])))),
  "part of a tensor": () => transpose(sliceAxis(draw(1, [2, 400, 130]), 1, 7, 395)),
  "axes in another order": () => transpose(draw(1, [40, 5, 33, 17]), [2, 1, 3, 0]),
};

describe("squares give what other loops give", () => {
  test.each(Object.entries(cases))("%s", async (_, of) => {
    const [found, expected] = [of(), of()];
    await realize(found, { device });
    await realize(expected, { device: host });
    expect(await found.data()).toEqual(await expected.data());
  });
});
