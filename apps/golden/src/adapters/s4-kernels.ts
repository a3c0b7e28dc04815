/** Kernels of S4D and S4 from trained tensors. */
import {
  completeOutput,
  convolve,
  diagonalRecurrence,
  diagonalSystem,
  dplrKernel,
  dplrSystem,
  dssKernel,
  doubleTruncation,
  positiveTransforms,
  recur,
  stepsAtRate,
  type DplrLti,
  type PositiveTransform,
} from "@seqmix/lti";
import { kernelSystem, type KernelOptions, type KernelParameters } from "@seqmix/s4";
import { complexConj, concat, Tensor, zeros, type Complex } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase, GoldenValue, GoldenValues } from "@seqmix/testing";
import { count, parameterTree, real } from "../inputs.js";

/** Options of the published code that have no part in what a kernel computes from its parameters: starts, optimizers, ways to compute. */
export const START_OPTIONS = [
  "init",
  "measure",
  "init_args",
  "real_scale",
  "imag_scale",
  "real_random",
  "imag_random",
  "B_init",
  "B_scale",
  "P_scale",
  "normalize",
  "deterministic",
  "dt_min",
  "dt_max",
  "lr",
  "wd",
  "backend",
  "verbose",
  "seed",
];

/** Options of the published kernels that are read here, or have no part in what is computed. */
const KERNEL_OPTIONS = [
  ...START_OPTIONS,
  "H",
  "d_state",
  "L",
  "l_max",
  "channels",
  "n_ssm",
  "rate",
  "state_batch",
  "dt_transform",
  "dt_tie",
  "dt_fast",
  "real_transform",
  "imag_transform",
  "bandlimit",
  "is_real",
  "force_real",
];

/** The transforms of a case, and what else its kernel takes. */
export function kernelOptions({ options }: GoldenCase): KernelOptions {
  return {
    dtTransform: (options["dt_transform"] ?? "exp") as PositiveTransform,
    realTransform: (options["real_transform"] ?? "exp") as PositiveTransform,
    imagTransform: (options["imag_transform"] ?? "none") as PositiveTransform,
    dtFast: options["dt_fast"] === true,
    forceReal: options["force_real"] === true,
    bandlimit: typeof options["bandlimit"] === "number" ? options["bandlimit"] : undefined,
  };
}

/** true, or the name of a transform that is none. */
export function knownTransforms({ options }: GoldenCase): true | string {
  const unknown = ["dt_transform", "real_transform", "imag_transform"].filter(
    (name) =>
      options[name] !== undefined &&
      options[name] !== null &&
      !positiveTransforms.includes(options[name] as PositiveTransform),
  );
  return unknown.length === 0 || `${unknown[0]} ${String(options[unknown[0]!])}`;
}

const rateOf = ({ options }: GoldenCase): number => (typeof options["rate"] === "number" ? options["rate"] : 1);

/** A real kernel has a real state. */
function stateOf(inputs: GoldenValues): Complex | undefined {
  const given = inputs["state"];
  return given instanceof Tensor ? { re: given, im: zeros(given.shape) } : given;
}

/** Besides the kernel: the discretized system, and the recurrent mode on the input u, against `step.*`. */
export const s4dKernelAdapter: GoldenAdapter = {
  operator: "s4d_kernel",
  options: [...KERNEL_OPTIONS, "disc"],
  supports: (golden) =>
    ["zoh", "bilinear", "dss"].includes(String(golden.options["disc"]))
      ? knownTransforms(golden)
      : `disc ${String(golden.options["disc"])}`,
  run(inputs, golden) {
    const parameters = parameterTree(inputs) as KernelParameters;
    const { disc } = golden.options;
    const L = count(golden.options, "L");
    const state = stateOf(inputs);
    const settings = kernelOptions(golden);
    const system = kernelSystem(parameters, { ...settings, rate: rateOf(golden) });
    if (disc === "dss") {
      const { K, KState } = dssKernel(system, L, { state });
      return { K, ...(KState && { K_state: KState }) };
    }
    const rule = { rule: disc as "zoh" | "bilinear" };
    const views = diagonalSystem(system, rule);
    const out = { K: views.kernel(L), ...(state && { K_state: views.response(state, L) }) };
    if (!inputs["step.y"]) return out;
    // The recurrence of the published code runs at the rate of training.
    const trained = kernelSystem(parameters, settings);
    const { Abar, Bbar } = diagonalRecurrence(trained, rule);
    const u = real(inputs, "u");
    return {
      ...out,
      "step.dA": Abar,
      "step.dB": Bbar,
      "step.dC": trained.C,
      "step.y": recur(diagonalSystem(trained, rule), u, state).y,
      "step.final_state": convolve(diagonalSystem(trained, rule), u, state).hT,
    };
  },
};

/** `param.C` is C~ of length `l_kernel`; u goes through the recurrence with the true C. */
export const s4DplrKernelAdapter: GoldenAdapter = {
  operator: "s4_dplr_kernel",
  options: [...KERNEL_OPTIONS, "l_kernel", "rank", "doubled"],
  supports: knownTransforms,
  run(inputs, golden) {
    const settings = kernelOptions(golden);
    const parameters = parameterTree(inputs) as KernelParameters;
    const trained = kernelSystem(parameters, settings) as DplrLti;
    const L = count(golden.options, "L");
    const rate = rateOf(golden);
    const state = stateOf(inputs);
    const stored = golden.tensors["l_kernel"];
    const length = stored ? Number(stored.data[0]) : count(golden.options, "l_kernel");
    let [system, truncation] = [trained, length];
    for (; stepsAtRate(L, 1 / rate) > truncation; truncation *= 2)
      system = { ...system, C: doubleTruncation(system, truncation) };
    const { K, KState } = dplrKernel(system, L, { truncation, rate, state });
    const out: Record<string, GoldenValue> = { K, ...(KState && { K_state: KState }) };
    if (!inputs["step.y"]) return out;
    const C = completeOutput(trained, length);
    const { y, hT } = recur(dplrSystem({ ...trained, C }), real(inputs, "u"), state);
    const other = complexConj(hT);
    const full = { re: concat([hT.re, other.re], 2), im: concat([hT.im, other.im], 2) };
    return { ...out, "step.y": y, "step.final_state_full": full };
  },
};
