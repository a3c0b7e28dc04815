/** What the recall tasks of MAD share. */
import type { ExampleValues } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import type { Split } from "./task.js";

/** Source of the tasks of MAD. */
export const madSource =
  "Poli, Thomas, Nguyen, Ponnusamy, Deiseroth, Kersting, Suzuki, Hie, Ermon, Ré, Zhang and Massaroli, Mechanistic Design and Scaling of Hybrid Architectures (2024); `mad/data/instances.py` of the MAD-lab code base";

/** MAD's published training: the best of three learning rates and two weight decays after 200 epochs of 12,800 sequences. */
export const madPaper = {
  trainSequences: 12_800,
  evaluationSequences: 1280,
  steps: 20_000,
  batch: 128,
  lr: 5e-4,
  dModel: 128,
} as const;

/**
 * Writes tokens and what is due one position ahead: in training every next token, else the answers alone, as MAD does.
 * @param answers For each token whether it is an answer.
 */
export function writeNextTokens(
  { inputs, targets, mask }: ExampleValues,
  tokens: readonly number[],
  answers: readonly boolean[],
  split: Split,
): void {
  for (let t = 0; t + 1 < tokens.length; t++) {
    inputs[t] = tokens[t]!;
    if (split !== "train" && !answers[t + 1]) continue;
    targets[t] = tokens[t + 1]!;
    mask[t] = 1;
  }
}

/** Pairs of a key and its value, with noise between, and at the end one more pair whose key has occurred. */
export interface RecallPairs {
  /** Keys are 0 .. keys-1. */
  readonly keys: number;
  /** Values are keys .. keys+values-1. */
  readonly values: number;
  /** Noise tokens, behind the values. */
  readonly noise: number;
  /** Share of pairs that are noise, in [0, 1). */
  readonly noiseShare: number;
  /** Tokens in all, even. */
  readonly length: number;
}

/** Tokens of a recall task, and which are answers: the value of a key that has occurred before. */
export function recallPairs(
  random: HostRandom,
  { keys, values, noise, noiseShare, length }: RecallPairs,
): { readonly tokens: number[]; readonly answers: boolean[] } {
  const valueOf = new Map<number, number>();
  const tokens: number[] = [];
  const answers: boolean[] = [];
  const pairs = length / 2;
  // One pair at least is none of noise; as in the source it may be the one at the end, which never is.
  const kept = random.integer(pairs);
  for (let k = 0; k < pairs - 1; k++) {
    if (noiseShare > 0 && k !== kept && random.uniform() < noiseShare) {
      tokens.push(keys + values + random.integer(noise), keys + values + random.integer(noise));
      answers.push(false, false);
      continue;
    }
    const key = random.integer(keys);
    const known = valueOf.has(key);
    if (!known) valueOf.set(key, keys + random.integer(values));
    tokens.push(key, valueOf.get(key)!);
    answers.push(false, known);
  }
  // Where all was noise there is no key to ask for: one is made up, whose value cannot be known.
  if (valueOf.size === 0) valueOf.set(random.integer(keys), keys + random.integer(values));
  const [key, value] = [...valueOf][random.integer(valueOf.size)]!;
  tokens.push(key, value);
  answers.push(false, true);
  return { tokens, answers };
}
