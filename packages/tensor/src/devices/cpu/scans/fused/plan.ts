/**
 * How the CPU cuts up a fused recurrence. Axes beside `along` are
 *
 *     outer    one point of them in a unit of work
 *     vector   the lanes of a vector; a unit has some *groups* of four neighbours
 *     inner    looped over inside a unit, because a result that is needed at each step sums over them
 *
 * A unit goes through its steps in chunks. What does not vary along the inner axes is computed once for each step and
 * group of a chunk and kept in a *record*; then the states run through the chunk, a few at a time, in registers.
 * Everything here depends on the extents only, so that results do not depend on the number of threads.
 */
import { intrinsics } from "../../../../ops/elementwise-rows.js";
import type { Scalar } from "../../../../ir/loop.js";
import type { ScanSum } from "../../../../ir/scan-kernel.js";
import { rewriting } from "../../../../ir/interning.js";
import { axesOfNodes, type ScanForm, type SumOutput } from "./form.js";
import { nodesOf, parts, product } from "../../../../ir/simplify.js";

/** Bytes of a vector of four lanes. */
export const VECTOR = 16;
/** States of a point and a group that go through a chunk together: along the last inner axis, or neighbouring groups. */
const STATES = 4;
/** Most groups in a unit: without inner axes, with them, and with them and an adjoint. */
const COLUMN_GROUPS = 8,
  ADJOINT_GROUPS = 16;
/** Groups whose records are kept at a time: a cache line of channels. */
export const STAGED_GROUPS = 4;
/** Without inner axes it takes two groups to hide the latency of a step. */
const FEWEST_GROUPS = 2;
/** Units to aim at, and how few make it worth while to cut the steps into segments. */
const UNITS = 16,
  ENOUGH_UNITS = 8;
/** Steps in a segment, and state updates below which nothing is cut. */
const SEGMENT = 1024,
  LARGE = 1 << 16;
/** Bytes that records, sums and tape of a chunk may take of the first-level cache. */
const CHUNK_BYTES = 32 << 10;

/** A sum kept in an array of vectors until its unit's part is written to shared memory. */
export interface PartialSum {
  readonly sum: number;
  readonly step: ScanSum["step"];
  readonly keepsAlong: boolean;
  readonly keepsVector: boolean;
  /** Inner axes kept, and the points of them. */
  readonly kept: readonly number[];
  readonly points: number;
  /** Bytes from the beginning of the scratch block. */
  readonly scratch: number;
  /** Bytes from the beginning of the shared block; elements of a unit's part. */
  readonly shared: number;
  readonly size: number;
}

export interface ScanPlan {
  readonly form: ScanForm;
  readonly vector: number;
  readonly inner: readonly number[];
  readonly outer: readonly number[];
  /** Parts of a number: 1, or 2 if complex. */
  readonly parts: number;
  /** Points of the inner axes. */
  readonly points: number;
  /** Groups in a unit, blocks of so many groups, and all groups. */
  readonly groups: number;
  readonly blocks: number;
  readonly allGroups: number;
  /** Steps of a chunk and of a segment. */
  readonly steps: number;
  readonly segmentSteps: number;
  readonly segments: number;
  /** States side by side: points of the last inner axis, or groups. */
  readonly copies: number;
  readonly unroll: number;
  /** What a record holds: values computed ahead, then sums over the inner axes (by number of the sum). */
  readonly staged: readonly Scalar[];
  readonly stagedForward: readonly Scalar[];
  readonly localSums: readonly number[];
  readonly recordBytes: number;
  /** Expressions of the recurrence, with `reduced` nodes for what is in the records. */
  readonly decay: readonly Scalar[];
  readonly drive: readonly Scalar[];
  readonly seed: readonly Scalar[] | undefined;
  readonly carried: Scalar | undefined;
  readonly sumValues: readonly Scalar[];
  readonly directValues: readonly Scalar[];
  /** Outputs computed from the records at the end of a chunk. */
  readonly local: readonly SumOutput[];
  /** Outputs computed from partial sums in a phase of their own. */
  readonly combined: readonly SumOutput[];
  readonly partials: readonly PartialSum[];
  /** Bytes of the states of a group of lanes, and of those of a unit. */
  readonly groupBytes: number;
  readonly stateBytes: number;
  /** Offsets in the scratch block. */
  readonly at: Readonly<
    Record<
      "states" | "adjoints" | "products" | "exponents" | "records" | "tape" | "eachSums" | "totalSums" | "bytes",
      number
    >
  >;
  readonly eachSumBytes: number;
  readonly totalSumBytes: number;
  /** Where the shared block has the states between segments: ends, products, adjoints and exponents of the segments of all units. */
  readonly carries: number;
  readonly carryBytes: number;
  readonly sharedBytes: number;
}

