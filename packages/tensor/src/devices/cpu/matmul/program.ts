/**
 * Matrix products as WebAssembly programs.
 *
 * Register tiles of 4x8 (1x32, 2x16, 3x8 for fewer rows) run over panels: A packed by 4 rows, B by 8 columns, where
 * packing pays; k in blocks that keep a panel in the first-level cache. Products with few rows or columns whose
 * operands both run along k are dot products (matmul-dot.ts). How a product is cut depends on its shape alone:
 * the result is the same for any number of threads.
 */
import {
  buildModule,
  call,
  forLoop,
  functionBuilder,
  i32,
  select,
  when,
  type Code,
  type Local,
  type WasmFunction,
} from "../wasm/emitter.js";
import { packFunction, packWideFunction, tileFunction } from "./code.js";
import { dotParts, takesDotProducts } from "./dot.js";
import { argumentOf, batchOffset, normalizeMatmul, type Matmul, type Places, type ProgramParts } from "./form.js";
import type { MatmulSpec } from "../../../plan/matmul-spec.js";
import type { CpuPhase, CpuProgram } from "../program.js";
import { SUM_BLOCK, sumFunction } from "../wasm/sum.js";
import { zeroProgram } from "../native/zero.js";

/** Multiplications a thread should take at once: about 5 us. */
const GRAIN = 100_000;
/** Steps of k in a block: a packed panel of B then has at most 12 KB. */
const K_BLOCK = 384;

interface Plan {
  readonly rowsInTile: number;
  readonly columnsInTile: number;
  readonly kBlock: number;
  /** Rows and columns of C in a unit; multiples of the tile's, except at the ends. */
  readonly rows: number;
  readonly columns: number;
  readonly packA: boolean;
  /** Where B's panels come from: B itself, the shared block (a phase packs it), the thread's scratch (each unit packs its own). */
  readonly b: "direct" | "shared" | "scratch";
}

export function matmulProgram(spec: MatmulSpec, memory: { readonly shared: boolean }): CpuProgram {
  const mm = normalizeMatmul(spec);
  const { batches, m, n, k } = mm;
  const name = `matmul ${batches > 1 ? `${batches}x ` : ""}${m}x${k}x${n}`;
  if (k === 0 || batches * m * n === 0) return zeroProgram(name, batches * m * n, 2, memory);
  const parts = partsOfK(mm);
  const { functions, phases, scratchBytes, sharedBytes } =
    parts === 1 ? wholeParts(mm, { result: 8, sharedOffset: 0 }) : splitParts(mm, parts);
  return { name, module: buildModule({ memory, functions }), phases, scratchBytes, sharedBytes };
}

function wholeParts(mm: Matmul, places: Places): ProgramParts {
  return takesDotProducts(mm) ? dotParts(mm, places) : tiledParts(mm, planMatmul(mm), places);
}

/** Into how many parts to cut k, where m and n alone give the threads too little to share; a divisor of k. */
function partsOfK({ batches, m, n, k }: Matmul): number {
  const work = m * n * k;
  if (batches > 1 || work < 8 * GRAIN || ceil(m, 16) * ceil(n, 64) >= 8) return 1;
  const most = Math.min(32, Math.floor(work / GRAIN), Math.floor(k / 512));
  for (let parts = most; parts > 1; parts--) if (k % parts === 0) return parts;
  return 1;
}

/** The parts of k as a batch whose products, in the shared block, are summed in a last phase. */
function splitParts(mm: Matmul, parts: number): ProgramParts {
  const { m, n, k, a, b } = mm;
  const length = k / parts;
  const axes = [{ extent: parts, a: length * a.column, b: length * b.row }];
  const partialBytes = roundUp(4 * parts * m * n, 64);
  const whole = wholeParts({ ...mm, axes, batches: parts, k: length }, { result: 12, sharedOffset: partialBytes });
  return {
    functions: [...whole.functions, sumFunction("sum", parts, m * n)],
    phases: [...whole.phases, { run: "sum", units: ceil(m * n, SUM_BLOCK), grain: ceil(16, parts) }],
    scratchBytes: whole.scratchBytes,
    sharedBytes: partialBytes + whole.sharedBytes,
  };
}

const ceil = (a: number, b: number): number => Math.ceil(a / b);
const roundUp = (a: number, b: number): number => ceil(a, b) * b;

