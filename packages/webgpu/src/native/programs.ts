/** Programs of the ops that are no loops over scalar expressions: one entry an op. */
import { sizeOf } from "@seqmix/tensor";
import {
  aroundAxis,
  matmulSpecOf,
  type CumsumAttributes,
  type LinearScanAttributes,
  type NativeCall,
} from "@seqmix/tensor/backend";
import { cutMatmul, cutScan } from "./parts.js";
import type { BindingLimits, GpuProgram } from "../device/program.js";
import { scatterAddProgram } from "./scatter.js";

const programs: Readonly<Record<string, (call: NativeCall, limits: BindingLimits) => GpuProgram>> = {
  matmul: (call, limits) => cutMatmul(matmulSpecOf(call), limits, call.epilogue),
  cumsum({ attributes, outputs: [y] }, limits) {
    const { axis, reverse } = attributes as CumsumAttributes;
    return cutScan({ ...aroundAxis(y!.shape, axis), reverse, decays: false, initial: false }, limits);
  },
  linearScan({ attributes, inputs, outputs: [y] }, limits) {
    const { axis, ...how } = attributes as LinearScanAttributes;
    return cutScan({ ...aroundAxis(y!.shape, axis), ...how, decays: true, initial: inputs.length > 2 }, limits);
  },
  scatterAdd({ inputs: [, indices], outputs: [y] }) {
    return scatterAddProgram({ rows: sizeOf(indices!.shape), inner: sizeOf(y!.shape.slice(1)), size: y!.shape[0]! });
  },
};

/** The program of a native call. @param limits What a pass may bind. */
export function nativeProgram(call: NativeCall, limits: BindingLimits): GpuProgram {
  const make = programs[call.op];
  if (!make)
    throw new TypeError(`webgpu: expected a program for op ${call.op}, got none; add one to native-programs.ts`);
  return make(call, limits);
}
