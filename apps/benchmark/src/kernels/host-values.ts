/** Input values made on the host, equal in every run, so that every contestant gets the same. */

/** A function that returns the next number of a sequence in [0, 1) (mulberry32, by Tommy Ettinger). */
function numbersFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` values spread evenly between low and high. */
export function uniformValues(count: number, seed: number, low = -1, high = 1): Float32Array {
  const next = numbersFrom(seed);
  return Float32Array.from({ length: count }, () => low + (high - low) * next());
}
