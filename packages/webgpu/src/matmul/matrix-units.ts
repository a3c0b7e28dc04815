/** Matrix products on matrix units: when they are possible and worth while, with which tiles, and into how many parts k is divided. */
import { product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import {
  bytesOf,
  matrixUnits,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
  type GpuParameters,
} from "@seqmix/tensor/wgsl";
import {
  chooseDivision,
  divisionsOf,
  epilogueCode,
  epilogueLength,
  OWN_KERNEL,
  storedAs,
  sumOfParts,
} from "./program.js";
import {
  matrixUnitBytes,
  matrixUnitCode,
  matrixUnitThreads,
  type MatrixUnitCode,
  type MatrixUnitTile,
  type Terms,
} from "./matrix-unit-text.js";
import type { OperandReading } from "./operand-texts.js";
import {
  packedBytes,
  packingOf,
  packPass,
  partVectors,
  scaleBytes,
  sizeBytes,
  sizesPass,
  type Packing,
} from "./packing.js";
import { runTogether } from "../loops/together.js";
import { largestProgram, linesOf } from "./scaling.js";
import { transposed } from "./transposing.js";

/** A tile with what a large GPU (132 processors) does with it, as for the tiles in f32. */
export interface TunedTile {
  readonly tile: MatrixUnitTile;
  readonly resident: number;
  /** By the number of operands whose neighbours follow k, of which a slice has no more than its depth in a row: none, one, both. */
  readonly speeds: readonly [number, number, number];
}

const block = (rows: 32 | 64, columns: 32 | 64): MatrixUnitTile["block"] => ({ rows, columns });

/** f16 operands: after products of 4096 x 4096 x 4096 on an H200. */
const halfTiles: readonly TunedTile[] = [
  {
    tile: { rows: 128, columns: 256, depth: 32, block: block(64, 64) },
    resident: 1,
    speeds: [143000, 134000, 125000],
  },
  {
    tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) },
    resident: 2,
    speeds: [152000, 140000, 128000],
  },
  {
    tile: { rows: 64, columns: 128, depth: 32, block: block(32, 64) },
    resident: 3,
    speeds: [110000, 98500, 88500],
  },
  {
    tile: { rows: 64, columns: 64, depth: 64, block: block(32, 32) },
    resident: 4,
    speeds: [88000, 88000, 88000],
  },
];

/** f32 operands as one f16 each, and as two: after the products of the benchmark on an H200. */
export const singleTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    { tile: { rows: 128, columns: 256, depth: 32, block: block(64, 64) }, resident: 1, speeds: [92000, 92000, 94000] },
    { tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) }, resident: 2, speeds: [65000, 66000, 70000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 4, speeds: [60000, 56000, 55000] },
  ],
  3: [
    { tile: { rows: 128, columns: 128, depth: 16, block: block(64, 64) }, resident: 2, speeds: [51000, 49000, 46000] },
    { tile: { rows: 64, columns: 128, depth: 16, block: block(64, 32) }, resident: 3, speeds: [40000, 32000, 30000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 4, speeds: [32000, 31000, 30000] },
  ],
};

/** The same with scales found on the way: for few lines, where operands are read once or twice. */
const foundTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    { tile: { rows: 64, columns: 64, depth: 64, block: block(32, 32) }, resident: 2, speeds: [40000, 40000, 40000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 2, speeds: [32000, 32000, 32000] },
    { tile: { rows: 128, columns: 64, depth: 32, block: block(64, 32) }, resident: 2, speeds: [42000, 42000, 42000] },
  ],
  3: [{ tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 2, speeds: [26000, 26000, 26000] }],
};

/** The same of packed operands. */
const packedTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    {
      tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) },
      resident: 2,
      speeds: [146000, 146000, 146000],
    },
  ],
  3: [],
};

/**
 * Depths over which matrix units sum f32 products as exactly as f32: they cut sums instead of rounding them, so errors grow
 * with the depth (4e-6 of the largest element after 1,024 on an H200, 2e-5 after 4,096).
 */
const LONGEST_SUM = 1024;

/**
 * Bytes a nanosecond that largest sizes are found at and results are stored at, that operands are copied at, that results are
 * stored at through workgroup memory, and by tiles that scale whole fragments.
 */
const READING = 3000,
  COPYING = 2700,
  STORING = 1000,
  STORING_SCALED = 1400;
/**
 * Nanoseconds of the dispatches that find the largest sizes, each of which takes 3 us on the GPU and 7 on the host, which
 * steps of small products wait for; and of those that find them and pack, which large ones do not.
 */
const DISPATCHES = 20000,
  PACKINGS = 12000;
