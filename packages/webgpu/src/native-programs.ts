/** Programs of the ops that are no loops over scalar expressions: one entry an op. */
import { sizeOf } from "@seqmix/tensor";
import { aroundAxis, matmulSpecOf, type CumsumAttributes, type LinearScanAttributes, type NativeCall } from "@seqmix/tensor/backend";
import { matmulProgram } from "./matmul-program.js";
import type { GpuProgram } from "./program.js";
import { scanProgram } from "./scan-program.js";
import { scatterAddProgram } from "./scatter-program.js";

const programs: Readonly<Record<string, (call: NativeCall) => GpuProgram>> = {
  matmul: (call) => matmulProgram(matmulSpecOf(call)),
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
