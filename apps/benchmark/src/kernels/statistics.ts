/** What a list of run times says. */
export interface Timing {
  /** Median, ms. */
  readonly ms: number;
  /** Fastest run, ms. */
  readonly minMs: number;
  /** Slowest run, ms. */
  readonly maxMs: number;
}

/** The middle value, or the mean of the two middle ones. @throws RangeError for an empty list. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("median: expected at least one value, got none");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median, least and largest of run times in ms. */
export const timingOf = (times: readonly number[]): Timing => ({
  ms: median(times),
  minMs: times.reduce((a, b) => Math.min(a, b)),
  maxMs: times.reduce((a, b) => Math.max(a, b)),
});
