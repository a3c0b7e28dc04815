import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { hostRandom } from "./host-random.js";
import { interpolatedTrigram } from "./interpolated-trigram.js";

/** A source of order 2: after a, b comes one of 4 characters with probabilities in the row of (a, b). */
function markovSource(): { text: (seed: number, length: number) => Int32Array; entropy: (text: Int32Array) => number } {
  const random = hostRandom(key(5));
  const table = Array.from({ length: 16 }, () => {
    const weights = Array.from({ length: 4 }, () => 1 + random.integer(100) ** 2);
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / total);
  });
  return {
    text(seed, length) {
      const stream = hostRandom(key(seed));
      const out = new Int32Array(length);
      for (let i = 2; i < length; i++) {
        let rest = stream.integer(2 ** 24) / 2 ** 24;
        const row = table[out[i - 2]! * 4 + out[i - 1]!]!;
        let c = 0;
        while (c < 3 && rest >= row[c]!) rest -= row[c++]!;
        out[i] = c;
      }
      return out;
    },
    entropy: (text) =>
      text.slice(2).reduce((total, c, k) => total - Math.log2(table[text[k]! * 4 + text[k + 1]!]![c]!), 0) /
      (text.length - 2),
  };
}

test("on an order-2 Markov source it approaches the source's own bits per character", () => {
  const source = markovSource();
  const test = source.text(3, 20_000);
  const { bitsPerChar } = interpolatedTrigram({
    train: source.text(1, 200_000),
    validation: source.text(2, 20_000),
    test,
    vocabSize: 4,
  });
  const best = source.entropy(test);
  expect(bitsPerChar).toBeGreaterThan(best - 1e-3);
  expect(bitsPerChar).toBeLessThan(best + 2e-3);
});

test("on uniform noise it says log2 V, and does not trust its counts", () => {
  const noise = (seed: number, length: number): Int32Array => {
    const random = hostRandom(key(seed));
    return Int32Array.from({ length }, () => random.integer(32));
  };
  const { bitsPerChar, weights } = interpolatedTrigram({
    train: noise(1, 20_000),
    validation: noise(2, 5000),
    test: noise(3, 5000),
    vocabSize: 32,
  });
  expect(Math.abs(bitsPerChar - 5)).toBeLessThan(0.01);
  expect(Math.max(...weights.map((w) => w[3]!))).toBeLessThan(0.3);
});

test("weights are probabilities, and an unseen character costs finite bits", () => {
  const { bitsPerChar, weights } = interpolatedTrigram({
    train: [0, 1, 0, 1, 0, 1],
    validation: [0, 1, 0],
    test: [0, 2, 1, 2],
    vocabSize: 3,
  });
  expect(Number.isFinite(bitsPerChar)).toBe(true);
  for (const w of weights) {
    expect(w.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    expect(Math.min(...w)).toBeGreaterThan(0);
  }
});

test("a vocabulary without a table is refused", () => {
  expect(() => interpolatedTrigram({ train: [0, 0], validation: [0, 0], test: [0, 0], vocabSize: 300 })).toThrow(
    "1 to 256 characters, got 300",
  );
  expect(() => interpolatedTrigram({ train: [0, 0], validation: [0], test: [0, 0], vocabSize: 2 })).toThrow(
    "2 characters of validation text, got 1",
  );
});
