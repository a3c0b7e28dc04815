/**
 * WGSL of a matrix product's tiles. A workgroup of 16 x 16 threads computes a tile of the result from slices of both operands,
 * `depth` deep, in workgroup memory; a thread computes (rows / 16) x (columns / 16) elements. While a slice is worked
 * on, the next one is on its way into registers. Both slices lie [depth, line] with four lines to a vector, where a line is
 * a row of A or a column of B: then a thread's operands are whole vectors.
 *
 * Lines beyond the result are read as whatever is there (reads outside a buffer are harmless in WGSL) and never stored;
 * depths beyond k are made zero.
 */
import { declare, declareParameters, entryPoint, indent, type GpuParameters } from "@seqmix/tensor/wgsl";
import { split } from "../loops/text.js";

export interface Tile {
  readonly rows: 64 | 128;
  readonly columns: 64 | 128 | 256;
  /** Steps along k that are in workgroup memory at a time. */
  readonly depth: 16 | 32;
}

/** How an operand is read: four neighbours in memory at once or each by itself, and whether neighbours follow the depth (else the lines). */
export interface Reading {
  /** Elements are f16. */
  readonly half?: boolean;
  readonly vectors: boolean;
  readonly alongDepth: boolean;
}

export interface TileCode {
  readonly tile: Tile;
  readonly a: Reading;
  readonly b: Reading;
  readonly batchAxes: number;
  /** Whether a slice of k may end within the tile's depth. */
  readonly ragged: boolean;
  /** Whether four neighbours of the result are stored at once. */
  readonly storesVectors: boolean;
  /** How the result is stored; f32 by default. */
  readonly result?: "f32" | "f16";
  readonly epilogue?: EpilogueCode;
}

/** What is computed from the elements of the product before they are stored. */
export interface EpilogueCode {
  /** Extents of the axes i0, i1, ...: a row-major division of the result. */
  readonly extents: readonly number[];
  /** Declarations of its buffers, which are bindings 3, 4, ... */
  readonly declarations: string;
  /** Functions it calls. */
  readonly functions: string;
  /** Statements and the value, from the axes i0, i1, ... and `product`. */
  readonly lines: readonly string[];
  readonly value: string;
  readonly buffers: number;
  /** Statements that read for four neighbours at once, and of what they read the elements' texts by neighbour. */
  readonly four?: {
    readonly head: readonly string[];
    readonly names: readonly string[];
    read(name: string, neighbour: number): string;
  };
}

const THREADS = 256;

/** Statements that find the workgroup's tile, number `at`, in the result. */
export const placeTile = ({
  rows,
  columns,
}: {
  readonly rows: number;
  readonly columns: number;
}): string => `// Neighbouring workgroups take tiles of eight rows, column by column: what they read stays in the cache.
let tile = at % (p.rows * p.columns);
let band = tile / (8 * p.columns) * 8;
let height = min(8, p.rows - band);
let inBand = tile % (8 * p.columns);
let firstRow = (band + inBand % height) * ${rows};
let firstColumn = inBand / height * ${columns};`;

/** Bytes of workgroup memory. */
export const tileBytes = ({ rows, columns, depth }: Tile): number => depth * (rows + columns) * 4;

/**
 * Bindings: a, b, the result, the epilogue's buffers. GpuParameters (none: the caller puts numbers in the place of `p.name`): m, n, k, slice (of k a part), parts, batches, rows and columns (tiles), and for
 * each operand X its XOffset, XLine, XInner and XBatchI, counted in vectors where it is read in vectors, with batchI the extents.
 */
