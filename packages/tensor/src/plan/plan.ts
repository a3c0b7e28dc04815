/**
 * The planner: from a graph to a list of kernels.
 *
 * 1. Marks are looked through and kernel calls without a variant are replaced by their references.
 * 2. Some tensors get memory: roots, operands and results of native programs, results of reductions (with the
 *    elementwise tail computed behind them), and elementwise values that several kernels use or that a
 *    broadcast would compute many times over. Everything else is computed where it is used.
 * 3. Reductions of the same rows and what is computed from them along the rows become row kernels (row-groups.ts), and
 *    elementwise loops of one shape that share operands or feed each other one kernel with several results.
 *
 * With `fuse: false` every call gets memory and a kernel of its own: the baseline the tests compare with.
 */
import type { DType } from "../graph/dtype.js";
import { callOf, sortCalls } from "../graph/calls.js";
import { expandKernel, type Expansions, type KernelAttributes } from "../graph/kernel.js";
import { chooseVariant, tablesOf, type KernelStep } from "../graph/kernel-variant.js";
import type { Affine, LoopKernel } from "../ir/loop.js";
import type { ScanKernel } from "../ir/scan-kernel.js";
import { inputsRead } from "../graph/op.js";
import { sameShape, stridesOf, type Shape } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { isRowMajor } from "../ir/affine.js";
import { breakCycles, draftScans } from "./scan-draft.js";
import { findScans, isFusedScan, levelOf, NO_SCANS, Replan, type ScanDecisions, type Scans } from "./scan-fusion.js";
import { findEpilogues, nameWithTail, type Epilogue } from "./matmul-epilogue.js";
import { lowerLoop, NeedsMemory, reducedExtents, type LoweredLoop, type LoweringContext } from "./lower.js";
import { readsOf, type Draft, type LoopDraft, type NativeOperand, type PlanOptions } from "./draft.js";
import { groupRows } from "./row-groups.js";
import { outgrownValues } from "./outgrown.js";
import { ownWork } from "./work.js";

export type { NativeOperand, PlanOptions } from "./draft.js";

/** A block of memory of a plan. */
export interface Slot {
  readonly dtype: DType;
  readonly size: number;
}

export type Step =
  | {
      readonly kind: "loop";
      readonly name: string;
      readonly kernel: LoopKernel;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    }
  | {
      readonly kind: "scan";
      readonly name: string;
      readonly kernel: ScanKernel;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    }
  | {
      readonly kind: "native";
      readonly name: string;
      readonly call: NativeCall;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    };

/** A native program's call without its graph. */
export interface NativeCall {
  readonly op: string;
  readonly attributes: unknown;
  readonly inputs: readonly NativeOperand[];
  readonly outputs: readonly { readonly shape: Shape; readonly dtype: DType }[];
  /** Computed from each element before it is stored; its inputs come after the operands. */
  readonly epilogue?: Epilogue;
}

export interface Plan {
  readonly slots: readonly Slot[];
  /** Slots 0..leafCount-1 are the leaves of the signature. */
  readonly leafCount: number;
  /** Host constants that expanded kernels brought in, by slot. */
  readonly constants: readonly { readonly slot: number; readonly tensor: Tensor }[];
  readonly steps: readonly Step[];
  /** Slot of each root. */
  readonly roots: readonly number[];
  /** Which kernel records run as what they are composed of although they have variants, and why. */
  readonly notes: readonly string[];
}

/** Ops whose native programs read strided views of their operands. */
const READS_VIEWS = new Set(["matmul"]);
/** A value made of constants and positions by at most this much work is computed again at each use. */
const CHEAP = 8;

/** Makes the plan of a graph whose leaves are the given tensors. */
export function makePlan(roots: readonly Tensor[], leaves: readonly Tensor[], options: PlanOptions): Plan {
  const forced = new Set<Tensor>();
  const replacements: Replacements = { expansions: new Map(), replaced: new Map(), notes: new Set() };
  const decisions: ScanDecisions = { levels: new Map(), parts: new Map() };
  for (;;) {
    try {
      const graph = resolveGraph(roots, options, replacements, decisions);
      return { ...planWith(graph, leaves, forced, decisions, options), notes: [...replacements.notes] };
    } catch (request) {
      if (request instanceof Replan) continue;
      if (!(request instanceof NeedsMemory)) throw request;
      const { tensor } = request;
      if (forced.has(tensor))
        throw new Error(
          `planner: expected ${callOf(tensor)?.op.name} ${String(tensor)} to be computable once it has memory, and it is not; realize it by itself and report this as a bug`,
          { cause: request },
        );
      forced.add(tensor);
    }
  }
}

