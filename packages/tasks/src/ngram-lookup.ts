import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";

/** Settings of {@link ngramLookup}. */
export type NgramLookupConfig = {
  /** What is asked: the whole string, or what follows an n-gram of it that is given before or behind it. */
  readonly kind: "copy" | "prefix" | "suffix";
  /** Letters. */
  readonly letters: number;
  /** Shortest string; longer than n-gram and answer together. */
  readonly minLength: number;
  /** Longest string. */
  readonly maxLength: number;
  /** Letters of the n-gram. */
  readonly ngram: number;
  /** Letters to say; 0: all that follow. */
  readonly answer: number;
  /** Length of a context, which training fills with examples one behind the other. */
  readonly L: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** One example, and where in it the answer begins. */
interface Line {
  readonly tokens: readonly number[];
  readonly answerAt: number;
}

/**
 * Copying a string, or what follows an n-gram of it:
 *
 *     copy     $ s | s .
 *     prefix   $ g | s | a .
 *     suffix   $ s | g a .
 *
 * The letters of a string are uniform, its length is uniform from `minLength` to `maxLength`. At every token of the answer and
 * at the full stop the token itself is due one position before. Training packs examples into the context until one does not
 * fit; validation and test have one example a context, padded.
 *
 * Source: Jelassi et al., Repeat After Me: Transformers are Better than State Space Models at Copying, 2024
 * (`synthetic_exps/data_utils.py` of its code). There the position of the n-gram excludes the last admissible one; here too.
 */
export const ngramLookup = defineTask<NgramLookupConfig>({
  id: "ngram-lookup",
  family: "copying",
  summary: "repeat a random string, or what follows an n-gram of it",
  defaults: {
    kind: "suffix",
    letters: 26,
    minLength: 10,
    maxLength: 20,
    ngram: 3,
    answer: 0,
    L: 100,
    evaluationSequences: 500,
  },
  limits: { answer: { least: 0 } },
  choices: { kind: ["copy", "prefix", "suffix"] },
  training: laptopBudget,
  scales: {
    smoke: { L: 60, letters: 6, minLength: 9, maxLength: 12, ngram: 2, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { minLength: 20, maxLength: 50, L: 220, batch: 64 },
  },
  make(config) {
    const { letters, minLength, maxLength, L } = config;
    assertFits(config);
    return generatedTask({
      id: "ngram-lookup",
      config,
      input: { vocabSize: letters + 4 },
      output: { classes: letters + 4 },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / (letters + 1),
      example(random, { inputs, targets, mask }, split) {
        inputs.fill(letters + 3);
        for (let at = 0; at < L;) {
          const { tokens, answerAt } = lineOf(random, config, minLength + random.integer(maxLength - minLength + 1));
          inputs.set(tokens.slice(0, L - at), at);
          if (at + tokens.length > L) break;
          for (let k = answerAt; k < tokens.length; k++) {
            targets[at + k - 1] = tokens[k]!;
            mask[at + k - 1] = 1;
          }
          at += tokens.length;
          if (split !== "train") break;
        }
      },
    });
  },
  definition:
    "A string s of uniform letters is written between `$` and `|`. With kind `copy` it is due again (`$s|s.`); with `suffix` an n-gram g of it follows, which occurs once, and what comes behind it in s is due (`$s|ga.`); with `prefix` the n-gram stands in front (`$g|s|a.`). The answer and the full stop count.",
  tests:
    "Whether a model finds a place by content and reads on from there. A state of fixed size must hold the whole string, since the question may come last; attention needs two layers.",
  source:
    "Jelassi, Brandfonbrener, Kakade and Malach, Repeat After Me: Transformers are Better than State Space Models at Copying (2024); training strings up to 20 to 50 letters, context 220, n = 3.",
  symbols: ({ letters }) => [
    ...Array.from({ length: letters }, (_, k) => String.fromCodePoint(97 + k)),
    "$",
    "|",
    ".",
    "*",
  ],
});

function lineOf(random: HostRandom, config: NgramLookupConfig, length: number): Line {
  const { kind, letters, ngram, answer } = config;
  const [begin, bar, stop] = [letters, letters + 1, letters + 2];
  const text = (): number[] => Array.from({ length }, () => random.integer(letters));
  if (kind === "copy") {
    const s = text();
    const due = answer > 0 ? s.slice(0, answer) : s;
    return { tokens: [begin, ...s, bar, ...due, stop], answerAt: length + 2 };
  }
  for (;;) {
    const s = text();
    // Places from which an n-gram and its answer fit, but for the last two, as in the source.
    const places = length - ngram - answer - 2;
    const place = random.integer(places);
    const gram = s.slice(place, place + ngram);
    if (occurrences(s, gram) > 1) continue;
    const rest = s.slice(place + ngram);
    const due = answer > 0 ? rest.slice(0, answer) : rest;
    return kind === "prefix"
      ? { tokens: [begin, ...gram, bar, ...s, bar, ...due, stop], answerAt: length + ngram + 3 }
      : { tokens: [begin, ...s, bar, ...gram, ...due, stop], answerAt: length + ngram + 2 };
  }
}

const occurrences = (s: readonly number[], gram: readonly number[]): number =>
  s.filter((_, at) => gram.every((letter, k) => s[at + k] === letter)).length;

function assertFits({ kind, letters, minLength, maxLength, ngram, answer, L }: NgramLookupConfig): void {
  if (maxLength < minLength)
    throw new RangeError(`ngram-lookup: expected maxLength of at least ${minLength}, got ${maxLength}; raise it`);
  const least = kind === "copy" ? answer : ngram + answer + 3;
  if (minLength < least)
    throw new RangeError(
      `ngram-lookup: expected minLength of at least ${least} for an n-gram of ${ngram} and its answer, got ${minLength}; raise it`,
    );
  const longest = 2 * maxLength + 3 + (kind === "prefix" ? 1 : 0);
  if (L < longest)
    throw new RangeError(
      `ngram-lookup: expected L of at least ${longest} for strings of ${maxLength}, got ${L}; raise it`,
    );
  // Strings of too few letters hardly have an n-gram that occurs once.
  if (kind !== "copy" && letters ** ngram < maxLength)
    throw new RangeError(
      `ngram-lookup: expected letters and n-grams for ${maxLength} different ones, got ${letters} and ${ngram}; raise one`,
    );
}