export function tileCode(code: TileCode, parameters: GpuParameters): string {
  const { tile, batchAxes, storesVectors, epilogue, result = "f32" } = code;
  const fills = [fill("a", tile.rows, tile.depth, code.a), fill("b", tile.columns, tile.depth, code.b)];
  const rows = Array.from({ length: tile.rows / 16 }, (_, i) => i);
  const vectors = Array.from({ length: tile.columns / 64 }, (_, j) => j);
  const sums = rows.flatMap((i) =>
    vectors.map((j) => ({ name: `s${i}_${j}`, row: 64 * (i >> 2) + (i & 3), column: 64 * j })),
  );
  const load = (depth: number): string => indent(loadSlice(fills, tile.depth, code.ragged), depth);
  const step = (depth: number | string): string =>
    [
      ...Array.from(
        { length: tile.rows / 64 },
        (_, i) => `let a${i} = aTile[${depth} * ${tile.rows / 4} + ${16 * i} + y];`,
      ),
      ...vectors.map((j) => `let b${j} = bTile[${depth} * ${tile.columns / 4} + ${16 * j} + x];`),
      ...rows.flatMap((i) =>
        vectors.map((j) => `s${i}_${j} = fma(vec4<f32>(a${i >> 2}[${i & 3}]), b${j}, s${i}_${j});`),
      ),
    ].join(" ");
  // Small tiles are for small products, whose time is the compiler's.
  const steps =
    sums.length > 4
      ? Array.from({ length: tile.depth }, (_, depth) => `  { ${step(depth)} }`).join("\n")
      : `  for (var depth = 0; depth < ${tile.depth}; depth++) { ${step("depth")} }`;
  const body = `let at = i32(group);
let lane = i32(thread);
let part = at / (p.rows * p.columns * p.batches);
if (part >= p.parts) { return; }
let batch = at / (p.rows * p.columns) % p.batches;
${placeTile(tile)}
// 32 neighbouring threads take 8 x 4 vectors.
let x = lane / 32 % 2 * 8 + lane % 8;
let y = lane / 64 * 4 + lane % 32 / 8;
let end = min(p.k, (part + 1) * p.slice);
var next = part * p.slice;
${fills.map((f) => f.head("first" + (f.operand === "a" ? "Row" : "Column"), batchStart(f.operand, batchAxes))).join("\n")}
${sums.map(({ name }) => `var ${name} = vec4<f32>();`).join("\n")}
${load(0)}
for (var begin = part * p.slice; begin < end; begin += ${tile.depth}) {
${indent(fills.map((f) => f.store).join("\n"))}
  workgroupBarrier();
  if (next < end) {
${load(2)}
  }
${steps}
  workgroupBarrier();
}
let start = (part * p.batches + batch) * p.m * p.n;
`;
  const store = (row: string, column: string, value: string): string =>
    `store(start, firstRow + y * 4 + ${row}, firstColumn + x * 4 + ${column}, ${value});`;
  // A long epilogue is written once: the compiler would copy it for every vector.
  const stores = epilogue
    ? `for (var e = 0; e < ${sums.length}; e++) {
  var value = vec4<f32>();
  switch e {
${sums.map(({ name }, e) => `    case ${e} { value = ${name}; }`).join("\n")}
    default {}
  }
  let i = e / ${vectors.length};
  ${store("i / 4 * 64 + i % 4", `e % ${vectors.length} * 64`, "value")}
}`
    : sums.map(({ name, row, column }) => store(String(row), String(column), name)).join("\n");
  const type = (vectors: boolean, element: "f32" | "f16"): string => (vectors ? `vec4<${element}>` : element);
  const declarations = [
    ...(["a", "b"] as const).map((operand, k) =>
      declare(k, operand, "read", type(code[operand].vectors, code[operand].half ? "f16" : "f32")),
    ),
    declare(2, "c", "read_write", type(storesVectors, result)),
    epilogue?.declarations ?? "",
    Object.keys(parameters).length > 0 ? declareParameters(3 + (epilogue?.buffers ?? 0), parameters) : "",
  ];
  return `${declarations.join("")}var<workgroup> aTile: array<vec4<f32>, ${(tile.depth * tile.rows) / 4}>;
var<workgroup> bTile: array<vec4<f32>, ${(tile.depth * tile.columns) / 4}>;
${epilogue ? finishFunction(epilogue) : ""}${storeFunction(storesVectors, epilogue !== undefined, result)}${entryPoint(THREADS, body + stores)}`;
}

/**
 * The functions of the epilogue: what is stored at a place, from the product's element; at four neighbouring places, where
 * the results are stored so.
 */
