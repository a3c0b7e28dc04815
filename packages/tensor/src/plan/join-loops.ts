/** Elementwise loops of one shape that share operands or feed each other become one kernel with several results. */
import type { Tensor } from "../graph/tensor.js";
import { fitTogether, shareOfVisits } from "./bounds.js";
import { readsOf, type Draft, type LoopDraft } from "./draft.js";
import { reducedExtents, tryLowerLoop, type LoweringContext } from "./lower.js";
import { contextOf } from "./lower-kernels.js";
import type { Planning } from "./planning.js";

/** Readers of a tensor that a kernel is tried with, the latest ones: at least so many, and more of fewer kernels. */
const LEAST_NEAR = 32;
const NEAR_IN_ALL = 4e5;
/** Kernels that are tried in earnest. */
const TRIED = 16;

export function joinLoops(planning: Planning): Planning {
  if (!planning.options.fuse) return planning;
  const context = contextOf(planning);
  const joining = new Joining(planning.drafts, context, planning.options.maxBuffers);
  for (const draft of planning.drafts) joining.add(draft);
  return { ...planning, drafts: dropUnread(joining.kernels, planning.isRoot, context) };
}

/** Kernels joined so far, with what each reads. */
class Joining {
  readonly kernels: Draft[] = [];
  readonly #makers = new Map<Tensor, Draft>();
  readonly #readers = new Map<Tensor, Draft[]>();
  /** The longest way from a leaf: what a kernel waits for is on a lower level. */
  readonly #levels = new Map<Draft, number>();
  readonly #loops = new Map<Draft, string>();
  readonly #visits: number;
  readonly #near: number;

  constructor(
    drafts: readonly Draft[],
    readonly context: LoweringContext,
    readonly maxBuffers: number,
  ) {
    this.#visits = shareOfVisits(drafts);
    this.#near = Math.max(LEAST_NEAR, Math.floor(NEAR_IN_ALL / drafts.length));
  }