/**
 * How f32 operands become f16: by every tile, with largest sizes of lines from a pass before or found on the way; or once,
 * by a pass that packs them.
 */
export type Scaling = "given" | "found" | "packed";

interface Choice {
  readonly how: Scaling;
  readonly tile: MatrixUnitTile;
  readonly slice: number;
  readonly parts: number;
  readonly time: number;
}

/** Bytes an element that packing reads and writes, the largest sizes among them. */
const PACKING: Readonly<Record<Terms, number>> = { 1: 10, 3: 12 };
/** Bytes that packed operands may take. */
const MOST_PACKED = 2 ** 28 + 2 ** 26;

interface MatrixUnitOptions {
  /** Multiply-adds from which the kernel is compiled for the shape alone. */
  readonly ownKernel?: number;
  /** The tiles to choose from, also where plain ones are faster, and by default with sizes that are found before: for tests and measurements. */
  readonly tiles?: readonly TunedTile[] | undefined;
  /** How f32 operands become f16 there: by default as is fastest. */
  readonly how?: Scaling | undefined;
  /** Whether f16 operands that lie along k are copied first; where that is faster by default. */
  readonly transposes?: boolean | undefined;
}

/**
 * Its buffers: both operands, the epilogue's inputs, the result.
 * @returns undefined where other tiles have to do it, or are faster.
 */
export function matrixUnitProgram(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue?: Epilogue,
  options: MatrixUnitOptions = {},
): GpuProgram | undefined {
  if (!limits.matrixUnits || product(shape.batch) * shape.m * shape.n * shape.k === 0) return undefined;
  return transposedProgram(shape, limits, epilogue, options) ?? programOf(shape, limits, epilogue, options);
}

/** Of f16 operands, copies first that do not lie along k; undefined where they are not worth it. */
function transposedProgram(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  options: MatrixUnitOptions,
): GpuProgram | undefined {
  if (shape.operands !== "f16") return undefined;
  const time = (spec: MatmulSpec): number => {
    const [a, b] = operandsOf(spec);
    return (a && b && chooseTile(spec, 1, a.reading, b.reading, limits, epilogue, options)?.time) ?? Infinity;
  };
  const along = (["a", "b"] as const).filter((_, operand) => operandsOf(shape)[operand]?.reading.alongDepth);
  const choices = [along, ...along.map((name) => [name])]
    .filter((names) => names.length > 0)
    .map((names) => {
      const copies = names.map((name) => ({ name, ...transposed(shape, name) }));
      const spec = copies.reduce((whole, { name, operand }) => ({ ...whole, [name]: operand }), shape);
      const copying = copies.reduce((sum, { bytes }) => sum + DISPATCHES / 2 + (2 * bytes) / COPYING, 0);
      return { copies, spec, time: time(spec) + copying };
    });
  const best = choices.reduce<(typeof choices)[number] | undefined>(
    (x, y) => (x && x.time <= y.time ? x : y),
    undefined,
  );
  if (!best || !(options.transposes ?? best.time < time(shape))) return undefined;
  const program = programOf(best.spec, limits, epilogue, options);
  if (!program) return undefined;
  const first = 3 + (epilogue?.inputs.length ?? 0) + program.scratch.length;
  const place = new Map(best.copies.map(({ name }, k) => [name === "a" ? 0 : 1, first + k]));
  return {
    name: `${program.name}, ${best.copies.length === 2 ? "both operands" : "an operand"} transposed first`,
    passes: [
      ...runTogether(
        best.copies.map(({ name, pass }, k) => numbered(pass, [name === "a" ? 0 : 1, first + k])),
        limits,
      ),
      ...program.passes.map((pass) => ({
        ...pass,
        buffers: pass.buffers.map((binding) => ({ ...binding, buffer: place.get(binding.buffer) ?? binding.buffer })),
      })),
    ],
    scratch: [...program.scratch, ...best.copies.map(({ bytes }) => bytes)],
  };
}

type Read = ReturnType<typeof operandOf>;
const operandsOf = (shape: MatmulSpec): [Read, Read] => [
  operandOf("a", shape.a.row, shape.a.column, shape, shape.operands ?? "f32"),
  operandOf("b", shape.b.column, shape.b.row, shape, shape.operands ?? "f32"),
];

