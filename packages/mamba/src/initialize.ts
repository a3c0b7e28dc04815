/** Fresh parameters of the Mamba block. */
import { initLinear, uniformInit, type CausalConv1dParameters } from "@seqmix/nn";
import {
  add,
  arange,
  broadcastTo,
  cast,
  exp,
  expm1,
  foldIn,
  full,
  log,
  maximum,
  mul,
  neg,
  normal,
  ones,
  uniform,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { extents, sizes, type MambaConfig, type MambaDirection, type MambaParameters } from "./parts.js";

/** As published; the step sizes of the second scan of "v2" begin as those of any linear map. */
export function initMamba(config: MambaConfig, key: Key): MambaParameters {
  const { dModel, bias, bidirectional } = config;
  const { E, R } = extents(config);
  return {
    in_proj: initLinear(foldIn(key, "in_proj"), dModel, 2 * E, { bias }),
    ...initDirection(config, key, ""),
    ...(bidirectional === "v1" && { A_b_log: ratesOf(config) }),
    ...(bidirectional === "v2" && secondDirection(config, key, R)),
    out_proj: initLinear(foldIn(key, "out_proj"), E, dModel, { bias }),
  };
}

/** What a scan takes; keys end in `suffix`. */
function initDirection(config: MambaConfig, key: Key, suffix: string): MambaDirection {
  const { dState: N, dConv: W, convBias } = config;
  const { E } = extents(config);
  const projected = sizes(config).reduce((total, size) => total + size, 0);
  const own = (name: string): Key =>
    foldIn(
      key,
      name.replace(/^\w+/, (first) => first + suffix),
    );
  return {
    conv1d: initConvolution(own, E, W, convBias),
    ...(projected > 0 && { x_proj: initLinear(own("x_proj"), E, projected, { bias: false }) }),
    dt_proj: {
      ...(config.selectiveDelta && { weight: initialStepWeight(config, own("dt_proj.weight")) }),
      bias: initialStepBias(config, own("dt_proj.bias")),
    },
    ...(!config.selectiveB && { B: ones([E, N]) }),
    ...(!config.selectiveC && { C: normal(own("C"), [E, N]) }),
    A_log: ratesOf(config),
    D: ones([E]),
  };
}

/** The parameters of the scan from the end under the published keys. */
function secondDirection(config: MambaConfig, key: Key, R: number): Partial<MambaParameters> {
  const { conv1d, x_proj, dt_proj, B, C, A_log, D } = initDirection(config, key, "_b");
  return {
    A_b_log: A_log,
    conv1d_b: conv1d,
    ...(x_proj && { x_proj_b: x_proj }),
    dt_proj_b: config.selectiveDelta
      ? (initLinear(foldIn(key, "dt_proj_b"), R, extents(config).E) as MambaDirection["dt_proj"])
      : dt_proj,
    ...(B && { B_b: B }),
    ...(C && { C_b: C }),
    D_b: D,
  };
}

/** S4D-Real: the eigenvalues -1, -2, ..., -N in every channel. */
const ratesOf = (config: MambaConfig): Tensor =>
  broadcastTo(log(cast(add(arange(config.dState), 1), "f32")), [extents(config).E, config.dState]);

function initConvolution(own: (name: string) => Key, E: number, W: number, bias: boolean): CausalConv1dParameters {
  const bounded = uniformInit(1 / Math.sqrt(W));
  const weight = bounded(own("conv1d.weight"), [E, 1, W]);
  return bias ? { weight, bias: bounded(own("conv1d.bias"), [E]) } : { weight };
}

function initialStepWeight(config: MambaConfig, key: Key): Tensor {
  const { E, R } = extents(config);
  const bound = config.dtScale / Math.sqrt(R);
  return config.dtInit === "constant" ? full([E, R], bound) : uniform(key, [E, R], -bound, bound);
}

/** The inverse of softplus, dt + log(1 - e^-dt), at step sizes log-uniform in dtMin .. dtMax. */
function initialStepBias(config: MambaConfig, key: Key): Tensor {
  const { dtMin, dtMax, dtInitFloor } = config;
  const dt = maximum(exp(uniform(key, [extents(config).E], Math.log(dtMin), Math.log(dtMax))), dtInitFloor);
  return add(dt, log(neg(expm1(mul(-1, dt)))));
}