function planMatmul(mm: Matmul): Plan {
  const { batches, m, n, k, a, b } = mm;
  const bItem = 4 * k * n;
  const directB = b.column === 1 && b.row >= 0 && (m < 8 || bItem <= 32 * 1024);
  const inPlace = directB ? "direct" : batches >= 16 && m <= 256 && bItem <= 512 * 1024 ? "scratch" : "shared";
  const wide = directB && m < 4;
  const rowsInTile = wide ? m : 4;
  const columnsInTile = wide ? ([32, 16, 8][m - 1] ?? 8) : 8;
  const kBlock = directB && bItem > 64 * 1024 ? (m < 4 ? 8 : 32) : K_BLOCK;
  const unreachableA = a.row < 0 || 16 * a.row >= 2 ** 31;
  const packA = m >= 4 && (unreachableA || (n >= 48 && 4 * m * k > 8 * 1024));
  const whole = inPlace === "scratch";
  const { rows, columns } = whole ? { rows: roundUp(m, rowsInTile), columns: n } : unitOf(mm, columnsInTile);
  return {
    rowsInTile,
    columnsInTile,
    kBlock: roundUp(ceil(k, ceil(k, kBlock)), 4),
    rows: Math.max(rowsInTile, rows - (rows % rowsInTile)),
    columns,
    packA,
    b: inPlace,
  };
}

/** Rows and columns of C in a unit: smaller where there would be too few units for the threads. */
function unitOf({ batches, m, n, k }: Matmul, columnsInTile: number): { rows: number; columns: number } {
  let rows = 64;
  let columns = n;
  const few = (): boolean => batches * ceil(m, rows) * ceil(n, columns) < 16;
  while (rows > 16 && few() && rows * columns * k > 8 * GRAIN) rows /= 2;
  while (columns > Math.max(64, 2 * columnsInTile) && few() && rows * columns * k > 2 * GRAIN)
    columns = roundUp(ceil(columns, 2), columnsInTile);
  return { rows, columns };
}

function tiledParts(mm: Matmul, plan: Plan, places: Places): ProgramParts {
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const packB = plan.b === "direct" ? undefined : panelPacker(mm, plan, add);
  const phases: CpuPhase[] = [];
  let sharedBytes = 0;
  if (plan.b === "shared" && packB !== undefined) {
    const phase = packPhase(mm, plan, places, packB);
    add(phase.code);
    phases.push(phase.phase);
    sharedBytes = phase.bytes;
  }
  const multiply = multiplyPhase(mm, plan, places, packB, add);
  add(multiply.code);
  phases.push(multiply.phase);
  return { functions, phases, scratchBytes: multiply.scratchBytes, sharedBytes };
}

/** Packs a block of `kLength` steps from B at `from` to `to`, for the columns [j0, j1) of the matrix, j0 a multiple of 8. */
type PackPanels = (
  from: Code,
  to: Code,
  kLength: Local,
  j0: number | Local,
  j1: number | Local,
  temporary: Local,
) => Code;

function panelPacker({ n, b }: Matmul, plan: Plan, add: (f: WasmFunction) => number): PackPanels {
  const width = plan.columnsInTile;
  const shape = { width, laneStride: 4 * b.column, stepStride: 4 * b.row };
  const full = add(packFunction("packB", { ...shape, lanes: width }));
  const rest = n % width;
  const last = rest === 0 ? full : add(packFunction("packLastB", { ...shape, lanes: rest }));
  const four = b.column === 1 && width === 8 ? add(packWideFunction("packFourB", 4 * b.row)) : undefined;
  return (from, to, kLength, j0, j1, j) => {
    const code = (value: number | Local): Code => (typeof value === "number" ? i32.const(value) : value.get);
    const args = (): Code[] => [
      i32.add(from, i32.mul(j.get, i32.const(4 * b.column))),
      i32.add(to, i32.mul(j.get, i32.shl(kLength.get, i32.const(2)))),
      kLength.get,
    ];
    const atMost = i32.sub(code(j1), i32.const(4 * width - 1));
    const fours =
      four === undefined
        ? []
        : whileLess(j, atMost, [call(four, ...args(), i32.mul(kLength.get, i32.const(32))), step(j, 4 * width)]);
    return [
      j.set(code(j0)),
      fours,
      whileLess(j, i32.sub(code(j1), i32.const(width - 1)), [call(full, ...args()), step(j, width)]),
      rest === 0 ? [] : when(i32.ltS(j.get, code(j1)), call(last, ...args())),
    ];
  };
}

const sharedPlace = (args: Local, places: Places): Code =>
  i32.add(i32.load(args.get, 12), i32.const(places.sharedOffset));
const step = (local: Local, by: number): Code => local.set(i32.add(local.get, i32.const(by)));
const whileLess = (i: Local, end: Code, body: Code): Code => {
  const condition = i32.ltS(i.get, end);
  return [condition, 0x04, 0x40, 0x03, 0x40, body, condition, 0x0d, 0, 0x0b, 0x0b];
};
const minimum = (a: Code, b: Code): Code => select(a, b, i32.ltS(a, b));