/** Graphs already put in the place of calls. */
interface Replacements {
  readonly expansions: Expansions;
  readonly replaced: Map<Call, readonly Tensor[]>;
  /** Why kernel calls have no program. */
  readonly notes: Set<string>;
}

interface Graph {
  readonly roots: readonly Tensor[];
  readonly calls: readonly Call[];
  resolve(x: Tensor): Tensor;
}

/** The graph with marks looked through, and others in the place of calls that have no program here. */
function resolveGraph(
  roots: readonly Tensor[],
  options: PlanOptions,
  { expansions, replaced, notes }: Replacements,
  decisions: ScanDecisions,
): Graph {
  const { fuse, scans } = options;
  const replacement = (call: Call): (() => readonly Tensor[]) | undefined => {
    const { rule, expand } = call.op;
    if (rule.kind === "kernel") {
      const choice = fuse ? variantFor(call, options) : [];
      if (!isReasons(choice)) return undefined;
      if (fuse) noteReasons(call, choice, options, notes);
      return () => expandKernel(call, expansions);
    }
    return expand && (!scans || levelOf(call, decisions, fuse) === "refused")
      ? () => expand(call.inputs, call.attributes)
      : undefined;
  };
  const resolve = (x: Tensor): Tensor => {
    let current = x;
    for (;;) {
      const call = callOf(current);
      if (!call) return current;
      if (call.op.name === "identity" || call.op.name === "stopGradient" || call.op.name === "checkpoint")
        current = call.inputs[0]!;
      else {
        const make = replacement(call);
        if (!make) return current;
        let graph = replaced.get(call);
        if (!graph) replaced.set(call, (graph = make()));
        current = graph[(current.source as { index: number }).index]!;
      }
    }
  };
  const resolved = roots.map(resolve);
  return { roots: resolved, resolve, calls: sortCalls(resolved, (call) => inputsRead(call).map(resolve)) };
}

const stepOf = (call: Call): KernelStep => {
  const { record, kase, forward } = call.attributes as KernelAttributes;
  return { record, kase, gradient: forward !== undefined };
};

/** The variant of a kernel call, or why there is none. */
const variantFor = (call: Call, options: PlanOptions): ReturnType<typeof chooseVariant> =>
  chooseVariant(stepOf(call), options);

/** Says why a record that has variants runs as what it is composed of. */
function noteReasons(call: Call, reasons: readonly string[], { device }: PlanOptions, notes: Set<string>): void {
  const { record, gradient } = stepOf(call);
  if (record.variants.length === 0) return;
  const why = reasons.length > 0 ? reasons.join("; ") : `no variant for ${device}`;
  notes.add(`${record.name}${gradient ? " backward" : ""} is composed of ops: ${why}`);
}

const isReasons = (choice: unknown): choice is readonly string[] => Array.isArray(choice);

