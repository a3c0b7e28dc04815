/** A pass in chunks in the making: what its steps share, and how sums are stored. */
import type { Scalar } from "@seqmix/tensor/backend";
import type { Group, Layout } from "./layout.js";
import { partialText, stepOf, storeOutputs, type Buffers, type Scope, type Writer } from "./scope.js";
import type { SubgroupSums } from "./subgroup-sums.js";

/** A pass in the making. */
export interface Chunk {
  readonly layout: Layout;
  readonly writer: Writer;
  readonly offsets: ReadonlyMap<Group, number>;
  readonly buffers: Buffers;
  readonly parts: readonly ("re" | "im")[];
  /** All groups, totals and the others. */
  readonly all: readonly Group[];
  readonly groups: readonly Group[];
  readonly totals: readonly Group[];
  readonly steps: readonly number[];
  /** Whether the last chunk may have fewer steps. */
  readonly ragged: boolean;
  readonly chunks: number;
  readonly roots: readonly Scalar[];
  /** What is read for every state: values free of it are computed once a step. */
  readonly perState: readonly Scalar[];
  /** The texts of the thread's axes. */
  readonly axes: readonly string[];
  readonly sums: ChannelSums;
}

/** Sums over channels at every step. */
export interface ChannelSums {
  readonly across: readonly Group[];
  /** Steps come last first, with the sums of a step in this order. */
  readonly perStateRows: readonly number[];
  readonly perStepRows: readonly number[];
  /** In subgroups; else in rows of workgroup memory. */
  readonly summing: SubgroupSums | undefined;
  /** Threads of a row. */
  readonly split: number;
  readonly totalsPerState: number;
}

export const alongBit = ({ kernel }: Layout): number => 1 << kernel.along;
export const registerBit = ({ register }: Layout): number => (register === undefined ? 0 : 1 << register);
/** The axes at a time and a value of the register axis. */
export const at = ({ kernel, register }: Layout, axes: readonly string[], time: string, n = "n"): string[] =>
  axes.map((text, axis) => (axis === kernel.along ? time : axis === register ? n : text));
export const isRunning = ({ layout }: Chunk | { readonly layout: Layout }, { step, keeps }: Group): boolean =>
  step === "each" && !keeps.includes(layout.kernel.along);
export const isSingle = ({ step, keepsChannel }: Group): boolean => step !== "each" && !keepsChannel;
/** Whether step u of some chunk is the first or the last of all. */
export const couldBe = (u: number, step: "first" | "last", layout: Layout): boolean =>
  stepOf(step, layout) % layout.T === u;

export const live = ({ ragged, layout: { L } }: Chunk, u: number): string => (ragged ? `(tile + ${u} < ${L})` : "true");
export const onlyLive = (chunk: Chunk, u: number, dead: string, value: string): string =>
  chunk.ragged ? `select(${dead}, ${value}, ${live(chunk, u)})` : value;

export function storePartial(chunk: Chunk, group: Group, j: number, axes: readonly string[], value: string): string {
  const { layout, writer, buffers, offsets } = chunk;
  const offset = offsets.get(group)! + group.sums.indexOf(j) * group.partials * group.keptSize;
  const partials = writer.bind(buffers.partials, "partials", "read_write", "f32");
  return `${partials}[${partialText(layout, group, offset, axes)}] = ${value};`;
}

/** Stores a group's sums, or what is computed from them. */
export function store(chunk: Chunk, group: Group, scope: Scope, sums: readonly string[], into: string[]): void {
  const reduced: string[] = [];
  group.sums.forEach((j, k) => (reduced[j] = sums[k]!));
  if (group.direct || group.finished) storeOutputs({ ...scope, reduced }, group, chunk.buffers, into);
  else group.sums.forEach((j, k) => into.push(storePartial(chunk, group, j, scope.axes, sums[k]!)));
}
