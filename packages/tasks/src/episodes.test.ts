// Each answer is found again by a solver that reads the sequence as its definition says.
import { expect, test } from "vitest";
import { memoryChain, repeatFirst, repeatPrevious } from "./index.js";
import { asked, draw } from "./testing/examples.js";

test("memory chain: the bit that is asked for, shown at the first step only", async () => {
  for (const example of await draw(memoryChain({ L: 7, bits: 3 }), 60)) {
    const steps = Array.from({ length: 7 }, (_, t) => example.inputs.slice(5 * t, 5 * t + 5));
    steps.forEach(([time], t) => expect(time).toBeCloseTo(1 - t / 6, 6));
    expect(steps.slice(0, -1).every(([, question]) => question === 0)).toBe(true);
    expect(steps.slice(1).every(([, , ...bits]) => bits.every((bit) => bit === 0))).toBe(true);
    const bit = steps[0]![2 + steps[6]![1]!];
    expect(asked(example)).toEqual([[6, bit === 1 ? 1 : 0]]);
  }
});

/** The episodes of a sequence, by their first cards, with the places where they begin. */
function episodes(inputs: readonly number[], resets: readonly number[]): [start: number, suits: number[]][] {
  const starts = resets.flatMap((first, t) => (first ? [t] : []));
  return starts.map((start, k) => [start, inputs.slice(start, starts[k + 1]).map((token) => token % 4)]);
}

test("repeat first: every card asks for the first of its episode, which is marked", async () => {
  for (const example of await draw(repeatFirst({ L: 120 }), 20)) {
    const all = episodes(example.inputs, example.resets!);
    expect(all.map(([start]) => start)).toEqual([0, 52, 104]);
    for (const [start, suits] of all) {
      expect(example.inputs[start]).toBe(suits[0]! + 4);
      if (suits.length === 52)
        expect([0, 1, 2, 3].map((suit) => suits.filter((each) => each === suit).length)).toEqual([13, 13, 13, 13]);
    }
    const due = all.flatMap(([start, suits]) => suits.map((_, k) => [start + k, suits[0]]));
    expect(asked(example)).toEqual(due);
    expect(example.inputs.filter((token) => token >= 4)).toHaveLength(3);
  }
});

test("hidden resets: the same cards, and no word of where episodes begin but the mark", async () => {
  for (const task of [repeatFirst, repeatPrevious]) {
    const [given, hidden] = [await draw(task(), 3), await draw(task({ resets: "hidden" }), 3)];
    expect(hidden.map((example, k) => ({ ...example, resets: given[k]!.resets }))).toEqual(given);
    expect(hidden.every(({ resets }) => resets === undefined)).toBe(true);
  }
});

test("repeat previous: the card k before within the episode", async () => {
  for (const example of await draw(repeatPrevious({ back: 5, L: 120 }), 20)) {
    const due = episodes(example.inputs, example.resets!).flatMap(([start, suits]) =>
      suits.flatMap((_, k) => (k < 5 ? [] : [[start + k, suits[k - 5]]])),
    );
    expect(asked(example)).toEqual(due);
  }
  expect(() => repeatPrevious({ back: 52 })).toThrow("below the 52 cards");
});