/** The place among B's distinct matrices of a batch's, and the other way round the first batch of each. */
function distinctB(mm: Matmul) {
  const kept = mm.axes.filter((axis) => axis.b !== 0);
  const count = kept.reduce((product, axis) => product * axis.extent, 1);
  const place = (batch: Local): Code => {
    let code: Code = i32.const(0);
    let inner = 1;
    let innerKept = 1;
    for (const [index, axis] of [...mm.axes.entries()].reverse()) {
      if (axis.b !== 0) {
        const quotient = inner === 1 ? batch.get : i32.divU(batch.get, i32.const(inner));
        const position = index === 0 ? quotient : i32.remU(quotient, i32.const(axis.extent));
        code = i32.add(code, i32.mul(position, i32.const(innerKept)));
        innerKept *= axis.extent;
      }
      inner *= axis.extent;
    }
    return code;
  };
  return { count, place, only: { ...mm, axes: kept } };
}

/** Bytes of one packed matrix. */
const packedBytes = ({ n, k }: Matmul, plan: Plan): number => 4 * k * roundUp(n, plan.columnsInTile);

function packPhase(mm: Matmul, plan: Plan, places: Places, pack: PackPanels) {
  const { n, k } = mm;
  const distinct = distinctB(mm);
  const columns = Math.max(32, roundUp(Math.ceil(16384 / plan.kBlock), 32));
  const columnBlocks = ceil(n, columns);
  const kBlocks = ceil(k, plan.kBlock);
  const padded = roundUp(n, plan.columnsInTile);
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const i = () => f.local("i32");
  const [rest, item, k0, length, j0, j1, j, from, to] = [i(), i(), i(), i(), i(), i(), i(), i(), i()] as const;
  const code = f.finish(
    "pack",
    forLoop(begin, end, 1, [
      rest.set(i32.divU(begin.get, i32.const(columnBlocks))),
      j0.set(i32.mul(i32.remU(begin.get, i32.const(columnBlocks)), i32.const(columns))),
      j1.set(minimum(i32.add(j0.get, i32.const(columns)), i32.const(n))),
      item.set(i32.divU(rest.get, i32.const(kBlocks))),
      k0.set(i32.mul(i32.remU(rest.get, i32.const(kBlocks)), i32.const(plan.kBlock))),
      length.set(minimum(i32.const(plan.kBlock), i32.sub(i32.const(k), k0.get))),
      from.set(
        i32.add(
          i32.add(i32.load(args.get, argumentOf(mm, "b")), batchOffset(distinct.only, "b", item)),
          i32.mul(k0.get, i32.const(4 * mm.b.row)),
        ),
      ),
      to.set(
        i32.add(
          i32.add(sharedPlace(args, places), i32.mul(item.get, i32.const(packedBytes(mm, plan)))),
          i32.mul(k0.get, i32.const(4 * padded)),
        ),
      ),
      pack(from.get, to.get, length, j0, j1, j),
    ]),
  );
  const units = distinct.count * kBlocks * columnBlocks;
  const grain = Math.max(1, Math.floor(16384 / (Math.min(plan.kBlock, k) * Math.min(columns, n))));
  return { code, phase: { run: "pack", units, grain }, bytes: distinct.count * packedBytes(mm, plan) };
}

/** Functions that the multiplication calls: tiles by width, panels of A. */
interface Called {
  readonly wide: TilePair;
  readonly narrow: TilePair;
  readonly packFullA: number;
  readonly packLastA: number;
}

/** Tiles of as many rows as fit, and of those that are left. */
interface TilePair {
  readonly full: number | undefined;
  readonly last: number | undefined;
}

function calledBy({ m, n, a, b }: Matmul, plan: Plan, add: (f: WasmFunction) => number): Called {
  const { rowsInTile, columnsInTile, packA } = plan;
  const rowRest = m % rowsInTile;
  const shape = {
    aRow: packA ? 4 : 4 * a.row,
    aStep: packA ? 16 : 4 * a.column,
    bStep: plan.b === "direct" ? 4 * b.row : 4 * columnsInTile,
    cRow: 4 * n,
  };
  const tile = (rows: number, columns: number): number | undefined =>
    rows === 0 || columns === 0 ? undefined : add(tileFunction(`tile${rows}x${columns}`, { ...shape, rows, columns }));
  const [wide, narrow] = [columnsInTile, n % columnsInTile].map((columns) => ({
    full: m < rowsInTile ? undefined : tile(rowsInTile, columns),
    last: tile(rowRest, columns),
  })) as [TilePair, TilePair];
  const aPanel = { width: 4, laneStride: 4 * a.row, stepStride: 4 * a.column };
  const packFullA = packA ? add(packFunction("packA", { ...aPanel, lanes: 4 })) : 0;
  const packLastA = packA && rowRest > 0 ? add(packFunction("packLastA", { ...aPanel, lanes: rowRest })) : packFullA;
  return { wide, narrow, packFullA, packLastA };
}

