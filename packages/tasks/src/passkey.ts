/** Prompts that ask for a number hidden in filler text, of any length: what a state of a fixed size still holds. */
import { assertSettings } from "@seqmix/tensor";
import type { Key } from "@seqmix/tensor";
import { hostRandom } from "./host-random.js";

/** What {@link passkeyPrompt} takes. */
export interface PasskeyOptions {
  /** Repetitions of the filler, about 90 characters each. */
  readonly repetitions: number;
  /** Where the number stands, 0 (before all filler) to 1 (behind it). */
  readonly depth: number;
  /** The number to remember; see {@link drawPasskey}. */
  readonly passkey: string;
}

/** A prompt and what has to follow it. */
export interface Passkey {
  /** Ends in front of the number. */
  readonly prompt: string;
  /** The number. */
  readonly answer: string;
}

const TASK =
  "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about the important information there.";
const FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/**
 * Passkey retrieval (Mohtashami and Jaggi, Landmark Attention, 2023, section 4.2), by which Stuffed Mamba (Chen et al., 2024)
 * measures how much a state holds: a number is said between two stretches of filler and asked for at the end.
 * @throws RangeError for repetitions that are no whole number, or a depth outside 0..1.
 */
export function passkeyPrompt(options: PasskeyOptions): Passkey {
  assertSettings("passkeyPrompt", options, ["repetitions", "depth", "passkey"]);
  const { repetitions, depth, passkey } = options;
  if (!Number.isInteger(repetitions) || repetitions < 0)
    throw new RangeError(`passkeyPrompt: expected repetitions as a whole number of at least 0, got ${repetitions}`);
  if (!(depth >= 0 && depth <= 1)) throw new RangeError(`passkeyPrompt: expected a depth from 0 to 1, got ${depth}`);
  const before = Math.round(repetitions * depth);
  const filler = (count: number): string[] => new Array<string>(count).fill(FILLER);
  const information = `The pass key is ${passkey}. Remember it. ${passkey} is the pass key.`;
  const lines = [TASK, ...filler(before), information, ...filler(repetitions - before)];
  return { prompt: `${lines.join("\n")}\nWhat is the pass key? The pass key is `, answer: passkey };
}

/** A number of `digits` digits, 5 by default, the same for the same key. */
export function drawPasskey(key: Key, digits = 5): string {
  const random = hostRandom(key);
  return Array.from({ length: digits }, (_, k) => (k === 0 ? 1 + random.integer(9) : random.integer(10))).join("");
}

/** Nothing but line ends: a prompt on which collapsed states show at once (Stuffed Mamba, section 3). */
export const newlinePrompt = (length: number): string => "\n".repeat(length);
