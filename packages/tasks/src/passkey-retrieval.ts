import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { passkeyPrompt } from "./passkey.js";
import type { Task } from "./task.js";

/** Settings of {@link passkeyRetrieval}. */
export type PasskeyRetrievalConfig = {
  /** Characters; at least those of a prompt without filler. */
  readonly L: number;
  /** Digits of the number. */
  readonly digits: number;
  /** A trained model is also asked at two, four, .. times the length up to this one; 0: only at L. */
  readonly longest: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Every character of a prompt, in order; token 0 pads in front. */
const alphabet = [...new Set(passkeyPrompt({ repetitions: 1, depth: 0, passkey: "0123456789" }).prompt)].sort();
const tokenOf = new Map(alphabet.map((character, k) => [character, k + 1]));

/**
 * Passkey retrieval as a task to train on: the prompt of {@link passkeyPrompt} in characters, with as much filler as fits and
 * the number at a random depth; every digit of the answer is due, with those before it given.
 */
export const passkeyRetrieval = defineTask<PasskeyRetrievalConfig>({
  id: "passkey",
  family: "recall",
  summary: "say a number that was hidden in filler text, character by character",
  defaults: { L: 512, digits: 5, longest: 4096, evaluationSequences: 100 },
  limits: { longest: { least: 0 } },
  training: { ...laptopBudget, steps: 1500, batch: 8, lr: 3e-3 },
  scales: {
    smoke: { L: 320, digits: 2, longest: 0, steps: 20, warmup: 3, batch: 4, evaluationSequences: 16 },
    paper: { L: 8192, longest: 262_144, batch: 16 },
  },
  make: passkeyTask,
  definition:
    'A number is said between two stretches of filler text ("The grass is green. The sky is blue. …") and asked for at the end; characters are tokens. Its digits are due one by one, those before being given. The place of the number among the lines of filler is uniform; sequences are padded in front.',
  tests:
    "What a state of fixed size still holds after long stretches of text that means nothing, and, at lengths beyond those of training, whether the state collapses.",
  source:
    "Mohtashami and Jaggi, Landmark Attention (2023), section 4.2; Chen, Zhang, Hu, Han, Liu and Sun, Stuffed Mamba (2024), where models of language are probed with it at up to 256,000 tokens; here it is trained on.",
  published: [
    {
      model: "Mamba-2, 370M parameters",
      value: "nearly perfect up to 256,000 tokens",
      setting: "a language model, trained on at sequences long enough for its state",
      source: "Chen et al., Stuffed Mamba (2024), abstract",
    },
  ],
  symbols: () => [
    "_",
    ...alphabet.map((character) => (character === "\n" ? "↵" : character === " " ? "·" : character)),
  ],
});

function passkeyTask(config: PasskeyRetrievalConfig): Task<PasskeyRetrievalConfig> {
  const { L, digits } = config;
  const lengthOf = (repetitions: number): number =>
    passkeyPrompt({ repetitions, depth: 0, passkey: "0".repeat(digits) }).prompt.length + digits - 1;
  const room = L - lengthOf(0);
  if (room < 0)
    throw new RangeError(
      `passkey: expected L of at least ${lengthOf(0)} for a prompt without filler, got ${L}; raise L`,
    );
  const repetitions = Math.floor(room / (lengthOf(1) - lengthOf(0)));
  const beyond = doubledLengths(config, passkeyTask);
  return {
    ...generatedTask({
      id: "passkey",
      config,
      input: { vocabSize: alphabet.length + 1 },
      output: { classes: alphabet.length + 1 },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / 10,
      example(random, { inputs, targets, mask }) {
        const passkey = Array.from({ length: digits }, () => random.integer(10)).join("");
        const depth = repetitions === 0 ? 0 : random.integer(repetitions + 1) / repetitions;
        const { prompt } = passkeyPrompt({ repetitions, depth, passkey });
        const tokens = [...prompt, ...passkey].map((character) => tokenOf.get(character)!);
        const first = L - (tokens.length - 1);
        inputs.set(tokens.slice(0, -1), first);
        for (let k = 0; k < digits; k++) {
          targets[L - digits + k] = tokens[tokens.length - digits + k]!;
          mask[L - digits + k] = 1;
        }
      },
    }),
    ...(beyond && { beyond }),
  };
}
