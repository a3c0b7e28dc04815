/**
 * The function of one phase: loops over the units of work, and inside them along vectors, around the values.
 *
 *     for each row of units [begin, end)            rows.ts: all output axes but the vector axis, then its blocks
 *       for each segment of the block               vector-loop.ts: where the guards' conditions do not change
 *         for each 4 vectors, then each vector      map and across
 *
 * A tiled map, for transposing loads, has a loop over neighbouring rows innermost. With reductions (`reductions.ts`),
 * across has the loops over reduced axes innermost, with accumulators in registers; along has them around the segments,
 * where the vector axis is one of them. Addresses and indices are kept in cursors, locals that are computed at `begin` and
 * then stepped from row to row.
 */
import { onDemand } from "../../../graph/on-demand.js";
import type { LoopKernel, Output } from "../../../ir/loop.js";
import { functionBuilder, i32, select, type Local, type WasmFunction } from "../wasm/emitter.js";
import { scratch, type Scratch, type Vectors } from "../wasm/scratch.js";
import { Cursors, type Binding } from "./cursors.js";
import { InnerLoops } from "./inner-loops.js";
import type { LoopPlan } from "./plan.js";
import { overRows, rowsOf, type RowAxis } from "./rows.js";
import { storeOutput } from "./stores.js";
import { scope, type Frame, type Scope } from "./scope.js";
import { valueEmitter, type ValueEmitter } from "./values.js";
import { VectorLoop } from "./vector-loop.js";

export type { Binding } from "./cursors.js";

/** Rows with reductions. */
export const reductions = onDemand(() => import("./reductions.js"));

export interface PhaseDescription {
  readonly name: string;
  readonly kernel: LoopKernel;
  readonly plan: LoopPlan;
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
}

/** What the parts of a phase's function share. */
export interface PhaseParts {
  readonly kernel: LoopKernel;
  readonly plan: LoopPlan;
  readonly s: Scratch;
  /** The thread's block for values kept from stage to stage. */
  readonly kept: Local;
  /** Extents of the output axes, then of the reduced ones. */
  readonly all: readonly number[];
  /** Reduced axes but the vector axis. */
  readonly reduceAxes: readonly number[];
  readonly cursors: Cursors;
  readonly inner: InnerLoops;
  readonly vectors: VectorLoop;
  readonly emit: ValueEmitter;
  /** Results of reductions, as they become known. */
  readonly reduced: Vectors[];
  readonly pending: Local;
  /** Stores some outputs, by default those that do not vary along a row. */
  readonly storeOutputs: (frame: Frame, at: Scope, which?: readonly number[]) => void;
}

/** Bytes of scratch that a phase needs. */
export const keptBytes = (kernel: LoopKernel, plan: LoopPlan): number =>
  plan.kind === "map" ? 0 : reductions().keptBytes(kernel, plan);

export function renderPhase({ name, kernel, plan, inputs, outputs }: PhaseDescription): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, kept] = f.params;
  const s = scratch(f.local);
  const tileRows = f.local("i32");
  const cursors = new Cursors(kernel, inputs, outputs, f.local);
  const parts = partsOf({ kernel, plan, s, kept, cursors, tileRows });

  const rows = rowsOf(kernel, plan, s, tileRows);
  const whole = startRun(parts, rows);
  if (plan.kind === "map") mapRow(parts, whole);
  else reductions().reduceRow(parts, whole);

  // Now that all cursors are known: their start, and their steps.
  parts.inner.finish(cursors);
  return f.finish(name, overRows({ args, begin, end, rest: f.local("i32") }, rows, cursors, s.body));
}

function partsOf({
  kernel,
  plan,
  s,
  kept,
  cursors,
  tileRows,
}: Pick<PhaseParts, "kernel" | "plan" | "s" | "kept" | "cursors"> & { readonly tileRows: Local }): PhaseParts {
  const { extents, reduceExtents } = kernel;
  const { axis, tile } = plan;
  const all = [...extents, ...reduceExtents];
  const reduceAxes = reduceExtents.map((_, k) => extents.length + k).filter((k) => k !== axis);
  const pending = s.local("i32");
  const vectors = new VectorLoop(s, axis);
  const reduced: Vectors[] = [];
  const emit = valueEmitter({
    kernel,
    s,
    vectorAxis: axis,
    pointer: cursors.pointer,
    value: cursors.value,
    innerAxes: new Set(plan.kind === "across" ? reduceAxes : tile !== undefined ? [tile.axis] : []),
    inputBase: (input) => cursors.inputBase(input),
    segmentFlag: vectors.flag,
    reduced: (n) => reduced[n]!,
  });
  vectors.cutBy(kernel, emit.conditionKind);
  const inner = new InnerLoops(s, all, { axis: tile?.axis, rows: tileRows });
  const ofRow = kernel.outputs.flatMap(({ index }, n) => (index ? [] : [n]));
  const storeOutputs = (frame: Frame, at: Scope, which = ofRow as readonly number[]): void => {
    const chosen = which.map((number) => ({ number, ...(kernel.outputs[number] as Output) }));
    const values = chosen.map(({ value }) => emit.evaluate(value, frame, at));
    chosen.forEach(({ number, dtype }, k) =>
      storeOutput(s, cursors, { number, dtype, vectorAxis: axis }, values[k]!, frame),
    );
  };
  return { kernel, plan, s, kept, all, reduceAxes, cursors, inner, vectors, emit, reduced, pending, storeOutputs };
}

/** Sets the length of a row's run along the vector axis. @returns A number of points of which each run has a multiple. */
function startRun({ kernel: { extents }, plan, s, vectors }: PhaseParts, rows: readonly RowAxis[]): number {
  const { axis, block } = plan;
  if (plan.kind === "along") return 1;
  const cut = axis >= 0 ? extents[axis]! : 1;
  const blockCount = rows.find((row) => row.axis === axis)?.count;
  if (cut % block !== 0 && blockCount) {
    const left = i32.sub(i32.const(cut), i32.mul(blockCount.get, i32.const(block)));
    s.body.push(vectors.length.set(select(left, i32.const(block), i32.ltS(left, i32.const(block)))));
  } else s.body.push(vectors.length.set(i32.const(block)));
  return commonDivisor(cut, block);
}

/** A row without reductions: every output at every point, of a tile in all of its rows. */
function mapRow({ kernel, plan, vectors, inner, cursors, emit, storeOutputs }: PhaseParts, whole: number): void {
  const { axis, tile, block } = plan;
  const vectorAxes = new Set([axis]);
  if (tile !== undefined) vectorAxes.add(tile.axis);
  vectors.run(
    { longest: block, whole, isTiled: tile !== undefined },
    cursors.value,
    () => {
      const before = scope();
      const frame = { unroll: 1, i: vectors.i, bytes: vectors.bytes };
      for (const { value } of kernel.outputs) emit.hoist(value, vectorAxes, frame, before);
      return before;
    },
    (_, frame, before) => {
      if (tile === undefined) storeOutputs(frame, scope(undefined, before));
      else inner.over([tile.axis], () => storeOutputs(frame, scope(undefined, before)));
    },
  );
}

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
