/** What planning learns about a graph as it goes: passes work on a copy and hand it on. */
import { callOf } from "../graph/calls.js";
import type { Call, Tensor } from "../graph/tensor.js";

/** How much of a recurrence's surroundings its step takes in, most first. */
export type ScanLevel =
  /** The states are computed again in the gradient's step. */
  | "recompute"
  /** The states are stored. */
  | "stored"
  /** All operands and results are stored. */
  | "bare"
  /** A native program, or other rows, run it. */
  | "refused";

/** Decisions that later passes rest on. */
export interface Decisions {
  /** Tensors that cannot be computed where they are used. */
  readonly forced: ReadonlySet<Tensor>;
  /** By recurrence, how much is fused around it and why not more. */
  readonly levels: ReadonlyMap<Call, { readonly level: ScanLevel; readonly reason: string }>;
  /** By recurrence, the parts that its axes are split into. */
  readonly parts: ReadonlyMap<Call, number[][]>;
  /** By recurrence, how many totals its gradient's step takes at most. */
  readonly totals: ReadonlyMap<Call, number>;
}

/** A copy that a pass may add to. */
export interface OpenDecisions extends Decisions {
  readonly forced: Set<Tensor>;
  /** What had been given memory before the pass began. */
  readonly before: ReadonlySet<Tensor>;
  readonly levels: Map<Call, { readonly level: ScanLevel; readonly reason: string }>;
  readonly parts: Map<Call, number[][]>;
  readonly totals: Map<Call, number>;
}

export const NO_DECISIONS: Decisions = { forced: new Set(), levels: new Map(), parts: new Map(), totals: new Map() };

export const copyOf = ({ forced, levels, parts, totals }: Decisions): OpenDecisions => ({
  forced: new Set(forced),
  before: forced,
  levels: new Map(levels),
  parts: new Map(parts),
  totals: new Map(totals),
});

/** Gives a tensor memory from now on; several steps may ask for it in one pass. @throws Error if it had memory before the pass. */
export function force(x: Tensor, { forced, before }: OpenDecisions): void {
  if (before.has(x))
    throw new Error(
      `planner: expected ${callOf(x)?.op.name} ${String(x)} to be computable once it has memory, and it is not; realize it by itself and report this as a bug`,
    );
  forced.add(x);
}
