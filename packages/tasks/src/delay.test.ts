import { expect, test } from "vitest";
import { delay } from "./delay.js";
import { reconstruction } from "./reconstruction.js";
import { draw } from "./testing/examples.js";

test("the answer is the input of `lag` positions before, and 0 before there is one", async () => {
  for (const { inputs, targets, mask } of await draw(delay({ L: 90, lag: 20, frequency: 60 }), 8)) {
    targets.forEach((target, t) => expect(target).toBe(t < 20 ? 0 : inputs[t - 20]));
    expect(mask.every((counts) => counts === 1)).toBe(true);
    expect(Math.max(...inputs)).toBeGreaterThan(0.2);
  }
});

test("reconstruction asks for the last stretch of the signal", async () => {
  for (const { inputs, targets } of await draw(reconstruction({ L: 90, memory: 30, frequency: 60 }), 8))
    expect(targets).toEqual(inputs.slice(60));
});

test("a lag or a memory that does not fit is refused", () => {
  expect(() => delay({ L: 20, lag: 20 })).toThrow("lag below L=20, got 20");
  expect(() => reconstruction({ L: 20, memory: 21 })).toThrow("at most L=20, got 21");
  expect(() => delay({ frequency: 501 }).evaluation("test", 1)[Symbol.iterator]().next()).toThrow("Nyquist");
});