export function finishFunction({ extents, functions, lines, value, four }: EpilogueCode): string {
  const axes = extents.map((_, k) => `i${k}`);
  const place = split("u32(at)", extents, axes);
  const body = [...lines, `return ${value};`];
  if (!four) {
    const each = [0, 1, 2, 3].map((e) => `finish(at + ${e}, products[${e}])`);
    return `${functions}fn finish(at: i32, product: f32) -> f32 {\n${indent([...place, ...body].join("\n"))}\n}
fn finishFour(at: i32, products: vec4<f32>) -> vec4<f32> {\n  return vec4<f32>(${each.join(", ")});\n}\n`;
  }
  const parameters = [
    ...axes.map((name) => `${name}: i32`),
    "product: f32",
    ...four.names.map((name) => `${name}: f32`),
  ];
  const last = axes.length - 1;
  const each = [0, 1, 2, 3].map((e) => {
    const at = axes.map((name, k) => (k === last && e > 0 ? `${name} + ${e}` : name));
    return `finish(${[...at, `products[${e}]`, ...four.names.map((name) => four.read(name, e))].join(", ")})`;
  });
  const whole = [...place, ...four.head, `return vec4<f32>(${each.join(", ")});`];
  return `${functions}fn finish(${parameters.join(", ")}) -> f32 {\n${indent(body.join("\n"))}\n}
fn finishFour(at: i32, products: vec4<f32>) -> vec4<f32> {\n${indent(whole.join("\n"))}\n}\n`;
}

function storeFunction(storesVectors: boolean, finished: boolean, result: "f32" | "f16"): string {
  const of = (k: number): string => (finished ? `finish(at + ${k}, values[${k}])` : `values[${k}]`);
  const stored = (value: string, type: string): string => (result === "f32" ? value : `${type}(${value})`);
  const vector = `c[at / 4] = ${stored(finished ? "finishFour(at, values)" : "values", "vec4<f16>")};`;
  const scalars = [0, 1, 2, 3]
    .map((k) => `if (column + ${k} < p.n) { c[at + ${k}] = ${stored(of(k), "f16")}; }`)
    .join("\n");
  return `fn store(start: i32, row: i32, column: i32, values: vec4<f32>) {
  if ((row >= p.m) | (column >= p.n)) { return; }
  let at = start + row * p.n + column;
${indent(storesVectors ? vector : scalars)}
}
`;
}

/** The texts that bring an operand's slices from memory to registers and on to workgroup memory. */
interface Fill {
  readonly operand: "a" | "b";
  /** Declares positions in memory and registers. */
  head(first: string, start: string): string;
  /** Reads the slice that begins at depth `next`. */
  readonly load: string;
  /** The same, with zeros from `end` on. */
  readonly loadRagged: string;
  /** Positions of the slice after. */
  readonly advance: string;
  readonly store: string;
}

