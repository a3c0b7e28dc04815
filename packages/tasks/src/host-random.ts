/** Random numbers on the host, from the same keys and cipher as the tensors' random numbers. */
import { threefry, type Key } from "@seqmix/tensor";

/** Integers one after another, a function of the key alone. */
export interface HostRandom {
  /** A uniform integer in 0 .. below-1. Its bias is below/2^32: some 1e-9 for a vocabulary. */
  integer(below: number): number;
}

/** The random numbers of a key (threefry-2x32, counter mode). */
export function hostRandom(key: Key): HostRandom {
  let counter = 0;
  let spare: number | undefined;
  const word = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const [first, second] = threefry(key.words, [counter++, 3]);
    spare = second >>> 0;
    return first >>> 0;
  };
  return { integer: (below) => Math.floor((word() / 2 ** 32) * below) };
}
