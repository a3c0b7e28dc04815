/** Random numbers on the host, from the counters of a key. */
import { threefry, type Key } from "@seqmix/tensor";

/** Independent standard normal numbers. @throws RangeError without a key. */
export function normalNumbers(key: Key | undefined, caller: string, count: number): Float64Array {
  const draw = uniformNumbers(key, caller, 2 * count);
  // Box and Muller's transform, one number a pair.
  return Float64Array.from(
    { length: count },
    (_, k) => Math.sqrt(-2 * Math.log(draw[2 * k]!)) * Math.cos(2 * Math.PI * draw[2 * k + 1]!),
  );
}

/** Independent numbers, uniform between 0 and 1, neither of which comes. @throws RangeError without a key. */
export function uniformNumbers(key: Key | undefined, caller: string, count: number): Float64Array {
  if (!key?.words)
    throw new RangeError(`${caller}: expected a key for random numbers, got ${key ? String(key) : "none"}`);
  return Float64Array.from({ length: count }, (_, k) => ((threefry(key.words, [k, 0])[0] >>> 0) + 0.5) * 2 ** -32);
}