function planWith(
  { roots, calls, resolve }: Graph,
  leaves: readonly Tensor[],
  forced: Set<Tensor>,
  decisions: ScanDecisions,
  options: PlanOptions,
): Omit<Plan, "notes"> {
  const users = usersOf(calls, resolve);
  const kept = keptAnyway(
    roots,
    calls,
    resolve,
    forced,
    (call) => options.scans !== undefined && isFusedScan(call, decisions, options.fuse),
  );
  const scans = options.scans
    ? findScans({ calls, resolve, users, isKept: (x) => kept.has(x) }, decisions, options.fuse)
    : NO_SCANS;
  const stored = chooseStored(roots, calls, resolve, users, kept, scans, options);
  const context: LoweringContext = { resolve, isStored: (x) => !callOf(x) || stored.has(x) };
  const drafts: Draft[] = [];
  if (options.scans)
    for (const { unit, drafts: steps, reason } of draftScans(
      scans,
      context,
      decisions,
      options.fuse,
      options.scans,
      forced,
    ))
      if (steps.length > 0) drafts.push(...steps);
      else drafts.push(nativeDraft(unit.scan!, context, options, reason));
  for (const call of calls) {
    const { kind } = call.op.rule;
    if (scans.calls.has(call) || call.outputs.some((x) => scans.results.has(x))) continue;
    if (kind === "native" || kind === "kernel") {
      if (call.outputs.every((x) => x.size === 0)) continue;
      drafts.push(nativeDraft(call, context, options, scans.reasonOf(call)));
      continue;
    }
    const x = call.outputs[0]!;
    if (!stored.has(x) || x.size === 0) continue;
    const reduction = stored.get(x);
    const reductions = reduction ? [reduction] : [];
    drafts.push({ kind: "loop", outputs: [x], reductions, lowered: lowerLoop([x], reductions, context) });
  }
  if (scans.units.length > 0) breakCycles(drafts, readsOf, decisions, options.fuse);
  const merged = options.fuse
    ? attachEpilogues(
        mergeLoops(
          sortDrafts(groupRows(sortDrafts(drafts), roots, context, options)),
          roots,
          context,
          options.maxBuffers,
        ),
        roots,
        context,
        options,
      )
    : drafts;
  return emit(sortDrafts(merged), roots, leaves);
}

/** The calls that read each tensor that comes from a call. */
function usersOf(calls: readonly Call[], resolve: (x: Tensor) => Tensor): Map<Tensor, Call[]> {
  const users = new Map<Tensor, Call[]>();
  for (const call of calls)
    for (const x of new Set(inputsRead(call).map(resolve))) {
      if (!callOf(x)) continue;
      const list = users.get(x);
      if (list) list.push(call);
      else users.set(x, [call]);
    }
  return users;
}

/** Tensors that have memory whatever is fused: roots, operands and results of programs, tables that are gathered from. */
function keptAnyway(
  roots: readonly Tensor[],
  calls: readonly Call[],
  resolve: (x: Tensor) => Tensor,
  forced: ReadonlySet<Tensor>,
  isFused: (call: Call) => boolean,
): Set<Tensor> {
  const kept = new Set<Tensor>();
  const store = (x: Tensor): void => {
    if (callOf(x)) kept.add(x);
  };
  for (const x of [...roots, ...forced]) store(x);
  for (const call of calls) {
    const { kind } = call.op.rule;
    if (isFused(call)) continue;
    if (kind === "native" || kind === "kernel") {
      call.outputs.forEach(store);
      if (!READS_VIEWS.has(call.op.name)) for (const input of call.inputs) store(baseOf(resolve(input), resolve));
      else for (const input of call.inputs) storeBehindViews(resolve(input), resolve, store);
    }
    if (kind === "gather") store(resolve(call.inputs[0]!));
  }
  return kept;
}

/** Tensors with memory; the value is the reduction their kernel computes, if any. */
function chooseStored(
  roots: readonly Tensor[],
  calls: readonly Call[],
  resolve: (x: Tensor) => Tensor,
  users: ReadonlyMap<Tensor, readonly Call[]>,
  kept: ReadonlySet<Tensor>,
  scans: Scans,
  { fuse }: PlanOptions,
): Map<Tensor, Call | undefined> {
  const stored = new Map<Tensor, Call | undefined>(
    [...kept, ...scans.results, ...scans.stored].map((x) => [x, undefined]),
  );
  if (!fuse) for (const call of calls) for (const x of call.outputs) stored.set(x, undefined);
  if (!fuse) {
    for (const call of calls) if (call.op.rule.kind === "reduce") stored.set(call.outputs[0]!, call);
    return stored;
  }

  const isRoot = new Set(roots);
  // Nothing of a scan step is computed elsewhere.
  const claimed = new Set<Tensor>([...scans.inside, ...scans.results]);
  for (const call of calls) {
    if (call.op.rule.kind !== "reduce" || scans.calls.has(call)) continue;
    const top = reductionTail(call.outputs[0]!, users, isRoot, claimed, stored, resolve);
    claimed.add(top);
    stored.set(top, call);
  }

  const weights = weigh(calls, resolve);
  const isUsedOften = (x: Tensor): boolean => {
    const { readers, spread } = readersOf(x, users);
    return readers.size > 1 || spread;
  };
  const outgrown = outgrownValues(calls, resolve, isUsedOften);
  for (let k = calls.length - 1; k >= 0; k--) {
    const call = calls[k]!;
    const { kind } = call.op.rule;
    if (kind !== "elementwise" && kind !== "concat" && kind !== "gather") continue;
    const x = call.outputs[0]!;
    if (stored.has(x) || claimed.has(x) || weights.get(x)! <= CHEAP || outgrown.has(x)) continue;
    if (isUsedOften(x)) stored.set(x, undefined);
  }
  return stored;
}

