/**
 * The planner: from a graph to a list of kernels, down a line of passes. Each is a function from the plan so far
 * ({@link Planning}) to the next. A pass that finds an earlier decision wrong (a tensor that cannot be computed in
 * place, a recurrence that does not fit the device) hands the line back with the decision revised, and the line runs again.
 *
 * With `fuse: false` every call gets memory and a kernel of its own: the baseline the tests compare with.
 */
import type { Tensor } from "../graph/tensor.js";
import { onDemand } from "../graph/on-demand.js";
import { NO_DECISIONS } from "./decisions.js";
import { cutLong } from "./cut.js";
import type { PlanOptions } from "./draft.js";
import { emitPlan } from "./emit.js";
import { keepMemory } from "./keep.js";
import { breakScanCycles, lowerKernels } from "./lower-kernels.js";
import { orderKernels } from "./order.js";
import type { Plan } from "./plan.js";
import { beginning, type Planning, type Replacements } from "./planning.js";
import { resolveGraph } from "./resolve.js";
import { storeResults } from "./store.js";
import { dropUnreadKernels } from "./unread.js";

/** One step of the line. */
export interface Pass {
  readonly name: string;
  readonly run: (planning: Planning) => Planning;
}

const amongKernels = onDemand(() => import("./among-kernels.js"));
type AmongKernels = ReturnType<typeof amongKernels>;

/** A pass that changes nothing where there is a single kernel. */
const among =
  (pass: (passes: AmongKernels, planning: Planning) => Planning): Pass["run"] =>
  (planning) =>
    planning.drafts.length > 1 ? pass(amongKernels(), planning) : planning;

/** The line. */
export const PASSES: readonly Pass[] = [
  // Marks are looked through; kernel calls without a variant, wide concats and refused recurrences become other graphs.
  { name: "resolve", run: resolveGraph },
  // Roots, operands and results of native programs, and tables have memory whatever is fused.
  { name: "keep", run: keepMemory },
  // A recurrence takes in what is computed into it and out of it.
  { name: "scans", run: (planning) => planning.options.scans?.passes.fuse(planning) ?? planning },
  // Results of reductions with their tails, and what is used often, have memory; all else is computed where it is used.
  { name: "store", run: storeResults },
  // Expressions that grow too long are cut.
  { name: "cut", run: cutLong },
  // Everything between two memories becomes one expression over affine indices.
  { name: "lower", run: lowerKernels },
  { name: "cycles", run: breakScanCycles },
  { name: "order", run: orderKernels },
  // What only leads to tensors without elements is not computed.
  { name: "unread", run: dropUnreadKernels },
  // Gradients of f16 operands are rounded where a program stores them.
  { name: "halves", run: among((passes, planning) => passes.storeGradientsInHalf(planning)) },
  // Reductions of the same rows and what follows from them along the rows: softmax, norms.
  { name: "rows", run: among((passes, planning) => passes.groupRows(planning)) },
  { name: "order", run: orderKernels },
  // Products that are added up are added to the sum so far.
  { name: "sums", run: among((passes, planning) => passes.attachSums(planning)) },
  // Loops of one shape that share operands or feed each other.
  { name: "join", run: among((passes, planning) => passes.joinLoops(planning)) },
  // What is computed behind a product is computed as the product is stored.
  { name: "epilogues", run: among((passes, planning) => passes.attachEpilogues(planning)) },
  { name: "order", run: orderKernels },
  // What gives memory back runs as soon as it can.
  { name: "memory", run: among((passes, planning) => passes.freeEarly(planning)) },
];

/** Makes the plan of a graph whose leaves are the given tensors; in {@link whenLoaded}, since passes are loaded when they are first needed. */
export const makePlan = (roots: readonly Tensor[], leaves: readonly Tensor[], options: PlanOptions): Plan =>
  emitPlan(planThrough(roots, leaves, options));

/**
 * Runs the line until no decision changes.
 * @param watch Sees what each pass was given and what it made.
 */
export function planThrough(
  roots: readonly Tensor[],
  leaves: readonly Tensor[],
  options: PlanOptions,
  watch: (pass: Pass, before: Planning, after: Planning) => void = () => {},
): Planning {
  const replacements: Replacements = {
    expansions: new Map(),
    replaced: new Map(),
    pieces: new Set(),
    notes: new Set(),
  };
  for (let decisions = NO_DECISIONS; ;) {
    let planning = beginning(roots, leaves, options, decisions, replacements);
    for (const pass of PASSES) {
      const before = planning;
      planning = pass.run(before);
      watch(pass, before, planning);
      if (planning.revised) break;
    }
    if (!planning.revised) return planning;
    decisions = planning.revised;
  }
}