function programOf(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  { ownKernel = OWN_KERNEL, tiles, how }: MatrixUnitOptions,
): GpuProgram | undefined {
  const { batch, m, n, k } = shape;
  const batches = product(batch);
  const stored = shape.operands ?? "f32";
  const terms: Terms = stored === "f32" && limits.products !== "tf32" ? 3 : 1;
  const [a, b] = operandsOf(shape);
  const extra = epilogue?.inputs.map((_, q) => 2 + q) ?? [];
  if (!a || !b || extra.length + (stored === "f32" ? 5 : 3) > limits.buffers) return undefined;
  const choice = chooseTile(shape, terms, a.reading, b.reading, limits, epilogue, { tiles, how });
  if (!choice) return undefined;
  const { tile, slice, parts } = choice;
  const found = choice.how === "found";
  const [rows, columns] = [Math.ceil(m / tile.rows), Math.ceil(n / tile.columns)];
  const packings =
    choice.how === "packed"
      ? { a: packingOf(shape, "a", terms, tile.depth), b: packingOf(shape, "b", terms, tile.depth) }
      : undefined;
  const lines =
    stored === "f32"
      ? { a: linesOf(shape, "a", packings?.a.lines), b: linesOf(shape, "b", packings?.b.lines) }
      : undefined;
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
    ...lines?.a.parameters,
    ...lines?.b.parameters,
    ...(packings && {
      ...packedParameters(shape, packings.a, a.parameters),
      ...packedParameters(shape, packings.b, b.parameters),
    }),
    ...Object.fromEntries(batch.map((extent, axis) => [`batch${axis}`, extent])),
  };
  const own = epilogue && parts === 1 ? epilogueCode(epilogue) : undefined;
  const fixed = batches * m * n * k >= ownKernel;
  // Memory that an epilogue reads may be the result's own: there k is in parts.
  const stretch = terms === 3 && slice > LONGEST_SUM && !epilogue ? LONGEST_SUM : undefined;
  const direct =
    (stored === "f32" && !packings && !found) || own || stretch !== undefined ? "never" : directness(shape, tile);
  const code: MatrixUnitCode = {
    tile,
    fragments: limits.fragments ?? matrixUnits,
    ...(packings
      ? {
          a: PACKED,
          b: PACKED,
          packed: packings,
          sources: { a: a.reading, b: b.reading },
        }
      : { a: a.reading, b: b.reading }),
    terms,
    found,
    batchAxes: batch.length,
    ragged: !packings && k % tile.depth !== 0,
    direct,
    storesVectors: direct === "never" && n % 4 === 0,
    ...(stretch !== undefined && { stretch }),
    result: parts === 1 ? storedAs(epilogue) : "f32",
    ...(own && { epilogue: own }),
  };
  const text = matrixUnitCode(code, fixed ? {} : parameters);
  const result = 2 + extra.length;
  // Scratch: the partial products, then the largest sizes of both operands and what finding them takes.
  const partial = parts > 1 ? [bytesOf(batches * m * n * parts)] : [];
  const first = result + 1 + partial.length;
  const scales = packings
    ? packPasses(shape, limits, first, { a: a.reading, b: b.reading }, packings)
    : found
      ? undefined
      : lines && scalePasses(shape, limits, first, lines);
  const tilePass: GpuPass = {
    code: fixed ? text.replace(/\bp\.(\w+)/g, (_, parameter: string) => String(parameters[parameter])) : text,
    buffers: [
      ...(scales?.operands ?? [0, 1]).map((buffer) => ({ buffer, access: "read" }) as const),
      { buffer: parts > 1 ? result + 1 : result, access: "read_write" },
      ...(own ? extra.map((buffer) => ({ buffer, access: "read" }) as const) : []),
      ...(scales?.further.map((buffer) => ({ buffer, access: "read" }) as const) ?? []),
    ],
    ...(!fixed && { parameters }),
    groups: batches * rows * columns * parts,
  };
  const kind = stored === "f16" ? "" : terms === 1 ? " of tf32" : " of f32 in two parts";
  const name = `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}, ${tile.rows}x${tile.columns}x${tile.depth} tiles${kind} on matrix units${epilogue ? `, then ${epilogueLength(epilogue)}` : ""}`;
  return {
    name: `${name}${parts === 1 ? "" : `, k in ${parts} parts`}${packings ? ", both operands packed first" : ""}`,
    passes: [
      ...(scales?.passes ?? []),
      tilePass,
      ...(parts > 1 ? [sumOfParts(batches * m * n, parts, epilogue, extra, result + 1, result)] : []),
    ],
    scratch: [...partial, ...(scales?.scratch ?? [])],
  };
}

/** Fragments are stored whole where their rows begin at multiples of 16 bytes, and the result has room for one. */
function directness({ m, n }: MatmulSpec, tile: MatrixUnitTile): MatrixUnitCode["direct"] {
  if (n % 4 !== 0 || m < tile.rows || n < tile.columns) return "never";
  return m % tile.rows === 0 && n % tile.columns === 0 ? "always" : "inside";
}

