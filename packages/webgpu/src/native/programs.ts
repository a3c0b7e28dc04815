/** Programs of the ops that are no loops over scalar expressions: one entry an op. A page loads them when a plan has the op. */
import { sizeOf, type GpuVariant } from "@seqmix/tensor";
import {
  aroundAxis,
  chooseVariant,
  matmulSpecOf,
  onDemand,
  type CumsumAttributes,
  type KernelStep,
  type LinearScanAttributes,
  type NativeCall,
} from "@seqmix/tensor/backend";
import { productProgram } from "../matmul/product.js";
import type { GpuLimits, GpuProgram } from "@seqmix/tensor/wgsl";

const scans = onDemand(() => import("../scans/cut.js"));
const scatter = onDemand(() => import("./scatter.js"));

const programs: Readonly<Record<string, (call: NativeCall, limits: GpuLimits) => GpuProgram>> = {
  matmul: (call, limits) => productProgram(matmulSpecOf(call), limits, call.epilogue),
  cumsum({ attributes, outputs: [y] }, limits) {
    const { axis, reverse } = attributes as CumsumAttributes;
    return scans().cutScan({ ...aroundAxis(y!.shape, axis), reverse, decays: false, initial: false }, limits);
  },
  linearScan({ attributes, inputs, outputs: [y] }, limits) {
    const { axis, ...how } = attributes as LinearScanAttributes;
    return scans().cutScan({ ...aroundAxis(y!.shape, axis), ...how, decays: true, initial: inputs.length > 2 }, limits);
  },
  scatterAdd({ inputs: [, indices], outputs: [y] }, limits) {
    const shape = { rows: sizeOf(indices!.shape), inner: sizeOf(y!.shape.slice(1)), size: y!.shape[0]! };
    return scatter().scatterAddProgram(shape, limits);
  },
  kernel: (call, limits) => gpuVariantOf(call, limits).forward(stepOf(call).kase, limits),
  kernelGradient: (call, limits) => gpuVariantOf(call, limits).backward!(stepOf(call).kase, limits),
};

const stepOf = ({ attributes }: NativeCall): KernelStep => attributes as KernelStep;

/** The variant that runs a kernel call on this device. */
export const gpuVariantOf = (call: NativeCall, limits: GpuLimits): GpuVariant<unknown> =>
  chooseVariant(stepOf(call), { device: "webgpu", limits }) as GpuVariant<unknown>;

/** The program of a native call. @param limits What a pass may bind. */
export function nativeProgram(call: NativeCall, limits: GpuLimits): GpuProgram {
  const make = programs[call.op];
  if (!make)
    throw new TypeError(`webgpu: expected a program for op ${call.op}, got none; add one to native/programs.ts`);
  return make(call, limits);
}
