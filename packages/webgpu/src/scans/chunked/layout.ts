/** Sizes and places of a chunked recurrence: what its passes have in common. */
import { product, type Affine, type ChunkedParts, type Operand, type Result } from "@seqmix/tensor/backend";
import { declare, declareParameters, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";
import type { FragmentTexts } from "@seqmix/tensor/wgsl";
import type { KeyRows } from "./key-rows.js";
import type { MatrixTile, TileShape } from "./tile.js";

/** Steps of a block whose decays are tabulated, in a chunk. */
export const BLOCK = 16;

export interface Sizes {
  /** Steps of a chunk, a multiple of the tiles' rows. */
  readonly chunk: number;
  /** The tile for products of steps, and for states of more than 64 values. */
  readonly scores: TileShape | MatrixTile;
  readonly states: TileShape | MatrixTile;
  /** Tiles for results of up to 64 columns, and of more. */
  readonly narrow: TileShape | MatrixTile;
  readonly wide: TileShape | MatrixTile;
  /** For results of up to 64 columns whose rows are summed too; by default `narrow`. */
  readonly dotted?: MatrixTile;
  /** For those that sum what their rows have of the states; by default \`narrow\`. */
  readonly apart?: MatrixTile;
  /** For sums of scores over heads; by default `scores`. */
  readonly groupedScores?: MatrixTile;
  /** For sums over heads of more than 64 columns; by default `wide`. */
  readonly grouped?: MatrixTile;
  /** Slices that the outermost heads are cut into; by default as many as keep their states within bounds. */
  readonly slices?: number;
}

/** An array: its buffer, and elements by axis of the loop. */
export interface Place {
  readonly buffer: number;
  readonly index: Affine;
  /** f16 in two bytes. */
  readonly half?: boolean;
}

/** The type of an array's vectors, and the text of one read. */
export const vectorsOf = ({ half }: Place): "vec4<f16>" | "vec4<f32>" => (half ? "vec4<f16>" : "vec4<f32>");
export const readVector = ({ half }: Place, text: string): string => (half ? `vec4<f32>(${text})` : text);

export interface Chunks {
  readonly parts: ChunkedParts;
  readonly sizes: Sizes;
  /** Of tiles on matrix units. */
  readonly fragments: FragmentTexts;
  readonly L: number;
  readonly Q: number;
  readonly count: number;
  readonly K: number;
  readonly V: number;
  /** Vectors of four in a row of keys or values. */
  readonly K4: number;
  readonly V4: number;
  /** Heads of a slice, and the slices that their outermost axis is cut into: they take turns with the same scratch. */
  readonly H: number;
  readonly slices: number;
  /** Which one this is. */
  readonly slice: number;
  /** Points of the loop's axes, of a slice. */
  readonly extents: readonly number[];
  readonly operands: ReadonlyMap<Operand, Place>;
  readonly results: ReadonlyMap<Result, Place>;
  /** Numbers of each head and chunk; see `decays.ts`. */
  readonly table: Table;
  /** All chunks of a head have the same numbers. */
  readonly sharesTable: boolean;
  /** States between chunks are kept as f16, times a power of two for each head and chunk. */
  readonly halfStates: boolean;
  /** Scores are kept as f16 too, times a power of two for each tile. */
  readonly halfScores: boolean;
  /** The buffer of what operands and states are at most, where passes leave it for those behind them; see `magnitudes.ts`. */
  readonly magnitudes?: number | undefined;
  /** Where every key has a decay of its own; the table's are 1 then. */
  readonly keyRows?: KeyRows | undefined;
}

/** Offsets of a chunk's numbers in the buffer of decays, in elements. */
export interface Table {
  /** [block, earlier step, later step]: decays between steps of a block; and [block, later step, earlier step], on matrix units. */
  readonly pairs: number;
  readonly pairsBack: number;
  /** From before a step's block to the step, and from the step to the block's end. */
  readonly fromBlock: number;
  readonly toBlock: number;
  /** From before the chunk to each step (`begin`: not before the sequence), and from each step to the chunk's end. */
  readonly before: number;
  readonly begin: number;
  readonly toEnd: number;
  /** Factors of the outer products. */
  readonly drive: number;
  readonly seed: number;
  /** The first to the chunk's end, and the second from before it (not before the sequence). */
  readonly driveToEnd: number;
  readonly seedBegin: number;
  /** [later block, earlier block]: the decay of the blocks between. */
  readonly between: number;
  /** On matrix units: how much decays can grow a number, and the largest factors of the two outer products. */
  readonly most: number;
  readonly size: number;
}

/** @param adjoint Whether there are adjoint states. @param units Whether products are taken on matrix units. */
export function tableOf(Q: number, { adjoint, units }: { readonly adjoint: boolean; readonly units: boolean }): Table {
  const blocks = Q / BLOCK;
  let size = 0;
  const take = (n: number): number => {
    const at = size;
    size += n;
    return at;
  };
  return {
    pairs: take(Q * BLOCK),
    pairsBack: take(units && adjoint ? Q * BLOCK : 0),
    fromBlock: take(Q),
    toBlock: take(Q),
    before: take(Q),
    begin: take(adjoint ? Q : 0),
    toEnd: take(Q),
    drive: take(Q),
    seed: take(adjoint ? Q : 0),
    driveToEnd: take(Q),
    seedBegin: take(adjoint ? Q : 0),
    between: take(blocks * blocks),
    most: take(units ? 4 : 0),
    size,
  };
}

/** Where the numbers of a head and a chunk begin. */
export const tableAt = ({ sharesTable, count, table }: Chunks, chunk: string, unit: 1 | 4, head = "h"): string =>
  sharesTable ? `${head} * ${table.size / unit}` : `(${head} * ${count} + ${chunk}) * ${table.size / unit}`;

/** Number of heads, and of the points of some of their axes. */
export const pointsOf = ({ extents }: Chunks, axes: readonly number[]): number =>
  product(axes.map((axis) => extents[axis]!));

/** The axis that slices cut. */
export const slicedAxis = ({ slices, parts }: Pick<Chunks, "slices" | "parts">): number | undefined =>
  slices > 1 ? parts.form.heads[0] : undefined;

/** Statements that declare the place on some heads' axes from a number. */
export function splitHeads(chunks: Chunks, number: string, axes: readonly number[]): string {
  const { extents } = chunks;
  let inside = 1;
  return [...axes]
    .reverse()
    .map((axis) => {
      const point = `${inside === 1 ? number : `${number} / ${inside}`} % ${extents[axis]}`;
      const line =
        axis === slicedAxis(chunks)
          ? `let inSlice${axis} = ${point};\nlet i${axis} = inSlice${axis} + p.first;`
          : `let i${axis} = ${point};`;
      inside *= extents[axis]!;
      return line;
    })
    .join("\n");
}

/** The first element of an array at a head and the sequence's first step, in units of so many elements. */
export function baseText({ parts }: Chunks, { index }: Place, unit: 1 | 4): string {
  const { kernel, heads } = parts.form;
  const { along, reverse, extents } = kernel;
  const start = index.offset + (reverse ? index.coefficients[along]! * (extents[along]! - 1) : 0);
  const terms = heads.flatMap((axis) => {
    const c = index.coefficients[axis]! / unit;
    return c === 0 || extents[axis] === 1 ? [] : [c === 1 ? `i${axis}` : `i${axis} * ${c}`];
  });
  if (start !== 0 || terms.length === 0) terms.push(String(start / unit));
  return terms.join(" + ");
}

/** Units from step to step, in the order of the recurrence. */
export function strideOf({ parts }: Chunks, { index }: Place, unit: 1 | 4): number {
  const { along, reverse } = parts.form.kernel;
  return ((reverse ? -1 : 1) * index.coefficients[along]!) / unit;
}

/** The number of a point of some heads' axes, in the slice. */
export function numberText(chunks: Chunks, axes: readonly number[]): string {
  const point = (axis: number): string => (axis === slicedAxis(chunks) ? `inSlice${axis}` : `i${axis}`);
  return axes.reduce(
    (text, axis) => (text === "0" ? point(axis) : `(${text} * ${chunks.extents[axis]} + ${point(axis)})`),
    "0",
  );
}

/** Whether decays and factors of steps are all 1; with decays by key those are elsewhere. */
export const isPlain = ({ parts: { form, drive, seed } }: Chunks): boolean =>
  form.decay.kind === "none" && !drive.scale && !seed?.scale;

/** Whether a chunk may end before its steps do. */
export const isRagged = ({ L, Q }: Chunks): boolean => L % Q !== 0;

/** The type of states, four at a time, and the text of one read without its scale. */
export const stateType = ({ halfStates }: Chunks): "vec2<u32>" | "vec4<f32>" =>
  halfStates ? "vec2<u32>" : "vec4<f32>";
export const readState = ({ halfStates }: Chunks, text: string): string =>
  halfStates ? `unpackedState(${text})` : text;

/** WGSL of powers of two. The inverse is that of one from 2^-126 to 2^126. */
export const POWERS = `fn inversePower(x: f32) -> f32 { return bitcast<f32>(0x7f000000u - bitcast<u32>(x)); }
// What brings a number below 2^15.
fn powerFor(exponent: i32) -> f32 { return bitcast<f32>(u32(clamp(268 - exponent, 1, 253)) << 23u); }
`;
/** WGSL for states in f16. */
export const stateFunctions = ({ halfStates }: Chunks): string =>
  halfStates
    ? `fn unpackedState(x: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y)); }
fn packedState(x: vec4<f32>) -> vec2<u32> { return vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw)); }
${POWERS}`
    : "";

/** The binding of an operand, or of its rows with decays by key in a buffer of their own. */
export const boundRows = (rows: number | undefined, place: Place): Bound =>
  rows === undefined
    ? { name: "x", buffer: place.buffer, type: vectorsOf(place) }
    : { name: "rows", buffer: rows, type: "vec4<f32>" };

type Number = "f32" | "f16" | "i32" | "u32";

/** A buffer of a pass. */
export interface Bound {
  readonly name: string;
  readonly buffer: number;
  readonly type: Number | `vec2<${Number}>` | `vec4<${Number}>`;
  readonly access?: GpuBinding["access"];
}

/** Buffers bound once each, under the name of the first use. */
export function distinct(list: readonly Bound[]): { readonly list: readonly Bound[]; nameOf(buffer: number): string } {
  const names = new Map<number, Bound>();
  for (const bound of list) if (!names.has(bound.buffer)) names.set(bound.buffer, bound);
  return { list: [...names.values()], nameOf: (buffer) => names.get(buffer)!.name };
}

export const declarations = (bound: readonly Bound[]): string =>
  bound.map(({ name, access = "read", type }, k) => declare(k, name, access, type)).join("");

export function passOf(
  { slices, slice, extents, parts, H }: Chunks,
  bound: readonly Bound[],
  groups: number,
  code: string,
): GpuPass {
  const first = slice * (extents[parts.form.heads[0]!] ?? 0);
  const parameters = slices > 1 ? { first, firstHead: slice * H } : undefined;
  return {
    // behind the code: directives come before all declarations
    code: code + (parameters ? declareParameters(bound.length, parameters) : ""),
    buffers: bound.map(({ buffer, access = "read" }) => ({ buffer, access })),
    ...(parameters && { parameters }),
    groups,
  };
}
