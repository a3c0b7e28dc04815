/** The loop over the units of a phase: rows, counted like an odometer. */
import type { LoopKernel } from "../../../ir/loop.js";
import { block, brIf, i32, loop, select, when, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch } from "../wasm/scratch.js";
import type { Counted, Cursors } from "./cursors.js";
import type { LoopPlan } from "./plan.js";

/** An axis of units: steps along `axis` by `factor`. */
export interface RowAxis extends Counted {
  readonly extent: number;
}

/**
 * The axes of units: all output axes but the vector axis, then its blocks, then tiles of rows.
 * @param tileRows Set to the rows of the present tile.
 */
export function rowsOf({ extents }: LoopKernel, plan: LoopPlan, s: Scratch, tileRows: Local): readonly RowAxis[] {
  const { axis, tile } = plan;
  const rows: RowAxis[] = extents.flatMap((extent, k) =>
    k === axis || k === tile?.axis ? [] : [{ extent, axis: k, factor: 1, count: s.local("i32") }],
  );
  const cut = axis >= 0 && plan.kind !== "along" ? extents[axis]! : 1;
  if (cut > plan.block && plan.kind !== "along")
    rows.push({ extent: Math.ceil(cut / plan.block), axis, factor: plan.block, count: s.local("i32") });
  if (tile !== undefined) {
    const extent = extents[tile.axis]!;
    const count = s.local("i32");
    rows.push({ extent: Math.ceil(extent / tile.rows), axis: tile.axis, factor: tile.rows, count });
    const left = i32.sub(i32.const(extent), i32.mul(count.get, i32.const(tile.rows)));
    s.body.push(tileRows.set(select(left, i32.const(tile.rows), i32.ltS(left, i32.const(tile.rows)))));
  }
  return rows;
}

/** Runs `row` for each unit from `begin` to `end`. */
export function overRows(
  { args, begin, end, rest }: Readonly<Record<"args" | "begin" | "end" | "rest", Local>>,
  rows: readonly RowAxis[],
  cursors: Cursors,
  row: Code,
): Code {
  const start: Code[] = [
    ...cursors.loadBases(args),
    rest.set(begin.get),
    ...rows
      .toReversed()
      .map(({ extent, count }, k) =>
        k === rows.length - 1
          ? count.set(rest.get)
          : [count.set(i32.remU(rest.get, i32.const(extent))), rest.set(i32.divU(rest.get, i32.const(extent)))],
      ),
    ...cursors.begin(rows),
  ];
  /** From one row to the next. */
  const advance = (k: number, wrapped: RowAxis | undefined): Code => {
    const own = rows[k];
    if (own === undefined) return [];
    const steps = cursors.step(
      (c) =>
        c[own.axis]! * own.factor - (wrapped === undefined ? 0 : c[wrapped.axis]! * wrapped.factor * wrapped.extent),
    );
    return [
      own.count.set(i32.add(own.count.get, i32.const(1))),
      ...steps,
      k === 0
        ? []
        : when(i32.eq(own.count.get, i32.const(own.extent)), [own.count.set(i32.const(0)), advance(k - 1, own)]),
    ];
  };
  return block([
    brIf(0, i32.geS(begin.get, end.get)),
    start,
    loop([
      row,
      begin.set(i32.add(begin.get, i32.const(1))),
      brIf(1, i32.geS(begin.get, end.get)),
      advance(rows.length - 1, undefined),
      [0x0c, 0],
    ]),
  ]);
}
