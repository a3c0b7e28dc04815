/**
 * The selective state-space operator (S6) of Mamba, over sequences and for single steps.
 *
 * @packageDocumentation
 */
export {
  selectiveScan,
  selectiveScanKernel,
  selectiveScanStep,
  type SelectiveScanArguments,
  type SelectiveScanInputs,
  type SelectiveScanOptions,
  type SelectiveScanOutputs,
  type SelectiveScanResult,
  type SelectiveScanStepArguments,
  type SelectiveScanStepResult,
} from "./selective-scan.js";
