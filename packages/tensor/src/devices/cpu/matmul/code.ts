/** The inner functions of the matrix product: register tiles and panel packing. Strides here are in bytes. */
import {
  brIf,
  functionBuilder,
  i32,
  loop,
  shuffle32,
  v128,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../wasm/emitter.js";
import { multiplyAdd } from "../wasm/multiply-add.js";

/** An address at a constant distance, which may be negative. */
export const displaced = (address: Local, bytes: number): readonly [Code, number] =>
  bytes >= 0 ? [address.get, bytes] : [i32.add(address.get, i32.const(bytes)), 0];

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const advance = (local: Local, bytes: number): Code => local.set(i32.add(local.get, i32.const(bytes)));

/** Stores the first `count` lanes. */
export function storeLanes(address: Local, offset: number, value: Local, count: number): Code {
  if (count >= 4) return v128.store(address.get, value.get, offset);
  return range(count).map((lane) => v128.store32Lane(address.get, value.get, lane, offset + 4 * lane));
}

export interface TileShape {
  readonly rows: number;
  /** Columns stored; up to three more are read. */
  readonly columns: number;
  readonly aRow: number;
  readonly aStep: number;
  readonly bStep: number;
  readonly cRow: number;
}

/**
 * (a, b, c, count, accumulate): c[rows, columns] = or += sum over `count` >= 1 steps of a's column times b's row.
 * `rows` times the vectors in `columns` is at most 8: more accumulators would not stay in registers.
 */
export function tileFunction(name: string, shape: TileShape): WasmFunction {
  const { rows, columns, aRow, aStep, bStep, cRow } = shape;
  const vectors = Math.ceil(columns / 4);
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32"]);
  const [a, b, c, count, accumulate] = f.params;
  const sums = range(rows).map(() => range(vectors).map(() => f.local("v128")));
  const right = range(vectors).map(() => f.local("v128"));
  const left = f.local("v128");
  // A single row has nothing to share a vector of B with: no local for it.
  const single = rows === 1;
  return f.finish(name, [
    whenAccumulating(
      accumulate,
      sums.map((row, i) => row.map((sum, v) => sum.set(v128.load(c.get, i * cRow + 16 * v)))),
    ),
    loop([
      single ? [] : right.map((vector, v) => vector.set(v128.load(b.get, 16 * v))),
      sums.map((row, i) => [
        left.set(v128.load32Splat(...displaced(a, i * aRow))),
        row.map((sum, v) =>
          sum.set(multiplyAdd(left.get, single ? v128.load(b.get, 16 * v) : (right[v]?.get ?? []), sum.get)),
        ),
      ]),
      advance(a, aStep),
      advance(b, bStep),
      brIf(0, count.tee(i32.sub(count.get, i32.const(1)))),
    ]),
    sums.map((row, i) => row.map((sum, v) => storeLanes(c, i * cRow + 16 * v, sum, columns - 4 * v))),
  ]);
}

const whenAccumulating = (flag: Local, then: Code): Code => [flag.get, 0x04, 0x40, then, 0x0b];

export interface PanelShape {
  /** Lanes a step of the packed panel has, a multiple of 4. */
  readonly width: number;
  /** Lanes that exist; the others are left arbitrary. */
  readonly lanes: number;
  readonly laneStride: number;
  readonly stepStride: number;
}

/** (from, to, count): packs `count` steps of a panel as [step][lane]. */
export function packFunction(name: string, shape: PanelShape): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [from, to, count] = f.params;
  const { width, stepStride } = shape;
  const vectors = range(Math.ceil(shape.lanes / 4));
  const byStep = (step: Code): Code =>
    whileLoop(count.get, [step, advance(from, stepStride), advance(to, 4 * width), advance(count, -1)]);
  if (shape.laneStride === 4) {
    return f.finish(name, byStep(vectors.map((v) => v128.store(to.get, v128.load(from.get, 16 * v), 16 * v))));
  }
  const laneAt = (lane: number) => displaced(from, Math.min(lane, shape.lanes - 1) * shape.laneStride);
  const gathered = (v: number): Code =>
    range(4).reduce<Code>((vector, lane) => {
      const [address, offset] = laneAt(4 * v + lane);
      return lane === 0 ? v128.load32Zero(address, offset) : v128.load32Lane(address, vector, lane, offset);
    }, []);
  const steps = byStep(vectors.map((v) => v128.store(to.get, gathered(v), 16 * v)));
  if (stepStride !== 4) return f.finish(name, steps);
  const rows = range(4).map(() => f.local("v128"));
  const pairs = range(4).map(() => f.local("v128"));
  const blocks = whileLoop(i32.geS(count.get, i32.const(4)), [
    vectors.map((v) => [
      rows.map((row, lane) => row.set(v128.load(...laneAt(4 * v + lane)))),
      transposed(rows, pairs).map((column, step) => v128.store(to.get, column, 4 * width * step + 16 * v)),
    ]),
    advance(from, 16),
    advance(to, 16 * width),
    advance(count, -4),
  ]);
  return f.finish(name, [blocks, steps]);
}

/** The four columns of a 4x4 matrix of rows; the first is preceded by what sets `pairs`. */
export function transposed(rows: readonly Local[], pairs: readonly Local[]): readonly Code[] {
  const [r0, r1, r2, r3] = rows as readonly [Local, Local, Local, Local];
  const [p0, p1, p2, p3] = pairs as readonly [Local, Local, Local, Local];
  // Set with `tee` in the first column: p0, p1 there, p2, p3 in the third.
  const low = (a: Code, b: Code): Code => shuffle32(a, b, 0, 1, 4, 5);
  const high = (a: Code, b: Code): Code => shuffle32(a, b, 2, 3, 6, 7);
  return [
    low(p0.tee(shuffle32(r0.get, r1.get, 0, 4, 1, 5)), p1.tee(shuffle32(r2.get, r3.get, 0, 4, 1, 5))),
    high(p0.get, p1.get),
    low(p2.tee(shuffle32(r0.get, r1.get, 2, 6, 3, 7)), p3.tee(shuffle32(r2.get, r3.get, 2, 6, 3, 7))),
    high(p2.get, p3.get),
  ];
}

/** (from, to, count, distance): packs four panels of 8 adjacent columns at once, `distance` bytes apart: whole cache lines. */
export function packWideFunction(name: string, stepStride: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [from, to, count, distance] = f.params;
  const target = range(4).map((p) => (p === 0 ? to : f.local("i32")));
  const step = target.map((panel, p) =>
    range(2).map((v) => v128.store(panel.get, v128.load(from.get, 32 * p + 16 * v), 16 * v)),
  );
  return f.finish(name, [
    target.slice(1).map((panel, p) => panel.set(i32.add(target[p]?.get ?? [], distance.get))),
    whileLoop(count.get, [
      step,
      advance(from, stepStride),
      target.map((panel) => advance(panel, 32)),
      advance(count, -1),
    ]),
  ]);
}
