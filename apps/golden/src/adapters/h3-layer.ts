import { h3, h3Layer, memoryModel, shiftModel, type H3LayerConfig, type H3Parameters } from "@seqmix/h3";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, parameterTree, real } from "../inputs.js";

const DISCRETIZATIONS = ["zoh", "bilinear", "dss"];
const REAL_TYPES = ["none", "exp", "relu", "sigmoid", "softplus"];

/** The plain code's layer, whose output channels are (d h) with more than one channel a head. Besides it: both kernels [1 H L]. */
export const h3LayerAdapter: GoldenAdapter = {
  operator: "h3_layer",
  options: [
    "batch",
    "L",
    "d_model",
    "d_state",
    "l_max",
    "bandlimit",
    "force_real",
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
    const config: H3LayerConfig = {
      ...h3.config,
      dModel: D,
      dState: N,
      headDim: typeof options["head_dim"] === "number" ? options["head_dim"] : 1,
      outputChannels: options["use_fast_fftconv"] === true ? "head-major" : "entry-major",
      disc: (options["disc"] ?? "bilinear") as H3LayerConfig["disc"],
      realType: (options["real_type"] ?? "exp") as H3LayerConfig["realType"],
      bandlimit: typeof options["bandlimit"] === "number" ? options["bandlimit"] : 0,
      forceReal: options["force_real"] === true,
      nSsm: params.kernel.kernel.inv_A_real.shape[0]!,
    };
    const longest = typeof options["l_max"] === "number" ? options["l_max"] : undefined;
    const taps = Math.min(L, longest ?? L);
    return {
      out: h3Layer(config, params, real(inputs, "u"), { longest }),
      ssm_kernel: memoryModel(config, params).kernel(taps),
      shift_kernel: shiftModel(params).kernel(taps),
    };
  },
};
