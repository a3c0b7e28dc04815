/**
 * GateLoop: data-controlled complex linear recurrences, and the simplified layer.
 *
 * @packageDocumentation
 */
export type { Complex } from "@seqmix/scan";
export { gateLoop, type GateLoopConfig, type GateLoopParameters } from "./gateloop.js";
export {
  gateLoopAttention,
  gateLoopChunked,
  gateLoopScan,
  gateLoopStep,
  polarGate,
  type GateLoopArguments,
  type GateLoopResult,
} from "./operator.js";
export {
  simpleGateLoop,
  simpleGateLoopSequence,
  type SimpleGateLoopConfig,
  type SimpleGateLoopParameters,
  type SimpleGateLoopSequenceOptions,
} from "./simple-gateloop.js";
export { gateLoopTransformer, type GateLoopTransformerParameters, type Normed } from "./transformer.js";
