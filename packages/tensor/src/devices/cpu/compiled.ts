/** A plan with its programs, ready to run on the CPU device. */
import type { Arena } from "../../plan/arena.js";
import type { Plan } from "../../plan/plan.js";

/** What runs a step, given the addresses of its inputs and outputs. */
export interface Runner {
  /** For `explain`. */
  readonly name: string;
  run(addresses: readonly number[]): void;
}

export interface CompiledPlan {
  readonly plan: Plan;
  readonly arena: Arena;
  /** Leaf slots each root may be written over. */
  readonly takeovers: readonly (readonly number[])[];
  readonly runners: readonly Runner[];
  /** By root, whether it takes the memory of its slot: else it is a copy of a leaf or of an earlier root. */
  readonly isFirst: readonly boolean[];
}
