/** Scan steps as a device can run them: within its number of buffers, with the programs it has. */
import { callOf } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { ScanKernel } from "../ir/scan-kernel.js";
import { formatShape } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { isRowMajor } from "../ir/affine.js";
import type { LoweringContext } from "./lower.js";
import type { OpenDecisions } from "./decisions.js";
import { demote, type Scans } from "./scan-fusion.js";
import { lowerNoting } from "./scan-noting.js";
import type { LoweredScan, ScanUnit } from "./scan-lowering.js";
import type { ScanPasses } from "./scan-passes.js";
import type { Tail } from "./scan-region.js";

/** What a device can do with scan steps. */
export interface ScanSupport {
  /** The planner's part for recurrences, `scanPasses`: a page loads it when a graph has one. */
  readonly passes: ScanPasses;
  /** Buffers a step may bind, inputs and outputs together. */
  readonly maxBuffers: number;
  /** Whether the device has a program for a kernel, or why not. */
  accepts(kernel: ScanKernel): true | string;
  /** Whether that program has passes that each bind a few of the buffers, so that there may be any number. */
  anyBuffers?(kernel: ScanKernel): boolean;
  /** Whether that program takes the kernel's totals as it goes. Devices without this are given no totals. */
  totals?(kernel: ScanKernel): boolean;
}

