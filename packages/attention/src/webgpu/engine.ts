/**
 * What a pass of attention is written with: a workgroup keeps `rows` rows of one side (its own) and goes through the other
 * side in blocks of `columns` rows. Products with a block, own rows times block rows, are the scores [rows, columns], which lie
 * in workgroup memory; weights take their place, and weights times block rows are the sums [rows, width], which stay with
 * the threads. There are two engines: matrix units, and plain multiply-adds for every adapter.
 */
/** A tensor [heads, length, width] that rows of are read, with the texts of its head and of its length. */
export interface Operand {
  readonly name: string;
  readonly head: string;
  readonly length: string;
  readonly width: number;
}

/** Scores in workgroup memory: own rows of one operand times a block's of another. */
export interface ScoreProduct {
  readonly own: Operand;
  readonly other: Operand;
  /** Number of the region of scores. */
  readonly region: number;
}

/** Sums under a name: what lies in a region, times a block's rows. */
export interface SumProduct {
  readonly name: string;
  readonly region: number;
  readonly other: Operand;
  /** Entries of the result. */
  readonly width: number;
}

/** What becomes of four neighbours of a sum; row and column count from the tile's first. */
export type Take = (row: string, column: string, value: string) => string;

/** A tile on some hardware. `lane` is the thread, i32; texts of the engine are only used in uniform control flow. */
export interface Engine {
  readonly rows: number;
  readonly columns: number;
  readonly threads: number;
  /** Parameters of the entry point. */
  readonly builtin: readonly string[];
  /** Whether operands are scaled by powers of two, one for every chunk of rows; see `narrow.ts`. */
  readonly scaled: boolean;
  /** log2 of what weights are multiplied with, so that all their digits count: they are at most 2^15 then. */
  readonly lift: number;
  /** Type of an operand's buffer. */
  operandType(operand: Operand): string;
  /** Module scope: workgroup memory and functions. */
  declarations(): string;
  /** Variables before the loops. */
  begin(): string;
  /** The block from `first` on is to be worked on next; a first block must have been asked for by `ask`. */
  ask(first: string): string;
  /** At the beginning of a block: it comes in, and the next one is asked for. */
  enter(next: string, end: string): string;
  scores(): string;
  /** First vector (vec4 of four words) of a row's scores in a region. */
  scoreAt(region: number, row: string): string;
  /** Stores the weights of 8 neighbours; `eighth` counts such from the row's first. */
  putWeights(region: number, row: string, eighth: string, x: string, y: string): string;
  /** Stores 8 neighbours as operands in the buffer `slopes`; `at` is the vector of the first of their parts. */
  keep(at: string, x: string, y: string): string;
  /** Columns of a thread below which weights of one take the place of scores of another. */
  readonly narrowest: number;
  sums(): string;
  clear(): string;
  /** Brings the sums of a name to memory: in the loop, between scores and sums, or at the end. */
  bring(name: string, where: "loop" | "end", take: Take): string;
  /** What has to follow the workgroup's last read of the block. */
  leave(): string;
}

/** Products of a pass. */
export interface Products {
  readonly scores: readonly ScoreProduct[];
  readonly sums: readonly SumProduct[];
}

/** A declared buffer of a pass. */
export interface Binding {
  readonly name: string;
  readonly access: "read" | "read_write";
  readonly type: string;
}
