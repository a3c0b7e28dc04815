import { expect, test } from "vitest";
import { adding } from "./adding.js";
import { draw } from "./testing/examples.js";

test("the answer is the sum of the numbers with a mark, one in either half", async () => {
  const examples = await draw(adding({ L: 11 }), 400);
  const places = new Set<string>();
  for (const { inputs, targets } of examples) {
    const marked = Array.from({ length: 11 }, (_, t) => t).filter((t) => inputs[2 * t + 1] === 1);
    expect(marked).toHaveLength(2);
    expect(marked[0]).toBeLessThan(5);
    expect(marked[1]).toBeGreaterThanOrEqual(5);
    places.add(marked.join());
    expect(targets[0]).toBeCloseTo(
      marked.reduce((sum, t) => sum + inputs[2 * t]!, 0),
      6,
    );
  }
  expect(places.size).toBe(5 * 6);
  // The mean squared error of a constant guess, of which the normalised error is a fraction.
  const error = examples.reduce((total, { targets }) => total + (targets[0]! - 1) ** 2, 0) / examples.length;
  expect(Math.abs(error - 1 / 6)).toBeLessThan(0.04);
});
