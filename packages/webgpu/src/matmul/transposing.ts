/**
 * f16 operands that lie along k, copied for large products so that they lie along their lines (rows of A, columns of B):
 * slices of a tile are whole lines of the cache then, and fragments are loaded from them faster.
 */
import { product, type MatmulSpec } from "@seqmix/tensor/backend";
import { declare, entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { ownExtents } from "./scaling.js";

/** Lines and depths that a workgroup copies, and its threads. */
const LINES = 128,
  DEPTHS = 64,
  THREADS = 256,
  SUBGROUP = 32;
/** Words, of two neighbours along the depth each, that a subgroup reads at once. */
const NEAR = 16;
/** f16 of a vector. */
const VECTOR = 8;

/** An operand's copy. */
export interface Transposed {
  readonly operand: MatmulSpec["a"];
  readonly bytes: number;
  /** Its buffers: the operand, the copy. */
  readonly pass: GpuPass;
}

/** @param spec Its operand in whole vectors of eight along k. */
export function transposed(spec: MatmulSpec, name: "a" | "b"): Transposed {
  const all = name === "a" ? spec.m : spec.n;
  const lines = Math.ceil(all / VECTOR) * VECTOR;
  const own = ownExtents(spec, spec[name]);
  const strides = own.map((extent, axis) => (extent === 1 ? 0 : product(own.slice(axis + 1)) * spec.k * lines));
  const elements = product(own);
  return {
    operand: { batch: strides, ...(name === "a" ? { row: 1, column: lines } : { row: lines, column: 1 }) },
    bytes: 2 * elements * spec.k * lines,
    pass: transposingPass(spec, name, lines, own),
  };
}

function transposingPass(spec: MatmulSpec, name: "a" | "b", lines: number, own: readonly number[]): GpuPass {
  const { offset = 0, batch, row, column } = spec[name];
  const all = name === "a" ? spec.m : spec.n;
  const lineWords = (name === "a" ? row : column) / 2;
  const [blocks, chunks] = [Math.ceil(lines / LINES), Math.ceil(spec.k / DEPTHS)];
  const words = DEPTHS / 2;
  const start = own.map((extent, axis) => {
    const inner = product(own.slice(axis + 1));
    return extent === 1 ? "" : ` + element / ${inner} % ${extent} * ${batch[axis]! / 2}`;
  });
  const eight = Array.from({ length: VECTOR }, (_, e) => e);
  const reads = eight.map((e) => `let w${e} = source[start + min(line + ${e}, ${all - 1}) * ${lineWords} + word];`);
  const pairs = eight.filter((e) => e % 2 === 0);
  const [lower, upper] = [
    pairs.map((e) => `(w${e} & 0xffffu) | (w${e + 1} << 16u)`),
    pairs.map((e) => `(w${e} >> 16u) | (w${e + 1} & 0xffff0000u)`),
  ];
  const body = `let lane = i32(thread);
let element = i32(group) / ${blocks * chunks};
if (element >= ${product(own)}) { return; }
let firstLine = i32(group) / ${chunks} % ${blocks} * ${LINES};
let firstWord = i32(group) % ${chunks} * ${words};
let start = ${offset / 2}${start.join("")};
for (var e = lane; e < ${(words * LINES) / VECTOR}; e += ${THREADS}) {
  let word = firstWord + e / ${SUBGROUP} % ${words / NEAR} * ${NEAR} + e % ${NEAR};
  let line = firstLine + (e / ${(SUBGROUP * words) / NEAR} * ${SUBGROUP / NEAR} + e / ${NEAR} % ${SUBGROUP / NEAR}) * ${VECTOR};
  if ((line >= ${lines}) | (2 * word >= ${spec.k})) { continue; }
  ${reads.join("\n  ")}
  let to = ((element * ${spec.k} + 2 * word) * ${lines} + line) / ${VECTOR};
  copy[to] = vec4<u32>(${lower.join(", ")});
  copy[to + ${lines / VECTOR}] = vec4<u32>(${upper.join(", ")});
}`;
  return {
    code: `${declare(0, "source", "read", "u32")}${declare(1, "copy", "read_write", "vec4<u32>")}${entryPoint(THREADS, body)}`,
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read_write" },
    ],
    groups: product(own) * blocks * chunks,
  };
}