/** The tensor behind reshapes, which native programs read in place. */
function baseOf(x: Tensor, resolve: (x: Tensor) => Tensor): Tensor {
  let current = x;
  for (let call = callOf(current); call?.op.name === "reshape"; call = callOf(current))
    current = resolve(call.inputs[0]!);
  return current;
}

/** The tensor behind movements that only change strides. */
function storeBehindViews(x: Tensor, resolve: (x: Tensor) => Tensor, store: (x: Tensor) => void): void {
  let current = x;
  for (
    let call = callOf(current);
    call && call.op.rule.kind === "movement" && call.op.name !== "pad";
    call = callOf(current)
  )
    current = resolve(call.inputs[0]!);
  store(current);
}

/** Work behind values made of constants and positions alone; infinity for anything that reads memory. */
function weigh(calls: readonly Call[], resolve: (x: Tensor) => Tensor): Map<Tensor, number> {
  const weights = new Map<Tensor, number>();
  for (const call of calls) {
    const inputs = inputsRead(call).map((x) => weights.get(resolve(x)) ?? Infinity);
    const weight = inputs.reduce((a, b) => a + b, ownWork(call));
    for (const x of call.outputs) weights.set(x, weight);
  }
  return weights;
}

/** Calls that use x, movements looked through, and whether any use is of a broadcast of it. */
function readersOf(x: Tensor, users: ReadonlyMap<Tensor, readonly Call[]>): { readers: Set<Call>; spread: boolean } {
  const readers = new Set<Call>();
  let spread = false;
  const visit = (y: Tensor): void => {
    for (const call of users.get(y) ?? []) {
      if (call.op.rule.kind !== "movement") {
        readers.add(call);
        continue;
      }
      const z = call.outputs[0]!;
      if (call.op.name === "broadcast" && z.size > y.size) spread = true;
      visit(z);
    }
  };
  visit(x);
  return { readers, spread };
}

/** Follows a reduction's result through elementwise calls that nothing else uses; they are computed in its kernel. */
function reductionTail(
  start: Tensor,
  users: ReadonlyMap<Tensor, readonly Call[]>,
  isRoot: ReadonlySet<Tensor>,
  claimed: Set<Tensor>,
  stored: ReadonlyMap<Tensor, unknown>,
  resolve: (x: Tensor) => Tensor,
): Tensor {
  let top = start;
  let current = start;
  const passed: Tensor[] = [];
  for (;;) {
    if (isRoot.has(current) || stored.has(current)) break;
    const next = users.get(current);
    if (next?.length !== 1) break;
    const call = next[0]!;
    const y = call.outputs[0]!;
    if (claimed.has(y)) break;
    if (call.op.name === "reshape") {
      current = y;
      passed.push(y);
      continue;
    }
    if (call.op.rule.kind !== "elementwise" || y.size !== current.size) break;
    // Another reduction computed in place would make two in one kernel.
    if (inputsRead(call).some((x) => resolve(x) !== current && behindReduction(resolve(x), stored, resolve))) break;
    passed.push(y);
    current = y;
    top = y;
  }
  for (const x of passed) claimed.add(x);
  return top;
}

/** Whether x is computed in place from a reduction that has no memory yet. */
function behindReduction(x: Tensor, stored: ReadonlyMap<Tensor, unknown>, resolve: (x: Tensor) => Tensor): boolean {
  const seen = new Set<Tensor>();
  const stack = [x];
  while (stack.length > 0) {
    const y = stack.pop()!;
    const call = callOf(y);
    if (!call || stored.has(y) || seen.has(y)) continue;
    seen.add(y);
    const { kind } = call.op.rule;
    if (kind === "reduce") return true;
    if (kind === "native" || kind === "kernel") continue;
    for (const input of inputsRead(call)) stack.push(resolve(input));
  }
  return false;
}

