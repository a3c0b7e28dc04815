/** Programs of the ops that are no loops over scalar expressions: one entry an op. */
import { chooseVariant, type AnyKernelRecord, type KernelCase, type KernelVariant } from "../../../graph/kernel.js";
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
  kernel: (call, memory) => variantOf(call).forward(kaseOf(call), memory),
  kernelGradient: (call, memory) => variantOf(call).backward!(kaseOf(call), memory),
};

interface KernelStep {
  readonly record: AnyKernelRecord;
  readonly kase: KernelCase<unknown>;
  readonly gradient: boolean;
}

const kaseOf = ({ attributes }: NativeCall): KernelCase<unknown> => (attributes as KernelStep).kase;

/** The variant that runs a kernel call on this device. */
export function variantOf({ attributes }: NativeCall): KernelVariant<unknown> {
  const { record, kase, gradient } = attributes as KernelStep;
  return chooseVariant({ record, kase, gradient }, "cpu") as KernelVariant<unknown>;
}

/** The program of a native call. */
export function nativeProgram(call: NativeCall, memory: Memory): CpuProgram {
  const make = programs[call.op];
  if (!make) throw new TypeError(`cpu: expected a program for op ${call.op}, got none; add one to native-programs.ts`);
  return make(call, memory);
}
