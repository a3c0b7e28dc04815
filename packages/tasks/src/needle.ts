import { defineTask, laptopBudget } from "./define-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import type { Task } from "./task.js";

/** Settings of {@link needle}. */
export type NeedleConfig = {
  /** Characters; at least those of needles and question. */
  readonly L: number;
  /** Needles: words with a number each, of which one is asked for. */
  readonly needles: number;
  /** Digits of a number. */
  readonly digits: number;
  /** A trained model is also asked at two, four, .. times the length up to this one; 0: only at L. */
  readonly longest: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

const HAY = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
/** Letters of a word: consonants and vowels in turn, 15,125 words. */
const [CONSONANTS, VOWELS, WORD] = ["bdfgklmnprt", "aeiou", 5];

/**
 * Needles in a haystack: words have numbers, one of which is asked for.
 *
 *     The number for bakil is 4031.     among lines of filler
 *     The number for bakil is ____      at the end
 *
 * Source: `niah_single_1` (one needle) and `niah_multikey_1` (four) of RULER, with shorter sentences, made-up words and
 * characters as tokens.
 */
export const needle = defineTask<NeedleConfig>({
  id: "needle",
  family: "recall",
  summary: "say the number that belongs to a word, found among filler text and other words with numbers",
  defaults: { L: 512, needles: 4, digits: 4, longest: 4096, evaluationSequences: 100 },
  limits: { longest: { least: 0 } },
  training: { ...laptopBudget, steps: 1500, batch: 8, lr: 3e-3 },
  scales: {
    smoke: { L: 160, needles: 2, digits: 2, longest: 0, steps: 20, warmup: 3, batch: 4, evaluationSequences: 16 },
    paper: { L: 4096, digits: 7, longest: 131_072, batch: 16 },
  },
  make: needleTask,
  definition:
    "Sentences that give a made-up word a number (`The number for bakil is 4031.`) stand at random places among lines of filler text; at the end the sentence of one of the words stands again, and its digits are due one by one, those before being given. Characters are tokens; sequences are padded in front.",
  tests:
    "Recall by content over text: several bindings at once, a key of several characters, and a value of several more.",
  source:
    "Hsieh, Sun, Kriman, Acharya, Rekesh, Jia, Zhang and Ginsburg, RULER (2024): `niah_single_1` has one needle, `niah_multikey_1` four, numbers have 7 digits. Sentences here are shorter, and words are made up.",
  symbols: () => [
    "_",
    ...alphabet.map((character) => (character === "\n" ? "↵" : character === " " ? "·" : character)),
  ],
});

const sentence = (word: string, number: string): string => `The number for ${word} is ${number}`;
const alphabet = [...new Set(`${HAY}\n${sentence(CONSONANTS + VOWELS, "0123456789.")}`)].sort();
const tokenOf = new Map(alphabet.map((character, k) => [character, k + 1]));

function needleTask(config: NeedleConfig): Task<NeedleConfig> {
  const { L, needles, digits } = config;
  const line = sentence("x".repeat(WORD), "0".repeat(digits)).length;
  // Each needle with its full stop and line end; at the end the question with its answer, of which the last digit is due only.
  const least = needles * (line + 2) + line - 1;
  if (L < least)
    throw new RangeError(`needle: expected L of at least ${least} for ${needles} needles, got ${L}; raise L`);
  const straws = Math.floor((L - least) / (HAY.length + 1));
  const beyond = doubledLengths(config, needleTask);
  return {
    ...generatedTask({
      id: "needle",
      config,
      input: { vocabSize: alphabet.length + 1 },
      output: { classes: alphabet.length + 1 },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / 10,
      example(random, { inputs, targets, mask }) {
        const words = differentWords(random, needles);
        const numbers = words.map(() => Array.from({ length: digits }, () => random.integer(10)).join(""));
        const lines = new Array<string>(straws + needles).fill(HAY);
        random.distinct(needles, lines.length).forEach((place, k) => {
          lines[place] = `${sentence(words[k]!, numbers[k]!)}.`;
        });
        const asked = random.integer(needles);
        const text = `${lines.join("\n")}\n${sentence(words[asked]!, numbers[asked]!)}`;
        const tokens = [...text].map((character) => tokenOf.get(character)!);
        inputs.set(tokens.slice(0, -1), L - (tokens.length - 1));
        for (let k = 0; k < digits; k++) {
          targets[L - digits + k] = tokens[tokens.length - digits + k]!;
          mask[L - digits + k] = 1;
        }
      },
    }),
    ...(beyond && { beyond }),
  };
}

function differentWords(random: HostRandom, count: number): string[] {
  const words = new Set<string>();
  const letters = (k: number): string => (k % 2 === 0 ? CONSONANTS : VOWELS);
  while (words.size < count)
    words.add(Array.from({ length: WORD }, (_, k) => letters(k)[random.integer(letters(k).length)]!).join(""));
  return [...words];
}
