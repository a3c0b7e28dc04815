/** Programs of the ops that are no loops over scalar expressions: one entry an op. A page loads a template when a plan has its op. */
import { aroundAxis, type CumsumAttributes } from "../../../ops/cumsum.js";
import type { LinearScanAttributes } from "../../../ops/linear-scan.js";
import { matmulSpecOf } from "../../../plan/matmul-spec.js";
import type { NativeCall } from "../../../plan/plan.js";
import { whenLoaded } from "../../../graph/on-demand.js";
import { sizeOf } from "../../../graph/shape.js";
import type { CpuProgram } from "../program.js";
import { cpuVariantOf, stepOf } from "./variant.js";

export { cpuVariantOf } from "./variant.js";

type Memory = { readonly shared: boolean };

const programs: Readonly<Record<string, (call: NativeCall, memory: Memory) => Promise<CpuProgram>>> = {
  async matmul(call, memory) {
    const { matmulProgram } = await import("../matmul/program.js");
    return matmulProgram(matmulSpecOf(call), memory);
  },
  async cumsum({ attributes, outputs: [y] }, memory) {
    const { cumsumProgram } = await import("../scans/program.js");
    const { axis, reverse } = attributes as CumsumAttributes;
    return cumsumProgram({ ...aroundAxis(y!.shape, axis), reverse, exclusive: false }, memory);
  },
  async linearScan({ attributes, inputs, outputs: [y] }, memory) {
    const { scanProgram } = await import("../scans/program.js");
    const { axis, ...how } = attributes as LinearScanAttributes;
    return scanProgram({ ...aroundAxis(y!.shape, axis), ...how, initial: inputs.length > 2 }, memory);
  },
  async scatterAdd({ inputs: [, indices], outputs: [y] }, memory) {
    const { scatterAddProgram } = await import("./scatter.js");
    return scatterAddProgram(
      { rows: sizeOf(indices!.shape), inner: sizeOf(y!.shape.slice(1)), size: y!.shape[0]! },
      memory,
    );
  },
  kernel: async (call, memory) => whenLoaded(() => cpuVariantOf(call).forward(stepOf(call).kase, memory)),
  kernelGradient: async (call, memory) => whenLoaded(() => cpuVariantOf(call).backward!(stepOf(call).kase, memory)),
};

/** The program of a native call. */
export async function nativeProgram(call: NativeCall, memory: Memory): Promise<CpuProgram> {
  const make = programs[call.op];
  if (!make)
    throw new TypeError(
      `cpu: expected a program for op ${call.op}, got none; add one to devices/cpu/native/programs.ts`,
    );
  return make(call, memory);
}