function nativeDraft(call: Call, context: LoweringContext, options: PlanOptions, note?: string): Draft {
  const operands: NativeOperand[] = [];
  const sources: Tensor[] = [];
  for (const input of [...call.inputs, ...tablesFor(call, options)]) {
    const x = context.resolve(input);
    const { source, offset, strides } = viewOf(x, context, READS_VIEWS.has(call.op.name));
    sources.push(source);
    operands.push({ shape: x.shape, dtype: x.dtype, offset, strides });
  }
  return { kind: "native", call, operands, sources, outputs: call.outputs, note };
}

/** The tables that the variant of a kernel call reads. */
function tablesFor(call: Call, options: PlanOptions): readonly Tensor[] {
  if (call.op.rule.kind !== "kernel") return [];
  const variant = variantFor(call, options);
  return isReasons(variant) ? [] : tablesOf(variant, stepOf(call).kase, options);
}

/** Native kernels with the elementwise loops behind them, as far as their programs take those. */
function attachEpilogues(
  drafts: readonly Draft[],
  roots: readonly Tensor[],
  context: LoweringContext,
  options: PlanOptions,
): readonly Draft[] {
  if (!options.epilogues) return drafts;
  const { finished, left } = findEpilogues(drafts, roots, context, options.epilogues, options);
  return drafts.flatMap((draft): Draft[] => {
    if (draft.kind === "loop") {
      const rest = left.has(draft) ? left.get(draft) : draft;
      return rest ? [{ ...draft, outputs: rest.outputs, lowered: rest.lowered }] : [];
    }
    const found = finished.get(draft);
    if (draft.kind !== "native" || !found) return [draft];
    const { extents, inputs, outputs } = found.lowered;
    const operands = inputs.map((x): NativeOperand => ({
      shape: x.shape,
      dtype: x.dtype,
      offset: 0,
      strides: stridesOf(x.shape),
    }));
    const epilogue = {
      extents,
      inputs: inputs.map(({ dtype, size }) => ({ dtype, size })),
      dtype: outputs[0]!.dtype,
      value: outputs[0]!.value,
    };
    return [
      {
        ...draft,
        operands: [...draft.operands, ...operands],
        sources: [...draft.sources, ...inputs],
        outputs: found.outputs,
        epilogue,
      },
    ];
  });
}

/** x as a view of a tensor with memory: any strides, or row-major only. */
function viewOf(
  x: Tensor,
  context: LoweringContext,
  anyStrides: boolean,
): { source: Tensor; offset: number; strides: readonly number[] } {
  if (context.isStored(x)) return { source: x, offset: 0, strides: stridesOf(x.shape) };
  if (x.size === 0) throw new NeedsMemory(x);
  const { extents, parts, inputs, outputs } = lowerLoop([x], [], context);
  const value = outputs[0]!.value;
  if (value.op !== "load" || value.gather) throw new NeedsMemory(x);
  const source = inputs[value.input]!;
  // a cast from f16 is no more than a load
  if (source.dtype !== x.dtype) throw new NeedsMemory(x);
  const strides = joinParts(value.index, extents, parts);
  if (!strides || (!anyStrides && !(isRowMajor(value.index, extents) && source.size === x.size)))
    throw new NeedsMemory(x);
  return { source, offset: value.index.offset, strides };
}

/** One stride per axis, if the parts an axis was split into follow each other evenly. */
function joinParts({ coefficients }: Affine, extents: Shape, parts: readonly number[]): readonly number[] | undefined {
  let first = 0;
  const strides: number[] = [];
  for (const count of parts) {
    const last = first + count - 1;
    for (let k = first; k < last; k++) if (coefficients[k] !== coefficients[k + 1]! * extents[k + 1]!) return undefined;
    strides.push(coefficients[last]!);
    first += count;
  }
  return strides;
}

