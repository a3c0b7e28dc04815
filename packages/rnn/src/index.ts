/**
 * Recurrent networks: Elman's, GRU and LSTM, step by step on the device, and minGRU and minLSTM, which a scan runs.
 *
 * @packageDocumentation
 */
export { GATES, initCell, inputPart, stepCell, type CellKind, type CellParameters, type CellState } from "./cells.js";
export {
  recurrentNetwork,
  runCell,
  zeroState,
  type RecurrentOptions,
  type RecurrentParameters,
  type RunCellOptions,
} from "./recurrent.js";
export { gru, lstm, rnn, type RecurrentConfig, type RecurrentMixerParameters } from "./mixers.js";
export { minGru, minLstm, positive, type MinimalConfig, type MinimalParameters, type MinimalState } from "./minimal.js";
export { hippoRnn, lmu, type MemoryConfig, type MemoryParameters, type MemoryState } from "./memory.js";
