/**
 * Tiles of a sum of products, one product after another into the same sums (a *phase* each). Slices of both operands,
 * `depth` deep, lie in workgroup memory as [depth, line] with four lines to a vector, where a line is a row of the left operand or
 * a column of the right one; while a slice is worked on, the next one is on its way into registers. The WGSL here is that of
 * multiply-adds; `matrix-tile.ts` has that of matrix units.
 */
import { entryPoint, indent } from "@seqmix/tensor/wgsl";

export interface TileShape {
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns of a thread, multiples of four. */
  readonly threadRows: number;
  readonly threadColumns: number;
  /** Steps of the product in workgroup memory at a time. */
  readonly depth: number;
}

/** The same for matrix units. */
export interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  readonly depth: 16 | 32 | 64;
  /** What a subgroup computes. */
  readonly block: { readonly rows: number; readonly columns: number };
  /** Products of f16 for one of f32. */
  readonly terms: 1 | 3;
  /**
   * Slices lie in blocks, one for the lines of a subgroup, and all subgroups run one text; else the text is written once for
   * each, with places that are constants. What is faster was found on an H200: blocks where many products are taken of few
   * fragments.
   */
  readonly inBlocks?: boolean;
}

export const isMatrixTile = (shape: TileShape | MatrixTile): shape is MatrixTile => "block" in shape;

/** Invocations of a workgroup. */
export const threadsOf = (shape: TileShape | MatrixTile): number =>
  isMatrixTile(shape) ? matrixThreads(shape) : plainThreads(shape);
export const matrixThreads = ({ rows, columns, block }: MatrixTile): number =>
  (32 * rows * columns) / (block.rows * block.columns);
const plainThreads = ({ rows, columns, threadRows, threadColumns }: TileShape): number =>
  (rows / threadRows) * (columns / threadColumns);

/** Bytes of workgroup memory. */
export const bytesOfTile = ({ rows, columns, depth }: TileShape): number => 4 * depth * (rows + columns);

/** How an operand gets into workgroup memory. Texts are WGSL expressions. */
export interface OperandText {
  /** Neighbours in memory follow the lines, or the depth. */
  readonly along: "lines" | "depth";
  /** Four neighbours. `line` counts fours along lines, `depth` fours along the depth. */
  load(line: string, depth: string): string;
  /**
   * What becomes of four neighbours, counted as in `load`; of those that are `turned` the four are lines also where neighbours in
   * memory follow the depth.
   */
  change?(value: string, line: string, depth: string, turned: boolean): string;
  /** A factor of a depth, for four lines that follow each other in memory; where it is 0 the product is. */
  weight?(line: string, depth: string): string;
  /** Factors (mat2x4<f32>) of eight lines at a depth, from the fours `line` on, read together with them; on matrix units. */
  times?(line: string, depth: string): string;
  /** Factors of four lines; where they are 0 the product is. */
  factors?(line: string): string;
  /**
   * On matrix units with one product: four neighbours as they are in f16 (vec2<u32>), times a power of two whose exponent is given as
   * in a number's bits. They are copied, and neither changed nor weighed.
   */
  readonly raw?: { load(line: string, depth: string): string; readonly exponent: string } | undefined;
  /** On matrix units: the largest number before it is weighed is wanted; `mostOf` has it behind the phases'. */
  readonly measured?: boolean | undefined;
  /** How many lines there are, where they may be fewer than those of the tile; the others may hold anything. */
  readonly lines?: string | undefined;
}

/** How an array of f16 is copied, where its products are of f16 alone. */
export const rawOf = (
  shape: TileShape | MatrixTile,
  { half }: { readonly half?: boolean },
  load: OperandText["load"],
): OperandText["raw"] =>
  half && isMatrixTile(shape) && shape.terms === 1
    ? { load: (line, depth) => `bitcast<vec2<u32>>(${load(line, depth)})`, exponent: "127" }
    : undefined;

/** Exponents of powers of two, as they stand in a number's bits, that bring two operands below 2^15; on matrix units. */
export interface KnownScales {
  readonly a: string;
  readonly b: string;
}

