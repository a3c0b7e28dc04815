/**
 * Row kernels: kernels that reduce the same rows and compute something along them from the results, softmax and its
 * gradient for example, joined so that a row is read from memory once and written once.
 */
import { BYTES_PER_ELEMENT } from "../graph/dtype.js";
import { sameShape, sizeOf } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { readsOf, type Draft, type LoopDraft, type PlanOptions } from "./draft.js";
import { lowerRows, NeedsMemory, reducedAxes, type LoweringContext, type RowSpace } from "./lower.js";

/** Reductions of a row kernel: every one costs workgroup memory. */
const MOST_REDUCTIONS = 8;
/** Rows at which long ones (longer than `SHORT_ROW`) keep a device busy without dividing them. */
const MANY_ROWS = 128;
const SHORT_ROW = 16384;
/**
 * The longest rows that do not lie along the last axis. Their elements are far apart: on a processor each is a page or a
 * set of the cache of its own, on a GPU neighbouring threads read whole lines.
 */
const LONGEST_ACROSS = { cpu: 256, others: 8192 };

/** Puts row kernels in the place of the drafts they compute; each stands where the last of them stood. */
export function groupRows(
  drafts: readonly Draft[],
  roots: readonly Tensor[],
  context: LoweringContext,
  { device, maxBuffers, maxBindingBytes = Infinity }: Pick<PlanOptions, "device" | "maxBuffers" | "maxBindingBytes">,
): Draft[] {
  const maker = new Map<Tensor, Draft>();
  const readers = new Map<Tensor, Draft[]>();
  for (const draft of drafts) {
    for (const x of draft.outputs) maker.set(x, draft);
    for (const x of readsOf(draft)) readers.set(x, [...(readers.get(x) ?? []), draft]);
  }
  const isRoot = new Set(roots);
  /** The row kernel a draft became part of. */
  const groupOf = new Map<Draft, LoopDraft>();
  const place = new Map(drafts.map((draft, k) => [draft, k]));
  /** Places of the first and the last draft of each row kernel. */
  const spans: { readonly first: number; readonly last: number }[] = [];
  /** What has to run before a draft, or the row kernel it is part of. */
  const before = (draft: Draft): Draft[] => readsOf(groupOf.get(draft) ?? draft).flatMap((x) => maker.get(x) ?? []);

  const inOrder = (some: ReadonlySet<Draft>): Draft[] => [...some].sort((a, b) => place.get(a)! - place.get(b)!);

  /** Whether members together would have to wait for a draft that waits for one of them. */
  const closesCycle = (members: ReadonlySet<Draft>): boolean => {
    // Drafts come after what they read: below the first member, and the row kernels that reach below it, is none again.
    let lowest = Math.min(...[...members].map((draft) => place.get(draft)!));
    for (let k = spans.length - 1; k >= 0; k--) {
      const { first, last } = spans[k]!;
      if (first >= lowest || last < lowest) continue;
      lowest = first;
      k = spans.length;
    }
    const seen = new Set<Draft>();
    const stack = [...members].flatMap(before).filter((draft) => !members.has(draft));
    while (stack.length > 0) {
      const draft = stack.pop()!;
      if (seen.has(draft) || place.get(draft)! < lowest) continue;
      if (members.has(draft)) return true;
      seen.add(draft);
      stack.push(...before(draft));
    }
    return false;
  };

  const join = (space: RowSpace, members: ReadonlySet<Draft>): LoopDraft | undefined => {
    const loops = inOrder(members).filter((draft) => draft.kind === "loop");
    const reductions = [...new Set(loops.flatMap((draft) => draft.reductions))];
    if (reductions.length > MOST_REDUCTIONS || closesCycle(members)) return undefined;
    const computed = new Set(loops.flatMap((draft) => draft.outputs));
    const outputs = [...computed].filter(
      (x) => isRoot.has(x) || (readers.get(x) ?? []).some((draft) => !members.has(draft)),
    );
    try {
      const lowered = lowerRows(space, computed, outputs, reductions, context);
      if (
        lowered.inputs.some((x) => computed.has(x)) ||
        lowered.inputs.length + outputs.length > maxBuffers ||
        [...lowered.inputs, ...outputs].some(({ size }) => size * BYTES_PER_ELEMENT > maxBindingBytes)
      )
        return undefined;
      return { kind: "loop", outputs, reductions, lowered, rows: true };
    } catch (request) {
      if (request instanceof NeedsMemory) return undefined;
      throw request;
    }
  };

  const grow = (first: LoopDraft, space: RowSpace): void => {
    const points = sizeOf(space.shape);
    const count = points / sizeOf(space.axes.map((axis) => space.shape[axis]!));
    const belongs = (draft: Draft): boolean => {
      if (draft.kind !== "loop" || groupOf.has(draft)) return false;
      if (draft.reductions.length > 0)
        return (
          sameShape(draft.reductions[0]!.inputs[0]!.shape, space.shape) &&
          sameShape(reducedAxes(draft.reductions[0]!), space.axes)
        );
      return draft.outputs.every((x) => x.size === points || x.size === count);
    };
    let members: ReadonlySet<Draft> = new Set([first]);
    let group: LoopDraft | undefined;
    for (let grown = true; grown;) {
      grown = false;
      for (const draft of neighbours(members)) {
        if (members.has(draft) || !belongs(draft)) continue;
        const more = new Set([...members, draft]);
        const joined = join(space, more);
        if (!joined) continue;
        [members, group, grown] = [more, joined, true];
      }
    }
    if (!group || !hasStages(members)) return;
    for (const draft of members) groupOf.set(draft, group);
    const places = [...members].map((draft) => place.get(draft)!);
    spans.push({ first: Math.min(...places), last: Math.max(...places) });
  };

  /** Makers of what members read, and readers of what they make; reductions of what they read as well. In order. */
  const neighbours = (members: ReadonlySet<Draft>): Draft[] => {
    const near = new Set<Draft>();
    for (const draft of members) {
      for (const x of readsOf(draft)) {
        const made = maker.get(x);
        if (made) near.add(made);
        for (const reader of readers.get(x) ?? [])
          if (reader.kind === "loop" && reader.reductions.length > 0) near.add(reader);
      }
      for (const x of draft.outputs) for (const reader of readers.get(x) ?? []) near.add(reader);
    }
    return inOrder(near);
  };

  /** Whether a member reads what another reduces. */
  const hasStages = (members: ReadonlySet<Draft>): boolean =>
    [...members].some((draft) =>
      readsOf(draft).some((x) => {
        const made = maker.get(x);
        return made?.kind === "loop" && made.reductions.length > 0 && members.has(made);
      }),
    );

  for (const draft of drafts) {
    if (draft.kind !== "loop" || draft.reductions.length !== 1 || groupOf.has(draft)) continue;
    const call = draft.reductions[0]!;
    const space: RowSpace = { shape: call.inputs[0]!.shape, axes: reducedAxes(call) };
    if (isWorthwhile(space, device)) grow(draft, space);
  }
  const last = new Map<LoopDraft, Draft>();
  for (const draft of drafts) if (groupOf.has(draft)) last.set(groupOf.get(draft)!, draft);
  return drafts.flatMap((draft) => {
    const group = groupOf.get(draft);
    return !group ? [draft] : last.get(group) === draft ? [group] : [];
  });
}

/** Rows of at least two elements that a device is kept busy with as they are. */
function isWorthwhile({ shape, axes }: RowSpace, device: string): boolean {
  const length = sizeOf(axes.map((axis) => shape[axis]!));
  if (length < 2 || sizeOf(shape) === 0) return false;
  const along = shape.every((extent, k) => extent === 1 || axes.includes(k) || k < Math.min(...axes));
  return along
    ? length <= SHORT_ROW || sizeOf(shape) / length >= MANY_ROWS
    : length <= (device === "cpu" ? LONGEST_ACROSS.cpu : LONGEST_ACROSS.others);
}
