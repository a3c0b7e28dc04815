import { s5Ssm, s5System, type S5SsmParameters } from "@seqmix/s5";
import { concat, expandDims, reshape, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { parameterTree, real } from "../inputs.js";

/** u [L D]; besides the output, the discretized system as `aux_*`. */
export const s5SsmAdapter: GoldenAdapter = {
  operator: "s5_ssm",
  options: [
    "L",
    "H",
    "P",
    "discretization",
    "conj_sym",
    "bidirectional",
    "C_init",
    "clip_eigs",
    "step_rescale",
    "blocks",
    "dt_min",
    "dt_max",
    "seed",
    "ssm_size_base",
  ],
  supports: ({ options }) =>
    ["zoh", "bilinear"].includes(String(options["discretization"])) ||
    `discretization ${String(options["discretization"])}`,
  run(inputs, { options }) {
    const params = parameterTree(inputs) as S5SsmParameters;
    const rescale = options["step_rescale"];
    const config = {
      conjSym: options["conj_sym"] !== false,
      discretization: options["discretization"] as "zoh" | "bilinear",
      clipEigs: options["clip_eigs"] === true,
      stepRescale: typeof rescale === "number" ? rescale : 1,
    };
    const u = real(inputs, "u");
    const [y] = s5Ssm(config, params, expandDims(u, 0));
    const { a, B } = s5System(config, params);
    const { C, CBackward } = s5System({ ...config, conjSym: false }, params);
    const sides = (part: "re" | "im"): Tensor => (CBackward ? concat([C[part], CBackward[part]], 1) : C[part]);
    return {
      out: reshape(y, u.shape),
      aux_Lambda_bar: a,
      aux_B_bar: B,
      aux_C_tilde: { re: sides("re"), im: sides("im") },
    };
  },
};
