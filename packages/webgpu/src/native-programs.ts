/** Programs of the ops that are no loops over scalar expressions: one entry an op. */
import { sizeOf } from "@seqmix/tensor";
import { aroundAxis, type CumsumAttributes, type LinearScanAttributes, type NativeCall, type NativeOperand } from "@seqmix/tensor/backend";
import { matmulProgram, type MatmulOperand } from "./matmul-program.js";
import type { GpuProgram } from "./program.js";
import { scanProgram } from "./scan-program.js";
import { scatterAddProgram } from "./scatter-program.js";

const programs: Readonly<Record<string, (call: NativeCall) => GpuProgram>> = {
  matmul({ inputs: [a, b], outputs: [c] }) {
    const rank = c!.shape.length;
    const [m, n] = c!.shape.slice(-2) as [number, number];
    const operand = ({ offset, strides }: NativeOperand): MatmulOperand => ({ offset, batch: strides.slice(0, -2), row: strides[rank - 2]!, column: strides[rank - 1]! });
    return matmulProgram({ batch: c!.shape.slice(0, -2), m, n, k: a!.shape[rank - 1]!, a: operand(a!), b: operand(b!) });
  },
  cumsum({ attributes, outputs: [y] }) {
    const { axis, reverse } = attributes as CumsumAttributes;
    return scanProgram({ ...aroundAxis(y!.shape, axis), reverse, decays: false, initial: false });
  },
  linearScan({ attributes, inputs, outputs: [y] }) {
    const { axis, reverse } = attributes as LinearScanAttributes;
    return scanProgram({ ...aroundAxis(y!.shape, axis), reverse, decays: true, initial: inputs.length > 2 });
  },
  scatterAdd({ inputs: [, indices], outputs: [y] }) {
    return scatterAddProgram({ rows: sizeOf(indices!.shape), inner: sizeOf(y!.shape.slice(1)), size: y!.shape[0]! });
  },
};

/** The program of a native call. */
export function nativeProgram(call: NativeCall): GpuProgram {
  const make = programs[call.op];
  if (!make) throw new TypeError(`webgpu: expected a program for op ${call.op}, got none; add one to native-programs.ts`);
  return make(call);
}
