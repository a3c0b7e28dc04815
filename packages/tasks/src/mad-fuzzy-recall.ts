import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import { madPaper, madSource, writeNextTokens } from "./mad-recall.js";
import type { Split } from "./task.js";

/** Settings of {@link madFuzzyRecall}. */
export type MadFuzzyRecallConfig = {
  /** V: the last token pads; half of the others make keys, half values. Odd. */
  readonly vocabSize: number;
  /** Most tokens of a key; at most (V-1)/2. */
  readonly keyLength: number;
  /** Most tokens of a value; at most (V-1)/2. */
  readonly valueLength: number;
  /** Positions. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Fuzzy in-context recall of MAD: keys and values are runs of different tokens, of random lengths.
 *
 *     inputs    _ _ a c 3 b 1 2 a     the value of the key "a c" is "3", of "b" it is "1 2"
 *
 * Tests ask for keys of the full length only. In front stands padding.
 */
export const madFuzzyRecall = defineTask<MadFuzzyRecallConfig>({
  id: "mad-fuzzy-recall",
  family: "recall",
  summary: "MAD: recall where keys and values are runs of several tokens",
  defaults: { vocabSize: 17, keyLength: 3, valueLength: 3, L: 128, trainSequences: 0, evaluationSequences: 256 },
  limits: { vocabSize: { least: 5 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 7, keyLength: 2, valueLength: 2, L: 32, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: madPaper,
  },
  make(config) {
    const { vocabSize, keyLength, valueLength, L } = config;
    const half = (vocabSize - 1) / 2;
    const pair = keyLength + valueLength;
    if (!Number.isInteger(half) || keyLength > half || valueLength > half || L < 3 * pair + 1)
      throw new RangeError(
        `mad-fuzzy-recall: expected an odd vocabSize with (vocabSize - 1) / 2 tokens for keys of ${keyLength} and values of ${valueLength}, and L of at least ${3 * pair + 1}, got vocabSize=${vocabSize} and L=${L}; change one`,
      );
    return generatedTask({
      id: "mad-fuzzy-recall",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / half,
      example(random, values, split) {
        const { tokens, answers } = fuzzyPairs(random, config, split);
        const padding = L + 1 - tokens.length;
        const front = new Array<number>(padding).fill(vocabSize - 1);
        const none = new Array<boolean>(padding).fill(false);
        writeNextTokens(values, [...front, ...tokens], [...none, ...answers], split);
      },
    });
  },
  definition:
    "As MAD's in-context recall, but a key is a run of up to three different tokens, and so is a value; their lengths are uniform. Validation and test use keys of three tokens only. Sequences are padded in front.",
  tests: "Whether a model finds where keys and values begin and end, and matches runs instead of single tokens.",
  source: `${madSource}: keys and values of up to 3 tokens, length 128. There the padding token is the last of 16, which leaves 7 tokens for keys and 8 for values; here both have 8. There the pair that is asked for may also be left out of a sequence; here it never is.`,
});

/** Pairs, and at the end one whose key has occurred. */
function fuzzyPairs(
  random: HostRandom,
  { vocabSize, keyLength, valueLength, L }: MadFuzzyRecallConfig,
  split: Split,
): { readonly tokens: number[]; readonly answers: boolean[] } {
  const half = (vocabSize - 1) / 2;
  const run = (most: number, from: number): number[] => random.distinct(most, half).map((token) => from + token);
  const newKey = (): number[] => run(split === "train" ? 1 + random.integer(keyLength) : keyLength, 0);
  const newValue = (): number[] => run(1 + random.integer(valueLength), half);
  const valueOf = new Map<string, number[]>();
  const present = new Set<string>();
  const tokens: number[] = [];
  const answers: boolean[] = [];
  const show = (key: readonly number[]): void => {
    const name = key.join();
    const value = valueOf.get(name) ?? newValue();
    valueOf.set(name, value);
    tokens.push(...key, ...value);
    answers.push(...key.map(() => false), ...value.map(() => present.has(name)));
    present.add(name);
  };
  const last = newKey();
  const lastValue = newValue();
  valueOf.set(last.join(), lastValue);
  const longest = keyLength + valueLength;
  const end = L - last.length - lastValue.length - longest;
  // The pair that is asked for stands somewhere in front, where a pair begins whatever the others are.
  const place = random.integer(end - longest + 1);
  while (tokens.length < end) show(tokens.length >= place && !present.has(last.join()) ? last : newKey());
  show(last);
  return { tokens, answers };
}