export interface Phase {
  /** What scales suit the operands, where that is known beforehand. */
  readonly known?: KnownScales | undefined;
  /** Both operands are copied: their scales are as they are, and sums are changed to those of the next phase. */
  readonly fixed?: boolean;
  readonly begin: string;
  readonly end: string;
  readonly a: OperandText;
  readonly b: OperandText;
  /** Rows and depths are steps, rows from `r0` on: those take no part that are later than their row, or earlier. */
  readonly causal?: "earlier" | "later";
  /** On matrix units: blocks wholly on one side of the tile's diagonal are needed only where this holds. */
  readonly beyond?: { readonly side: "above" | "below"; readonly when: string };
  /** The last depths may be taken first: they weigh most. */
  readonly backwards?: boolean;
  /** Statements after the product. */
  after?(names: SumNames): string;
  /** On matrix units: statements behind those of all sums, between barriers. */
  readonly afterAll?: string | undefined;
  /** On matrix units: the sums go on behind \`after\`, instead of beginning anew. */
  readonly keeps?: boolean;
  /** On matrix units: its sums begin anew behind it, so it has scales of its own. */
  readonly alone?: boolean;
  /** The phase runs as often, with a variable that counts; `setup` are statements before it. */
  readonly loop?: {
    readonly variable: string;
    readonly count: number;
    readonly setup: string;
    /** On matrix units: statements before it, given all sums of a thread. */
    readonly before?: (sums: readonly SumNames[]) => string;
  };
}

