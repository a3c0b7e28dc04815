/**
 * Tensors as a lazy graph, gradients as functions, and the CPU device.
 *
 * @packageDocumentation
 */
export { tensor, Tensor, type Nested } from "./tensor.js";
export { BYTES_PER_ELEMENT, isReal, type DType, type HostArray } from "./dtype.js";
export { roundToHalf } from "./half.js";
export { formatShape, sizeOf, stridesOf, broadcastShapes, normalizeAxis, type Shape } from "./shape.js";
export * from "./errors.js";
export * from "./ops/elementwise.js";
export * from "./ops/generators.js";
export * from "./ops/movement.js";
export * from "./ops/reduce.js";
export * from "./ops/matmul.js";
export * from "./ops/gather.js";
export * from "./ops/cumsum.js";
export {
  complexLinearScan,
  linearScan,
  type ComplexLinearScanArguments,
  type ComplexParts,
  type LinearScanArguments,
} from "./ops/linear-scan.js";
export { opTable } from "./ops/table.js";
export type { Op, Sample, SampleInput } from "./op.js";
export * from "./functions.js";
export * from "./random.js";
export { grad, valueAndGrad, valueAndGradAux, vjp, checkpoint } from "./grad.js";
export { dispose, leavesOf, mapTree, namedLeaves, replaceLeaves, type MapTree, type Tree } from "./tree.js";
export { realize, explain, type RealizeOptions } from "./realize.js";
export { setDebug } from "./debug.js";
export type { Device, DeviceBuffer, MemoryCount } from "./device.js";
export { reference } from "./reference/device.js";
export { cpu, type CpuOptions } from "./cpu/device.js";
export {
  defineKernel,
  type AxisSpec,
  type Dims,
  type Kernel,
  type KernelCase,
  type KernelConstant,
  type KernelCost,
  type KernelRecord,
  type KernelSample,
  type KernelVariant,
} from "./kernel.js";
export type { CpuPhase, CpuProgram } from "./cpu/program.js";