/** Sums that are taken while the states run. */
export const sumsUsed = ({ localSums, partials }: ScanPlan): number[] => [...localSums, ...partials.map((p) => p.sum)];

const isMath = (node: Scalar): boolean => "args" in node && ["some", "dear"].includes(intrinsics[node.op].cost);

/** Loads and results that are neighbours along the axis, no lanes lost, nothing computed for many lanes that is the same in all. */
function chooseVector(form: ScanForm): number {
  const { extents, along } = form;
  const axes = axesOfNodes(extents.length);
  const nodes = [
    ...nodesOf([
      ...form.decay,
      ...form.drive,
      ...(form.seed ?? []),
      ...form.sums.map((s) => s.value),
      ...form.direct.map((o) => o.value),
      ...form.summed.map((o) => o.value),
    ]),
  ];
  const cost = (axis: number): number => {
    const stride = (c: number): number => (c === 0 ? 0.5 : Math.abs(c) === 1 ? 1 : 5);
    let sum = 2;
    for (const node of nodes) {
      if (!axes(node).has(along) || node.op === "state" || node.op === "reduced") continue;
      if (node.op === "load") sum += stride(node.index.coefficients[axis]!);
      else sum += (axes(node).has(axis) ? 0.25 : 1) * (isMath(node) ? 8 : 1);
    }
    for (const { index, step } of form.direct) if (step === "each") sum += stride(index.coefficients[axis]!);
    for (const s of form.sums) if (s.step === "each" && s.keeps.includes(along) && !s.keeps.includes(axis)) sum += 3;
    const extent = extents[axis]!;
    return (sum * 4 * Math.ceil(extent / 4)) / extent;
  };
  return extents
    .map((_, axis) => axis)
    .filter((axis) => axis !== along)
    .reduceRight((a, b) => (cost(b) < cost(a) ? b : a), extents.length - (along === extents.length - 1 ? 2 : 1));
}

export function planScan(form: ScanForm, vector = form.kept?.lanes ?? chooseVector(form)): ScanPlan {
  const axes = cutAxes(form, vector);
  const units = cutUnits(form, axes);
  const results = resultsByPlace(form, axes);
  const ahead = computedAhead(form, axes, results);
  const chunk = cutChunks(
    form,
    axes,
    units,
    results.partialSums,
    VECTOR * (ahead.staged.length + results.localSums.length),
  );
  const { combined, localSums } = results;
  return {
    form,
    ...axes,
    ...units,
    combined,
    localSums,
    ...ahead,
    ...chunk.sizes,
    ...layOut(form, axes, units, results.partialSums, chunk),
  };
}

type Axes = Pick<ScanPlan, "vector" | "inner" | "outer" | "parts" | "points">;
type Units = Pick<ScanPlan, "groups" | "blocks" | "allGroups" | "segmentSteps" | "segments">;
type Results = Pick<ScanPlan, "local" | "combined" | "localSums"> & { readonly partialSums: readonly number[] };
type Ahead = Pick<
  ScanPlan,
  "staged" | "stagedForward" | "decay" | "drive" | "seed" | "carried" | "sumValues" | "directValues" | "local"
>;
interface Chunk {
  readonly sizes: Pick<ScanPlan, "recordBytes" | "copies" | "unroll" | "steps">;
  /** Vectors of sums that a step has, and bytes of its tape. */
  readonly eachVectors: number;
  readonly tapeBytes: number;
}

