/** How a kernel's text loads, multiplies and stores fragments of 16 x 16: on the adapter's matrix units. */

/** A fragment's extents. */
export const FRAGMENT = 16;

/** Texts of fragments; another set may stand in their place where an adapter has no matrix units. */
export interface FragmentTexts {
  /** Declarations, given the workgroup memory that fragments are read from and written to (vectors of four words). */
  declare(memory: string): string;
  /** Sums that are all 0. */
  readonly zero: string;
  /** The builtin that numbers the subgroups of a workgroup, as a parameter of the entry point. */
  readonly builtin: readonly string[];
  /** That number, u32. */
  readonly subgroup: string;
  /**
   * A fragment of an operand in memory.
   * @param at First vector: a number, or a u32 expression. Whether a fragment lies inside is checked as it is loaded, but where
   * compilers see that it does; see {@link reachOf}. @param pitch Vectors from one row of the memory to the next.
   */
  load(
    side: "left" | "right",
    major: "row_major" | "col_major",
    memory: string,
    at: number | string,
    pitch: number,
  ): string;
  /** Type of a variable that keeps a loaded fragment. */
  operand(side: "left" | "right"): string;
  /** Adds a product of two loaded fragments. */
  multiply(left: string, right: string, sum: string): string;
  /** Sums times a number. */
  scale(sum: string, factor: string): string;
  /** What one thread knows of the largest of the subgroup's numbers. */
  largest(x: string): string;
  /** Threads that must tell what they know of it. */
  readonly reporters: 1 | 32;
  /** Directives at the head of a module that scales sums by what was found in memory. */
  readonly directives: string;
  /** Statement: stores sums, row by row, in a buffer of f32 or in vectors of workgroup memory. */
  store(memory: string, at: string, sum: string, pitch: string): string;
}

/** On subgroup matrices: f16 operands, sums in f32. */
export const matrixUnits: FragmentTexts = {
  declare: () => "",
  zero: `subgroup_matrix_result<f32, ${FRAGMENT}, ${FRAGMENT}>()`,
  builtin: ["@builtin(subgroup_id) subgroup: u32"],
  subgroup: "subgroup",
  load: (side, major, memory, at, pitch) =>
    `subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${FRAGMENT}, ${FRAGMENT}>, ${major}>(&${memory}, ${typeof at === "number" ? `${at}u` : at}, ${pitch}u)`,
  operand: (side) => `subgroup_matrix_${side}<f16, ${FRAGMENT}, ${FRAGMENT}>`,
  multiply: (left, right, sum) => `subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${sum})`,
  scale: (sum, factor) => `subgroupMatrixScalarMultiply(${sum}, ${factor})`,
  largest: (x) => `subgroupMax(${x})`,
  reporters: 1,
  // the same for all threads, which the language cannot see
  directives: "diagnostic(off, chromium.subgroup_matrix_uniformity);\n",
  store: (memory, at, sum, pitch) => `subgroupMatrixStore<row_major>(&${memory}, ${at}, ${sum}, ${pitch});`,
};

/**
 * The length of memory, in vectors, with which compilers see that the fragment at `at + place` lies inside, where `place`
 * is a number from 0 to count - 1, a power of two, times `stride`: they follow which bits of a sum can be set. Shorter
 * memory is right too, but every load is then a branch.
 */
export function reachOf(at: number, count: number, stride: number, pitch: number): number {
  const allOnes = (x: number): number => (x === 0 ? 0 : 2 ** (Math.floor(Math.log2(x)) + 1) - 1);
  const top = (count - 1) * stride;
  const unknown = allOnes(top) & ~((stride & -stride) - 1);
  const last = at | allOnes(at ^ (at + unknown));
  return last + (FRAGMENT - 1) * pitch + FRAGMENT / 8 + 1;
}
