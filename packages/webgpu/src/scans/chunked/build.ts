/** A program in the making: its passes, its scratch blocks, and where operands and results lie. */
import { product, type ChunkedParts, type LoopKernel, type Operand, type Result } from "@seqmix/tensor/backend";
import { bytesOf, type GpuLimits, type GpuPass } from "@seqmix/tensor/wgsl";
import type { FragmentTexts } from "@seqmix/tensor/wgsl";
import { loopProgram } from "../../loops/program.js";
import { computedDecay } from "./decays.js";
import { LANES } from "./form.js";
import { decaySource } from "./key-decays.js";
import { keyRowsOf } from "./key-rows.js";
import { magnitudesSize } from "./magnitudes.js";
import { isMatrixTile } from "./tile.js";
import { tableOf, type Chunks, type Place, type Sizes } from "./layout.js";

export interface Build {
  readonly parts: ChunkedParts;
  /** What a pass may bind and use. */
  readonly limits: GpuLimits;
  readonly passes: GpuPass[];
  readonly scratch: number[];
  /** The number of a new block for so many elements. */
  block(elements: number): number;
  /** From here on blocks are those of the last turn again, in the same order. */
  nextTurn(): void;
  /** Appends a loop over buffers of this program. */
  run(loop: LoopKernel, from: readonly number[], to: readonly number[]): void;
}

export function startBuild(parts: ChunkedParts, limits: GpuLimits): Build {
  const { inputs, outputs } = parts.form.kernel;
  const scratch: number[] = [];
  const passes: GpuPass[] = [];
  const first = inputs.length + outputs.length;
  const turn: number[] = [];
  let taken: number | undefined;
  const block = (elements: number): number => {
    if (taken === undefined) return first + scratch.push(bytesOf(elements)) - 1;
    if (taken === turn.length) turn.push(first + scratch.push(bytesOf(elements)) - 1);
    return turn[taken++]!;
  };
  const nextTurn = (): void => {
    taken = 0;
  };
  const run = (loop: LoopKernel, from: readonly number[], to: readonly number[]): void => {
    const program = loopProgram(loop, limits);
    const own = from.length + to.length;
    const blocks = program.scratch.map((bytes) => block(bytes / 4));
    const number = (k: number): number =>
      k < from.length ? from[k]! : k < own ? to[k - from.length]! : blocks[k - own]!;
    for (const pass of program.passes)
      passes.push({ ...pass, buffers: pass.buffers.map((b) => ({ ...b, buffer: number(b.buffer) })) });
  };
  return { parts, limits, passes, scratch, block, nextTurn, run };
}

/** Lays out what is no plain array. */
export function placeArrays({ parts, block, run, limits }: Build): Pick<Chunks, "operands" | "results"> {
  const { operands, results, form } = parts;
  const { inputs } = form.kernel;
  const given = inputs.map((_, k) => k);
  const operandPlaces = new Map<Operand, Place>();
  for (const operand of operands) {
    const { from } = operand;
    if ("input" in from)
      operandPlaces.set(operand, {
        buffer: from.input,
        index: from.index,
        half: inputs[from.input]!.dtype === "f16",
      });
    else {
      const buffer = block(from.layout.size);
      // decays can be computed by the pass that multiplies them
      const computed = form.decay.kind === "vector" ? decaySource(parts, limits.buffers) : computedDecay(parts);
      if (operand !== parts.decay || !computed) run(from.loop, given, [buffer]);
      operandPlaces.set(operand, { buffer, index: from.layout.index });
    }
  }
  const resultPlaces = new Map<Result, Place>(
    results.map((result) => {
      const { output, layout } = result;
      return [
        result,
        { buffer: output === undefined ? block(layout.size) : inputs.length + output, index: layout.index },
      ] as const;
    }),
  );
  return { operands: operandPlaces, results: resultPlaces };
}

/**
 * Bytes of states that are held at a time, and heads and chunks that keep a large GPU busy. Slices save memory, not time: on an
 * H200 two took 6 % longer than one and four 11 %.
 */
const HELD = 512 * 2 ** 20,
  BUSY = 1024;

/** Into how many slices the heads are cut; along an axis that nothing is summed over. */
function slicesOf({ form, results }: ChunkedParts, count: number): number {
  const { extents } = form.kernel;
  const [outermost] = form.heads;
  const grouped = results.some(({ of }) => of.kind === "read" && of.group?.axis === outermost);
  if (outermost === undefined || grouped) return 1;
  const extent = extents[outermost]!;
  const groups = product(form.heads.map((axis) => extents[axis]!)) * count;
  const bytes = 4 * groups * extents[form.keys]! * extents[form.values]!;
  let slices = 1;
  for (let k = 2; k <= extent; k++) if (extent % k === 0 && bytes / slices > HELD && groups / k >= BUSY) slices = k;
  return slices;
}

/** Whether a workgroup has all of a head's states, so that it knows what they are at most; with decays by key it helps states in f16. */
const knowsMagnitudes = ({ form, initial, final }: ChunkedParts, { states }: Sizes, K: number, V: number): boolean =>
  isMatrixTile(states) &&
  (form.decay.kind !== "vector" || states.terms === 1) &&
  !initial &&
  !final &&
  K <= states.rows &&
  V <= states.columns;

export function chunksOf(
  build: Build,
  sizes: Sizes,
  fragments: FragmentTexts,
  places: Pick<Chunks, "operands" | "results">,
): Chunks {
  const { parts, block } = build;
  const { form, drive, seed, results } = parts;
  const { extents, along } = form.kernel;
  const [K, V, L] = [extents[form.keys]!, extents[form.values]!, extents[along]!];
  const Q = sizes.chunk;
  const slices = sizes.slices ?? slicesOf(parts, Math.ceil(L / Q));
  const [outermost] = form.heads;
  const own = extents.map((extent, axis) => (axis === outermost ? extent / slices : extent));
  const H = product(form.heads.map((axis) => own[axis]!));
  const count = Math.ceil(L / Q);
  const knows = knowsMagnitudes(parts, sizes, K, V);
  const chunks: Chunks = {
    ...places,
    parts,
    sizes,
    fragments,
    L,
    Q,
    count,
    K,
    V,
    K4: Math.ceil(K / LANES),
    V4: Math.ceil(V / LANES),
    H,
    slices,
    slice: 0,
    extents: own,
    // where they are rounded for products anyway
    halfStates: knows && isMatrixTile(sizes.states) && sizes.states.terms === 1,
    halfScores: knows && form.decay.kind !== "vector" && isMatrixTile(sizes.scores) && sizes.scores.terms === 1,
    ...(knows && { magnitudes: block(magnitudesSize(H, count, seed !== undefined)) }),
    table: tableOf(Q, { adjoint: seed !== undefined, units: isMatrixTile(sizes.wide) }),
    sharesTable:
      form.decay.kind !== "scalar" &&
      !drive.scale &&
      !seed?.scale &&
      L % Q === 0 &&
      !results.some(({ of }) => of.kind === "first"),
  };
  if (form.decay.kind !== "vector") return chunks;
  return { ...chunks, keyRows: keyRowsOf(build, chunks) };
}