/** Joins elementwise loops of one shape where that saves reading or storing something. */
function mergeLoops(
  drafts: readonly Draft[],
  roots: readonly Tensor[],
  context: LoweringContext,
  maxBuffers: number,
): Draft[] {
  const maker = new Map<Tensor, Draft>();
  for (const draft of drafts) for (const x of draft.outputs) maker.set(x, draft);
  const readers = new Map<Tensor, Set<Draft>>();
  const note = (draft: Draft): void => {
    for (const x of readsOf(draft)) {
      let set = readers.get(x);
      if (!set) readers.set(x, (set = new Set()));
      set.add(draft);
    }
  };
  const reaches = (from: readonly Tensor[], target: Draft, direct: boolean): boolean => {
    const seen = new Set<Draft>();
    const stack: Draft[] = [];
    const push = (list: readonly Tensor[], skip: boolean): void => {
      for (const x of list) {
        const draft = maker.get(x);
        if (draft && !seen.has(draft) && !(skip && draft === target)) {
          seen.add(draft);
          stack.push(draft);
        }
      }
    };
    push(from, direct);
    while (stack.length > 0) {
      const draft = stack.pop()!;
      if (draft === target) return true;
      push(readsOf(draft), false);
    }
    return false;
  };

  const result: Draft[] = [];
  for (const draft of drafts) {
    const partner = draft.kind === "loop" && !draft.rows ? findPartner(draft) : undefined;
    if (!partner) {
      result.push(draft);
      note(draft);
      continue;
    }
    Object.assign(partner.target, partner.joined);
    for (const x of draft.outputs) maker.set(x, partner.target);
    note(partner.target);
  }

  function findPartner(draft: LoopDraft): { target: LoopDraft; joined: LoopDraft } | undefined {
    const candidates = new Set<Draft>();
    for (const x of draft.lowered.inputs) {
      const made = maker.get(x);
      if (made) candidates.add(made);
      for (const reader of readers.get(x) ?? []) candidates.add(reader);
    }
    for (const target of candidates) {
      if (target.kind !== "loop" || target.rows || target === draft || !sameLoops(target, draft)) continue;
      if (reaches(draft.lowered.inputs, target, true)) continue;
      const outputs = [...target.outputs, ...draft.outputs];
      const reductions = [...target.reductions, ...draft.reductions];
      const lowered = tryLower(outputs, reductions, context);
      if (
        !lowered ||
        lowered.inputs.some((x) => outputs.includes(x)) ||
        lowered.inputs.length + outputs.length > maxBuffers
      )
        continue;
      return { target, joined: { kind: "loop", outputs, reductions, lowered } };
    }
    return undefined;
  }

  return dropUnread(result, roots, context);
}

/** Whether two kernels loop over axes of the same extents, outside and inside. */
function sameLoops(a: LoopDraft, b: LoopDraft): boolean {
  const inner = ({ reductions: [first] }: LoopDraft): Shape => (first ? reducedExtents(first) : []);
  return (
    sameShape(a.outputs[0]!.shape, b.outputs[0]!.shape) &&
    Boolean(a.reductions[0]) === Boolean(b.reductions[0]) &&
    sameShape(inner(a), inner(b))
  );
}

/** The joined kernel, or undefined if its members do not fit into one set of loops. */
function tryLower(
  outputs: readonly Tensor[],
  reductions: readonly Call[],
  context: LoweringContext,
): LoweredLoop | undefined {
  try {
    return lowerLoop(outputs, reductions, context);
  } catch (request) {
    if (request instanceof NeedsMemory) return undefined;
    throw request;
  }
}

/** Leaves out results of joined loops that nobody outside reads. */
function dropUnread(drafts: readonly Draft[], roots: readonly Tensor[], context: LoweringContext): Draft[] {
  const read = new Set<Tensor>(roots);
  for (const draft of drafts) for (const x of readsOf(draft)) read.add(x);
  return drafts.map((draft) => {
    if (draft.kind !== "loop" || draft.rows || draft.outputs.every((x) => read.has(x))) return draft;
    const outputs = draft.outputs.filter((x) => read.has(x));
    const unread = new Set(draft.outputs.filter((x) => !read.has(x)));
    const inner: LoweringContext = {
      resolve: (x) => context.resolve(x),
      isStored: (x) => context.isStored(x) && !unread.has(x),
    };
    return { ...draft, outputs, lowered: lowerLoop(outputs, draft.reductions, inner) };
  });
}

