/**
 * Matrix products [batch..., m, k] x [batch..., k, n] of strided views: which tiles, and into how many parts k is divided
 * where the result has too few tiles to keep the device busy. The partial products are summed in a second pass.
 */
import {
  nodesOf,
  product,
  rewriting,
  simplifyLoop,
  type Epilogue,
  type LoopKernel,
  type MatmulSpec,
  type Scalar,
} from "@seqmix/tensor/backend";
import { stridesOf } from "@seqmix/tensor";
import { loadsOf, loopPass, type Load } from "../loops/text.js";
import { bytesOf, declare, type GpuPass, type GpuProgram, type GpuParameters } from "@seqmix/tensor/wgsl";
import { tileBytes, tileCode, type EpilogueCode, type Reading, type Tile } from "./text.js";
import { functionTexts } from "../wgsl/functions.js";
import { fourText, inFours } from "../wgsl/fours.js";
import { affineText, fromMemory, memoryType, writeValues } from "../wgsl/values.js";

/**
 * What a large GPU (132 processors) does with each tile: how many workgroups a processor holds at a time, and the multiply-adds a
 * nanosecond of all processors when they are full, after products of 4096 x 4096 x 4096 on an H200.
 */
const TILES: readonly { readonly tile: Tile; readonly resident: number; readonly speed: number }[] = [
  { tile: { rows: 128, columns: 256, depth: 32 }, resident: 1, speed: 21700 },
  { tile: { rows: 128, columns: 256, depth: 16 }, resident: 1, speed: 21000 },
  { tile: { rows: 128, columns: 128, depth: 16 }, resident: 2, speed: 19000 },
  { tile: { rows: 64, columns: 64, depth: 16 }, resident: 4, speed: 12000 },
];
const PROCESSORS = 132;
/** Bytes a nanosecond that the sum of partial products moves, and nanoseconds of its dispatch, most of them on the host. */
const BANDWIDTH = 3000,
  DISPATCH = 10000;
/** Steps along k below which dividing it is not worth while, and elements of all partial products. */
const SHORTEST_PART = 128,
  MOST_PARTIAL = 1 << 24;
/** Parts that are summed without a loop. */
const FEW_PARTS = 12;
/** Multiply-adds from which a product is worth a kernel compiled for its shape alone: with constant strides addresses cost nothing. */
export const OWN_KERNEL = 2 ** 33;
/** Rows up to which each may have sums in every thread, so that the other operand is read once. */
export const FEW_ROWS = 8;

/**
 * Its buffers: both operands, the epilogue's inputs, the result.
 * @param workgroupBytes Workgroup memory a kernel may take.
 * @param epilogue What is stored instead of the product.
 * @param ownKernel Multiply-adds from which the kernel is compiled for the shape alone.
 */
