import {
  diagonalFinalState,
  diagonalKernel,
  diagonalStep,
  diagonalSystem,
  discretizeDiagonal,
  type Complex,
  type DiagonalDiscretization,
  type DiagonalKernelParameters,
  type PositiveTransform,
} from "@seqmix/s4";
import { reshape, sliceAxis, stack, zeros, Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { count, parameterTree, real } from "../inputs.js";

const TRANSFORMS = ["none", "exp", "relu", "sigmoid", "softplus"];

/** Besides the kernel: the discretized system, and the recurrent mode on the input u, against `step.*`. */
export const s4dKernelAdapter: GoldenAdapter = {
  operator: "s4d_kernel",
  options: [
    "H",
    "d_state",
    "L",
    "init",
    "disc",
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
    "deterministic",
    "dt_min",
    "dt_max",
    "init_args",
  ],
  supports({ options }) {
    if (!["zoh", "bilinear", "dss"].includes(String(options["disc"]))) return `disc ${String(options["disc"])}`;
    const unknown = ["dt_transform", "real_transform", "imag_transform"].filter(
      (name) => options[name] !== undefined && !TRANSFORMS.includes(String(options[name])),
    );
    return unknown.length === 0 || `${unknown[0]} ${String(options[unknown[0]!])}`;
  },
  run(inputs, { options }) {
    const parameters = parameterTree(inputs) as DiagonalKernelParameters;
    const disc = options["disc"] as DiagonalDiscretization | "dss";
    const settings = {
      dtTransform: (options["dt_transform"] ?? "exp") as PositiveTransform,
      realTransform: (options["real_transform"] ?? "exp") as PositiveTransform,
      imagTransform: (options["imag_transform"] ?? "none") as PositiveTransform,
      dtFast: options["dt_fast"] === true,
      bandlimit: typeof options["bandlimit"] === "number" ? options["bandlimit"] : undefined,
    };
    const given = inputs["state"];
    // A real kernel has a real state.
    const state = given instanceof Tensor ? { re: given, im: zeros(given.shape) } : given;
    const system = diagonalSystem(parameters, {
      ...settings,
      rate: typeof options["rate"] === "number" ? options["rate"] : 1,
    });
    const { K, KState } = diagonalKernel(system, count(options, "L"), { disc, state });
    const out: Record<string, GoldenValue> = { K, ...(KState && { K_state: KState }) };
    if (!inputs["step.y"] || disc === "dss") return out;

    // The recurrence of the published code runs at the rate of training.
    const trained = diagonalSystem(parameters, settings);
    const { Abar, Bbar } = discretizeDiagonal(trained, disc);
    const u = real(inputs, "u");
    const [B, H, L] = u.shape as [number, number, number];
    const rest = zeros([B, H, parameters.A_real.shape[1]!]);
    const first: Complex = state ?? { re: rest, im: rest };
    const outputs: Tensor[] = [];
    let h = first;
    for (let t = 0; t < L; t++) {
      const step = diagonalStep(trained, disc, reshape(sliceAxis(u, 2, t, t + 1), [B, H]), h);
      outputs.push(step.y);
      h = step.h;
    }
    return {
      ...out,
      "step.dA": Abar,
      "step.dB": Bbar,
      "step.dC": trained.C,
      "step.y": stack(outputs, 3),
      "step.final_state": diagonalFinalState(trained, disc, u, first),
    };
  },
};