interface Preparation {
  readonly passes: readonly GpuPass[];
  /** Buffers that tiles read operands from. */
  readonly operands: readonly number[];
  /** What else tiles read. */
  readonly further: readonly number[];
  readonly scratch: readonly number[];
}

/** A pass on other buffers. */
const numbered = (pass: GpuPass, own: readonly number[]): GpuPass => ({
  ...pass,
  buffers: pass.buffers.map((binding) => ({ ...binding, buffer: own[binding.buffer]! })),
});

/** The passes that pack both operands; scratch begins at buffer `first`. */
function packPasses(
  shape: MatmulSpec,
  limits: GpuLimits,
  first: number,
  readings: Readonly<Record<"a" | "b", OperandReading>>,
  packings: Readonly<Record<"a" | "b", Packing>>,
): Preparation {
  const both = (["a", "b"] as const).map((name, operand) => {
    const [reading, packing] = [readings[name], packings[name]];
    const [sizes, packed, scales] = [0, 1, 2].map((k) => first + 3 * operand + k) as [number, number, number];
    return {
      sizes: numbered(sizesPass(shape, reading, packing), [operand, sizes]),
      pack: numbered(packPass(shape, reading, packing), [operand, sizes, packed, scales]),
      scratch: [sizeBytes(shape, packing), packedBytes(packing), scaleBytes(packing)],
    };
  });
  return {
    passes: [
      ...runTogether(
        both.map(({ sizes }) => sizes),
        limits,
      ),
      ...runTogether(
        both.map(({ pack }) => pack),
        limits,
      ),
    ],
    operands: [first + 1, first + 4],
    further: [first + 2, first + 5, 0, 1],
    scratch: both.flatMap(({ scratch }) => scratch),
  };
}

/** The passes that find the largest sizes in the lines of both operands; scratch begins at buffer `first`. */
function scalePasses(
  shape: MatmulSpec,
  limits: GpuLimits,
  first: number,
  lines: Readonly<Record<"a" | "b", { readonly size: number }>>,
): Preparation {
  const sizes = [first, first + 1] as const;
  const scratch = [bytesOf(lines.a.size), bytesOf(lines.b.size)];
  const passes = (["a", "b"] as const).flatMap((name, operand) => {
    const found = largestProgram(shape, name, limits);
    const own = [operand, sizes[operand]!, ...found.scratch.map((bytes) => first + scratch.push(bytes) - 1)];
    return found.passes.map((pass) => numbered(pass, own));
  });
  return { passes, operands: [0, 1], further: sizes, scratch };
}

const PACKED: OperandReading = { stored: "packed", alongDepth: false, unit: 8 };

/** Where the parts of a packed operand are, in vectors; and what was known of it before, under another name. */
function packedParameters(
  shape: MatmulSpec,
  { name, lines, depth, elements, ...packing }: Packing,
  source: GpuParameters,
): GpuParameters {
  const own = linesOf(shape, name, (lines * depth) / 8).parameters;
  return {
    ...Object.fromEntries(Object.entries(source).map(([key, value]) => [`${name}Source${key.slice(1)}`, value])),
    [`${name}Offset`]: 0,
    [`${name}Line`]: 1,
    [`${name}Inner`]: lines / 8,
    [`${name}Low`]: partVectors({ name, lines, depth, elements, ...packing }),
    ...Object.fromEntries(shape.batch.map((_, axis) => [`${name}Batch${axis}`, own[`${name}Lines${axis}`]!])),
  };
}

/** The tile and parts of k with which the product is done first, unless plain tiles are faster. */
function chooseTile(
  shape: MatmulSpec,
  terms: Terms,
  a: OperandReading,
  b: OperandReading,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  { tiles, how }: Pick<MatrixUnitOptions, "tiles" | "how">,
): Choice | undefined {
  const size = product(shape.batch) * shape.m * shape.n;
  const stores = a.stored === "f16" ? 0 : (4 * size) / READING;
  const plain = tiles ? Infinity : chooseDivision(shape, limits.workgroupBytes).time + stores;
  const candidates: (readonly [Scaling, readonly TunedTile[]])[] = tiles
    ? [[how ?? "given", tiles]]
    : a.stored === "f16"
      ? [["given", halfTiles]]
      : [
          ["given", singleTiles[terms]],
          ["found", foundTiles[terms]],
          ["packed", fitsPacked(shape, terms, limits, epilogue) ? packedTiles[terms] : []],
        ];
  const choices = candidates.flatMap(([scaling, some]) =>
    some.flatMap((tuned) => choicesOf(shape, terms, { a, b }, limits, epilogue, scaling, tuned)),
  );
  const best = choices.reduce<Choice | undefined>((x, y) => (x && x.time <= y.time ? x : y), undefined);
  return best && best.time < plain ? best : undefined;
}