export function matmulProgram(
  shape: MatmulSpec,
  workgroupBytes: number,
  epilogue?: Epilogue,
  ownKernel = OWN_KERNEL,
): GpuProgram {
  const { batch, m, n, k } = shape;
  const batches = product(batch);
  const name = `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}`;
  const size = batches * m * n;
  if (size === 0) return { name, passes: [], scratch: [] };
  const extra = epilogue?.inputs.map((_, k) => 2 + k) ?? [];
  const result = 2 + extra.length;
  if (k === 0) {
    const zero = {
      extents: [size],
      reduceExtents: [],
      inputs: [],
      reductions: [],
      outputs: [{ dtype: "f32", value: { op: "constant", dtype: "f32", value: 0 } }],
    } as const;
    return { name, passes: [loopPass(zero, "map", { inputs: [], outputs: [result] }, 64)], scratch: [] };
  }
  const { tile, slice, parts } = chooseDivision(shape, workgroupBytes);
  const a = operandOf("a", shape.a.row, shape.a.column, shape);
  const b = operandOf("b", shape.b.column, shape.b.row, shape);
  const [rows, columns] = [Math.ceil(m / tile.rows), Math.ceil(n / tile.columns)];
  const parameters: GpuParameters = {
    m,
    n,
    k,
    slice,
    parts,
    batches,
    rows,
    columns,
    ...a.parameters,
    ...b.parameters,
    ...Object.fromEntries(batch.map((extent, axis) => [`batch${axis}`, extent])),
  };
  const own = epilogue && parts === 1 ? epilogueCode(epilogue, n % 4 === 0) : undefined;
  const fixed = size * k >= ownKernel;
  const code = tileCode(
    {
      tile,
      a: a.reading,
      b: b.reading,
      batchAxes: batch.length,
      ragged: k % tile.depth !== 0,
      storesVectors: n % 4 === 0,
      ...(own && { epilogue: own, result: storedAs(epilogue) }),
    },
    fixed ? {} : parameters,
  );
  const tilePass: GpuPass = {
    code: !fixed ? code : code.replace(/\bp\.(\w+)/g, (_, parameter: string) => String(parameters[parameter])),
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read" },
      { buffer: parts > 1 ? result + 1 : result, access: "read_write" },
      ...(own ? extra.map((buffer) => ({ buffer, access: "read" }) as const) : []),
    ],
    ...(!fixed && { parameters }),
    groups: batches * rows * columns * parts,
  };
  const variant = `${name}, ${tile.rows}x${tile.columns}x${tile.depth} tiles${epilogue ? `, then ${epilogueLength(epilogue)}` : ""}`;
  if (parts === 1) return { name: variant, passes: [tilePass], scratch: [] };
  const sum = sumOfParts(size, parts, epilogue, extra, result + 1, result);
  return {
    name: `${variant}, k in ${parts} parts`,
    passes: [tilePass, sum],
    scratch: [bytesOf(size * parts)],
    ...partsOf(parts, epilogue),
  };
}

/**
 * The pass that sums partial products and computes the epilogue.
 * @param extra Buffers of the epilogue's inputs. @param from Of the parts [parts, size]. @param to Of the result.
 */
export function sumOfParts(
  size: number,
  parts: number,
  epilogue: Epilogue | undefined,
  extra: readonly number[],
  from: number,
  to: number,
): GpuPass {
  const extents = epilogue?.extents ?? [size];
  const strides = stridesOf(extents);
  const partial = { dtype: "f32", size: size * parts } as const;
  const load = (offset: number, coefficients: readonly number[]): Scalar => ({
    op: "load",
    dtype: "f32",
    input: extra.length,
    index: { offset, coefficients },
  });
  const whole = { extents, inputs: [...(epilogue?.inputs ?? []), partial] };
  const value: Scalar = epilogue?.value ?? { op: "reduced", dtype: "f32", reduction: 0 };
  const buffers = { inputs: [...extra, from], outputs: [to] };
  if (parts <= FEW_PARTS) {
    // Without a loop, four elements are read at once.
    const sum = Array.from({ length: parts }, (_, k) => load(k * size, strides)).reduce((x, y): Scalar => ({
      op: "add",
      dtype: "f32",
      args: [x, y],
    }));
    const summed = rewriting(
      (index) => index,
      (node) => (node.op === "reduced" ? sum : undefined),
    )(value);
    const outputs = [{ dtype: storedAs(epilogue), value: summed }];
    return loopPass(simplifyLoop({ ...whole, reduceExtents: [], reductions: [], outputs }), "map", buffers, 256);
  }
  // The epilogue's indices leave out the last axis, the parts: they do not depend on it.
  const kernel: LoopKernel = {
    ...whole,
    reduceExtents: [parts],
    reductions: [{ combine: "sum", value: load(0, [...strides, size]) }],
    outputs: [{ dtype: storedAs(epilogue), value }],
  };
  return loopPass(kernel, "serial", buffers, 64);
}

