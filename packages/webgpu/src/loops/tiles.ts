/**
 * Loops that read an operand across: neighbouring points of the last axis are far apart in it, and those of another axis are
 * neighbours. A workgroup takes a square of points of both axes, reads the operand along that other axis into workgroup
 * memory, and computes the points along the last one.
 */
import { product, type LoopKernel } from "@seqmix/tensor/backend";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { loadsOf, type Load } from "./text.js";

/** Points along each side of a square. */
export const SIDE = 32;
/** Fewer points than this are over before their memory is waited for. */
const MANY = 2 ** 16;
/** Neighbours this far apart still share what memory reads at once. */
const NEAR = 8;

/** The squares of a kernel. */
export interface Tiles {
  /** The axis along which the operands lie. */
  readonly axis: number;
  /** Loads that go through workgroup memory. */
  readonly loads: readonly Load[];
}

/**
 * The squares that a kernel runs in; undefined where none of its loads gains.
 * @param aliases Operands in the memory of a result.
 */
export function tilesOf(
  kernel: LoopKernel,
  limits: GpuLimits,
  aliases: ReadonlyMap<number, number> | undefined,
): Tiles | undefined {
  const { extents, reductions, outputs, inputs } = kernel;
  const last = extents.length - 1;
  const points = product(extents);
  if (reductions.length > 0 || points < MANY || extents[last]! < SIDE / 2) return undefined;
  const axisOf = ({ input, gather, index: { coefficients } }: Load): number => {
    if (gather || aliases?.has(input) || Math.abs(coefficients[last]!) < NEAR) return -1;
    // what a broadcast repeats waits in a cache
    return 4 * inputs[input]!.size < points ? -1 : coefficients.indexOf(1);
  };
  const across = loadsOf(outputs.map(({ value }) => value)).filter((load) => (extents[axisOf(load)] ?? 0) >= SIDE / 2);
  if (across.length === 0) return undefined;
  const axis = axisOf(across[0]!);
  const along = across.filter((load) => axisOf(load) === axis);
  const fitting = Math.floor(limits.workgroupBytes / (4 * SIDE * (SIDE + 1)));
  const kept = new Set([...new Set(along.map(keyOf))].slice(0, fitting));
  return { axis, loads: along.filter((load) => kept.has(keyOf(load))) };
}

/** Equal for loads of the same element. */
export const keyOf = ({ input, index: { offset, coefficients } }: Load): string =>
  `${input}:${offset}:${coefficients.join()}`;