/** The sums of a thread: vectors of four columns. */
export interface SumNames {
  /** Each with its row and the first of its columns in the tile, as texts. */
  readonly all: readonly { readonly name: string; readonly row: string; readonly column: string }[];
  /** By row: its number, and the names of its vectors. */
  readonly rows: readonly {
    readonly row: string;
    readonly names: readonly string[];
    readonly columns: readonly string[];
  }[];
  /** A sum over the turns of a loop, in `totals`. */
  total(name: string): string;
  /** The text of a row's turn (of so many): some engines keep threads together. */
  inTurn(text: string, turn: number): string;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** Sums over the columns of each row of the tile: a thread's share, and what is done with the sum. */
export interface RowSums {
  each(row: SumNames["rows"][0]): string;
  /** On matrix units: they are also taken after the first phase. */
  readonly early?: boolean;
  use(row: string, sum: string, early: string): string;
}

export interface TileText {
  /** Declarations at module scope: buffers, functions. */
  readonly module: string;
  /** Statements before the first product. */
  readonly setup: string;
  readonly phases: readonly Phase[];
  /** `after` adds to totals, which are 0 at first; `finish` has them alone. */
  readonly totals?: "alone";
  readonly rowSums?: RowSums | undefined;
  /** Statements for sums at hand: all of a thread's, or some at a time. */
  finish(sums: SumNames): string;
}

/** Times 0 it is 0, infinite or not. */
export const TIMES_FACTORS = `fn timesFactors(value: vec4<f32>, factors: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(), value * factors, factors != vec4<f32>());
}
`;

/** The shader. Statements know `group`, `lane` (i32), and in `finish` the place `tx`, `ty` of the thread in the tile. */
export function tileShader(shape: TileShape, { module, setup, phases, totals, rowSums, finish }: TileText): string {
  const { rows, columns, threadRows, threadColumns, depth } = shape;
  const threads = threadsOf(shape);
  const [across, down] = [columns / threadColumns, rows / threadRows];
  const [rowGroups, columnGroups] = [range(threadRows / 4), range(threadColumns / 4)];
  const name = (i: number, r: number, j: number): string => `s${4 * i + r}_${j}`;
  const rowText = (i: number, r: number): string => `(${4 * down * i} + 4 * ty + ${r})`;
  const columnText = (j: number): string => `(${4 * across * j} + 4 * tx)`;
  const sums: SumNames = {
    all: rowGroups.flatMap((i) =>
      range(4).flatMap((r) =>
        columnGroups.map((j) => ({ name: name(i, r, j), row: rowText(i, r), column: columnText(j) })),
      ),
    ),
    rows: rowGroups.flatMap((i) =>
      range(4).map((r) => ({
        row: rowText(i, r),
        names: columnGroups.map((j) => name(i, r, j)),
        columns: columnGroups.map(columnText),
      })),
    ),
    total: (of) => `total_${of}`,
    // what is read for all rows at once would take the registers of the sums
    inTurn: (text, turn) => (turn % 2 === 1 ? `${text}\nworkgroupBarrier();` : text),
  };
  const step = (at: string, groups: readonly number[]): string =>
    [
      ...groups.map((i) => `let a${i} = aTile[${at} * ${rows / 4} + ${i * down} + ty];`),
      ...columnGroups.map((j) => `let b${j} = bTile[${at} * ${columns / 4} + ${j * across} + tx];`),
      ...groups.flatMap((i) =>
        range(4).flatMap((r) =>
          columnGroups.map((j) => `${name(i, r, j)} = fma(vec4<f32>(a${i}[${r}]), b${j}, ${name(i, r, j)});`),
        ),
      ),
    ].join(" ");
  const unrolled = sums.all.length > 4;
  const phaseText = ({ begin, end, a, b, groups, after, loop }: Piece, k: number): string => {
    const fills = [fill("a", a, rows, shape, k), fill("b", b, columns, shape, k)];
    const steps = unrolled
      ? range(depth)
          .map((at) => `{ ${step(String(at), groups)} }`)
          .join("\n")
      : `for (var at = 0; at < ${depth}; at++) { ${step("at", groups)} }`;
    const text = `{
  let end = ${end};
  var next = ${begin};
${indent(fills.map((f) => f.head).join("\n"))}
  if (next < end) {
${indent(fills.map((f) => f.load).join("\n"), 2)}
  }
  for (var begin = next; begin < end; begin += ${depth}) {
${indent(fills.map((f) => f.store).join("\n"), 2)}
    workgroupBarrier();
    next += ${depth};
    if (next < end) {
${indent(fills.map((f) => f.load).join("\n"), 3)}
    }
${indent(steps, 2)}
    workgroupBarrier();
  }
${indent(after?.(sums) ?? "")}
}`;
    return loop
      ? `for (var ${loop.variable} = 0; ${loop.variable} < ${loop.count}; ${loop.variable}++) {\n${indent(`${loop.setup}\n${text}`)}\n}`
      : text;
  };
  // 32 neighbouring threads take 8 x 4 vectors where they can.
  const place =
    across % 8 === 0 && down % 4 === 0
      ? `let tx = lane / 32 % ${across / 8} * 8 + lane % 8;\nlet ty = lane / ${4 * across} * 4 + lane % 32 / 8;`
      : `let tx = lane % ${across};\nlet ty = lane / ${across};`;
  const body = `let lane = i32(thread);
${setup}
${place}
${sums.all.map((s) => `var ${s.name} = vec4<f32>();${totals ? ` var ${sums.total(s.name)} = vec4<f32>();` : ""}`).join("\n")}
${phases
  .flatMap((phase) => piecesOf(phase, shape))
  .map(phaseText)
  .join("\n")}
${rowSums ? sumRows(shape, sums, rowSums) : ""}
${finish(sums)}`;
  return `${module}${TIMES_FACTORS}${rowSums ? `var<workgroup> partial: array<f32, ${rows * across}>;\n` : ""}var<workgroup> aTile: array<vec4<f32>, ${(depth * rows) / 4}>;
var<workgroup> bTile: array<vec4<f32>, ${(depth * columns) / 4}>;
${entryPoint(threads, body)}`;
}

/** A phase, or the part of it that is computed for some groups of four rows of each thread. */
type Piece = Omit<Phase, "causal"> & { readonly groups: readonly number[] };

/** What is beyond the diagonal is left out, by group of rows. */
function piecesOf({ causal, begin, end, ...phase }: Phase, { rows, threadRows }: TileShape): Piece[] {
  const each = (4 * rows) / threadRows;
  const all = range(threadRows / 4);
  if (!causal) return [{ ...phase, begin, end, groups: all }];
  return all.map((k) => {
    const next = `r0 + ${(k + 1) * each}`;
    return causal === "later"
      ? {
          ...phase,
          begin: k === 0 ? begin : `r0 + ${k * each}`,
          end: k === all.length - 1 ? end : `min(${end}, ${next})`,
          groups: all.slice(0, k + 1),
        }
      : {
          ...phase,
          begin: k === 0 ? begin : `r0 + ${k * each}`,
          end: `min(${end}, ${next})`,
          groups: all.slice(k),
        };
  });
}

function sumRows(shape: TileShape, sums: SumNames, { each, use }: RowSums): string {
  const across = shape.columns / shape.threadColumns;
  const own = sums.rows.map((row, k) => sums.inTurn(`partial[${row.row} * ${across} + tx] = ${each(row)};`, k));
  return `${own.join("\n")}
workgroupBarrier();
for (var row = lane; row < ${shape.rows}; row += ${threadsOf(shape)}) {
  var sum = 0.0;
  for (var k = 0; k < ${across}; k++) { sum += partial[row * ${across} + k]; }
${indent(use("row", "sum", "0.0"))}
}`;
}

/** The texts that bring an operand's slices from memory to registers, and on to workgroup memory. */
function fill(
  operand: "a" | "b",
  { along, load, change: own = (value) => value, factors, weight }: OperandText,
  lines: number,
  shape: TileShape,
  phase: number,
): { readonly head: string; readonly load: string; readonly store: string } {
  const { depth } = shape;
  const threads = threadsOf(shape);
  const blocks = along === "depth";
  // blocks of 4 depths x 4 lines are turned on their way, else vectors of 4 lines at one depth
  const units = (lines / 4) * (blocks ? depth / 4 : depth);
  const across = blocks ? depth / 4 : lines / 4;
  const name = (part: string, q: number): string => `${operand}${part}${phase}_${q}`;
  const some = range(Math.ceil(units / threads));
  const only = (q: number, text: string): string =>
    (q + 1) * threads > units ? `if (lane + ${q * threads} < ${units}) {\n${indent(text)}\n}` : text;
  const read = (q: number): readonly string[] => range(blocks ? 4 : 1).map((r) => `${name("Read", q)}_${r}`);
  const change = (value: string, q: number, at: string): string => {
    const changed = own(value, name("Line", q), at, true);
    if (weight) return `timesFactors(${changed}, vec4<f32>(${name("Weight", q)}))`;
    return factors ? `timesFactors(${changed}, ${name("Factors", q)})` : changed;
  };
  const to = (at: string, q: number): string => `${operand}Tile[(${at}) * ${lines / 4} + ${name("Line", q)}]`;
  return {
    head: some
      .flatMap((q) => {
        const e = q === 0 ? "lane" : `(lane + ${q * threads})`;
        const [fast, slow] = [`${e} % ${across}`, `${e} / ${across}`];
        return [
          `let ${name("Line", q)} = ${blocks ? slow : fast};`,
          `let ${name("Depth", q)} = ${blocks ? fast : slow};`,
          ...(factors ? [`let ${name("Factors", q)} = ${factors(`min(${name("Line", q)}, ${lines / 4 - 1})`)};`] : []),
          ...read(q).map((register) => `var ${register} = vec4<f32>();`),
          ...(weight ? [`var ${name("Weight", q)} = 0.0;`] : []),
        ];
      })
      .join("\n"),
    load: some
      .map((q) =>
        only(
          q,
          read(q)
            .map((register, r) => {
              const text = blocks
                ? load(`(4 * ${name("Line", q)} + ${r})`, `(next / 4 + ${name("Depth", q)})`)
                : load(name("Line", q), `(next + ${name("Depth", q)})`);
              return `${register} = ${text};`;
            })
            .concat(
              weight ? [`${name("Weight", q)} = ${weight(name("Line", q), `(next + ${name("Depth", q)})`)};`] : [],
            )
            .join("\n"),
        ),
      )
      .join("\n"),
    store: some
      .map((q) => {
        if (!blocks) {
          const at = name("Depth", q);
          return only(q, `${to(at, q)} = ${change(read(q)[0]!, q, `(begin + ${at})`)};`);
        }
        return only(
          q,
          range(4)
            .map((d) => {
              const turned = `vec4<f32>(${read(q)
                .map((register) => `${register}[${d}]`)
                .join(", ")})`;
              const at = `4 * ${name("Depth", q)} + ${d}`;
              return `${to(at, q)} = ${change(turned, q, `(begin + ${at})`)};`;
            })
            .join("\n"),
        );
      })
      .join("\n"),
  };
}
