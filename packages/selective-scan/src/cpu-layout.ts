/**
 * How the CPU programs cut up a selective scan.
 *
 * A vector holds four neighbouring channels: a *group*. Everything that has no state axis is computed once per
 * position and group and kept, for the positions of one *chunk*, in a record per position; the states of a group
 * then run through the chunk a few at a time, in registers. Groups are staged up to four at once, so that a row of
 * memory is read once although arrays strided by D fall on few cache sets.
 * Whatever decides the order of a sum depends on the extents only, never on the number of threads.
 */
import type { Dims, KernelCase } from "@seqmix/tensor";
import { f32x4, i32, i32x4, select, v128, when, type Code, type Local } from "@seqmix/tensor/wasm";

/** Settings the programs know. */
export type CpuScanOptions = { readonly deltaSoftplus?: boolean } | undefined;

/** Channels in a vector. */
export const LANES = 4;
/** Most groups staged at once: 16 channels, a cache line. */
export const STAGED_GROUPS = 4;
/** Units of work to aim at. */
const UNITS = 16;

/** Positions in a chunk: few enough that the records and sums of a chunk stay in the first-level cache. */
export const chunkOf = ({ N }: Dims): number => (N! <= 32 ? 32 : 16);

/** Extents of `states`, the states at the chunks' starts: K chunks, G groups of W channels. */
export const stateDims = (dims: Dims): Dims => ({
  K: Math.ceil(dims["L"]! / chunkOf(dims)),
  G: Math.ceil(dims["D"]! / LANES),
  W: LANES,
});

/** Axes of `states`, the residual that the forward program leaves for the backward one. */
export const STATE_AXES = "B K G N W";

/** Extents and division of one call. */
export interface ScanLayout {
  readonly batch: number;
  readonly length: number;
  readonly channels: number;
  readonly states: number;
  /** Positions in a chunk (fewer in the last one), and chunks. */
  readonly steps: number;
  readonly chunks: number;
  readonly groups: number;
  /** Channels in the last group. */
  readonly lastLanes: number;
  /** Where an argument's address stands among the arguments, in bytes; undefined if there is none. */
  readonly argument: (name: string) => number | undefined;
  /** Place behind the last argument: the shared block. */
  readonly sharedArgument: number;
  readonly softplus: boolean;
}

/** `names` are the buffers behind the inputs, in order. */
export function layoutOf({ dims, present, options }: KernelCase<CpuScanOptions>, names: readonly string[]): ScanLayout {
  const [batch, length, channels, states] = [dims["B"]!, dims["L"]!, dims["D"]!, dims["N"]!];
  const all = [...present, ...names];
  const steps = chunkOf(dims);
  const groups = Math.ceil(channels / LANES);
  return {
    batch,
    length,
    channels,
    states,
    steps,
    groups,
    chunks: Math.ceil(length / steps),
    lastLanes: channels - LANES * (groups - 1),
    argument: (name) => (all.includes(name) ? 4 * all.indexOf(name) : undefined),
    sharedArgument: 4 * all.length,
    softplus: options?.deltaSoftplus ?? false,
  };
}

/** Units that a batch element is divided into. */
export const unitsPerBatch = ({ batch, groups }: ScanLayout, mostGroups: number): number =>
  Math.max(Math.ceil(groups / mostGroups), Math.min(groups, Math.ceil(UNITS / batch)));

// ---- address arithmetic ----

/** x * factor. */
export const times = (x: Code, factor: number): Code => (factor === 1 ? x : i32.mul(x, i32.const(factor)));
/** x + offset. */
export const plus = (x: Code, offset: Code | number): Code =>
  offset === 0 ? x : i32.add(x, typeof offset === "number" ? i32.const(offset) : offset);
/** Moves an address. */
export const advance = (local: Local, bytes: number): Code => (bytes === 0 ? [] : local.set(plus(local.get, bytes)));
/** The smaller of two numbers that are not negative. */
export const smaller = (a: Code, b: Code): Code => select(a, b, i32.ltU(a, b));
/** Zeros in lanes `count` and up, ones below. */
export const laneMask = (count: Code): Code => i32x4.gtS(i32x4.splat(count), i32x4.const(0, 1, 2, 3));
/** Stores the first `count` lanes, `stride` bytes apart. */
export const storeLanes = (address: Code, value: Local, count: Code, stride = 4): Code => [
  v128.store32Lane(address, value.get, 0),
  [1, 2, 3].map((lane) =>
    when(i32.gtU(count, i32.const(lane)), v128.store32Lane(address, value.get, lane, stride * lane)),
  ),
];

/** States smaller than this become 0 at the ends of chunks, so that a decay never goes on in denormal numbers. NaN stays. */
const SMALLEST = f32x4.const(1e-36);
export const flushed = (x: Local): Code => v128.andNot(x.get, f32x4.lt(f32x4.abs(x.get), SMALLEST));

/** What a position keeps of the past: ones in all lanes, or zeros where a sequence begins. NaN and infinity are forgotten too. */
export interface Keeping {
  /** Reads the flag of the position. */
  readonly read: Code;
  /** A vector of the past at the position. */
  readonly kept: (past: Code) => Code;
  /** To the next position, or to the one before. */
  readonly move: (direction: 1 | -1) => Code;
}

/** {@link Keeping} by the flags at an address; without flags everything is kept. */
export function keepingOf({ argument }: ScanLayout, local: (type: "v128") => Local, flags: Local): Keeping {
  if (argument("resets") === undefined) return { read: [], kept: (past) => past, move: () => [] };
  const mask = local("v128");
  return {
    read: mask.set(i32x4.eq(v128.load32Splat(flags.get), i32x4.const(0))),
    kept: (past) => v128.and(past, mask.get),
    move: (direction) => advance(flags, 4 * direction),
  };
}
