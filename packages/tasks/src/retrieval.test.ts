// Each answer is found again in the text that the tokens spell.
import { expect, test } from "vitest";
import { needle, passkeyRetrieval } from "./index.js";
import { asked, draw, type Example } from "./testing/examples.js";

/** What the tokens spell, and what is due behind it. */
function spelled(symbols: readonly string[], example: Example): { text: string; answer: string; first: number } {
  const word = (token: number): string => symbols[token]!.replace("↵", "\n").replace("·", " ");
  const due = asked(example);
  return {
    text: example.inputs.map(word).join("").replace(/^_+/, ""),
    answer: due.map(([, token]) => word(token)).join(""),
    first: due[0]![0],
  };
}

test("passkey: the number in the text is due at its end, at any depth", async () => {
  const task = passkeyRetrieval({ L: 560, digits: 3, longest: 1000 });
  const lines = new Set<number>();
  for (const example of await draw(task, 40)) {
    const { text, answer, first } = spelled(passkeyRetrieval.entry.symbols!(task.config), example);
    const number = /The pass key is (\d+)\. Remember it\. \1 is the pass key\./.exec(text)![1];
    expect(answer).toBe(number);
    // All digits but the last are given, and due one position before.
    expect(text.endsWith(`What is the pass key? The pass key is ${number!.slice(0, -1)}`)).toBe(true);
    expect(first).toBe(560 - 3);
    lines.add(text.split("\n").findIndex((line) => line.includes(number!)));
  }
  expect([...lines].toSorted()).toEqual([1, 2, 3, 4]);
  expect(Object.keys(task.beyond!)).toEqual(["L=1000"]);
  expect(() => passkeyRetrieval({ L: 100 })).toThrow("prompt without filler, got 100");
});

test("needle: of several words with numbers the one that is asked for, and as much hay as fits", async () => {
  const task = needle({ L: 400, needles: 3, digits: 2, longest: 0 });
  const places = new Set<number>();
  for (const example of await draw(task, 40)) {
    const { text, answer } = spelled(needle.entry.symbols!(task.config), example);
    const numbers = new Map([...text.matchAll(/The number for (\w{5}) is (\d\d)\./g)].map(([, w, n]) => [w, n]));
    expect(numbers.size).toBe(3);
    const question = /The number for (\w{5}) is (\d)$/.exec(text)!;
    expect(answer).toBe(numbers.get(question[1]!));
    expect(question[2]).toBe(answer[0]);
    const lines = text.split("\n");
    expect(400 - text.length).toBeLessThan("The grass is green.".length * 5);
    lines.slice(0, -1).forEach((line, k) => line.includes("number") && places.add(k));
  }
  expect(places.size).toBe(6);
  expect(() => needle({ L: 100 })).toThrow("for 4 needles, got 100");
});
