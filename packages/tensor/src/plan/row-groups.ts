/**
 * Row kernels: kernels that reduce the same rows and compute something along them from the results, softmax and its
 * gradient for example, joined so that a row is read from memory once and written once.
 */
import { BYTES_PER_ELEMENT } from "../graph/dtype.js";
import { sameShape, sizeOf } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { fitTogether } from "./bounds.js";
import { readersOf, readsOf, type Draft, type LoopDraft } from "./draft.js";
import { contextOf } from "./lower-kernels.js";
import { makersOf } from "./order.js";
import type { Planning } from "./planning.js";
import { lowerRows, NeedsMemory, reducedAxes, type LoweringContext, type RowSpace } from "./lower.js";

/** Reductions of a row kernel: every one costs workgroup memory. */
const MOST_REDUCTIONS = 8;
/** Rows at which long ones (longer than `SHORT_ROW`) keep a device busy without dividing them. */
const MANY_ROWS = 128;
const SHORT_ROW = 16384;
/** Rows that a thread runs through alone: there it is worth while that what is reduced is stored by the same kernel. */
const ONE_THREAD = 32;
/** Kernels a row kernel is tried with while it grows: at least so many, and more of fewer kernels. */
const LEAST_TRIED = 24;
const TRIED_IN_ALL = 4e5;
/** Kernels between the first of a row kernel and what else is taken in: at least so many, all where the graph is of ordinary size. */
const LEAST_REACH = 64;
const REACH_IN_ALL = 2e6;
/**
 * The longest rows that do not lie along the last axis. Their elements are far apart: on a processor each is a page or a
 * set of the cache of its own, on a GPU neighbouring threads read whole lines.
 */
const LONGEST_ACROSS = { cpu: 256, others: 8192 };

/** Puts row kernels in the place of the drafts they compute; each stands where the last of them stood. */
export function groupRows(planning: Planning): Planning {
  const { drafts, options } = planning;
  if (!options.fuse) return planning;
  const rows = new Rows(planning);
  for (const draft of drafts) if (draft.kind === "loop" && draft.reductions.length === 1) rows.growFrom(draft);
  const last = new Map<LoopDraft, Draft>();
  for (const draft of drafts) {
    const group = rows.groupOf.get(draft);
    if (group) last.set(group, draft);
  }
  const grouped = drafts.flatMap((draft) => {
    const group = rows.groupOf.get(draft);
    return !group ? [draft] : last.get(group) === draft ? [group] : [];
  });
  return { ...planning, drafts: grouped };
}

/** Drafts that become one row kernel. */
interface Group {
  readonly members: ReadonlySet<Draft>;
  readonly joined: LoopDraft;
}

class Rows {
  /** The row kernel a draft became part of. */
  readonly groupOf = new Map<Draft, LoopDraft>();
  readonly #planning: Planning;
  readonly #context: LoweringContext;
  readonly #makers: ReadonlyMap<Tensor, Draft>;
  readonly #readers: ReadonlyMap<Tensor, readonly Draft[]>;
  readonly #place: ReadonlyMap<Draft, number>;
  readonly #reach: number;
  readonly #tries: number;
  /** An order in which every draft, and a row kernel as a whole, comes after what it reads. */
  readonly #order: Draft[];
  readonly #position: Map<Draft, number>;

  constructor(planning: Planning) {
    const { drafts } = planning;
    this.#planning = planning;
    this.#context = contextOf(planning);
    this.#makers = makersOf(drafts);
    this.#readers = readersOf(drafts);
    this.#place = new Map(drafts.map((draft, k) => [draft, k]));
    this.#order = [...drafts];
    this.#position = new Map(this.#place);
    this.#tries = Math.max(LEAST_TRIED, Math.floor(TRIED_IN_ALL / drafts.length));
    this.#reach = Math.max(LEAST_REACH, Math.floor(REACH_IN_ALL / drafts.length));
  }

