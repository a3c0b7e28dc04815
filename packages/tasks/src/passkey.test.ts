import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { drawPasskey, newlinePrompt, passkeyPrompt } from "./index.js";

test.each([
  [0, 1],
  [0.5, 3],
  [1, 5],
])("at depth %d the number stands in line %d", (depth, line) => {
  const { prompt, answer } = passkeyPrompt({ repetitions: 4, depth, passkey: "71432" });
  const lines = prompt.split("\n");
  expect(answer).toBe("71432");
  expect(lines).toHaveLength(7);
  expect(lines.map((text) => text.includes("71432")).indexOf(true)).toBe(line);
  expect(prompt.split("71432")).toHaveLength(3);
  expect(prompt.endsWith("The pass key is ")).toBe(true);
});

test("numbers come from the key, and have no leading zero", () => {
  const drawn = Array.from({ length: 50 }, (_, k) => drawPasskey(key(k)));
  expect(drawn.every((number) => /^[1-9]\d{4}$/.test(number))).toBe(true);
  expect(drawPasskey(key(3))).toBe(drawn[3]);
  expect(new Set(drawn).size).toBeGreaterThan(40);
  expect(newlinePrompt(3)).toBe("\n\n\n");
});

test("what cannot be is refused", () => {
  expect(() => passkeyPrompt({ repetitions: 1.5, depth: 0, passkey: "1" })).toThrow(
    /whole number of at least 0, got 1.5/,
  );
  expect(() => passkeyPrompt({ repetitions: 1, depth: 2, passkey: "1" })).toThrow(/from 0 to 1, got 2/);
});
