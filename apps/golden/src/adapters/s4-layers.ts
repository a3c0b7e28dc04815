/** Layers of S4D, S4 and DSS. */
import { diagonalKernel, dssKernel, stepsAtRate } from "@seqmix/lti";
import {
  activations,
  dss,
  dssKernelOf,
  dssLayer,
  dssVersions,
  kernelSystem,
  s4Block,
  s4d,
  s4dSystem,
  s4Output,
  applyKernel,
  type Activation,
  type DssConfig,
  type DssKernelParameters,
  type DssParameters,
  type DssVersion,
  type S4BlockConfig,
  type S4dParameters,
  type S4Parameters,
} from "@seqmix/s4";
import { reshape, transpose, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase } from "@seqmix/testing";
import { count, parameterTree, real, swap } from "../inputs.js";
import { kernelOptions, knownTransforms, START_OPTIONS } from "./s4-kernels.js";

/** u [B D L], or [B L D] where `transposed` is false; no dropout. */
export const s4dLayerAdapter: GoldenAdapter = {
  operator: "s4d_layer",
  options: ["batch", "H", "d_state", "L", "transposed", "dt_min", "dt_max", "lr"],
  run(inputs, { options }) {
    const params = parameterTree(inputs) as S4dParameters;
    const [D, modes] = params.kernel.A_imag.shape as [number, number];
    const channelsFirst = options["transposed"] !== false;
    const u = real(inputs, "u");
    const x = channelsFirst ? swap(u) : u;
    const [y] = s4d.modes.parallel({ ...s4d.config, dModel: D, dState: 2 * modes }, params, x);
    const L = x.shape[1]!;
    return { out: channelsFirst ? swap(y) : y, K: reshape(diagonalKernel(s4dSystem(params), L), [D, L]) };
  },
};

/** The published names of pointwise functions, None and "id" included. */
function activationOf(value: unknown, byDefault: Activation): Activation | undefined {
  if (value === undefined) return byDefault;
  if (value === null || ["id", "identity", "linear"].includes(String(value))) return "none";
  if (value === "swish") return "silu";
  return activations.includes(value as Activation) ? (value as Activation) : undefined;
}

/** The block's config; `kernelLength` is the buffer that says at which length C~ was set. */
function blockConfig(golden: GoldenCase): S4BlockConfig {
  const { options } = golden;
  const settings = kernelOptions(golden);
  const truncation = golden.tensors["buffer.layer.kernel.l_kernel"];
  return {
    mode: isDplr(options) ? "dplr" : "diag",
    disc: options["disc"] === "bilinear" ? "bilinear" : "zoh",
    kernelLength: truncation ? Number(truncation.data[0]) : 0,
    dtTransform: settings.dtTransform!,
    realTransform: settings.realTransform!,
    imagTransform: settings.imagTransform!,
    dtFast: settings.dtFast!,
    forceReal: settings.forceReal!,
    bandlimit: settings.bandlimit ?? 0,
    bidirectional: options["bidirectional"] === true,
    activation: activationOf(options["activation"], "gelu")!,
    swapChannels: options["swap_channels"] === true,
    finalAct: activationOf(options["final_act"] ?? options["postact"] ?? "glu", "glu")!,
  };
}

const isDplr = (options: GoldenCase["options"]): boolean =>
  ["dplr", "nplr", "s4"].includes(String(options["mode"] ?? options["kernel"] ?? "dplr"));

