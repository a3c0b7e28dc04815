/** Numbers that say whether a state collapsed. */
import type { CollapseCurve } from "./collapse.js";

/** Accuracy in the octave that ends at the training length. */
export function atLength({ positions, accuracy }: CollapseCurve, trained: number): number {
  const at = positions.indexOf(trained);
  if (at < 0) throw new RangeError(`atLength: expected an octave that ends at ${trained}, got ${positions.join(", ")}`);
  return accuracy[at]!;
}

/** Accuracy in the last octave. */
export const far = ({ accuracy }: CollapseCurve): number => accuracy.at(-1)!;

/** How many times as large as at the training length the state of the head that grew most is in the end. */
export function growth({ positions, states }: CollapseCurve, trained: number): number {
  const [then, last] = [states[positions.indexOf(trained)]!, states.at(-1)!];
  return Math.max(...last.map((size, head) => size / then[head]!));
}

/** Mean of some numbers. */
export const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
