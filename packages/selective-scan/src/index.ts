/**
 * The selective state-space operator (S6) of Mamba, over sequences and for single steps.
 *
 * @packageDocumentation
 */
export { selectiveScan, selectiveScanKernel, selectiveScanStep, type SelectiveScanArguments, type SelectiveScanOptions, type SelectiveScanStepArguments } from "./selective-scan.js";
