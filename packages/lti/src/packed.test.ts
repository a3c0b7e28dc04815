import {
  add,
  concat,
  expandDims,
  key,
  leavesOf,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { companionSystem, convolve, convolvePacked, diagonalSystem, type LtiRun, type LtiSystem } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 8));
};

const companion = { b: normal(key(2), [2, 4]), c: normal(key(3), [2, 2, 4]) };
const diagonal = (): LtiSystem<never> =>
  diagonalSystem({
    dt: tensor([[0.1], [0.3]]),
    A: { re: tensor([-0.5, -1, -0.2, -2], [2, 2]), im: normal(key(4), [2, 2]) },
    B: { re: normal(key(5), [2, 2]), im: normal(key(6), [2, 2]) },
    C: { re: normal(key(7), [2, 2, 2]), im: normal(key(8), [2, 2, 2]) },
  }) as unknown as LtiSystem<never>;

describe.each([
  ["diagonal", diagonal],
  [
    "companion",
    () => companionSystem({ ...companion, a: mul(0.3, normal(key(1), [2, 4])) }) as unknown as LtiSystem<never>,
  ],
  ["shift", () => companionSystem(companion) as unknown as LtiSystem<never>],
] as const)("packed sequences through a %s system", (_, make) => {
  // Resets on both sides of the pieces' borders, twice within one, and at the very start of one sequence.
  const begins = [
    [0, 3, 8, 9],
    [1, 2, 4],
  ];
  const resets = tensor(begins.map((list) => Array.from({ length: 11 }, (_, t) => Number(list.includes(t)))));
  const u = normal(key(10), [2, 2, 11]);

  test.each([1, 4, 16])("are each alone, in pieces of %i", async (pieceLength) => {
    const system = make();
    const { hT: h0 } = convolve(system, normal(key(11), [2, 2, 3]));
    const packed = convolvePacked(system, u, resets, { h0, pieceLength });
    for (const [b, list] of begins.entries()) {
      const row = (x: Tensor): Tensor => sliceAxis(x, 0, b, b + 1);
      const bounds = [...new Set([0, ...list, 11])];
      let last: LtiRun<never> | undefined;
      const outputs = bounds.slice(1).map((end, k) => {
        // At the start the carried state goes on unless there is a reset.
        const given = k === 0 && !list.includes(0) ? (mapRows(h0, row) as never) : undefined;
        last = convolve(system, row(sliceAxis(u, 2, bounds[k]!, end)), given);
        return last.y;
      });
      close(await values(row(packed.y)), await values(concat(outputs, 3)));
      const [got, expected] = [leavesOf(packed.hT), leavesOf(last!.hT)];
      for (const [k, leaf] of got.entries()) close(await values(row(leaf)), await values(expected[k]!));
    }
  });

  test("a skip passes the present input, a gate scales what comes out", async () => {
    const system = make();
    const { hT: h0 } = convolve(system, normal(key(11), [2, 2, 3]));
    const [skip, gate] = [normal(key(12), [2, 2]), normal(key(13), [2, 2, 2, 11])];
    const direct = mul(expandDims(u, 1), expandDims(skip, 2));
    const plain = convolve(system, u, h0).y;
    close(await values(convolve(system, u, h0, { skip, gate }).y), await values(mul(gate, add(plain, direct))));
    const packed = convolvePacked(system, u, resets, { h0, pieceLength: 4 }).y;
    close(
      await values(convolvePacked(system, u, resets, { h0, skip, pieceLength: 4 }).y),
      await values(add(packed, direct)),
    );
  });

  test("resets of another length and pieces of nothing are refused", () => {
    expect(() => convolvePacked(make(), u, sliceAxis(resets, 1, 0, 10))).toThrow("resets [B L] = [2,11]");
    expect(() => convolvePacked(make(), u, resets, { pieceLength: 0 })).toThrow(
      "pieceLength, a whole number of at least 1",
    );
  });
});

/** A state of tensors, or one tensor, with f of each. */
function mapRows(h: Tensor | { readonly re: Tensor; readonly im: Tensor }, f: (x: Tensor) => Tensor): unknown {
  return "re" in h ? { re: f(h.re), im: f(h.im) } : f(h);
}