  /** Makes the largest row kernel around a reduction, if one is worth it. */
  growFrom(first: LoopDraft): void {
    const call = first.reductions[0]!;
    const space: RowSpace = { shape: call.inputs[0]!.shape, axes: reducedAxes(call) };
    if (this.groupOf.has(first) || !isWorthwhile(space, this.#planning.options.device)) return;
    let group: Group | undefined;
    let tried = 0;
    for (let grown = true; grown;) {
      grown = false;
      const members: ReadonlySet<Draft> = group?.members ?? new Set([first]);
      for (const draft of this.#neighbours(members, this.#place.get(first)!, sizeOf(space.shape))) {
        const now: ReadonlySet<Draft> = group?.members ?? members;
        if (now.has(draft) || this.groupOf.has(draft) || !belongs(draft, space)) continue;
        if (draft.reductions.length + (group?.joined.reductions.length ?? 1) > MOST_REDUCTIONS) continue;
        if (tried++ >= this.#tries) break;
        const more = new Set([...now, draft]);
        const joined = this.#join(space, more);
        if (joined) [group, grown] = [{ members: more, joined }, true];
      }
    }
    if (!group) return;
    const isShort = isAlong(space) && lengthOf(space) <= ONE_THREAD;
    if (this.#hasStages(group.members) || (isShort && this.#reducesOwn(group.members))) this.#settle(group);
  }

  /** Puts the members beside each other in the order, behind what they wait for. */
  #settle({ members, joined }: Group): void {
    const { waitedFor, low } = this.#waitedFor(members);
    const high = Math.max(...[...members].map((draft) => this.#position.get(draft)!));
    const between = this.#order.slice(low, high + 1);
    const isBefore = (draft: Draft): boolean => waitedFor.has(this.groupOf.get(draft) ?? draft);
    [
      ...between.filter((draft) => !members.has(draft) && isBefore(draft)),
      ...between.filter((draft) => members.has(draft)),
      ...between.filter((draft) => !members.has(draft) && !isBefore(draft)),
    ].forEach((draft, k) => {
      this.#order[low + k] = draft;
      this.#position.set(draft, low + k);
    });
    for (const draft of members) this.groupOf.set(draft, joined);
  }

  /** The kernel of some drafts, if they can be one. */
  #join(space: RowSpace, members: ReadonlySet<Draft>): LoopDraft | undefined {
    const { isRoot, options } = this.#planning;
    const loops = this.#inOrder(members).filter((draft) => draft.kind === "loop");
    const reductions = [...new Set(loops.flatMap((draft) => draft.reductions))];
    const computed = new Set(loops.flatMap((draft) => draft.outputs));
    const outputs = [...computed].filter(
      (x) => isRoot.has(x) || (this.#readers.get(x) ?? []).some((draft) => !members.has(draft)),
    );
    const reads = new Set(loops.flatMap((draft) => draft.lowered.inputs).filter((x) => !computed.has(x)));
    if (
      reads.size + outputs.length > options.maxBuffers ||
      [...reads, ...outputs].some(({ size }) => size * BYTES_PER_ELEMENT > (options.maxBindingBytes ?? Infinity)) ||
      !fitTogether(loops) ||
      this.#closesCycle(members)
    )
      return undefined;
    try {
      const lowered = lowerRows(space, computed, outputs, reductions, this.#context);
      return lowered.inputs.some((x) => computed.has(x))
        ? undefined
        : { kind: "loop", outputs, reductions, lowered, rows: true };
    } catch (request) {
      if (request instanceof NeedsMemory) return undefined;
      throw request;
    }
  }

  /**
   * Makers of what members read, and readers of what they make; reductions of what they read as well, if it is as large as
   * the rows: for a few numbers that they share, kernels of different tensors would keep all these in memory at a time. In order.
   */
  #neighbours(members: ReadonlySet<Draft>, first: number, points: number): Draft[] {
    const found = new Set<Draft>();
    for (const draft of members) {
      for (const x of readsOf(draft)) {
        const made = this.#makers.get(x);
        if (made && Math.abs(this.#place.get(made)! - first) <= this.#reach) found.add(made);
        for (const reader of x.size < points ? [] : this.#readersNear(x, first))
          if (reader.kind === "loop" && reader.reductions.length > 0) found.add(reader);
      }
      for (const x of draft.outputs) for (const reader of this.#readersNear(x, first)) found.add(reader);
    }
    return this.#inOrder(found);
  }

  /** Readers of a tensor that are near a place. */
  #readersNear(x: Tensor, place: number): readonly Draft[] {
    const list = this.#readers.get(x) ?? [];
    const from = this.#firstFrom(list, place - this.#reach);
    return from === 0 && list.length <= this.#reach
      ? list
      : list.slice(from, this.#firstFrom(list, place + this.#reach));
  }

  /** How many of a list's drafts stand before a place. */
  #firstFrom(list: readonly Draft[], place: number): number {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#place.get(list[middle]!)! < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Whether members together would have to wait for a draft that waits for one of them. */
  #closesCycle(members: ReadonlySet<Draft>): boolean {
    return this.#waitedFor(members).closed;
  }

  /** Drafts and row kernels that members wait for, down to the first member: nothing before it waits for any. */
  #waitedFor(members: ReadonlySet<Draft>): {
    readonly waitedFor: ReadonlySet<Draft>;
    readonly low: number;
    readonly closed: boolean;
  } {
    const low = Math.min(...[...members].map((draft) => this.#position.get(draft)!));
    const waitedFor = new Set<Draft>();
    const stack: Draft[] = [];
    const enter = (x: Tensor, fromMember: boolean): boolean => {
      const made = this.#makers.get(x);
      if (!made || this.#position.get(made)! < low) return false;
      if (members.has(made)) return !fromMember;
      const kernel = this.groupOf.get(made) ?? made;
      if (waitedFor.has(kernel)) return false;
      waitedFor.add(kernel);
      stack.push(kernel);
      return false;
    };
    for (const draft of members) for (const x of readsOf(draft)) enter(x, true);
    while (stack.length > 0)
      for (const x of readsOf(stack.pop()!)) if (enter(x, false)) return { waitedFor, low, closed: true };
    return { waitedFor, low, closed: false };
  }

  /** Whether a member reduces what another stores. */
  #reducesOwn(members: ReadonlySet<Draft>): boolean {
    return [...members].some(
      (draft) =>
        draft.kind === "loop" &&
        draft.reductions.length > 0 &&
        readsOf(draft).some((x) => {
          const made = this.#makers.get(x);
          return made && members.has(made);
        }),
    );
  }

  #inOrder(some: ReadonlySet<Draft>): Draft[] {
    return [...some].sort((a, b) => this.#place.get(a)! - this.#place.get(b)!);
  }

  /** Whether a member reads what another reduces. */
  #hasStages(members: ReadonlySet<Draft>): boolean {
    return [...members].some((draft) =>
      readsOf(draft).some((x) => {
        const made = this.#makers.get(x);
        return made?.kind === "loop" && made.reductions.length > 0 && members.has(made);
      }),
    );
  }
}

const lengthOf = ({ shape, axes }: RowSpace): number => sizeOf(axes.map((axis) => shape[axis]!));
/** Whether rows lie along the last axes. */
const isAlong = ({ shape, axes }: RowSpace): boolean =>
  shape.every((extent, k) => extent === 1 || axes.includes(k) || k < Math.min(...axes));

/** Whether a kernel's results have an element for every point of the rows or for every row. */
function belongs(draft: Draft, { shape, axes }: RowSpace): draft is LoopDraft {
  if (draft.kind !== "loop") return false;
  const reduction = draft.reductions[0];
  if (reduction) return sameShape(reduction.inputs[0]!.shape, shape) && sameShape(reducedAxes(reduction), axes);
  const points = sizeOf(shape);
  const rows = points / sizeOf(axes.map((axis) => shape[axis]!));
  return draft.outputs.every((x) => x.size === points || x.size === rows);
}

/** Rows of at least two elements that a device is kept busy with as they are. */
function isWorthwhile(space: RowSpace, device: string): boolean {
  const { shape } = space;
  const length = lengthOf(space);
  if (length < 2 || sizeOf(shape) === 0) return false;
  return isAlong(space)
    ? length <= SHORT_ROW || sizeOf(shape) / length >= MANY_ROWS
    : length <= (device === "cpu" ? LONGEST_ACROSS.cpu : LONGEST_ACROSS.others);
}
