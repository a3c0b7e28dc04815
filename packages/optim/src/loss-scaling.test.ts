import { realize, reference, tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { initLossScaling, nextLossScaling } from "./loss-scaling.js";

/** Scale, streak and skipped steps after some steps, each finite or not. */
async function after(scale: number, interval: number, steps: readonly boolean[]): Promise<number[]> {
  let state = initLossScaling({ scale, interval });
  for (const finite of steps) state = nextLossScaling(state, tensor(Uint8Array.of(Number(finite)), []), { interval });
  await realize(state, { device: reference() });
  return Promise.all([state.scale, state.streak, state.skipped].map((x) => x.item()));
}

test("the scale doubles after a streak and halves after a step that is not finite, which ends the streak", async () => {
  expect(await after(8, 3, [true, true])).toEqual([8, 2, 0]);
  expect(await after(8, 3, [true, true, true])).toEqual([16, 0, 0]);
  expect(await after(8, 3, [true, true, false, true])).toEqual([4, 1, 1]);
});

test("it stays from 1 to 2^24", async () => {
  expect(await after(2 ** 24, 1, [true, true])).toEqual([2 ** 24, 0, 0]);
  expect(await after(2, 1, [false, false, false])).toEqual([1, 0, 3]);
});
