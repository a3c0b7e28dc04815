/** The simplest equivalent form of a matrix product. */
import type { MatmulSpec } from "../../../plan/matmul-spec.js";
import { i32, type Code, type Local, type WasmFunction } from "../wasm/emitter.js";
import type { CpuPhase } from "../program.js";

export interface BatchAxis {
  readonly extent: number;
  readonly a: number;
  readonly b: number;
}

export interface Matrix {
  readonly offset: number;
  readonly row: number;
  readonly column: number;
}

/** The same product with as few batch axes as possible. */
export interface Matmul {
  readonly axes: readonly BatchAxis[];
  /** Product of the axes' extents. */
  readonly batches: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Matrix;
  readonly b: Matrix;
  /** Whether a and b changed places: the addresses' first is then b's. */
  readonly swapped: boolean;
}

/** Where a part of a program writes: the addresses' entry of the result, and its offset in the shared block, whose entry is 12. */
export interface Places {
  readonly result: number;
  readonly sharedOffset: number;
}

/** A program whose module is not built yet. */
export interface ProgramParts {
  readonly functions: readonly WasmFunction[];
  readonly phases: readonly CpuPhase[];
  readonly scratchBytes: number;
  readonly sharedBytes: number;
}

/** Where an operand's address stands among the program's. */
export const argumentOf = (mm: Matmul, which: "a" | "b"): number => ((which === "a") === mm.swapped ? 4 : 0);

export function normalizeMatmul(spec: MatmulSpec): Matmul {
  const axes: BatchAxis[] = [];
  spec.batch.forEach((extent, i) => {
    if (extent === 1) return;
    const axis = { extent, a: spec.a.batch[i] ?? 0, b: spec.b.batch[i] ?? 0 };
    const outer = axes.at(-1);
    if (outer !== undefined && outer.a === axis.a * extent && outer.b === axis.b * extent) {
      axes[axes.length - 1] = { ...axis, extent: outer.extent * extent };
    } else {
      axes.push(axis);
    }
  });
  // Batches that share B and whose rows follow each other are one matrix with more rows.
  let { m } = spec;
  let row = spec.a.row;
  for (let last = axes.at(-1); last !== undefined && last.b === 0; last = axes.at(-1)) {
    if (m === 1) row = last.a;
    else if (last.a !== m * row) break;
    m *= last.extent;
    axes.pop();
  }
  // Strides of axes with one element mean nothing: choose those the fast paths know.
  const { n, k } = spec;
  const a = { offset: spec.a.offset ?? 0, row: m === 1 ? k : row, column: k === 1 ? 1 : spec.a.column };
  const b = {
    offset: spec.b.offset ?? 0,
    row: k === 1 ? n : spec.b.row,
    column: n === 1 && spec.b.row !== 1 ? 1 : spec.b.column,
  };
  const batches = axes.reduce((product, axis) => product * axis.extent, 1);
  if (n === 1 && a.row === 1 && a.column !== 1) {
    // A column of C is as well a row of C transposed, whose right operand, A transposed, then has contiguous rows.
    const swapped = axes.map((axis) => ({ ...axis, a: axis.b, b: axis.a }));
    return {
      axes: swapped,
      batches,
      m: 1,
      n: m,
      k,
      a: { offset: b.offset, row: k, column: b.row },
      b: { offset: a.offset, row: a.column, column: 1 },
      swapped: true,
    };
  }
  return { axes, batches, m, n, k, a, b, swapped: false };
}

/** Bytes from an operand's start to its matrix of the batch, plus its offset. */
export function batchOffset(mm: Matmul, which: "a" | "b", batch: Local): Code {
  let code: Code = i32.const(4 * mm[which].offset);
  let inner = 1;
  for (const [index, axis] of [...mm.axes.entries()].reverse()) {
    const stride = 4 * axis[which];
    if (stride !== 0) {
      const quotient = inner === 1 ? batch.get : i32.divU(batch.get, i32.const(inner));
      const position = index === 0 ? quotient : i32.remU(quotient, i32.const(axis.extent));
      code = i32.add(code, i32.mul(position, i32.const(stride)));
    }
    inner *= axis.extent;
  }
  return code;
}
