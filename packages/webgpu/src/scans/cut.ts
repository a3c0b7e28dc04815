/** Scans whose operands exceed what a pass may bind: cut between rows. */
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { half, joined, windowOf, type Part } from "../native/parts.js";
import { scanProgram, type ScanShape } from "./program.js";

/** Buffers: (a,) b (, h0), h. */
export function cutScan(shape: ScanShape, limits: GpuLimits): GpuProgram {
  const whole = scanProgram(shape);
  const { outer, length, inner, decays, initial } = shape;
  const row = length * inner;
  if (bytesOf(outer * row) <= limits.bytes) return whole;
  const values = decays ? [0, 1] : [0];
  const parts: Part[] = [];
  const run = (from: number, count: number): void => {
    // where states [outer, inner] may be cut, results may be too
    const first = bytesOf(count * row) > limits.bytes ? half(count, initial ? inner : row) : undefined;
    if (first !== undefined) {
      run(from, first);
      run(from + first, count - first);
      return;
    }
    const window = windowOf(from * row, count * row);
    const state = initial ? [{ buffer: values.length, window: windowOf(from * inner, count * inner) }] : [];
    parts.push({
      program: scanProgram({ ...shape, outer: count }),
      buffers: [
        ...values.map((buffer) => ({ buffer, window })),
        ...state,
        { buffer: values.length + state.length, window },
      ],
    });
  };
  run(0, outer);
  return joined(
    `${decays ? "scan" : "running sum"} ${outer} x ${length} x ${inner}`,
    values.length + (initial ? 2 : 1),
    parts,
    [],
  );
}