function fill(
  operand: "a" | "b",
  lines: number,
  sliceDepth: number,
  { vectors, alongDepth, half = false }: Reading,
): Fill {
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const blocks = vectors && alongDepth;
  // Units: blocks of 4 depths x 4 lines that are transposed on their way, else vectors of 4 lines at one depth.
  const units = (lines / 4) * (blocks ? sliceDepth / 4 : sliceDepth);
  const count = Math.ceil(units / THREADS);
  const some = Array.from({ length: count }, (_, q) => q);
  const four = [0, 1, 2, 3];
  const across = alongDepth ? (blocks ? sliceDepth / 4 : sliceDepth) : lines / 4;
  const onlySome = (text: string): string => (units < THREADS ? `if (lane < ${units}) {\n${indent(text)}\n}` : text);
  const line = (r: number): string => (r === 0 ? "" : ` + ${r === 1 ? "" : `${r} * `}p.${operand}Line`);

  const head = (first: string, start: string): string =>
    [
      `let ${operand}Start = ${start};`,
      ...some.flatMap((q) => {
        const e = q === 0 ? "lane" : `(lane + ${THREADS * q})`;
        const [fast, slow] = [`${e} % ${across}`, `${e} / ${across}`];
        const [depth, group] = alongDepth ? [fast, slow] : [slow, fast];
        const atLine =
          vectors && !alongDepth
            ? `(${first} / 4 + ${name("Group", q)})`
            : `(${first} + ${name("Group", q)} * 4) * p.${operand}Line`;
        const atDepth = blocks
          ? `(next / 4 + ${name("Depth", q)})`
          : `(next + ${name("Depth", q)}) * p.${operand}Inner`;
        return [
          `let ${name("Depth", q)} = ${depth};`,
          `let ${name("Group", q)} = ${group};`,
          `var ${name("At", q)} = ${operand}Start + ${atLine} + ${atDepth};`,
          ...(blocks
            ? four.map((r) => `var ${name("Read", q)}_${r} = vec4<f32>();`)
            : [`var ${name("Read", q)} = vec4<f32>();`]),
        ];
      }),
    ].join("\n");

  const read = (q: number): string[] => {
    const at = name("At", q);
    const element = (index: string): string =>
      half ? `${vectors ? "vec4<f32>" : "f32"}(${operand}[${index}])` : `${operand}[${index}]`;
    if (blocks) return four.map((r) => `${name("Read", q)}_${r} = ${element(`${at}${line(r)}`)};`);
    if (vectors) return [`${name("Read", q)} = ${element(at)};`];
    return [`${name("Read", q)} = vec4<f32>(${four.map((r) => element(`${at}${line(r)}`)).join(", ")});`];
  };
  const readRagged = (q: number): string[] => {
    const inside = blocks
      ? `vec4<i32>(next + ${name("Depth", q)} * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(end)`
      : `next + ${name("Depth", q)} < end`;
    const registers = blocks ? four.map((r) => `${name("Read", q)}_${r}`) : [name("Read", q)];
    return [...read(q), ...registers.map((register) => `${register} = select(vec4<f32>(), ${register}, ${inside});`)];
  };
  const write = (q: number): string[] => {
    const to = (depth: string): string => `${operand}Tile[(${depth}) * ${lines / 4} + ${name("Group", q)}]`;
    if (!blocks) return [`${to(name("Depth", q))} = ${name("Read", q)};`];
    return four.map(
      (d) =>
        `${to(`${name("Depth", q)} * 4 + ${d}`)} = vec4<f32>(${four.map((r) => `${name("Read", q)}_${r}[${d}]`).join(", ")});`,
    );
  };
  return {
    operand,
    head,
    load: onlySome(some.flatMap(read).join("\n")),
    loadRagged: onlySome(some.flatMap(readRagged).join("\n")),
    advance: some
      .map((q) => `${name("At", q)} += ${blocks ? sliceDepth / 4 : `${sliceDepth} * p.${operand}Inner`};`)
      .join("\n"),
    store: onlySome(some.flatMap(write).join("\n")),
  };
}

/** Reads a slice of both operands and goes on to the next. */
function loadSlice(fills: readonly Fill[], sliceDepth: number, ragged: boolean): string {
  const whole = fills.map((f) => f.load).join("\n");
  const text = ragged
    ? `if (next + ${sliceDepth} <= end) {\n${indent(whole)}\n} else {\n${indent(fills.map((f) => f.loadRagged).join("\n"))}\n}`
    : whole;
  return `${text}\n${fills.map((f) => f.advance).join("\n")}\nnext += ${sliceDepth};`;
}

/** Where the batch element of an operand starts; with "Lines", in what there is one of for each line. */
export function batchStart(
  operand: "a" | "b" | "aSource" | "bSource",
  axes: number,
  strides: "Batch" | "Lines" = "Batch",
): string {
  const terms = [strides === "Batch" ? `p.${operand}Offset` : "0"];
  let index = "batch";
  for (let axis = axes - 1; axis >= 0; axis--) {
    terms.push(`${index} % p.batch${axis} * p.${operand}${strides}${axis}`);
    index = `${index} / p.batch${axis}`;
  }
  return terms.join(" + ");
}