/** What says that the last pass of a program sums parts, and nothing else. */
export const partsOf = (parts: number, epilogue: Epilogue | undefined): Pick<GpuProgram, "parts"> =>
  parts > 1 && parts <= FEW_PARTS && !epilogue ? { parts } : {};

/** How the result is stored. */
export const storedAs = (epilogue: Epilogue | undefined): "f32" | "f16" => (epilogue?.dtype === "f16" ? "f16" : "f32");

/**
 * What is computed from the elements of a product before they are stored, in WGSL.
 * @param byFour Whether four neighbours are stored at once, at multiples of four: what lies as they do is read so.
 */
export function epilogueCode({ extents, inputs, value }: Epilogue, byFour = false): EpilogueCode {
  const functions = new Set<string>();
  const lines: string[] = [];
  const axes = extents.map((_, k) => `i${k}`);
  const last = extents.length - 1;
  const four = byFour && last >= 0 && extents[last]! % 4 === 0;
  const loads = loadsOf([value]);
  const typeAt = (input: number): Epilogue["inputs"][number]["dtype"] => inputs[input]!.dtype;
  const vectors = four ? asVectors(loads, last) : new Map<string, Load>();
  const inVectors = new Set([...vectors.values()].map(({ input }) => input));
  const blocks = inFours(loads, (input) => !inVectors.has(input));
  const names = new Map([...vectors.keys()].map((key, k) => [key, `a${k}`]));
  const [text] = writeValues(
    [value],
    {
      axes,
      functions,
      reduced: ["product"],
      loaded: (load) =>
        names.get(keyOf(load)) ??
        (blocks.has(load.input)
          ? fromMemory(typeAt(load.input), fourText(`x${load.input}`, load.index, axes))
          : undefined),
      read: (input, index) => fromMemory(typeAt(input), `x${input}[${index}]`),
    },
    lines,
  );
  const typeOf = (input: number): string => {
    const type = memoryType(typeAt(input));
    return inVectors.has(input) || blocks.has(input) ? `vec4<${type}>` : type;
  };
  const declarations = inputs.map((_, k) => declare(3 + k, `x${k}`, "read", typeOf(k))).join("");
  const head = [...vectors].map(
    ([key, { input, index }]) => `let ${names.get(key)!} = x${input}[${affineText(index, axes)} / 4];`,
  );
  const typed = new Map([...vectors].map(([key, { input }]) => [names.get(key)!, typeAt(input)]));
  return {
    extents,
    declarations,
    functions: functionTexts(functions),
    lines,
    value: text!,
    buffers: inputs.length,
    ...(four && {
      four: {
        head,
        names: [...names.values()],
        read: (name: string, e: number) => fromMemory(typed.get(name)!, `${name}[${e}]`),
      },
    }),
  };
}

const keyOf = ({ input, index }: Load): string => `${input}:${index.offset}:${index.coefficients.join()}`;

/** The loads of inputs that lie along the last axis, at multiples of four in all others. */
function asVectors(loads: readonly Load[], last: number): Map<string, Load> {
  const fits = ({ gather, index: { offset, coefficients } }: Load): boolean =>
    !gather && offset % 4 === 0 && coefficients.every((c, k) => (k === last ? c === 1 : c % 4 === 0));
  const others = new Set(loads.flatMap((load) => (fits(load) ? [] : [load.input])));
  return new Map(loads.flatMap((load) => (others.has(load.input) ? [] : [[keyOf(load), load] as const])));
}

/** "3 operations" and so on. */
export function epilogueLength({ value }: Epilogue): string {
  const count = [...nodesOf([value])].filter((node: Scalar) => "args" in node).length;
  return `${count} operation${count === 1 ? "" : "s"}`;
}