/** Which axes are looped over inside a unit, and which are not. */
function cutAxes({ extents, along, sums, complex }: ScanForm, vector: number): Axes {
  const others = extents
    .map((_, axis) => axis)
    .filter((axis) => axis !== along && axis !== vector && extents[axis]! > 1);
  const isInner = (axis: number): boolean =>
    sums.some((s) => s.keeps.includes(along) && !s.keeps.includes(axis) && (axis > along || s.keeps.includes(vector)));
  const inner = others.filter(isInner);
  return {
    vector,
    inner,
    outer: others.filter((axis) => !isInner(axis)),
    parts: complex ? 2 : 1,
    points: product(inner.map((axis) => extents[axis]!)),
  };
}

/** Groups of lanes in a unit, and the steps in segments where there are few units. */
function cutUnits({ extents, along, seed }: ScanForm, { vector, outer, points }: Axes): Units {
  const outerPoints = product(outer.map((axis) => extents[axis]!));
  const length = extents[along]!;
  const allGroups = Math.ceil(extents[vector]! / 4);
  const most = points === 1 ? COLUMN_GROUPS : seed === undefined ? STAGED_GROUPS : ADJOINT_GROUPS;
  const perOuter = Math.max(
    Math.ceil(allGroups / most),
    points === 1
      ? Math.min(Math.ceil(allGroups / FEWEST_GROUPS), Math.ceil(ENOUGH_UNITS / outerPoints))
      : Math.min(allGroups, Math.ceil(UNITS / outerPoints)),
  );
  const groups = Math.ceil(allGroups / perOuter);
  const blocks = Math.ceil(allGroups / groups);
  const cut = outerPoints * blocks < ENOUGH_UNITS && length >= 2 * SEGMENT && product(extents) >= LARGE;
  const segmentSteps = cut ? Math.max(SEGMENT, Math.ceil(length / (4 * UNITS))) : length;
  return { groups, blocks, allGroups, segmentSteps, segments: Math.ceil(length / segmentSteps) };
}

/** Outputs made of the records at the end of a chunk, and those made of partial sums; and the sums of both. */
function resultsByPlace({ extents, along, summed }: ScanForm, { vector, inner, outer, points }: Axes): Results {
  const isLocal = (o: SumOutput): boolean =>
    o.step === "each" &&
    points > 1 &&
    [along, vector, ...outer].every((axis) => o.keeps.includes(axis) || (extents[axis] === 1 && axis !== along)) &&
    inner.every((axis) => !o.keeps.includes(axis));
  const used = (outputs: readonly SumOutput[]): number[] => [
    ...new Set(
      outputs.flatMap((o) =>
        [...nodesOf([o.value])].flatMap((node) => (node.op === "reduced" ? [node.reduction] : [])),
      ),
    ),
  ];
  const local = summed.filter(isLocal);
  const combined = summed.filter((o) => !isLocal(o));
  return { local, combined, localSums: used(local), partialSums: used(combined) };
}

/** What does not vary along the inner axes, computed once for each step, and the expressions that read it. */
function computedAhead(form: ScanForm, axes: Axes, { local, localSums, partialSums }: Results): Ahead {
  const { sums } = form;
  const terms = [...localSums, ...partialSums].map((k) => sums[k]!.value);
  const stagedForward = stagedNodes(form, axes, [...form.decay, ...form.drive]);
  const others = stagedNodes(form, axes, [...(form.seed ?? []), ...terms, ...form.direct.map((o) => o.value)]);
  const first = [...new Set([...stagedForward, ...others])];
  const staged = [...first, ...neededAgain(form, first, local)];
  const slot = new Map(staged.map((node, k) => [node, k]));
  const recorded = (node: Scalar): Scalar | undefined => {
    const k = slot.get(node);
    return k === undefined ? undefined : { op: "reduced", dtype: node.dtype, reduction: k };
  };
  const toRecord = rewriting((a) => a, recorded);
  // In the values of local outputs, `reduced` nodes behind the staged ones are the sums.
  const withSums = (value: Scalar): Scalar =>
    rewriting(
      (a) => a,
      (node) =>
        node.op === "reduced"
          ? { ...node, reduction: staged.length + localSums.indexOf(node.reduction) }
          : recorded(node),
    )(value);
  return {
    staged,
    stagedForward,
    decay: form.decay.map(toRecord),
    drive: form.drive.map(toRecord),
    seed: form.seed?.map(toRecord),
    carried: form.carried && toRecord(form.carried),
    sumValues: sums.map((s) => toRecord(s.value)),
    directValues: form.direct.map((o) => toRecord(o.value)),
    local: local.map((o) => ({ ...o, value: withSums(o.value) })),
  };
}

