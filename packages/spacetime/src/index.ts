/**
 * SpaceTime: companion state-space models, in open loop as a sequence mixer and in closed loop as a forecaster.
 *
 * @packageDocumentation
 */
export {
  closedLoop,
  CONSISTENT,
  openLoop,
  RELEASED,
  type ClosedLoopConventions,
  type ClosedLoopOptions,
  type ClosedLoopParameters,
  type LoopResult,
} from "./closed-loop.js";
export { normalized, sharedCompanion, type CompanionModels } from "./companion.js";
export {
  forecast,
  forecasterConfig,
  forecastLoss,
  initForecaster,
  type Forecast,
  type ForecasterConfig,
  type ForecasterParameters,
} from "./forecaster.js";
export { preprocessingTaps, type Preprocessing, type PreprocessingConfig } from "./preprocess.js";
export { spacetime, type SpaceTimeConfig, type SpaceTimeParameters, type SpaceTimeState } from "./spacetime.js";
