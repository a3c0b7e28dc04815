import { expect, test } from "vitest";
import type { Plan, Step } from "@seqmix/tensor/backend";
import { placeTemporaries } from "./temporaries.js";

/** Steps that read and write slots of 1,024 elements; slots 0 and 1 are leaves, the last one is the result. */
function planOf(
  steps: readonly (readonly [inputs: number[], outputs: number[]])[],
  sizeOf: (slot: number) => number = () => 1024,
): Plan {
  const count = Math.max(...steps.flatMap(([inputs, outputs]) => [...inputs, ...outputs])) + 1;
  return {
    slots: Array.from({ length: count }, (_, k) => ({ dtype: "f32", size: sizeOf(k), shape: [sizeOf(k)] })),
    leafCount: 2,
    constants: [],
    steps: steps.map(
      ([inputs, outputs]) => ({ kind: "loop", name: "step", kernel: {}, inputs, outputs }) as unknown as Step,
    ),
    roots: [count - 1],
    notes: [],
  };
}

test("steps that run at once take nothing that another one of them gives back; steps behind them do", () => {
  // 2 is read for the last time beside the step that makes 4
  const plan = planOf([
    [[0], [2]],
    [[2], [3]],
    [[1], [4]],
    [[3, 4], [5]],
    [[5], [6]],
  ]);
  const programs = plan.steps.map(() => ({ name: "", passes: [], scratch: [] }));
  const alone = placeTemporaries(plan, programs).slots;
  expect(alone[4]).toBe(alone[2]);
  const together = placeTemporaries(plan, programs, [0, 1, 1, 2, 3]).slots;
  expect(new Set([together[2], together[3], together[4]]).size).toBe(3);
  expect(together[5]).toBe(together[2]);
});

test("scratch of steps that run at once is not shared", () => {
  const plan = planOf([
    [[0], [2]],
    [[1], [3]],
    [[2, 3], [4]],
  ]);
  const programs = plan.steps.map(() => ({ name: "", passes: [], scratch: [4096] }));
  const [first, second, third] = placeTemporaries(plan, programs, [0, 0, 1]).scratch;
  expect(second).not.toEqual(first);
  expect([first, second]).toContainEqual(third);
});

test("small values that stay take no blocks of large ones", () => {
  // Large values are made of each other, and of each a small one that the last step reads.
  const COUNT = 50;
  const large = (k: number): number => 2 + 2 * k;
  const chain = Array.from({ length: COUNT }, (_, k): [number[], number[]][] => [
    [[k === 0 ? 0 : large(k - 1)], [large(k)]],
    [[large(k)], [large(k) + 1]],
  ]).flat();
  const smalls = Array.from({ length: COUNT }, (_, k) => large(k) + 1);
  const plan = planOf([...chain, [[large(COUNT - 1), ...smalls], [large(COUNT)]]], (slot) =>
    slot % 2 === 0 ? 2 ** 20 : 16,
  );
  const programs = plan.steps.map(() => ({ name: "", passes: [], scratch: [] }));
  const { blocks } = placeTemporaries(plan, programs);
  expect(blocks.filter((bytes) => bytes >= 2 ** 22)).toHaveLength(2);
});