  /** @param draft Comes after the kernels that make what it reads. */
  add(draft: Draft): void {
    const level = 1 + this.#highest(readsOf(draft));
    const isLoop = draft.kind === "loop" && !draft.rows;
    const partner = isLoop ? this.#partnerOf(draft, level) : undefined;
    if (!partner) {
      const kernel = { ...draft };
      this.kernels.push(kernel);
      this.#levels.set(kernel, level);
      if (isLoop) this.#loops.set(kernel, loopsOf(draft));
      this.#note(kernel, kernel, readsOf(draft));
      return;
    }
    const { target, joined } = partner;
    const before = new Set(readsOf(target));
    Object.assign(target, joined);
    this.#note(
      target,
      draft,
      readsOf(target).filter((x) => !before.has(x)),
    );
    this.#raise(target, level);
  }

  #note(kernel: Draft, { outputs }: Draft, reads: readonly Tensor[]): void {
    for (const x of outputs) this.#makers.set(x, kernel);
    for (const x of new Set(reads)) {
      const list = this.#readers.get(x);
      if (list) list.push(kernel);
      else this.#readers.set(x, [kernel]);
    }
  }

  #highest(reads: readonly Tensor[], except?: Draft): number {
    let highest = -1;
    for (const x of reads) {
      const made = this.#makers.get(x);
      if (made && made !== except) highest = Math.max(highest, this.#levels.get(made)!);
    }
    return highest;
  }

  /** Moves a kernel, and what waits for it, up to a level. */
  #raise(kernel: Draft, level: number): void {
    const stack: [Draft, number][] = [[kernel, level]];
    while (stack.length > 0) {
      const [raised, to] = stack.pop()!;
      if (this.#levels.get(raised)! >= to) continue;
      this.#levels.set(raised, to);
      for (const x of raised.outputs) for (const reader of this.#readers.get(x) ?? []) stack.push([reader, to + 1]);
    }
  }

  /** The first kernel that can take a loop in. */
  #partnerOf(draft: LoopDraft, level: number): { target: LoopDraft; joined: LoopDraft } | undefined {
    const near = this.#candidates(draft, level);
    const isReached = this.#reached(draft, near);
    let tried = 0;
    for (const target of near) {
      if (isReached(target) || tried++ >= TRIED) continue;
      const outputs = [...target.outputs, ...draft.outputs];
      const reductions = [...target.reductions, ...draft.reductions];
      const lowered = tryLowerLoop(outputs, reductions, this.context);
      if (
        !lowered ||
        lowered.inputs.some((x) => outputs.includes(x)) ||
        lowered.inputs.length + outputs.length + reductions.length > this.maxBuffers
      )
        continue;
      return { target, joined: { kind: "loop", outputs, reductions, lowered } };
    }
    return undefined;
  }

  /** Makers of what a loop reads and other readers of it, with the same loops and room for one more. */
  #candidates(draft: LoopDraft, level: number): LoopDraft[] {
    const near = new Set<Draft>();
    for (const x of draft.lowered.inputs) {
      const made = this.#makers.get(x);
      if (made) near.add(made);
      for (const reader of this.#readers.get(x)?.slice(-this.#near) ?? []) near.add(reader);
    }
    const loops = loopsOf(draft);
    return [...near].filter(
      (target): target is LoopDraft =>
        this.#loops.get(target) === loops &&
        this.#levels.get(target)! >= level - this.#visits &&
        this.#haveRoom(target as LoopDraft, draft) &&
        fitTogether([target as LoopDraft, draft]),
    );
  }

  /** Whether inputs and outputs of both fit, and partial results of their reductions; what one makes for the other is no input. */
  #haveRoom(target: LoopDraft, draft: LoopDraft): boolean {
    let count = target.outputs.length + draft.outputs.length + target.reductions.length + draft.reductions.length;
    for (const x of target.lowered.inputs) if (!draft.outputs.includes(x)) count++;
    for (const x of draft.lowered.inputs)
      if (!target.lowered.inputs.includes(x) && !target.outputs.includes(x)) count++;
    return count <= this.maxBuffers;
  }

  /** Whether a loop waits for a kernel through another one: together they would wait for themselves. */
  #reached(draft: LoopDraft, near: readonly LoopDraft[]): (target: Draft) => boolean {
    const level = (kernel: Draft): number => this.#levels.get(kernel)!;
    const unsure = new Set(
      near.filter((target) => level(target) < this.#highest(draft.lowered.inputs, target)),
    ) as ReadonlySet<Draft>;
    if (unsure.size === 0) return () => false;
    const lowest = [...unsure].reduce((least, target) => Math.min(least, level(target)), Infinity);
    const reached = new Set<Draft>();
    const stack = draft.lowered.inputs.flatMap((x) => this.#makers.get(x) ?? []);
    const entered = new Set(stack);
    while (stack.length > 0) {
      const kernel = stack.pop()!;
      if (level(kernel) <= lowest) continue;
      for (const x of readsOf(kernel)) {
        const made = this.#makers.get(x);
        if (!made || reached.has(made)) continue;
        reached.add(made);
        if (!entered.has(made)) stack.push(made);
        entered.add(made);
      }
      // Too far to know: as if it were.
      if (reached.size > this.#visits) return (target) => unsure.has(target);
    }
    return (target) => reached.has(target);
  }
}

/** Kernels of equal text loop over axes of the same extents, outside and inside. */
const loopsOf = ({ outputs, reductions: [first] }: LoopDraft): string =>
  `${outputs[0]!.shape.join()};${first ? reducedExtents(first).join() : "-"}`;

/** Leaves out results of joined loops that nobody outside reads. */
function dropUnread(drafts: readonly Draft[], isRoot: ReadonlySet<Tensor>, context: LoweringContext): Draft[] {
  const read = new Set<Tensor>(isRoot);
  for (const draft of drafts) for (const x of readsOf(draft)) read.add(x);
  return drafts.flatMap((draft): Draft[] => {
    if (draft.kind !== "loop" || draft.rows || draft.outputs.every((x) => read.has(x))) return [draft];
    const outputs = draft.outputs.filter((x) => read.has(x));
    // Only tensors without elements wanted them.
    if (outputs.length === 0) return [];
    const unread = new Set(draft.outputs.filter((x) => !read.has(x)));
    const inner: LoweringContext = {
      resolve: (x) => context.resolve(x),
      isStored: (x) => context.isStored(x) && !unread.has(x),
    };
    const lowered = tryLowerLoop(outputs, draft.reductions, inner);
    return [lowered ? { ...draft, outputs, lowered } : draft];
  });
}
