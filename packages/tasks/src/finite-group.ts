/** Finite groups as multiplication tables. */

/** A group whose elements are 0 .. size-1; 0 is the identity. */
export interface FiniteGroup {
  /** Elements. */
  readonly size: number;
  /** a b: for permutations, a first and then b. */
  product(a: number, b: number): number;
  /** The permutation that each element is, as images of 0 .. n-1; in lexicographic order for Sn and An. */
  readonly permutations: readonly (readonly number[])[];
}

/** Most elements of a group, so that the multiplication table stays small. */
const MOST = 1000;

/**
 * A group by name: Zm (m at least 2), Sn and An (n from 2 and 3), and direct products of those, e.g. "A4xZ5".
 * @throws RangeError for another name, or a group of more than 1000 elements.
 */
export function finiteGroup(name: string): FiniteGroup {
  const permutations = name
    .split("x")
    .map((factor) => factorNamed(factor, name))
    .reduce((all, factor) =>
      // The second factor permutes points of its own.
      all.flatMap((a) => factor.map((b) => [...a, ...b.map((point) => point + a.length)])),
    );
  const size = permutations.length;
  if (size > MOST)
    throw new RangeError(`finiteGroup: expected a group of at most ${MOST} elements, got ${name} with ${size}`);
  const indexOf = new Map(permutations.map((permutation, k) => [permutation.join(), k]));
  const table = permutations.map((a) => permutations.map((b) => indexOf.get(a.map((point) => b[point]!).join())!));
  return { size, product: (a, b) => table[a]![b]!, permutations };
}

function factorNamed(factor: string, name: string): number[][] {
  const [, kind, digits] = /^([ZSA])(\d{1,4})$/.exec(factor) ?? [];
  const n = Number(digits);
  if (kind === "Z" && n >= 2 && n <= MOST)
    return Array.from({ length: n }, (_, shift) => Array.from({ length: n }, (__, point) => (point + shift) % n));
  if (kind === "S" && n >= 2 && n <= 6) return arrangements(n);
  if (kind === "A" && n >= 3 && n <= 6) return arrangements(n).filter(isEven);
  throw new RangeError(
    `finiteGroup: expected a group such as S3, A5, Z60 or A4xZ5, with at most ${MOST} elements, got ${name}; change group`,
  );
}

/** All orders of 0 .. n-1, in lexicographic order. */
const arrangements = (n: number): number[][] =>
  n === 0
    ? [[]]
    : Array.from({ length: n }, (_, first) =>
        arrangements(n - 1).map((rest) => [first, ...rest.map((point) => (point >= first ? point + 1 : point))]),
      ).flat();

const isEven = (permutation: readonly number[]): boolean =>
  permutation.reduce((count, a, k) => count + permutation.slice(k + 1).filter((b) => b < a).length, 0) % 2 === 0;
