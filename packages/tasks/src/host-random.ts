/** Random numbers on the host, from the same keys and cipher as the tensors' random numbers. */
import { threefry, type Key } from "@seqmix/tensor";

/** Numbers one after another, a function of the key alone: only exact arithmetic, so that they are the same on every machine. */
export interface HostRandom {
  /** A uniform integer in 0 .. below-1. Its bias is below/2^32: some 1e-9 for a vocabulary. */
  integer(below: number): number;
  /** A uniform number in [0, 1), a multiple of 2^-32. */
  uniform(): number;
  /** A number of the standard normal distribution. */
  normal(): number;
  /** `count` different integers in 0 .. below-1, in random order; every such list is equally likely. */
  distinct(count: number, below: number): number[];
  /** The given items in random order. */
  shuffled<T>(items: readonly T[]): T[];
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
  const integer = (below: number): number => Math.floor((word() / 2 ** 32) * below);
  const uniform = (): number => word() / 2 ** 32;
  return {
    integer,
    uniform,
    normal: () => exactNormal(uniform, integer),
    distinct(count, below) {
      // The first steps of a Fisher-Yates shuffle of 0 .. below-1, of which only what has moved is kept.
      const moved = new Map<number, number>();
      return Array.from({ length: count }, (_, k) => {
        const chosen = k + integer(below - k);
        const value = moved.get(chosen) ?? chosen;
        moved.set(chosen, moved.get(k) ?? k);
        return value;
      });
    },
    shuffled(items) {
      return this.distinct(items.length, items.length).map((k) => items[k]!);
    },
  };
}

/**
 * Karney, Sampling exactly from the normal distribution (2016), algorithm N: only comparisons of uniform numbers, no
 * logarithm or cosine, whose last bits differ between engines.
 */
function exactNormal(uniform: () => number, integer: (below: number) => number): number {
  for (;;) {
    let k = 0;
    while (happens(0.5, uniform)) k++;
    if (!times(k * (k - 1), () => happens(0.5, uniform))) continue;
    const x = uniform();
    if (!times(k + 1, () => happens((x * (2 * k + x)) / (2 * k + 2), uniform))) continue;
    return (integer(2) === 0 ? 1 : -1) * (k + x);
  }
}

const times = (count: number, trial: () => boolean): boolean => {
  for (let n = 0; n < count; n++) if (!trial()) return false;
  return true;
};

/** True with probability exp(-p), 0 <= p <= 1 (von Neumann): whether a falling run of uniform numbers below p has even length. */
function happens(p: number, uniform: () => number): boolean {
  let even = true;
  for (let last = p, next = uniform(); next < last; last = next, next = uniform()) even = !even;
  return even;
}
