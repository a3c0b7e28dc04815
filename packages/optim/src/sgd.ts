/** Stochastic gradient descent. */
import { add, assertOneOf, assertTensors, mul, sub, zeros } from "@seqmix/tensor";
import {
  assertRange,
  assertOptimizer,
  settingsOf,
  updateLeaves,
  zerosLike,
  type Optimizer,
  type ParameterGroup,
} from "./optimizer.js";
import { rateAt, type Schedule } from "./schedules.js";

/** Settings of {@link sgd}. */
export interface SgdOptions {
  /** A number, or a function of the step. */
  readonly learningRate: number | Schedule;
  /** Share of the last update's velocity that is kept, in [0, 1); 0 by default. */
  readonly momentum?: number;
  /** Whether the step goes along g + momentum velocity, ahead of the velocity (Nesterov, 1983); false by default. */
  readonly nesterov?: boolean;
  /** This many times the parameter is added to its gradient; 0 by default. */
  readonly weightDecay?: number;
  /** Settings of some parameters; the first that matches counts. */
  readonly groups?: readonly ParameterGroup[];
}

/**
 * velocity = momentum velocity + g + decay p;  p = p - rate velocity, as in PyTorch's SGD; with Nesterov's momentum
 * p = p - rate (g + decay p + momentum velocity).
 * State: `step` and, with momentum, `velocity`.
 */
export function sgd(options: SgdOptions): Optimizer {
  assertOptimizer("sgd", options, ["learningRate", "momentum", "nesterov", "weightDecay", "groups"]);
  const { learningRate, momentum = 0, nesterov = false, weightDecay = 0, groups = [] } = options;
  assertRange("sgd", "momentum", momentum, 0, 1);
  assertRange("sgd", "weightDecay", weightDecay, 0);
  assertOneOf("sgd", "nesterov", nesterov, [true, false]);
  if (nesterov && momentum === 0)
    throw new RangeError("sgd: expected a momentum above 0 with nesterov, got 0; set momentum");
  if (typeof learningRate === "number") assertRange("sgd", "learningRate", learningRate, 0);
  return {
    init: (params) => ({ step: zeros([], "i32"), ...(momentum > 0 && { velocity: zerosLike(params) }) }),
    update(gradients, state, params) {
      assertTensors("sgd", state, ["step"]);
      const rate = rateAt(learningRate, state.step);
      const [next, velocity] = updateLeaves(
        params,
        gradients,
        momentum > 0 ? [state.velocity] : [],
        (path, p, g, before) => {
          const settings = settingsOf(path, groups, weightDecay);
          const scaled = settings.learningRateScale === 1 ? rate : mul(rate, settings.learningRateScale);
          const force = settings.weightDecay === 0 ? g! : add(g!, mul(p!, settings.weightDecay));
          const moving = before ? add(mul(before, momentum), force) : force;
          const direction = nesterov ? add(force, mul(moving, momentum)) : moving;
          const moved = sub(p!, mul(scaled, direction));
          return before ? [moved, moving] : [moved];
        },
      );
      return [next, { step: add(state.step, 1), ...(velocity && { velocity }) }];
    },
  };
}
