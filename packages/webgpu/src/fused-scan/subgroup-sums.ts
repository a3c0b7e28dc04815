/**
 * Sums over the threads of a subgroup of several values at once. Threads exchange halves of their values until each has one
 * that is the sum over all: about one exchange a value, where a sum of each by itself takes log2(threads).
 */

export interface SubgroupSums {
  /** Sums: the values, rounded up to a power of two. */
  readonly size: number;
  /** Statements before the first use: the thread's place in its subgroup, and the number of the first sum it ends with. */
  readonly head: readonly string[];
  /** Statements that sum `value(0)`, `value(1)`, ... and store sum `at`, an expression. */
  add(value: (k: number) => string, store: (at: string, sum: string) => string): string[];
}

/** @param count Values. @param threads Threads of a subgroup, a power of two. */
export function subgroupSums(count: number, threads: number): SubgroupSums {
  const size = 2 ** Math.ceil(Math.log2(count));
  const halvings = Math.min(Math.log2(size), Math.log2(threads));
  const slots = Array.from({ length: halvings }, (_, j) => `((member >> ${j}u) & 1u) * ${size >> (j + 1)}u`);
  return {
    size,
    head: ["let member = subgroupMember;", `let slot = i32(${slots.length > 0 ? slots.join(" + ") : "0u"});`],
    add(value, store) {
      const lines: string[] = [];
      let values = Array.from({ length: size }, (_, k) => value(k));
      let names = 0;
      const keep = (text: string): string => {
        lines.push(`let part${names} = ${text};`);
        return `part${names++}`;
      };
      for (let j = 0; 2 ** j < threads; j++) {
        if (j >= halvings) {
          values = values.map((x) => keep(`${x} + subgroupShuffleXor(${x}, ${2 ** j}u)`));
          continue;
        }
        const half = values.length / 2;
        lines.push(`let upper${j} = (member & ${2 ** j}u) != 0u;`);
        values = Array.from({ length: half }, (_, i) => {
          const [low, high] = [values[i]!, values[i + half]!];
          return keep(`select(${low}, ${high}, upper${j}) + subgroupShuffleXor(select(${high}, ${low}, upper${j}), ${2 ** j}u)`);
        });
      }
      const stores = values.map((x, i) => store(i === 0 ? "slot" : `slot + ${i}`, x));
      return ["{", ...lines.map((line) => `  ${line}`), ...(2 ** halvings < threads ? [`  if (member < ${2 ** halvings}u) {`, ...stores.map((line) => `    ${line}`), "  }"] : stores.map((line) => `  ${line}`)), "}"];
    },
  };
}
