/** Products of blocks, made of the register tiles of the matrix product. */
import {
  call,
  f32,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  packFunction,
  tileFunction,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import { plus, times } from "./cpu-layout.js";

/** Columns of a panel. */
export const PANEL = 8;

/** Adds a function to the module and gives its position. */
export type Add = (f: WasmFunction) => number;

/** Strides in bytes of a product c[rows, columns] += a[rows, count] b[count, columns]. */
interface ProductShape {
  /** Rows behind the last full four, in the last block of all. */
  readonly rowsRest: number;
  /** Columns behind the last full panel. */
  readonly columnsRest: number;
  readonly aRow: number;
  readonly aStep: number;
  readonly bStep: number;
  /** From a panel of b to the next. */
  readonly bPanel: number;
  readonly cRow: number;
}

/** Position of a function (a, b, c, rows, panels, count, accumulate): the product of `rows` rows and of `panels` full panels and the rest. */
export function productFunction(add: Add, name: string, shape: ProductShape): number {
  const { rowsRest, columnsRest, aRow, aStep, bStep, bPanel, cRow } = shape;
  const tile = (rows: number, columns: number): number | undefined =>
    rows === 0 || columns === 0
      ? undefined
      : add(tileFunction(`${name}${rows}x${columns}`, { rows, columns, aRow, aStep, bStep, cRow }));
  const [full, fullRest] = [tile(4, PANEL), tile(rowsRest, PANEL)];
  const [last, lastRest] = [tile(4, columnsRest), tile(rowsRest, columnsRest)];
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [a, b, c, rows, panels, count, accumulate] = f.params;
  const [left, aAt, cAt] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const overRows = (four: number | undefined, rest: number | undefined): Code => {
    const run = (position: number): Code => call(position, aAt.get, b.get, cAt.get, count.get, accumulate.get);
    return [
      left.set(rows.get),
      aAt.set(a.get),
      cAt.set(c.get),
      whileLoop(i32.geS(left.get, i32.const(4)), [
        run(four!),
        aAt.set(plus(aAt.get, 4 * aRow)),
        cAt.set(plus(cAt.get, 4 * cRow)),
        left.set(plus(left.get, -4)),
      ]),
      rest === undefined ? [] : when(left.get, run(rest)),
    ];
  };
  return add(
    f.finish(name, [
      whileLoop(panels.get, [
        overRows(full, fullRest),
        b.set(plus(b.get, bPanel)),
        c.set(plus(c.get, 4 * PANEL)),
        panels.set(plus(panels.get, -1)),
      ]),
      columnsRest === 0 ? [] : overRows(last, lastRest),
    ]),
  );
}

/** Position of a function (from, to, count): packs `count` rows of `width` numbers as panels [width][8], zeros behind the last row. */
export function panelsFunction(add: Add, name: string, width: number): number {
  const full = add(packFunction(`${name}Full`, { width: PANEL, lanes: PANEL, laneStride: 4 * width, stepStride: 4 }));
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [from, to, count] = f.params;
  const [lane, step, at] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const bytes = 4 * PANEL * width;
  return add(
    f.finish(name, [
      whileLoop(i32.geS(count.get, i32.const(PANEL)), [
        call(full, from.get, to.get, i32.const(width)),
        from.set(plus(from.get, bytes)),
        to.set(plus(to.get, bytes)),
        count.set(plus(count.get, -PANEL)),
      ]),
      when(count.get, [
        bulk.fill(to.get, i32.const(0), i32.const(bytes)),
        forLoop(lane, count, 1, [
          step.set(i32.const(0)),
          at.set(plus(to.get, times(lane.get, 4))),
          forLoop(step, width, 1, [
            f32.store(at.get, f32.load(from.get)),
            from.set(plus(from.get, 4)),
            at.set(plus(at.get, 4 * PANEL)),
          ]),
        ]),
      ]),
    ]),
  );
}

/** ceil(count / 8). */
export const panelsOf = (count: Local): Code => i32.shrU(plus(count.get, PANEL - 1), i32.const(3));
