/** Discretization rules on their own. */
import {
  discretizeDense,
  discretizeDiagonal,
  discretizeOutputs,
  discretizationRules,
  type DiscretizationRule,
} from "@seqmix/discretize";
import { complexMul, expandDims, ones, reshape, zeros, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { count, real } from "../inputs.js";

/** One step size and eigenvalue a row of B [P H]; real and imaginary parts come as tensors of their own. */
export const discretizeDiagAdapter: GoldenAdapter = {
  operator: "discretize_diag",
  options: ["P", "H", "method", "alpha"],
  supports: ({ options }) =>
    discretizationRules.includes(options["method"] as DiscretizationRule) || `method ${String(options["method"])}`,
  run(inputs, { options }) {
    const column = (name: string): Tensor => expandDims(real(inputs, `param.${name}`), 1);
    const A = { re: column("Lambda_re"), im: column("Lambda_im") };
    const alpha = typeof options["alpha"] === "number" ? options["alpha"] : undefined;
    const { Abar, weight } = discretizeDiagonal(A, column("Delta"), options["method"] as DiscretizationRule, { alpha });
    const Bbar = complexMul({ re: real(inputs, "param.B_re"), im: real(inputs, "param.B_im") }, weight);
    const row = (x: Tensor): Tensor => reshape(x, [x.shape[0]!]);
    return { Lambda_bar_re: row(Abar.re), Lambda_bar_im: row(Abar.im), B_bar_re: Bbar.re, B_bar_im: Bbar.im };
  },
};

/** A [N N] and B [N] at several step sizes. */
export const discretizeGbtAdapter: GoldenAdapter = {
  operator: "discretize_gbt",
  options: ["N", "alpha", "n_dt"],
  run(inputs, { options }) {
    const dt = real(inputs, "dt");
    const system = { A: real(inputs, "A"), B: expandDims(real(inputs, "B"), 1) };
    const { Abar, Bbar } = discretizeDense(system, dt, "gbt", { alpha: count(options, "alpha") });
    return { dA: Abar, dB: reshape(Bbar, Bbar.shape.slice(0, -1)) };
  },
};

/** scipy's names of the rules. */
const SCIPY_RULES = {
  euler: "euler",
  backward_diff: "backward_euler",
  bilinear: "bilinear",
  gbt: "gbt",
  zoh: "zoh",
  foh: "foh",
  impulse: "dirac",
} as const;

/** Every rule of scipy's cont2discrete with C of ones and D of zeros. */
export const discretizeDenseAdapter: GoldenAdapter = {
  operator: "discretize_dense",
  options: ["source", "N", "dt", "gbt_alpha", "C", "D"],
  supports: ({ options: { C = "ones(1,N)", D = "zeros" } }) =>
    (C === "ones(1,N)" && D === "zeros") || `C ${String(C)} and D ${String(D)}`,
  run(inputs, { options }) {
    const [A, B] = [real(inputs, "A"), real(inputs, "B")];
    const [N, K] = B.shape as [number, number];
    const system = { A, B, C: ones([1, N]), D: zeros([1, K]) };
    const alpha = typeof options["gbt_alpha"] === "number" ? options["gbt_alpha"] : undefined;
    const out: Record<string, GoldenValue> = {};
    for (const [name, rule] of Object.entries(SCIPY_RULES)) {
      if (rule === "gbt" && alpha === undefined) continue;
      const { Abar, Bbar, Cbar, Dbar } = discretizeOutputs(system, count(options, "dt"), rule, { alpha });
      Object.assign(out, { [`${name}_dA`]: Abar, [`${name}_dB`]: Bbar, [`${name}_dC`]: Cbar, [`${name}_dD`]: Dbar });
    }
    return out;
  },
};
