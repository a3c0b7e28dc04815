/** A program that fills a buffer with zeros. */
import { buildModule, functionBuilder, i32, memory as bulk, select } from "../wasm/emitter.js";
import type { CpuProgram } from "../program.js";

const BLOCK = 16384;

/** Zeros in the `size` 4-byte elements of the buffer at place `argument` of the addresses. */
export function zeroProgram(
  name: string,
  size: number,
  argument: number,
  memory: { readonly shared: boolean },
): CpuProgram {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const first = i32.mul(begin.get, i32.const(4 * BLOCK));
  const last = f.local("i32");
  const body = [
    last.set(i32.mul(end.get, i32.const(4 * BLOCK))),
    last.set(select(last.get, i32.const(4 * size), i32.ltU(last.get, i32.const(4 * size)))),
    bulk.fill(i32.add(i32.load(args.get, 4 * argument), first), i32.const(0), i32.sub(last.get, first)),
  ];
  return {
    name,
    module: buildModule({ memory, functions: [f.finish("zero", body)] }),
    phases: [{ run: "zero", units: Math.ceil(size / BLOCK), grain: 4 }],
    scratchBytes: 0,
    sharedBytes: 0,
  };
}
