/** A kernel for every tensor with memory: recurrences first, then the rest in the order of the calls. */
import { callOf } from "../graph/calls.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { copyOf, force, type Decisions, type OpenDecisions } from "./decisions.js";
import { readsOf, type Draft } from "./draft.js";
import { lowerLoop, NeedsMemory, type LoweringContext } from "./lower.js";
import type { Planning } from "./planning.js";
import { nativeDraft } from "./views.js";

/** What lowering knows of a plan. */
export const contextOf = ({ resolve, stored }: Planning): LoweringContext => ({
  resolve,
  isStored: (x) => !callOf(x) || stored.has(x),
});

export function lowerKernels(planning: Planning): Planning {
  const forced = new Forced(planning);
  const drafts: Draft[] = [];
  const { options, scans, stored } = planning;
  if (options.scans) {
    const decisions = copyOf(planning.decisions);
    const { units, changed } = options.scans.passes.draft(
      scans,
      forced.context,
      decisions,
      options.fuse,
      options.scans,
    );
    if (changed) return { ...planning, revised: decisions };
    for (const { unit, drafts: steps, reason } of units) {
      if (steps.length > 0) drafts.push(...steps);
      else forced.attempt(() => drafts.push(nativeDraft(unit.scan!, forced.context, options, reason)));
    }
  }
  for (const call of planning.calls) {
    const { kind } = call.op.rule;
    if (scans.calls.has(call) || call.outputs.some((x) => scans.results.has(x))) continue;
    if (kind === "native" || kind === "kernel") {
      if (call.outputs.some((x) => x.size > 0))
        forced.attempt(() => drafts.push(nativeDraft(call, forced.context, options, scans.reasonOf(call))));
      continue;
    }
    const x = call.outputs[0]!;
    if (stored.has(x) && x.size > 0) forced.attempt(() => drafts.push(loopDraft(x, stored.get(x), forced.context)));
  }
  const revised = forced.decisions();
  return revised ? { ...planning, revised } : { ...planning, drafts };
}

function loopDraft(x: Tensor, reduction: Call | undefined, context: LoweringContext): Draft {
  const reductions = reduction ? [reduction] : [];
  return { kind: "loop", outputs: [x], reductions, lowered: lowerLoop([x], reductions, context) };
}

/** Tensors that lowering finds to need memory. From then on they count as stored, so that one run of the line finds them all. */
class Forced {
  readonly #found = new Set<Tensor>();
  readonly #decisions: OpenDecisions;
  readonly context: LoweringContext;

  constructor(planning: Planning) {
    const { resolve, isStored } = contextOf(planning);
    this.#decisions = copyOf(planning.decisions);
    this.context = { resolve, isStored: (x) => isStored(x) || this.#found.has(x) };
  }

  /** Runs `lower` until it needs no more. @throws Error if a tensor needs memory though it has it. */
  attempt(lower: () => unknown): void {
    const open: (() => unknown)[] = [lower];
    while (open.length > 0) {
      const needed = needs(open.at(-1)!);
      if (!needed || this.#found.has(needed)) {
        open.pop();
        continue;
      }
      force(needed, this.#decisions);
      this.#found.add(needed);
      open.push(() => this.#alone(needed));
    }
  }

  /** What a tensor's own kernel will need is found at once. */
  #alone(x: Tensor): void {
    const call = callOf(x)!;
    if (call.op.rule.kind !== "native" && call.op.rule.kind !== "kernel")
      loopDraft(x, call.op.rule.kind === "reduce" ? call : undefined, this.context);
  }

  /** The decisions with what was found, if anything was. */
  decisions(): Decisions | undefined {
    return this.#found.size === 0 ? undefined : this.#decisions;
  }
}

/** The tensor that `lower` needs in memory, if one. */
function needs(lower: () => unknown): Tensor | undefined {
  try {
    lower();
    return undefined;
  } catch (request) {
    if (request instanceof NeedsMemory) return request.tensor;
    throw request;
  }
}

/** Recurrences that wait for themselves take in less. */
export function breakScanCycles(planning: Planning): Planning {
  const { scans, drafts, options } = planning;
  if (!options.scans || scans.units.length === 0) return planning;
  const decisions = copyOf(planning.decisions);
  return options.scans.passes.breakCycles(drafts, readsOf, decisions, options.fuse)
    ? { ...planning, revised: decisions }
    : planning;
}