/** The largest parts of expressions that vary along the steps and not along the inner axes. */
function stagedNodes(
  { extents, along }: ScanForm,
  { vector, inner, points }: Axes,
  roots: readonly Scalar[],
): Scalar[] {
  const axes = axesOfNodes(extents.length);
  const found = new Set<Scalar>(),
    seen = new Set<Scalar>();
  const visit = (node: Scalar): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (inner.some((axis) => axes(node).has(axis))) return parts(node).forEach(visit);
    if (axes(node).has(along) && ("args" in node || axes(node).has(vector))) found.add(node);
  };
  if (points > 1) roots.forEach(visit);
  return [...found];
}

/** What is dear inside the staged values and what the results at the end of a chunk need once more. */
function neededAgain({ extents, along }: ScanForm, staged: readonly Scalar[], local: readonly SumOutput[]): Scalar[] {
  const axes = axesOfNodes(extents.length);
  const own = new Set(staged);
  const again = nodesOf(
    local.map((o) => o.value),
    own,
  );
  return [...nodesOf(staged)].filter(
    (node) => isMath(node) && again.has(node) && axes(node).has(along) && !own.has(node),
  );
}

/** States side by side, and steps whose records, sums and tape fit the cache. */
function cutChunks(
  { extents, along, sums, seed, kept }: ScanForm,
  { vector, inner, points, parts: numberParts }: Axes,
  { groups, segmentSteps }: Units,
  partialSums: readonly number[],
  recordBytes: number,
): Chunk {
  const copies = points > 1 ? Math.min(STATES / numberParts, extents[inner.at(-1)!]!) : 1;
  const unroll = points > 1 ? 1 : Math.min(STATES, groups);
  const keptPoints = ({ keeps }: ScanSum): number =>
    product(inner.filter((axis) => keeps.includes(axis)).map((axis) => extents[axis]!));
  const eachVectors = partialSums
    .map((k) => sums[k]!)
    .filter(({ keeps }) => keeps.includes(along))
    .reduce((sum, s) => sum + keptPoints(s) * (s.keeps.includes(vector) ? groups : 1), 0);
  const tapeBytes = seed === undefined ? 0 : copies * unroll * 2 * numberParts * VECTOR;
  const perStep = recordBytes * Math.min(groups, STAGED_GROUPS) + eachVectors * VECTOR + tapeBytes;
  const fit = Math.floor(CHUNK_BYTES / Math.max(1, perStep) / 8) * 8;
  const steps = kept?.every ?? Math.min(segmentSteps, perStep === 0 ? 256 : Math.min(64, Math.max(16, fit)));
  return { sizes: { recordBytes, copies, unroll, steps }, eachVectors, tapeBytes };
}

type Memory = Pick<
  ScanPlan,
  | "partials"
  | "groupBytes"
  | "stateBytes"
  | "at"
  | "eachSumBytes"
  | "totalSumBytes"
  | "carries"
  | "carryBytes"
  | "sharedBytes"
>;

