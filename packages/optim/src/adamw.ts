/** Adam with decoupled weight decay (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019). */
import { assertTensors, add, cast, div, expm1, mul, neg, sqrt, square, sub, zeros, type Tensor } from "@seqmix/tensor";
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

/** Settings of {@link adamw}. */
export interface AdamwOptions {
  /** A number, or a function of the step. */
  readonly learningRate: number | Schedule;
  /** Decay of the first and second moment, in [0, 1); 0.9 and 0.999 by default. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment; 1e-8 by default. */
  readonly eps?: number;
  /** A share learningRate * weightDecay of each parameter is taken away at each update; 0.01 by default. */
  readonly weightDecay?: number;
  /** Settings of some parameters; the first that matches counts. */
  readonly groups?: readonly ParameterGroup[];
}

/**
 * m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2, and with t the number of this update, from 1:
 * p = p (1 - rate decay) - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), as in PyTorch's AdamW.
 * State: `step`, `firstMoment` (m) and `secondMoment` (v).
 */
export function adamw(options: AdamwOptions): Optimizer {
  assertOptimizer("adamw", options, ["learningRate", "betas", "eps", "weightDecay", "groups"]);
  const { learningRate, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, groups = [] } = options;
  if (!Array.isArray(betas) || betas.length !== 2)
    throw new TypeError(
      "adamw: expected betas, a list of two numbers such as [0.9, 0.999], got something else; change it",
    );
  const [beta1, beta2] = betas as readonly [number, number];
  assertRange("adamw", "beta1", beta1, 0, 1);
  assertRange("adamw", "beta2", beta2, 0, 1);
  assertRange("adamw", "eps", eps, 0);
  assertRange("adamw", "weightDecay", weightDecay, 0);
  if (typeof learningRate === "number") assertRange("adamw", "learningRate", learningRate, 0);
  return {
    init: (params) => ({ step: zeros([], "i32"), firstMoment: zerosLike(params), secondMoment: zerosLike(params) }),
    update(gradients, state, params) {
      assertTensors("adamw", state, ["step"]);
      const rate = rateAt(learningRate, state.step);
      const step = add(state.step, 1);
      const count = cast(step, "f32");
      const [bias1, bias2] = [complement(beta1, count), complement(beta2, count)];
      const [next, firstMoment, secondMoment] = updateLeaves(
        params,
        gradients,
        [state.firstMoment, state.secondMoment],
        (path, p, g, m0, v0) => {
          const settings = settingsOf(path, groups, weightDecay);
          const scaled = settings.learningRateScale === 1 ? rate : mul(rate, settings.learningRateScale);
          const m = add(mul(m0!, beta1), mul(g!, 1 - beta1));
          const v = add(mul(v0!, beta2), mul(square(g!), 1 - beta2));
          const direction = div(div(m, bias1), add(sqrt(div(v, bias2)), eps));
          const decayed = settings.weightDecay === 0 ? p! : mul(p!, sub(1, mul(scaled, settings.weightDecay)));
          return [sub(decayed, mul(scaled, direction)), m, v];
        },
      );
      return [next, { step, firstMoment: firstMoment!, secondMoment: secondMoment! }];
    },
  };
}

/** 1 - beta^count without cancellation while beta^count is near 1. */
const complement = (beta: number, count: Tensor): Tensor | number =>
  beta === 0 ? 1 : neg(expm1(mul(count, Math.log(beta))));