const LOCALS = [
  ...(["batch", "rest", "i0", "i1", "iFull", "j0", "j1", "jFull", "k0", "length"] as const),
  ...(["aBase", "bBase", "cBase", "aNow", "bNow", "cNow", "aAt", "bAt", "cAt", "i", "j", "temporary"] as const),
] as const;

/** The multiplication in the making. */
interface Multiply {
  readonly mm: Matmul;
  readonly plan: Plan;
  readonly places: Places;
  readonly called: Called;
  readonly packB: PackPanels | undefined;
  readonly args: Local;
  readonly scratch: Local;
  readonly local: Readonly<Record<(typeof LOCALS)[number], Local>>;
}

/** Bytes of A's panels in a thread's scratch. */
const bytesOfA = ({ packA, rows, kBlock }: Plan): number => (packA ? 4 * rows * kBlock : 0);

function multiplyPhase(
  mm: Matmul,
  plan: Plan,
  places: Places,
  packB: PackPanels | undefined,
  add: (f: WasmFunction) => number,
) {
  const { m, n, k } = mm;
  const called = calledBy(mm, plan, add);
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, scratch] = f.params;
  const local = Object.fromEntries(LOCALS.map((name) => [name, f.local("i32")])) as Multiply["local"];
  const multiply: Multiply = { mm, plan, places, called, packB, args, scratch, local };
  const { k0, length } = local;
  const code = f.finish(
    "multiply",
    forLoop(begin, end, 1, [
      placeUnit(multiply, begin),
      k0.set(i32.const(0)),
      whileLess(k0, i32.const(k), [
        length.set(minimum(i32.const(plan.kBlock), i32.sub(i32.const(k), k0.get))),
        operandsOfBlock(multiply),
        overColumns(multiply),
        k0.set(i32.add(k0.get, length.get)),
      ]),
    ]),
  );
  const work = Math.min(plan.rows, m) * Math.min(plan.columns, n) * k;
  const units = mm.batches * ceil(m, plan.rows) * ceil(n, plan.columns);
  return {
    code,
    phase: { run: "multiply", units, grain: Math.max(1, Math.floor(GRAIN / work)) },
    scratchBytes: bytesOfA(plan) + (plan.b === "scratch" ? packedBytes(mm, plan) : 0),
  };
}

/** The rows and columns of a unit, and where its operands and its result begin. */
function placeUnit({ mm, plan, places, args, scratch, local }: Multiply, unit: Local): Code {
  const { m, n } = mm;
  const { batch, rest, i0, i1, iFull, j0, j1, jFull, aBase, bBase, cBase } = local;
  const rowBlocks = ceil(m, plan.rows);
  const columnBlocks = ceil(n, plan.columns);
  const placeOfB: Code =
    plan.b === "direct"
      ? bBase.set(i32.add(i32.load(args.get, argumentOf(mm, "b")), batchOffset(mm, "b", batch)))
      : plan.b === "shared"
        ? bBase.set(
            i32.add(sharedPlace(args, places), i32.mul(distinctB(mm).place(batch), i32.const(packedBytes(mm, plan)))),
          )
        : bBase.set(i32.add(scratch.get, i32.const(bytesOfA(plan))));
  return [
    batch.set(i32.divU(unit.get, i32.const(rowBlocks * columnBlocks))),
    rest.set(i32.remU(unit.get, i32.const(rowBlocks * columnBlocks))),
    i0.set(i32.mul(i32.remU(rest.get, i32.const(rowBlocks)), i32.const(plan.rows))),
    i1.set(minimum(i32.add(i0.get, i32.const(plan.rows)), i32.const(m))),
    iFull.set(i32.sub(i1.get, i32.const(plan.rowsInTile - 1))),
    j0.set(i32.mul(i32.divU(rest.get, i32.const(rowBlocks)), i32.const(plan.columns))),
    j1.set(minimum(i32.add(j0.get, i32.const(plan.columns)), i32.const(n))),
    jFull.set(i32.sub(j1.get, i32.const(plan.columnsInTile - 1))),
    aBase.set(i32.add(i32.load(args.get, argumentOf(mm, "a")), batchOffset(mm, "a", batch))),
    placeOfB,
    cBase.set(
      i32.add(
        i32.load(args.get, places.result),
        i32.mul(i32.add(i32.mul(batch.get, i32.const(m)), i0.get), i32.const(4 * n)),
      ),
    ),
  ];
}

