/**
 * Tensors as a lazy graph, gradients as functions, and the CPU device.
 *
 * @packageDocumentation
 */
export { tensor, Tensor, type Nested } from "./graph/tensor.js";
export { BYTES_PER_ELEMENT, isReal, type DType, type HostArray, type TensorData } from "./graph/dtype.js";
export { roundToHalf } from "./graph/half.js";
export { formatShape, sizeOf, stridesOf, broadcastShapes, normalizeAxis, type Shape } from "./graph/shape.js";
export {
  CheckpointError,
  DeviceError,
  DeviceLostError,
  DisposedError,
  DTypeError,
  KernelCompileError,
  LimitError,
  NumericError,
  ShapeError,
} from "./graph/errors.js";
export * from "./ops/elementwise.js";
export { arange, full, iota, ones, zeros } from "./ops/generators.js";
export {
  broadcastTo,
  concat,
  expandDims,
  flip,
  identity,
  pad,
  reshape,
  slice,
  sliceAxis,
  split,
  stack,
  stopGradient,
  strided,
  transpose,
  type SliceAttributes,
} from "./ops/movement.js";
export { max, sum, type ReduceOptions } from "./ops/reduce.js";
export { matmul } from "./ops/matmul.js";
export { checkIndices, gather, pick, scatterAdd } from "./ops/gather.js";
export { cumsum, type CumsumOptions } from "./ops/cumsum.js";
export {
  complexLinearScan,
  linearScan,
  type ComplexLinearScanArguments,
  type ComplexParts,
  type LinearScanArguments,
} from "./ops/linear-scan.js";
export { sequentialScan, type SequentialScanArguments } from "./ops/sequential-scan.js";
export { opTable } from "./ops/table.js";
export type { Op, Sample, SampledOp, SampleInput } from "./graph/op.js";
export * from "./functions/complex.js";
export * from "./functions/arrangement.js";
export * from "./functions/composed.js";
export * from "./functions/reductions.js";
export * from "./functions/sorting.js";
export * from "./functions/random.js";
export { autocast } from "./graph/autocast.js";
export { grad, valueAndGrad, valueAndGradAux, vjp, checkpoint } from "./graph/grad.js";
export { dispose, leavesOf, mapTree, namedLeaves, replaceLeaves, type MapTree, type Tree } from "./graph/tree.js";
export { realize, explain, to, type RealizeOptions } from "./devices/realize.js";
export { compile, type Compiled, type CompileOptions } from "./devices/compile.js";
export { keep, scope } from "./devices/scope.js";
export { outsideScopes } from "./graph/scope.js";
export { setDebug } from "./graph/debug.js";
export {
  assertFields,
  assertNumber,
  assertOneOf,
  assertSettings,
  assertTensor,
  assertTensors,
  type NumberBounds,
  type SettingRule,
  type SettingRules,
} from "./graph/assert.js";
export type { Device, DeviceBuffer, ExplainOptions, MemoryCount } from "./devices/device.js";
export { reference } from "./devices/reference/device.js";
export { cpu, type CpuOptions } from "./devices/cpu/device.js";
export {
  defineKernel,
  type AxisSpec,
  type Kernel,
  type KernelCost,
  type KernelRecord,
  type KernelSample,
} from "./graph/kernel.js";
export { variantOnDemand, type VariantFacts } from "./graph/variant-on-demand.js";
export type { CpuVariant, Dims, GpuVariant, KernelCase, KernelTable, KernelVariant } from "./graph/kernel-variant.js";
export type { CpuPhase, CpuProgram } from "./devices/cpu/program.js";
export type { FragmentTexts, InBlock } from "./devices/webgpu/fragments.js";
export type { GpuBinding, GpuLimits, GpuParameters, GpuPass, GpuProgram, GpuWindow } from "./devices/webgpu/program.js";
