/** How a kernel's text loads, multiplies and stores fragments of 16 x 16: on the adapter's matrix units. */

/** A fragment's extents. */
export const FRAGMENT = 16;

/**
 * A place in memory that is an array of blocks, each an array of vectors. Whether a fragment lies inside its block is known
 * as the program is compiled; anywhere else it is checked at every load that has no constant place, which costs more than
 * the load.
 */
export interface InBlock {
  /** The block's number, a u32 expression. */
  readonly block: string;
  /** First vector in the block. */
  readonly at: number;
  /** Vectors of a block. */
  readonly length: number;
}

/** Texts of fragments; another set may stand in their place where an adapter has no matrix units. */
export interface FragmentTexts {
  /**
   * Declarations, given the workgroup memory that fragments are read from and written to (vectors of four words).
   * @param length Vectors of a block, of memory that is an array of blocks.
   */
  declare(memory: string, length?: number): string;
  /** Sums that are all 0. */
  readonly zero: string;
  /** The builtin that numbers the subgroups of a workgroup, as a parameter of the entry point. */
  readonly builtin: readonly string[];
  /** That number, u32. */
  readonly subgroup: string;
  /**
   * A fragment of an operand in memory.
   * @param at First vector; @param pitch Vectors from one row of the memory to the next.
   */
  load(
    side: "left" | "right",
    major: "row_major" | "col_major",
    memory: string,
    at: number | InBlock,
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
  store(memory: string, at: string | InBlock, sum: string, pitch: string): string;
}

/** On subgroup matrices: f16 operands, sums in f32. */
export const matrixUnits: FragmentTexts = {
  declare: () => "",
  zero: `subgroup_matrix_result<f32, ${FRAGMENT}, ${FRAGMENT}>()`,
  builtin: ["@builtin(subgroup_id) subgroup: u32"],
  subgroup: "subgroup",
  load: (side, major, memory, at, pitch) =>
    `subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${FRAGMENT}, ${FRAGMENT}>, ${major}>(${placeOf(memory, typeof at === "number" ? `${at}u` : at)}, ${pitch}u)`,
  operand: (side) => `subgroup_matrix_${side}<f16, ${FRAGMENT}, ${FRAGMENT}>`,
  multiply: (left, right, sum) => `subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${sum})`,
  scale: (sum, factor) => `subgroupMatrixScalarMultiply(${sum}, ${factor})`,
  largest: (x) => `subgroupMax(${x})`,
  reporters: 1,
  // the same for all threads, which the language cannot see
  directives: "diagnostic(off, chromium.subgroup_matrix_uniformity);\n",
  store: (memory, at, sum, pitch) => `subgroupMatrixStore<row_major>(${placeOf(memory, at)}, ${sum}, ${pitch});`,
};

const placeOf = (memory: string, at: string | InBlock): string =>
  typeof at === "string" ? `&${memory}, ${at}` : `&${memory}[${at.block}], ${at.at}u`;