/** Kernels in an order in which each comes after those whose results it reads. */
function sortDrafts(drafts: readonly Draft[]): Draft[] {
  const maker = new Map<Tensor, Draft>();
  for (const draft of drafts) for (const x of draft.outputs) maker.set(x, draft);
  const order: Draft[] = [];
  const entered = new Set<Draft>();
  const done = new Set<Draft>();
  const stack: { draft: Draft; next: number }[] = [];
  for (const first of drafts) {
    if (entered.has(first)) continue;
    entered.add(first);
    stack.push({ draft: first, next: 0 });
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const reads = readsOf(top.draft);
      if (top.next === reads.length) {
        order.push(stack.pop()!.draft);
        done.add(top.draft);
        continue;
      }
      const before = maker.get(reads[top.next++]!);
      if (before && !entered.has(before)) {
        entered.add(before);
        stack.push({ draft: before, next: 0 });
      } else if (before && before !== top.draft && !done.has(before))
        throw new Error(
          `planner: expected kernels in an order, and ${callOf(before.outputs[0]!)?.op.name} and ${callOf(top.draft.outputs[0]!)?.op.name} wait for each other; realize their inputs first and report this as a bug`,
        );
    }
  }
  return order;
}

/** Numbers the blocks of memory and lets go of the graph. */
function emit(drafts: readonly Draft[], roots: readonly Tensor[], leaves: readonly Tensor[]): Omit<Plan, "notes"> {
  const slots: Slot[] = [];
  const numbers = new Map<Tensor, number>();
  const constants: { slot: number; tensor: Tensor }[] = [];
  const slotOf = (x: Tensor): number => {
    let slot = numbers.get(x);
    if (slot === undefined) {
      slot = slots.push({ dtype: x.dtype, size: x.size }) - 1;
      numbers.set(x, slot);
      if (!callOf(x) && slot >= leaves.length) constants.push({ slot, tensor: x });
    }
    return slot;
  };
  leaves.forEach(slotOf);
  const steps = drafts.map((draft): Step => {
    const inputs = readsOf(draft).map(slotOf);
    const outputs = draft.outputs.map(slotOf);
    if (draft.kind === "native") {
      const { op, attributes } = draft.call;
      const name =
        op.rule.kind === "kernel"
          ? (attributes as KernelAttributes).record.name + (op.name === "kernelGradient" ? " backward" : "")
          : op.name;
      const call: NativeCall = {
        op: op.name,
        attributes: withoutGraph(attributes),
        inputs: draft.operands,
        outputs: draft.call.outputs.map(({ shape, dtype }) => ({ shape, dtype })),
        ...(draft.epilogue && { epilogue: draft.epilogue }),
      };
      return {
        kind: "native",
        name: draft.note ? `${name} (${draft.note})` : draft.epilogue ? nameWithTail(name, draft.outputs[0]!) : name,
        call,
        inputs,
        outputs,
      };
    }
    if (draft.kind === "scan") return { kind: "scan", name: draft.name, kernel: draft.kernel, inputs, outputs };
    const { extents, reduceExtents, reductions, outputs: results } = draft.lowered;
    const kernel: LoopKernel = {
      extents,
      reduceExtents,
      reductions,
      outputs: results,
      inputs: draft.lowered.inputs.map(({ dtype, size }) => ({ dtype, size })),
    };
    return { kind: "loop", name: nameOf(draft), kernel, inputs, outputs };
  });
  return { slots, leafCount: leaves.length, constants, steps, roots: roots.map(slotOf) };
}

/** A gradient's attributes lead to its forward call and so to the whole graph: keep that it is one, drop the call. */
function withoutGraph(attributes: unknown): unknown {
  const kernel = attributes as Partial<KernelAttributes> | undefined;
  if (!kernel?.record || !kernel.kase) return attributes;
  return { record: kernel.record, kase: kernel.kase, gradient: kernel.forward !== undefined } satisfies KernelStep;
}

/** "exp+mul+sum" and so on: the ops whose results are stored. */
function nameOf({ outputs, reductions }: LoopDraft): string {
  const results = outputs.map((x) => callOf(x)!.op.name).join("+");
  const inner = reductions.map((call) => call.op.name).join("+");
  return inner === "" || inner === results ? results : `${inner}>${results}`;
}