/** x [B L D], or [B D L] where `transposed` is true; no dropout. */
export const s4BlockAdapter: GoldenAdapter = {
  operator: "s4_block",
  options: [
    "batch",
    "L",
    "d_model",
    "mode",
    "kernel",
    ...START_OPTIONS,
    "l_max",
    "d_state",
    "channels",
    "disc",
    "bidirectional",
    "activation",
    "final_act",
    "postact",
    "swap_channels",
    "transposed",
    "rank",
    "n_ssm",
    "rate",
    "dt_tie",
    "dt_transform",
    "dt_fast",
    "real_transform",
    "imag_transform",
    "force_real",
    "is_real",
    "bandlimit",
  ],
  supports(golden) {
    const { options } = golden;
    const mode = String(options["mode"] ?? options["kernel"] ?? "dplr");
    if (!["dplr", "nplr", "s4", "diag", "s4d"].includes(mode)) return `mode ${mode}`;
    if (!["zoh", "bilinear", "dss"].includes(String(options["disc"] ?? "zoh")))
      return `disc ${String(options["disc"])}`;
    for (const name of ["activation", "final_act", "postact"])
      if (activationOf(options[name], "gelu") === undefined) return `${name} ${String(options[name])}`;
    return knownTransforms(golden);
  },
  run(inputs, golden) {
    const { options } = golden;
    const params = parameterTree(inputs) as S4Parameters;
    const config = blockConfig(golden);
    const channelsFirst = options["transposed"] === true;
    const given = real(inputs, "x");
    const x = channelsFirst ? swap(given) : given;
    const rate = typeof options["rate"] === "number" ? options["rate"] : 1;
    const longest = typeof options["l_max"] === "number" ? options["l_max"] : undefined;
    let y: Tensor;
    if (options["disc"] === "dss" && config.mode === "diag") {
      const L = x.shape[1]!;
      const system = kernelSystem(params.layer.kernel, { ...kernelOptions(golden), rate });
      const { K } = dssKernel(system, longest === undefined ? L : Math.min(L, stepsAtRate(longest, rate)));
      y = s4Output(config, params, applyKernel(K, transpose(x), config.bidirectional), x);
    } else y = s4Block(config, params, x, { rate, longest })[0];
    return { out: channelsFirst ? swap(y) : y };
  },
};

const DSS_KERNEL_OPTIONS = [
  "H",
  "d_state",
  "L",
  "version",
  "channels",
  "sep_dt_re_im",
  "Lambda_init",
  "epsilon",
  "max_real_Lambda",
  "dt_min",
  "dt_max",
  "seed",
];

const versionOf = ({ options }: GoldenCase): DssVersion => (options["version"] ?? "softmax") as DssVersion;
const supportsVersion = (golden: GoldenCase): true | string =>
  dssVersions.includes(versionOf(golden)) || `version ${versionOf(golden)}`;

const dssSettings = (golden: GoldenCase) => ({
  version: versionOf(golden),
  ...(typeof golden.options["epsilon"] === "number" && { epsilon: golden.options["epsilon"] }),
  ...(typeof golden.options["max_real_Lambda"] === "number" && { maxRealLambda: golden.options["max_real_Lambda"] }),
});

/** The kernel [M H L]. */
export const dssKernelAdapter: GoldenAdapter = {
  operator: "dss_kernel",
  options: DSS_KERNEL_OPTIONS,
  supports: supportsVersion,
  run: (inputs, golden) => ({
    K: dssKernelOf(parameterTree(inputs) as DssKernelParameters, count(golden.options, "L"), dssSettings(golden)),
  }),
};

/** u [B D L], or [B L D] where `transposed` is false; no dropout. */
export const dssLayerAdapter: GoldenAdapter = {
  operator: "dss_layer",
  options: [
    ...DSS_KERNEL_OPTIONS,
    "batch",
    "activation",
    "postact",
    "hyper_act",
    "bidirectional",
    "transposed",
    "max_kernel_length",
    "l_max",
  ],
  supports(golden) {
    for (const name of ["activation", "postact", "hyper_act"])
      if (activationOf(golden.options[name], "gelu") === undefined) return `${name} ${String(golden.options[name])}`;
    return supportsVersion(golden);
  },
  run(inputs, golden) {
    const { options } = golden;
    const params = parameterTree(inputs) as DssParameters;
    const channelsFirst = options["transposed"] !== false;
    const u = real(inputs, "u");
    const config: DssConfig = {
      ...dss.config,
      ...dssSettings(golden),
      bidirectional: options["bidirectional"] === true,
      activation: activationOf(options["activation"], "gelu")!,
      postact: activationOf(options["postact"], "none")!,
      hyperAct: options["hyper_act"] ? activationOf(options["hyper_act"], "none")! : "absent",
      maxKernelLength: typeof options["max_kernel_length"] === "number" ? options["max_kernel_length"] : 0,
    };
    const y = dssLayer(config, params, channelsFirst ? swap(u) : u);
    return { out: channelsFirst ? swap(y) : y };
  },
};
