/** The sum of equally long arrays that follow each other in the shared block. */
import {
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  select,
  v128,
  when,
  whileLoop,
  type Code,
  type WasmFunction,
} from "./emitter.js";
import { storeLanes } from "../matmul/code.js";

/** Elements of a unit. */
export const SUM_BLOCK = 512;

/** Units are blocks of the result, the third address; the `count` arrays of `size` elements are at the fourth. */
export function sumFunction(name: string, count: number, size: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const [at, stop, from, to, part] = [
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
  ] as const;
  const sum = f.local("v128");
  const summed: Code = [
    from.set(i32.add(i32.load(args.get, 12), i32.shl(at.get, i32.const(2)))),
    to.set(i32.add(i32.load(args.get, 8), i32.shl(at.get, i32.const(2)))),
    sum.set(v128.load(from.get)),
    part.set(i32.const(1)),
    forLoop(part, count, 1, [
      from.set(i32.add(from.get, i32.const(4 * size))),
      sum.set(f32x4.add(sum.get, v128.load(from.get))),
    ]),
  ];
  const last = size % 4;
  return f.finish(name, [
    at.set(i32.mul(begin.get, i32.const(SUM_BLOCK))),
    stop.set(i32.mul(end.get, i32.const(SUM_BLOCK))),
    stop.set(select(stop.get, i32.const(size), i32.ltS(stop.get, i32.const(size)))),
    whileLoop(i32.leS(at.get, i32.sub(stop.get, i32.const(4))), [
      summed,
      v128.store(to.get, sum.get),
      at.set(i32.add(at.get, i32.const(4))),
    ]),
    last === 0 ? [] : when(i32.ltS(at.get, stop.get), [summed, storeLanes(to, 0, sum, last)]),
  ]);
}
