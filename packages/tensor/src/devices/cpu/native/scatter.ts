/** Adds rows into zeros by index. A thread owns a block of columns and takes all rows in order, so sums do not depend on the threads. */
import {
  buildModule,
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  select,
  v128,
  type Code,
  type Local,
} from "../wasm/emitter.js";
import type { CpuProgram } from "../program.js";

/** Columns of a unit of work. */
const BLOCK = 16;

/** f32 updates [rows, inner] and i32 indices [rows] (clamped to 0..size-1) -> f32 [size, inner]. */
export function scatterAddProgram(
  { rows, inner, size }: { readonly rows: number; readonly inner: number; readonly size: number },
  memory: { readonly shared: boolean },
): CpuProgram {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const local = (): Local => f.local("i32");
  const [updates, indices, out, row, index, from, to, column, first, last, lastVector] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ];
  const at = (base: Local): Code => i32.add(base.get, i32.shl(column.get, i32.const(2)));
  const forColumns = (vector: Code, scalar: Code): Code => [
    column.set(first.get),
    forLoop(column, lastVector, 4, vector),
    forLoop(column, last, 1, scalar),
  ];
  const least = (x: Code, y: Code): Code => select(x, y, i32.ltS(x, y));
  const body: Code = [
    updates.set(i32.load(args.get, 0)),
    indices.set(i32.load(args.get, 4)),
    out.set(i32.load(args.get, 8)),
    first.set(i32.mul(begin.get, i32.const(BLOCK))),
    last.set(least(i32.mul(end.get, i32.const(BLOCK)), i32.const(inner))),
    lastVector.set(i32.sub(last.get, i32.const(3))),
    row.set(i32.const(0)),
    forLoop(row, size, 1, [
      to.set(i32.add(out.get, i32.mul(row.get, i32.const(4 * inner)))),
      forColumns(v128.store(at(to), f32x4.const(0)), f32.store(at(to), f32.const(0))),
    ]),
    row.set(i32.const(0)),
    forLoop(row, rows, 1, [
      index.set(i32.load(i32.add(indices.get, i32.shl(row.get, i32.const(2))))),
      index.set(least(index.get, i32.const(size - 1))),
      index.set(select(i32.const(0), index.get, i32.ltS(index.get, i32.const(0)))),
      from.set(i32.add(updates.get, i32.mul(row.get, i32.const(4 * inner)))),
      to.set(i32.add(out.get, i32.mul(index.get, i32.const(4 * inner)))),
      forColumns(
        v128.store(at(to), f32x4.add(v128.load(at(to)), v128.load(at(from)))),
        f32.store(at(to), f32.add(f32.load(at(to)), f32.load(at(from)))),
      ),
    ]),
  ];
  return {
    name: `scatterAdd ${rows}x${inner} into ${size}`,
    module: buildModule({ memory, functions: [f.finish("run", body)] }),
    phases: [
      { run: "run", units: Math.ceil(inner / BLOCK), grain: rows * inner < 16384 ? Math.ceil(inner / BLOCK) : 1 },
    ],
    scratchBytes: 0,
    sharedBytes: 0,
  };
}