/** Whether packed operands, and what else tiles read beside them, fit in bindings, and in the memory that may be taken. */
function fitsPacked(shape: MatmulSpec, terms: Terms, limits: GpuLimits, epilogue: Epilogue | undefined): boolean {
  const bytes = (["a", "b"] as const).map((name) => packedBytes(packingOf(shape, name, terms, 32)));
  return (
    bytes.every((each) => each <= limits.bytes) &&
    bytes[0]! + bytes[1]! <= MOST_PACKED &&
    (epilogue?.inputs.length ?? 0) + 7 <= limits.buffers
  );
}

function choicesOf(
  shape: MatmulSpec,
  terms: Terms,
  { a, b }: Readonly<Record<"a" | "b", OperandReading>>,
  { workgroupBytes, threads }: GpuLimits,
  epilogue: Epilogue | undefined,
  how: Scaling,
  tuned: TunedTile,
): Choice[] {
  const { batch, m, n, k } = shape;
  const { tile, speeds } = tuned;
  const form = { tile, terms, found: how === "found", ...(how === "packed" ? { a: PACKED, b: PACKED } : { a, b }) };
  if (matrixUnitBytes(form) > workgroupBytes || matrixUnitThreads(tile) > threads) return [];
  const batches = product(batch);
  const size = batches * m * n;
  const divisions = divisionsOf(
    { ...tuned, speed: speeds[Number(a.alongDepth) + Number(b.alongDepth)]! },
    batches,
    m,
    n,
    k,
    size,
    // An epilogue is computed once, from the whole sum.
    terms === 3 ? { least: epilogue ? Math.ceil(k / LONGEST_SUM) : 1, longest: LONGEST_SUM } : {},
  );
  const elements = batches * (m + n) * k;
  const before = {
    given: a.stored === "f16" ? 0 : DISPATCHES + (4 * elements) / READING,
    found: 0,
    packed: PACKINGS + (PACKING[terms] * elements) / COPYING,
  }[how];
  return divisions.map(({ slice, parts, time }) => {
    const strips = how === "given" || (epilogue !== undefined && parts === 1);
    const bandwidth = strips ? STORING : STORING_SCALED;
    // What a sum is cut into beyond the first piece is added to memory.
    const pieces = terms === 3 ? Math.ceil(slice / LONGEST_SUM) : 1;
    const storing = a.stored === "f16" ? 0 : (4 * size) / bandwidth + (8 * size * (pieces - 1)) / STORING;
    return { how, tile, slice, parts, time: time + before + storing };
  });
}

/** How an operand is read, with its strides from line (row of a, column of b) to line and along k; undefined for f16 that is not in whole vectors. */
function operandOf(
  name: "a" | "b",
  line: number,
  inner: number,
  shape: MatmulSpec,
  stored: "f16" | "f32",
): { readonly reading: OperandReading; readonly parameters: GpuParameters } | undefined {
  const {
    m,
    n,
    k,
    [name]: { offset = 0, batch },
  } = shape;
  const lineStride = (name === "a" ? m : n) === 1 ? 0 : line;
  const innerStride = k === 1 ? 0 : inner;
  const vector = stored === "f16" ? 8 : 4;
  const aligned = (...strides: readonly number[]): boolean => strides.every((stride) => stride % vector === 0);
  const whole = aligned(offset, ...batch);
  // f16 vectors at the end of k are read whole.
  const depthFirst = whole && innerStride === 1 && aligned(lineStride) && (stored === "f32" || k % vector === 0);
  const vectors = depthFirst || (whole && lineStride === 1 && aligned(innerStride));
  if (!vectors && stored === "f16") return undefined;
  const unit = vectors ? vector : 1;
  const alongDepth = vectors ? depthFirst : Math.abs(innerStride) === 1;
  return {
    reading: { stored, alongDepth, unit },
    parameters: {
      [`${name}Offset`]: offset / unit,
      // where vectors follow it, the unit stride itself is not used
      [`${name}Line`]: vectors && !alongDepth ? 1 : lineStride / unit,
      [`${name}Inner`]: vectors && alongDepth ? 1 : innerStride / unit,
      ...Object.fromEntries(batch.map((stride, axis) => [`${name}Batch${axis}`, stride / unit])),
    },
  };
}