/** The tile and the part of k for which the tiles are done first, by the figures above. */
export function chooseDivision(
  { batch, m, n, k, a }: MatmulSpec,
  workgroupBytes: number,
): { readonly tile: Tile; readonly slice: number; readonly parts: number; /** Nanoseconds. */ readonly time: number } {
  const size = product(batch) * m * n;
  // Deep slices are for rows of A that lie along k: then neighbouring threads read whole lines of the cache.
  const deep = Math.abs(a.column) === 1;
  const choices = TILES.filter(({ tile }) => tileBytes(tile) <= workgroupBytes && (deep || tile.depth === 16)).flatMap(
    (tuned) => divisionsOf(tuned, product(batch), m, n, k, size).map((division) => ({ ...division, tile: tuned.tile })),
  );
  return choices.reduce((best, choice) => (choice.time < best.time ? choice : best));
}

interface DivisionOptions {
  /** Parts at least. */
  readonly least?: number;
  /** Steps along k beyond which a part is better divided. */
  readonly longest?: number;
  /** Rounds of workgroups that parts may make: several are fuller than one that is not full. */
  readonly rounds?: number;
}

/** Ways to divide k for a tile, and the time of each: rounds of workgroups at the tile's speed, and the sum of the parts. */
export function divisionsOf(
  {
    tile,
    resident,
    speed,
  }: {
    readonly tile: { readonly rows: number; readonly columns: number; readonly depth: number };
    readonly resident: number;
    readonly speed: number;
  },
  batches: number,
  m: number,
  n: number,
  k: number,
  size: number,
  { least = 1, longest = Infinity, rounds = 1 }: DivisionOptions = {},
): { readonly slice: number; readonly parts: number; /** Nanoseconds. */ readonly time: number }[] {
  const tiles = batches * Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns);
  const full = PROCESSORS * resident;
  const useful = Math.max(rounds * Math.ceil(full / tiles), Math.ceil(k / longest));
  const most = Math.min(Math.floor(k / SHORTEST_PART), Math.floor(MOST_PARTIAL / size), useful);
  return Array.from({ length: Math.max(1, most - least + 1) }, (_, k) => k + least).map((wanted) => {
    const slice = wanted === 1 ? k : Math.ceil(Math.ceil(k / wanted) / tile.depth) * tile.depth;
    const parts = Math.ceil(k / slice);
    const time =
      (Math.ceil((tiles * parts) / full) *
        full *
        tile.rows *
        tile.columns *
        Math.ceil(slice / tile.depth) *
        tile.depth) /
      speed;
    return { slice, parts, time: parts === 1 ? time : time + DISPATCH + (8 * size * parts) / BANDWIDTH };
  });
}

/** How an operand is read, with its strides from line (row of a, column of b) to line and along k. */
function operandOf(
  name: "a" | "b",
  line: number,
  inner: number,
  shape: MatmulSpec,
): { readonly reading: Reading; readonly parameters: GpuParameters } {
  const { m, n, k, [name]: operand } = shape;
  const offset = operand.offset ?? 0;
  const lineStride = (name === "a" ? m : n) === 1 ? 0 : line;
  const innerStride = k === 1 ? 0 : inner;
  const whole = [offset, ...operand.batch].every((stride) => stride % 4 === 0);
  const alongDepth = Math.abs(innerStride) === 1;
  const vectors = whole && ((innerStride === 1 && lineStride % 4 === 0) || (lineStride === 1 && innerStride % 4 === 0));
  const unit = vectors ? 4 : 1;
  return {
    reading: { vectors, alongDepth, ...(shape.operands === "f16" && { half: true }) },
    parameters: {
      [`${name}Offset`]: offset / unit,
      // the unit stride itself is not used where vectors follow it
      [`${name}Line`]: vectors && !alongDepth ? 1 : lineStride / unit,
      [`${name}Inner`]: vectors && alongDepth ? 1 : innerStride / unit,
      ...Object.fromEntries(operand.batch.map((stride, axis) => [`${name}Batch${axis}`, stride / unit])),
    },
  };
}
