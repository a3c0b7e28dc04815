import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { madPaper, madSource } from "./mad-recall.js";

/** Settings of {@link madCompression}. */
export type MadCompressionConfig = {
  /** V: the last token ends the sequence, the others are data. At least 3. */
  readonly vocabSize: number;
  /** Length, the last token included; at least 2. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Compression of MAD: all tokens of a sequence again, from the one vector at its end.
 *
 *     inputs   3 7 1 0 >        > end (V-1)
 *     answers  3 7 1 0 >        each decoded from the same vector and its place
 */
export const madCompression = defineTask<MadCompressionConfig>({
  id: "mad-compression",
  family: "memory",
  summary: "MAD: say all tokens of a sequence from the vector at its end",
  defaults: { vocabSize: 16, L: 32, trainSequences: 0, evaluationSequences: 256 },
  limits: { vocabSize: { least: 3 }, L: { least: 2 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, steps: 2000, lr: 3e-3 },
  network: { pooling: "last" },
  scales: { smoke: { vocabSize: 5, L: 8, steps: 60, warmup: 5, evaluationSequences: 64 }, paper: madPaper },
  make(config) {
    const { vocabSize, L } = config;
    return generatedTask({
      id: "mad-compression",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: L,
      length: L,
      metric: "accuracy",
      // The last token is always the same, and counts; a guess among all is right as often.
      chance: 1 / vocabSize,
      example(random, { inputs, targets, mask }) {
        for (let t = 0; t < L - 1; t++) inputs[t] = random.integer(vocabSize - 1);
        inputs[L - 1] = vocabSize - 1;
        targets.set(inputs);
        mask.fill(1);
      },
    });
  },
  definition:
    "Uniform tokens and a last one that ends the sequence. From the vector at the last position a map of two layers, given each place in turn, must say all tokens again, the last one included.",
  tests: "How much of a sequence one vector holds.",
  source: `${madSource}, \`mad/model/auto_encoder.py\`: vocabulary 16, length 32; changed to vocabularies of 32 to 128 and lengths of 64 to 256.`,
});