/** A scan step with tensors in the place of buffers. */
export interface ScanDraft {
  readonly kind: "scan";
  /** The recurrence, or its gradient. */
  readonly call: Call;
  readonly name: string;
  readonly kernel: ScanKernel;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** A unit with its kernels; a recurrence that its native program runs as well has none. */
export interface DraftedUnit {
  readonly unit: ScanUnit;
  readonly drafts: readonly ScanDraft[];
  readonly reason: string | undefined;
}

/**
 * The drafts of all units.
 * @param decisions Receives what has to be otherwise for a step to fit: then `changed` is true and the drafts are void.
 */
export function draftScans(
  scans: Scans,
  context: LoweringContext,
  decisions: OpenDecisions,
  fuse: boolean,
  support: ScanSupport,
): { readonly units: readonly DraftedUnit[]; readonly changed: boolean } {
  let changed = false;
  const units = scans.units.map((unit): DraftedUnit => {
    const call = (unit.scan ?? unit.gradient)!;
    const reason = scans.reasonOf(call);
    const whole = lowerNoting(unit, context, decisions);
    if (!whole) {
      changed = true;
      return { unit, drafts: [], reason };
    }
    if (call.op.name === "linearScan" && !unit.gradient && isBare(whole.kernel, [...unit.results.keys()], call))
      return { unit, drafts: [], reason };
    const maxBuffers = support.anyBuffers?.(whole.kernel) ? Infinity : support.maxBuffers;
    const totals = totalsOf(whole.kernel);
    if (totals > 0) {
      const most = support.totals?.(whole.kernel)
        ? Math.max(0, totals - Math.max(0, buffersOf(whole) - maxBuffers))
        : 0;
      if (most < totals) {
        decisions.totals.set(call, most);
        changed = true;
        return { unit, drafts: [], reason };
      }
    }
    if (buffersOf(whole) > maxBuffers && storePrologue(unit, whole, scans, context, maxBuffers, decisions))
      changed = true;
    // A part needs no more than the whole.
    const parts = partsOf(unit, whole, maxBuffers, (part) => lowerNoting(part, context, decisions, unit.results)!);
    const verdict = parts
      ? parts.map(({ kernel }) => support.accepts(kernel)).find((answer) => answer !== true)
      : `${buffersOf(whole)} buffers where ${maxBuffers} can be bound`;
    if (verdict !== undefined) {
      changed = true;
      demote(call, decisions, fuse, verdict);
    }
    return {
      unit,
      reason,
      drafts: (parts ?? []).map((part): ScanDraft => ({
        kind: "scan",
        call,
        name: nameOf(unit, part.kernel, reason),
        ...part,
      })),
    };
  });
  return { units, changed };
}

/**
 * Takes less into a step that, by its other results, waits for itself: two recurrences that read each other's sums.
 * @param reads What a draft reads.
 * @returns Whether a step was changed.
 */
export function breakCycles<D extends { readonly kind: string; readonly outputs: readonly Tensor[] }>(
  drafts: readonly (D | ScanDraft)[],
  reads: (draft: D | ScanDraft) => readonly Tensor[],
  decisions: OpenDecisions,
  fuse: boolean,
): boolean {
  const maker = new Map<Tensor, D | ScanDraft>();
  for (const draft of drafts) for (const x of draft.outputs) maker.set(x, draft);
  const done = new Set<D | ScanDraft>();
  for (const first of drafts) {
    if (done.has(first)) continue;
    const path: { readonly draft: D | ScanDraft; readonly reads: readonly Tensor[]; next: number }[] = [
      { draft: first, reads: reads(first), next: 0 },
    ];
    const open = new Set([first]);
    while (path.length > 0) {
      const top = path.at(-1)!;
      if (top.next === top.reads.length) {
        open.delete(top.draft);
        done.add(path.pop()!.draft);
        continue;
      }
      const before = maker.get(top.reads[top.next++]!);
      if (!before || done.has(before)) continue;
      if (open.has(before)) {
        const cycle = path.slice(path.findIndex(({ draft }) => draft === before)).map(({ draft }) => draft);
        const scan = cycle.find((draft): draft is ScanDraft => draft.kind === "scan");
        if (!scan)
          throw new Error(
            "planner: expected kernels that can be put in order, got a cycle without a scan; realize parts of the graph by themselves and report this as a bug",
          );
        demote(scan.call, decisions, fuse, "its results are needed for what it reads");
        return true;
      }
      open.add(before);
      path.push({ draft: before, reads: reads(before), next: 0 });
    }
  }
  return false;
}

const totalsOf = ({ sums }: ScanKernel): number => sums.filter(({ of }) => of).length;

const buffersOf = ({ inputs, outputs }: LoweredScan): number => inputs.length + outputs.length;

/** The unit as kernels that fit, each with some of the results; undefined if one result alone does not. */
function partsOf(
  unit: ScanUnit,
  whole: LoweredScan,
  maxBuffers: number,
  lower: (part: ScanUnit) => LoweredScan,
): readonly LoweredScan[] | undefined {
  if (buffersOf(whole) <= maxBuffers) return [whole];
  const parts: LoweredScan[] = [];
  let taken: (readonly [Tensor, Tail])[] = [];
  for (const entry of unit.results) {
    const more = lower({ ...unit, results: new Map([...taken, entry]) });
    if (taken.length > 0 && buffersOf(more) <= maxBuffers) {
      parts[parts.length - 1] = more;
      taken.push(entry);
      continue;
    }
    const alone = lower({ ...unit, results: new Map([entry]) });
    if (buffersOf(alone) > maxBuffers) return undefined;
    parts.push(alone);
    taken = [entry];
  }
  return parts;
}

/**
 * Gives memory to values of the prologue that several buffers go into and that lack an axis of the loop, until the
 * kernel fits; if it cannot, to none.
 */
function storePrologue(
  { region, loop, results }: ScanUnit,
  { inputs, outputs }: LoweredScan,
  scans: Scans,
  context: LoweringContext,
  maxBuffers: number,
  { forced }: OpenDecisions,
): boolean {
  const resolve = (x: Tensor): Tensor => context.resolve(x);
  const size = loop.extents.reduce((a, b) => a * b, 1);
  const loaded = new Set(inputs);
  const chosen = new Set<Tensor>();
  const roots = [...region.calls, ...region.sums.values()].flatMap((call) => call.inputs.map(resolve));
  /** Buffers loaded if some values have memory. */
  const loads = (stored: ReadonlySet<Tensor>, visited: Set<Tensor>): number => {
    const found = new Set<Tensor>();
    const stack = [...roots, ...[...region.values.keys()].flatMap((x) => callOf(x)!.inputs.map(resolve))];
    while (stack.length > 0) {
      const x = stack.pop()!;
      if (visited.has(x)) continue;
      visited.add(x);
      if (stored.has(x) || loaded.has(x)) found.add(x);
      else if (results.has(x) || !context.isStored(x)) stack.push(...inputsRead(callOf(x)!).map(resolve));
    }
    return found.size;
  };
  const visited = new Set<Tensor>();
  let now = loads(chosen, visited);
  const candidates = [...visited].filter(
    (x) => scans.inside.has(x) && !region.values.has(x) && !region.tails.has(x) && x.size < size,
  );
  while (now + outputs.length > maxBuffers) {
    const best = candidates
      .map((x) => ({ x, count: loads(new Set([...chosen, x]), new Set()) }))
      .sort((a, b) => a.count - b.count || a.x.size - b.x.size)[0];
    if (!best || best.count >= now) return false;
    chosen.add(best.x);
    now = best.count;
  }
  for (const x of chosen) forced.add(x);
  return chosen.size > 0;
}

/** Whether the kernel loads decay and drive as they lie and stores the states. */
function isBare(
  { extents, decay, drive, initial, outputs, along }: ScanKernel,
  results: readonly Tensor[],
  call: Call,
): boolean {
  const plain = ([x]: ScanKernel["decay"], shape: readonly number[], axes: readonly number[]): boolean =>
    x.op === "load" &&
    !x.gather &&
    isRowMajor({ offset: x.index.offset, coefficients: axes.map((axis) => x.index.coefficients[axis]!) }, shape);
  const all = extents.map((_, axis) => axis);
  const others = all.filter((axis) => axis !== along);
  return (
    outputs.length === 1 &&
    results[0] === call.outputs[0] &&
    plain(decay, extents, all) &&
    plain(drive, extents, all) &&
    (!initial ||
      plain(
        initial,
        others.map((axis) => extents[axis]!),
        others,
      ))
  );
}

/** "scan [8,2048,2048,16] along 1: recurrence, 9 inputs, sums over axes [3]" and why it is not more. */
function nameOf({ scan, gradient, results }: ScanUnit, kernel: ScanKernel, reason: string | undefined): string {
  const { extents, along, sums, inputs } = kernel;
  const totals = totalsOf(kernel);
  const gone = new Set(
    sums
      .filter(({ of }) => !of)
      .map(({ keeps, step }) =>
        formatShape(
          extents.flatMap((_, axis) => (keeps.includes(axis) || (axis === along && step !== "each") ? [] : [axis])),
        ),
      ),
  );
  const parts = [
    scan ? (gradient ? "gradient, states computed again" : "recurrence") : "gradient of stored states",
    `${inputs.length} inputs`,
    ...(gone.size > 0 ? [`sums over axes ${[...gone].join(", ")}`] : []),
    ...(totals > 0 ? [`${totals} total${totals > 1 ? "s" : ""}`] : []),
    ...(scan?.outputs.some((x) => results.has(x)) ? ["states stored"] : []),
    ...(reason ? [`since ${reason}`] : []),
  ];
  return `scan ${formatShape(extents)} along ${along}: ${parts.join(", ")}`;
}
