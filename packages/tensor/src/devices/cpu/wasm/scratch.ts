/** Statements in the making, with the locals they keep values in. */
import type { Code, Local, ValueType } from "./emitter.js";

/** Code of each of several vectors: a local or a constant, cheap to repeat. */
export type Vectors = readonly Code[];

/** Statements under construction, with temporary locals that are used again by every function. */
export interface Scratch {
  readonly local: (type: ValueType) => Local;
  /** The statements so far; replaced while the body of a branch is written. */
  body: Code[];
  temporaries: Local[];
  used: number;
}

export const scratch = (local: (type: ValueType) => Local): Scratch => ({ local, body: [], temporaries: [], used: 0 });
