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
    Record<"states" | "adjoints" | "products" | "records" | "tape" | "eachSums" | "totalSums" | "bytes", number>
  >;
  readonly eachSumBytes: number;
  readonly totalSumBytes: number;
  /** Where the shared block has the states between segments: ends, products and adjoints of the segments of all units. */
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
  const { extents, along, sums } = form;
  const others = extents
    .map((_, axis) => axis)
    .filter((axis) => axis !== along && axis !== vector && extents[axis]! > 1);
  const isInner = (axis: number): boolean =>
    sums.some((s) => s.keeps.includes(along) && !s.keeps.includes(axis) && (axis > along || s.keeps.includes(vector)));
  const inner = others.filter(isInner);
  const outer = others.filter((axis) => !isInner(axis));
  const extent = (axis: number): number => extents[axis]!;
  const points = product(inner.map(extent));
  const numberParts = form.complex ? 2 : 1;
  const outerPoints = product(outer.map(extent));
  const length = extent(along);

  // ---- groups, units, segments ----

  const allGroups = Math.ceil(extent(vector) / 4);
  const most = points === 1 ? COLUMN_GROUPS : form.seed === undefined ? STAGED_GROUPS : ADJOINT_GROUPS;
  const perOuter = Math.max(
    Math.ceil(allGroups / most),
    points === 1
      ? Math.min(Math.ceil(allGroups / FEWEST_GROUPS), Math.ceil(ENOUGH_UNITS / outerPoints))
      : Math.min(allGroups, Math.ceil(UNITS / outerPoints)),
  );
  const groups = Math.ceil(allGroups / perOuter);
  const blocks = Math.ceil(allGroups / groups);
  const units = outerPoints * blocks;
  const cut = units < ENOUGH_UNITS && length >= 2 * SEGMENT && product(extents) >= LARGE;
  const segmentSteps = cut ? Math.max(SEGMENT, Math.ceil(length / (4 * UNITS))) : length;
  const segments = Math.ceil(length / segmentSteps);

  // ---- which outputs come from where ----

  const isLocalSet = (o: { readonly keeps: readonly number[]; readonly step: string }): boolean =>
    o.step === "each" &&
    points > 1 &&
    [along, vector, ...outer].every((axis) => o.keeps.includes(axis) || (extent(axis) === 1 && axis !== along)) &&
    inner.every((axis) => !o.keeps.includes(axis));
  const local = form.summed.filter(isLocalSet);
  const combined = form.summed.filter((o) => !isLocalSet(o));
  const used = (outputs: readonly SumOutput[]): number[] => [
    ...new Set(
      outputs.flatMap((o) =>
        [...nodesOf([o.value])].flatMap((node) => (node.op === "reduced" ? [node.reduction] : [])),
      ),
    ),
  ];
  const localSums = used(local);
  const partialSums = used(combined);

  // ---- what is computed ahead ----

  const axes = axesOfNodes(extents.length);
  const isFree = (node: Scalar): boolean => !inner.some((axis) => axes(node).has(axis));
  const staging = (roots: readonly Scalar[]): Scalar[] => {
    const found = new Set<Scalar>(),
      seen = new Set<Scalar>();
    const visit = (node: Scalar): void => {
      if (seen.has(node)) return;
      seen.add(node);
      if (!isFree(node)) return parts(node).forEach(visit);
      if (axes(node).has(along) && ("args" in node || axes(node).has(vector))) found.add(node);
    };
    if (points > 1) roots.forEach(visit);
    return [...found];
  };
  const sumsOf = [...localSums, ...partialSums];
  const forward = staging([...form.decay, ...form.drive]);
  const staged = [
    ...new Set([
      ...forward,
      ...staging([...(form.seed ?? []), ...sumsOf.map((k) => sums[k]!.value), ...form.direct.map((o) => o.value)]),
    ]),
  ];
  // What the results at the end of a chunk need once more.
  const again = nodesOf(
    local.map((o) => o.value),
    new Set(staged),
  );
  for (const node of nodesOf(staged))
    if (isMath(node) && again.has(node) && axes(node).has(along) && !staged.includes(node)) staged.push(node);
  const slot = new Map(staged.map((node, k) => [node, k]));
  const toRecord = rewriting(
    (a) => a,
    (node) => {
      const k = slot.get(node);
      return k === undefined ? undefined : { op: "reduced", dtype: node.dtype, reduction: k };
    },
  );
  const recordBytes = VECTOR * (staged.length + localSums.length);

  // ---- sizes ----

  const copies = points > 1 ? Math.min(STATES / numberParts, extent(inner.at(-1)!)) : 1;
  const unroll = points > 1 ? 1 : Math.min(STATES, groups);
  const eachVectors = partialSums.reduce((sum, k) => {
    const s = sums[k]!;
    return !s.keeps.includes(along)
      ? sum
      : sum +
          product(inner.filter((axis) => s.keeps.includes(axis)).map(extent)) * (s.keeps.includes(vector) ? groups : 1);
  }, 0);
  const tapeBytes = form.seed === undefined ? 0 : copies * unroll * 2 * numberParts * VECTOR;
  const perStep = recordBytes * Math.min(groups, STAGED_GROUPS) + eachVectors * VECTOR + tapeBytes;
  const fit = Math.floor(CHUNK_BYTES / Math.max(1, perStep) / 8) * 8;
  const steps = form.kept?.every ?? Math.min(segmentSteps, perStep === 0 ? 256 : Math.min(64, Math.max(16, fit)));
  const groupBytes = points * numberParts * VECTOR;
  const stateBytes = groups * groupBytes;

  // ---- scratch and shared memory ----

  const chunks = Math.ceil(segmentSteps / steps);
  const states = 0;
  const adjoints = states + stateBytes * (form.kept !== undefined ? 0 : form.seed === undefined ? 1 : chunks + 1);
  const products = adjoints + (form.seed === undefined ? 0 : stateBytes);
  const records = products + (segments > 1 ? stateBytes : 0);
  const tape = records + Math.min(groups, STAGED_GROUPS) * steps * recordBytes;
  const eachSums = tape + steps * tapeBytes;
  const totalSums = eachSums + steps * eachVectors * VECTOR;
  const carries = 64;
  const carryBytes = segments > 1 ? units * segments * stateBytes : 0;
  let scratchAt = eachSums,
    totalAt = totalSums,
    sharedAt = carries + 3 * carryBytes;
  const partials = partialSums.map((k): PartialSum => {
    const s = sums[k]!;
    const [keepsAlong, keepsVector] = [s.keeps.includes(along), s.keeps.includes(vector)];
    const kept = inner.filter((axis) => s.keeps.includes(axis));
    const keptPoints = product(kept.map(extent));
    const size = keptPoints * (keepsAlong ? length : 1) * (keepsVector ? blocks * groups * 4 : 1);
    const bytes = (keepsAlong ? steps : 1) * keptPoints * (keepsVector ? groups : 1) * VECTOR;
    const partial: PartialSum = {
      sum: k,
      step: s.step,
      keepsAlong,
      keepsVector,
      kept,
      points: keptPoints,
      scratch: keepsAlong ? scratchAt : totalAt,
      shared: sharedAt,
      size,
    };
    if (keepsAlong) scratchAt += bytes;
    else totalAt += bytes;
    sharedAt +=
      Math.ceil((4 * size * outerPoints * (keepsAlong ? 1 : segments) * (keepsVector ? 1 : blocks)) / 64 + 1) * 64;
    return partial;
  });
  return {
    form,
    vector,
    inner,
    outer,
    parts: numberParts,
    points,
    groups,
    blocks,
    allGroups,
    steps,
    segmentSteps,
    segments,
    copies,
    unroll,
    staged,
    stagedForward: forward,
    localSums,
    recordBytes,
    decay: form.decay.map(toRecord),
    drive: form.drive.map(toRecord),
    seed: form.seed?.map(toRecord),
    carried: form.carried && toRecord(form.carried),
    sumValues: sums.map((s) => toRecord(s.value)),
    directValues: form.direct.map((o) => toRecord(o.value)),
    // In their values, `reduced` nodes behind the staged ones are the sums.
    local: local.map((o) => ({
      ...o,
      value: rewriting(
        (a) => a,
        (node) => {
          if (node.op === "reduced") return { ...node, reduction: staged.length + localSums.indexOf(node.reduction) };
          const k = slot.get(node);
          return k === undefined ? undefined : { op: "reduced", dtype: node.dtype, reduction: k };
        },
      )(o.value),
    })),
    combined,
    partials,
    groupBytes,
    stateBytes,
    at: { states, adjoints, products, records, tape, eachSums, totalSums, bytes: totalAt },
    eachSumBytes: totalSums - eachSums,
    totalSumBytes: totalAt - totalSums,
    carries,
    carryBytes,
    sharedBytes: sharedAt > 64 ? sharedAt + 64 : 0,
  };
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