/** Where both operands of a block along k are read: in panels where they are packed. */
function operandsOfBlock(multiply: Multiply): Code {
  const { mm, plan, packB, args, local } = multiply;
  const { n, a, b } = mm;
  const { batch, i0, k0, length, aBase, bBase, aNow, bNow, j, temporary } = local;
  const stepOfB = plan.b === "direct" ? b.row : roundUp(n, plan.columnsInTile);
  const packOwnB: Code =
    plan.b === "scratch" && packB !== undefined
      ? [
          temporary.set(
            i32.add(
              i32.add(i32.load(args.get, argumentOf(mm, "b")), batchOffset(mm, "b", batch)),
              i32.mul(k0.get, i32.const(4 * b.row)),
            ),
          ),
          packB(temporary.get, bNow.get, length, 0, n, j),
        ]
      : [];
  return [
    bNow.set(i32.add(bBase.get, i32.mul(k0.get, i32.const(4 * stepOfB)))),
    packOwnB,
    plan.packA
      ? packRowsOfA(multiply)
      : aNow.set(
          i32.add(aBase.get, i32.add(i32.mul(i0.get, i32.const(4 * a.row)), i32.mul(k0.get, i32.const(4 * a.column)))),
        ),
  ];
}

/** The rows of A of the unit as panels in scratch. */
function packRowsOfA({ mm: { m, a }, plan, called: { packFullA, packLastA }, scratch, local }: Multiply): Code {
  const { i0, i1, k0, length, aBase, aNow, aAt, i, temporary } = local;
  return [
    i.set(i0.get),
    temporary.set(scratch.get),
    whileLess(i, i1.get, [
      aAt.set(
        i32.add(aBase.get, i32.add(i32.mul(i.get, i32.const(4 * a.row)), i32.mul(k0.get, i32.const(4 * a.column)))),
      ),
      m % plan.rowsInTile === 0
        ? call(packFullA, aAt.get, temporary.get, length.get)
        : when(
            i32.leS(i.get, i32.const(m - 4)),
            call(packFullA, aAt.get, temporary.get, length.get),
            call(packLastA, aAt.get, temporary.get, length.get),
          ),
      temporary.set(i32.add(temporary.get, i32.shl(length.get, i32.const(4)))),
      step(i, 4),
    ]),
    aNow.set(scratch.get),
  ];
}

/** All columns of the unit, a tile's at a time. */
function overColumns(multiply: Multiply): Code {
  const { mm, plan, called, local } = multiply;
  const { j0, j1, jFull, length, cBase, bNow, cNow, bAt, j } = local;
  const bPanel = (): Code =>
    plan.b === "direct"
      ? i32.add(bNow.get, i32.shl(j.get, i32.const(2)))
      : i32.add(bNow.get, i32.mul(j.get, i32.shl(length.get, i32.const(2))));
  const columns = (tiles: TilePair): Code => [
    bAt.set(bPanel()),
    cNow.set(i32.add(cBase.get, i32.shl(j.get, i32.const(2)))),
    overRows(multiply, tiles),
  ];
  return [
    j.set(j0.get),
    whileLess(j, jFull.get, [columns(called.wide), step(j, plan.columnsInTile)]),
    mm.n % plan.columnsInTile === 0 ? [] : when(i32.ltS(j.get, j1.get), columns(called.narrow)),
  ];
}

/** All row panels of the unit against the panel of B at bAt. */
function overRows({ mm: { n, a }, plan: { packA, rowsInTile }, local }: Multiply, { full, last }: TilePair): Code {
  const { i0, i1, iFull, k0, length, aNow, cNow, aAt, bAt, cAt, i } = local;
  const aStride = packA ? i32.shl(length.get, i32.const(4)) : i32.const(4 * a.row * rowsInTile);
  const run = (f: number): Code => call(f, aAt.get, bAt.get, cAt.get, length.get, k0.get);
  return [
    i.set(i0.get),
    aAt.set(aNow.get),
    cAt.set(cNow.get),
    full === undefined
      ? []
      : whileLess(i, iFull.get, [
          run(full),
          aAt.set(i32.add(aAt.get, aStride)),
          step(cAt, 4 * n * rowsInTile),
          step(i, rowsInTile),
        ]),
    last === undefined ? [] : when(i32.ltS(i.get, i1.get), run(last)),
  ];
}
