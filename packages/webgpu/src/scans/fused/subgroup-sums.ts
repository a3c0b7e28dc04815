/**
 * Sums over the threads of a subgroup of several values at once. Two threads exchange one of two values each, so that each
 * has a sum of two; then those with sums of two, and so on: about one exchange a value, where a sum of each by itself takes
 * log2(threads). Values are taken in as they come, so that few are waiting at a time.
 */

export interface SubgroupSums {
  /** Sums: the values, rounded up to a power of two. */
  readonly size: number;
  /** Statements before the first use: the thread's place in its subgroup, and the number of the first sum it ends with. */
  readonly head: readonly string[];
  /** Statements that take in the next value. */
  take(value: string): string[];
  /** Statements that store the sums, sum `at` (an expression) of the value that came as number `at`; what comes next is a value of new sums. */
  finish(store: (at: string, sum: string) => string): string[];
}

/** @param count Values. @param threads Threads of a subgroup, a power of two. @param fresh A name not used before. */
export function subgroupSums(count: number, threads: number, fresh: () => string): SubgroupSums {
  const size = 2 ** Math.ceil(Math.log2(count));
  const halvings = Math.min(Math.log2(size), Math.log2(threads));
  /** Values of 2^level threads each that wait for another one. Of more values than threads, the last of each kind are not halved. */
  let waiting: (string | undefined)[] = [];
  let ends: string[] = [];
  let taken = 0;
  const take = (value: string): string[] => {
    const lines: string[] = [];
    taken++;
    let current = value;
    for (let level = 0; level < halvings; level++) {
      const first = waiting[level];
      if (first === undefined) {
        waiting[level] = current;
        return lines;
      }
      waiting[level] = undefined;
      const name = fresh();
      lines.push(
        `let ${name} = select(${first}, ${current}, upper${level}) + subgroupShuffleXor(select(${current}, ${first}, upper${level}), ${2 ** level}u);`,
      );
      current = name;
    }
    ends.push(current);
    return lines;
  };
  return {
    size,
    head: [
      ...Array.from({ length: halvings }, (_, level) => `let upper${level} = (subgroupMember & ${2 ** level}u) != 0u;`),
      `let slot = i32(subgroupMember & ${2 ** halvings - 1}u);`,
    ],
    take,
    finish(store) {
      const lines: string[] = [];
      for (let k = taken; k < size; k++) lines.push(...take("0.0"));
      const sums = ends.map((end) => {
        let sum = end;
        for (let level = halvings; 2 ** level < threads; level++) {
          const name = fresh();
          lines.push(`let ${name} = ${sum} + subgroupShuffleXor(${sum}, ${2 ** level}u);`);
          sum = name;
        }
        return sum;
      });
      const stores = sums.map((sum, k) => store(k === 0 ? "slot" : `slot + ${k * 2 ** halvings}`, sum));
      waiting = [];
      ends = [];
      taken = 0;
      return [
        ...lines,
        ...(2 ** halvings < threads
          ? [`if (subgroupMember < ${2 ** halvings}u) {`, ...stores.map((line) => `  ${line}`), "}"]
          : stores),
      ];
    },
  };
}
