import { expect, test } from "vitest";
import { layOut } from "./arena.js";
import type { Plan, Step } from "./plan.js";

const step = (inputs: number[], outputs: number[]): Step => ({ inputs, outputs }) as unknown as Step;

test("a slot that two steps write keeps its place from the first on", () => {
  const plan = {
    slots: Array.from({ length: 5 }, () => ({ dtype: "f32", size: 6 })),
    leafCount: 1,
    constants: [],
    // slot 1 is read by the third step for the last time, between the two steps that write slot 2
    steps: [step([0], [1]), step([1], [2]), step([1], [3]), step([3], [2]), step([2, 3], [4])],
    roots: [4],
  } as unknown as Plan;
  const { offsets } = layOut(plan);
  expect(Math.abs(offsets[1]! - offsets[2]!)).toBeGreaterThanOrEqual(24);
});
