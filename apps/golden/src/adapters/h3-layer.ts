import { diagonalModel, h3, shiftModel, type H3Config, type H3Parameters } from "@seqmix/h3";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, parameterTree, real } from "../inputs.js";

const DISCRETIZATIONS = ["zoh", "bilinear"];
const REAL_TYPES = ["none", "exp", "relu", "sigmoid", "softplus"];

/** The plain code's layer, whose output channels are (d h) with more than one channel a head. Besides it: both kernels [1 H L]. */
export const h3LayerAdapter: GoldenAdapter = {
  operator: "h3_layer",
  options: [
    "batch",
    "L",
    "d_model",
    "d_state",
    "head_dim",
    "mode",
    "measure",
    "measure_args",
    "disc",
    "real_type",
    "n_ssm",
    "dt_min",
    "dt_max",
    "deterministic",
    "lr",
    "channels",
    "use_fast_fftconv",
    "dropout",
  ],
  supports({ options }) {
    if (options["mode"] !== undefined && options["mode"] !== "diag") return `mode ${String(options["mode"])}`;
    if (!DISCRETIZATIONS.includes(String(options["disc"] ?? "bilinear"))) return `disc ${String(options["disc"])}`;
    return REAL_TYPES.includes(String(options["real_type"] ?? "exp")) || `real_type ${String(options["real_type"])}`;
  },
  run(inputs, { options }) {
    const params = parameterTree(inputs) as H3Parameters;
    const L = count(options, "L");
    const [D, N] = params.ssm_k_kernel.kernel.B.shape as [number, number];
    const config: H3Config = {
      ...h3.config,
      dModel: D,
      dState: N,
      headDim: typeof options["head_dim"] === "number" ? options["head_dim"] : 1,
      outputChannels: options["use_fast_fftconv"] === true ? "head-major" : "entry-major",
      disc: (options["disc"] ?? "bilinear") as H3Config["disc"],
      realType: (options["real_type"] ?? "exp") as H3Config["realType"],
      nSsm: params.kernel.kernel.inv_A_real.shape[0]!,
    };
    return {
      out: h3.modes.parallel(config, params, real(inputs, "u"))[0],
      ssm_kernel: diagonalModel(config, params).kernel(L),
      shift_kernel: shiftModel(params).kernel(L),
    };
  },
};
