/** Plans for devices that store no f16. */
import type { DType } from "../graph/dtype.js";
import type { Plan, Step } from "./plan.js";

type Typed = { readonly dtype: DType };

const widened = <T extends Typed>(list: readonly T[]): T[] =>
  list.map((each) => (each.dtype === "f16" ? { ...each, dtype: "f32" } : each));

/** The plan with f16 values kept as the f32 numbers that they are: the expressions have rounded them already. */
export function storedInF32(plan: Plan): Plan {
  return plan.slots.some(({ dtype }) => dtype === "f16")
    ? { ...plan, slots: widened(plan.slots), steps: plan.steps.map(stepInF32) }
    : plan;
}

function stepInF32(step: Step): Step {
  if (step.kind === "loop")
    return {
      ...step,
      kernel: { ...step.kernel, inputs: widened(step.kernel.inputs), outputs: widened(step.kernel.outputs) },
    };
  if (step.kind === "scan")
    return {
      ...step,
      kernel: { ...step.kernel, inputs: widened(step.kernel.inputs), outputs: widened(step.kernel.outputs) },
    };
  const { call } = step;
  const epilogue = call.epilogue && {
    ...call.epilogue,
    inputs: widened(call.epilogue.inputs),
    dtype: widened([call.epilogue])[0]!.dtype,
  };
  return {
    ...step,
    call: { ...call, inputs: widened(call.inputs), outputs: widened(call.outputs), ...(epilogue && { epilogue }) },
  };
}
