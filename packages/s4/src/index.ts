/**
 * Structured state-space layers with fixed dynamics: LSSL, S4, DSS and S4D.
 *
 * @packageDocumentation
 */
export {
  applyKernel,
  s4,
  s4Block,
  s4Output,
  s4System,
  type S4BlockConfig,
  type S4BlockOptions,
  type S4Config,
  type S4Parameters,
} from "./s4.js";
export { s4d, s4dParameterGroups, s4dSystem, type S4dConfig, type S4dParameters } from "./s4d.js";
export {
  dss,
  dssKernelOf,
  dssLayer,
  dssSystem,
  dssVersions,
  type DssConfig,
  type DssKernelOptions,
  type DssKernelParameters,
  type DssParameters,
  type DssVersion,
} from "./dss.js";
export { lssl, lsslSystem, type LsslConfig, type LsslParameters } from "./lssl.js";
export { initKernel, inputInits, kernelInits, type InitialKernel, type KernelInit } from "./initial-kernel.js";
export { kernelSystem, type KernelOptions, type KernelParameters } from "./kernel-parameters.js";
export { activated, activations, type Activation } from "./activations.js";
