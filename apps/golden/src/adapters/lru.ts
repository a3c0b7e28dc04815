import { layerNorm } from "@seqmix/nn";
import {
  lru,
  lruSequence,
  lruSystem,
  runMimo,
  type ActivationParameters,
  type LruSequenceParameters,
} from "@seqmix/s5";
import { add, expandDims, matmul, reshape, transpose, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { complex, parameterTree, real } from "../inputs.js";

/** Settings that decide the initial parameters alone. */
const INITIAL = ["r_min", "r_max", "max_phase"];

/** u [L D]. */
export const lruAdapter: GoldenAdapter = {
  operator: "lru",
  options: ["L", "d_model", "d_hidden", ...INITIAL],
  run(inputs) {
    const u = real(inputs, "u");
    return { out: reshape(lruSequence(parameterTree(inputs) as LruSequenceParameters, expandDims(u, 0))[0], u.shape) };
  },
};

/** B, C complex and the skip a matrix [O I]. */
export const lruPytorchPortAdapter: GoldenAdapter = {
  operator: "lru_pytorch_port",
  options: ["B", "L", "in_features", "out_features", "state", ...INITIAL, "rmin", "rmax"],
  run(inputs) {
    const param = (name: string): Tensor => real(inputs, `param.${name}`);
    const [B, C] = [complex(inputs, "param.B"), complex(inputs, "param.C")];
    const system = lruSystem({
      nu_log: param("nu_log"),
      theta_log: param("theta_log"),
      gamma_log: param("gamma_log"),
      B_re: B.re,
      B_im: B.im,
      C_re: C.re,
      C_im: C.im,
    });
    const u = real(inputs, "input");
    return { out: add(runMimo(system, u)[0], matmul(u, transpose(param("D")))) };
  },
};

/** The layer with its norm, before (prenorm) or after the residual connection; u [L D], flax's eps. */
export const lruSequenceLayerAdapter: GoldenAdapter = {
  operator: "lru_sequence_layer",
  options: ["L", "d_model", "d_hidden", "prenorm", "norm", ...INITIAL],
  supports: ({ options }) =>
    options["norm"] === undefined || options["norm"] === "layer" || `norm ${String(options["norm"])}`,
  run(inputs, { options }) {
    const { normalization, ...params } = parameterTree(inputs) as {
      seq: LruSequenceParameters;
      normalization: { scale: Tensor; bias: Tensor };
    } & ActivationParameters;
    const norm = (x: Tensor): Tensor =>
      layerNorm({ weight: normalization.scale, bias: normalization.bias }, x, { eps: 1e-6 });
    const u = real(inputs, "u");
    const prenorm = options["prenorm"] === true;
    const config = { ...lru.config, dModel: u.shape[1]!, dState: params.seq.nu_log.shape[0]! };
    const [y] = lru.modes.parallel(config, params, expandDims(prenorm ? norm(u) : u, 0));
    const out = add(u, reshape(y, u.shape));
    return { out: prenorm ? out : norm(out) };
  },
};
