/** The value that goes down the planner's line: the graph, what was decided about it so far, and the kernels in the making. */
import type { Expansions } from "../graph/kernel.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { Draft, PlanOptions } from "./draft.js";
import type { Decisions } from "./decisions.js";
import type { Scans } from "./scan-fusion.js";

/** A plan in the making. A pass returns the next one and changes none. */
export interface Planning {
  readonly options: PlanOptions;
  /** What was asked for. */
  readonly asked: readonly Tensor[];
  /** Tensors whose values are given. */
  readonly leaves: readonly Tensor[];
  /** What earlier runs of the line learned. */
  readonly decisions: Decisions;
  /** Graphs in the place of calls, the same ones in every run. */
  readonly replacements: Replacements;

  /** Set by `resolve`: what was asked for with marks looked through. */
  readonly roots: readonly Tensor[];
  readonly isRoot: ReadonlySet<Tensor>;
  /** Set by `resolve`: each call after those of its inputs. */
  readonly calls: readonly Call[];
  /** The tensor that stands for another. */
  readonly resolve: (x: Tensor) => Tensor;
  /** Set by `resolve`: the calls that read a tensor. */
  readonly users: ReadonlyMap<Tensor, readonly Call[]>;

  /** Set by `keep`: tensors with memory whatever is fused. */
  readonly kept: ReadonlySet<Tensor>;
  /** Set by `scans`. */
  readonly scans: Scans;
  /** Set by `store`, more by `cut`: tensors with memory; the value is the reduction that their kernel computes, if any. */
  readonly stored: ReadonlyMap<Tensor, Call | undefined>;
  /** Set by `store`: what a kernel that ends in another tensor computes on its way. */
  readonly claimed: ReadonlySet<Tensor>;
  /** Set by `store`: sums of products that go on; each is added up as the next product is stored. */
  readonly sums: ReadonlySet<Tensor>;
  /** Set by `lower`, joined by the passes behind it. */
  readonly drafts: readonly Draft[];

  /** Decisions that a pass had to change: the line runs again with them. */
  readonly revised?: Decisions;
}

export interface Replacements {
  readonly expansions: Expansions;
  readonly replaced: Map<Call, readonly Tensor[]>;
  /** Results that have memory since they are pieces of a larger one. */
  readonly pieces: Set<Tensor>;
  /** Why kernel calls have no program. */
  readonly notes: Set<string>;
}

const NO_SCANS: Scans = {
  units: [],
  calls: new Set(),
  results: new Set(),
  inside: new Set(),
  stored: new Set(),
  reasonOf: () => undefined,
};

/** Where the line begins. */
export const beginning = (
  asked: readonly Tensor[],
  leaves: readonly Tensor[],
  options: PlanOptions,
  decisions: Decisions,
  replacements: Replacements,
): Planning => ({
  options,
  asked,
  leaves,
  decisions,
  replacements,
  roots: asked,
  isRoot: new Set(asked),
  calls: [],
  resolve: (x) => x,
  users: new Map(),
  kept: new Set(),
  scans: NO_SCANS,
  stored: new Map(),
  claimed: new Set(),
  sums: new Set(),
  drafts: [],
});