/** Places in a unit's scratch block and in the block that all units share. */
function layOut(form: ScanForm, axes: Axes, units: Units, partialSums: readonly number[], chunk: Chunk): Memory {
  const { groups, blocks, segments, segmentSteps } = units;
  const { recordBytes, steps } = chunk.sizes;
  const groupBytes = axes.points * axes.parts * VECTOR;
  const stateBytes = groups * groupBytes;
  const chunks = Math.ceil(segmentSteps / steps);
  const states = 0;
  const adjoints = states + stateBytes * (form.kept !== undefined ? 0 : form.seed === undefined ? 1 : chunks + 1);
  const products = adjoints + (form.seed === undefined ? 0 : stateBytes);
  const exponents = products + (segments > 1 ? stateBytes : 0);
  const records = exponents + (segments > 1 && form.grows ? stateBytes : 0);
  const tape = records + Math.min(groups, STAGED_GROUPS) * steps * recordBytes;
  const eachSums = tape + steps * chunk.tapeBytes;
  const totalSums = eachSums + steps * chunk.eachVectors * VECTOR;
  const carries = 64;
  const outerPoints = product(axes.outer.map((axis) => form.extents[axis]!));
  const carryBytes = segments > 1 ? outerPoints * blocks * segments * stateBytes : 0;
  const { partials, bytes, sharedEnd } = layOutPartials(form, axes, units, partialSums, steps, {
    each: eachSums,
    total: totalSums,
    shared: carries + (form.grows ? 4 : 3) * carryBytes,
  });
  return {
    partials,
    groupBytes,
    stateBytes,
    at: { states, adjoints, products, exponents, records, tape, eachSums, totalSums, bytes },
    eachSumBytes: totalSums - eachSums,
    totalSumBytes: bytes - totalSums,
    carries,
    carryBytes,
    sharedBytes: sharedEnd > 64 ? sharedEnd + 64 : 0,
  };
}

/** Places of the partial sums, from those given on. */
function layOutPartials(
  { extents, along, sums }: ScanForm,
  { vector, inner, outer }: Axes,
  { groups, blocks, segments }: Units,
  partialSums: readonly number[],
  steps: number,
  at: { readonly each: number; readonly total: number; readonly shared: number },
): { readonly partials: readonly PartialSum[]; readonly bytes: number; readonly sharedEnd: number } {
  const extent = (axis: number): number => extents[axis]!;
  let { each, total, shared } = at;
  const partials = partialSums.map((k): PartialSum => {
    const { keeps, step } = sums[k]!;
    const [keepsAlong, keepsVector] = [keeps.includes(along), keeps.includes(vector)];
    const kept = inner.filter((axis) => keeps.includes(axis));
    const points = product(kept.map(extent));
    const size = points * (keepsAlong ? extent(along) : 1) * (keepsVector ? blocks * groups * 4 : 1);
    const bytes = (keepsAlong ? steps : 1) * points * (keepsVector ? groups : 1) * VECTOR;
    const scratch = keepsAlong ? each : total;
    const partial: PartialSum = { sum: k, step, keepsAlong, keepsVector, kept, points, scratch, shared, size };
    if (keepsAlong) each += bytes;
    else total += bytes;
    const parts = product(outer.map(extent)) * (keepsAlong ? 1 : segments) * (keepsVector ? 1 : blocks);
    shared += Math.ceil((4 * size * parts) / 64 + 1) * 64;
    return partial;
  });
  return { partials, bytes: total, sharedEnd: shared };
}

/**
 * Whether most of what is read lies in order along the recurrence's axis and not along the lanes: four lanes then touch
 * four cache lines a step, and an array of a value per step, read by a scan of its own, is faster.
 */
export function readsAcross({ form, vector, points }: ScanPlan): boolean {
  if (points > 1 || form.complex || form.seed !== undefined) return false;
  const loads = [...nodesOf([...form.decay, ...form.drive])].flatMap((node) =>
    node.op === "load" && node.index.coefficients[form.along] !== 0 ? [node.index.coefficients] : [],
  );
  const across = loads.filter(
    (c) => Math.abs(c[form.along]!) === 1 && Math.abs(c[vector]!) !== 1 && form.extents[form.along]! > 1,
  );
  return 2 * across.length > loads.length;
}
