/** Programs of the ops that are no loops over scalar expressions: one entry an op. */
import { chooseVariant, type CpuVariant, type KernelStep } from "../../../graph/kernel-variant.js";
import { aroundAxis, type CumsumAttributes } from "../../../ops/cumsum.js";
import type { LinearScanAttributes } from "../../../ops/linear-scan.js";
import { matmulSpecOf } from "../../../plan/matmul-spec.js";
import type { NativeCall } from "../../../plan/plan.js";
import { sizeOf } from "../../../graph/shape.js";
import { matmulProgram } from "../matmul/program.js";
import type { CpuProgram } from "../program.js";
import { cumsumProgram, scanProgram } from "../scans/program.js";
import { scatterAddProgram } from "./scatter.js";

type Memory = { readonly shared: boolean };

const programs: Readonly<Record<string, (call: NativeCall, memory: Memory) => CpuProgram>> = {
  matmul: (call, memory) => matmulProgram(matmulSpecOf(call), memory),
  cumsum({ attributes, outputs: [y] }, memory) {
    const { axis, reverse } = attributes as CumsumAttributes;
    return cumsumProgram({ ...aroundAxis(y!.shape, axis), reverse, exclusive: false }, memory);
  },
  linearScan({ attributes, inputs, outputs: [y] }, memory) {
    const { axis, ...how } = attributes as LinearScanAttributes;
    return scanProgram({ ...aroundAxis(y!.shape, axis), ...how, initial: inputs.length > 2 }, memory);
  },
  scatterAdd({ inputs: [, indices], outputs: [y] }, memory) {
    return scatterAddProgram(
      { rows: sizeOf(indices!.shape), inner: sizeOf(y!.shape.slice(1)), size: y!.shape[0]! },
      memory,
    );
  },
  kernel: (call, memory) => cpuVariantOf(call).forward(stepOf(call).kase, memory),
  kernelGradient: (call, memory) => cpuVariantOf(call).backward!(stepOf(call).kase, memory),
};

const stepOf = ({ attributes }: NativeCall): KernelStep => attributes as KernelStep;

/** The variant that runs a kernel call on this device. */
export const cpuVariantOf = (call: NativeCall): CpuVariant<unknown> =>
  chooseVariant(stepOf(call), { device: "cpu" }) as CpuVariant<unknown>;

/** The program of a native call. */
export function nativeProgram(call: NativeCall, memory: Memory): CpuProgram {
  const make = programs[call.op];
  if (!make) throw new TypeError(`cpu: expected a program for op ${call.op}, got none; add one to native-programs.ts`);
  return make(call, memory);
}
