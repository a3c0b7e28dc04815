/**
 * A training step that owns its parameters, AdamW with parameter groups, learning-rate schedules and gradient clipping.
 *
 * @packageDocumentation
 */
export { adamw, type AdamwOptions } from "./adamw.js";
export { sgd, type SgdOptions } from "./sgd.js";
export type { Optimizer, OptimizerState, ParameterGroup } from "./optimizer.js";
export { constantSchedule, cosineSchedule, linearWarmup, type Schedule } from "./schedules.js";
export { clipByGlobalNorm, globalNorm } from "./clipping.js";
export {
  trainer,
  type MetricValues,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
  type TrainingStep,
} from "./trainer.js";
export type { LossScaling, LossScalingState } from "./loss-scaling.js";
