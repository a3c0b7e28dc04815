/** The Mamba block (Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023). */
import { defineMixer, inChunks } from "@seqmix/mixer";
import { causalConv1d, causalConv1dStep, linear } from "@seqmix/nn";
import { selectiveScan, selectiveScanStep } from "@seqmix/selective-scan";
import { broadcastTo, split, zeros, type Tensor } from "@seqmix/tensor";
import { bothWays } from "./bidirectional.js";
import { initMamba } from "./initialize.js";
import { MOST_ROWS } from "@seqmix/tensor/wgsl";
import { mambaStepKernel } from "./step-record.js";
import { depthwise, extents, select, type MambaConfig, type MambaParameters, type Selected } from "./parts.js";

/** The last W-1 inputs of the short convolution [B E W-1], and the state of the scan [B E N]. */
export type MambaState = {
  /** [B E W-1], oldest first. */
  readonly conv: Tensor;
  /** [B E N]. */
  readonly ssm: Tensor;
};

/** Parameter groups of the published training code, for an optimizer's `groups`: no weight decay on A_log and D, of both directions. */
export const mambaParameterGroups: readonly {
  /** Paths of the parameters. */
  readonly match: RegExp;
  /** In place of the optimizer's. */
  readonly weightDecay: number;
}[] = [{ match: /(^|\.)(A_log|D|A_b_log|D_b)$/, weightDecay: 0 }];

/**
 * [u, z] = in_proj x; u = silu(conv(u)); [dt, B, C] = x_proj u; delta = softplus(dt_proj dt);
 * h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t; y = out_proj((C_t . h_t + D u_t) silu(z_t)).
 * Step size, B and C depend on the input: that is what makes the scan selective. Each can be made constant to measure what it is worth.
 */
export const mamba = defineMixer({
  id: "mamba",
  config: {
    dModel: 64,
    dState: 16,
    dConv: 4,
    expand: 2,
    dtRank: "auto",
    dtMin: 0.001,
    dtMax: 0.1,
    dtInitFloor: 1e-4,
    dtInit: "random",
    dtScale: 1,
    convBias: true,
    bias: false,
    selectiveDelta: true,
    selectiveB: true,
    selectiveC: true,
    bidirectional: "none",
    divideOut: false,
    chunkSize: 256,
  } as MambaConfig,
  choices: { dtInit: ["random", "constant"], bidirectional: ["none", "v1", "v2"] },
  ranges: {
    dState: [1, Infinity, "whole"],
    dConv: [1, Infinity, "whole"],
    dtRank: [1, Infinity, "whole"],
    expand: [1e-6, Infinity],
    dtInitFloor: [0, Infinity],
    dtScale: [0, Infinity],
  },
  samples: {
    published: { dModel: 4, dState: 3, dtRank: 2, dtMin: 0.05, dtMax: 0.5, chunkSize: 3 },
    "constant maps": {
      dModel: 2,
      dState: 2,
      dtMin: 0.05,
      dtMax: 0.5,
      selectiveB: false,
      selectiveDelta: false,
      bias: true,
    },
    "both ways, v1": { dModel: 2, dState: 2, dtMin: 0.05, dtMax: 0.5, bidirectional: "v1" },
    "both ways, v2": { dModel: 2, dState: 2, dtMin: 0.05, dtMax: 0.5, bidirectional: "v2", divideOut: true },
  },
  parameterGroups: () => mambaParameterGroups,
  causal: ({ bidirectional }) => bidirectional === "none",
  residualMaps: /^out_proj\.weight$/,
  resets: true,
  state: "constant",

  init: initMamba,

  initState: mambaStart,

  step(config, params, x, state) {
    const whole = inOneRecord(config, params, x, state);
    if (whole) return whole;
    const { E } = extents(config);
    const [input, z] = split(linear(params.in_proj, x), [E, E], -1) as [Tensor, Tensor];
    const [u, conv] = causalConv1dStep(depthwise(params), input, state.conv, { activation: "silu" });
    const { y, h } = selectiveScanStep(
      { ...perSequence(config, x.shape[0]!, select(config, params, u)), u, z, h: state.ssm },
      { deltaSoftplus: true },
    );
    return [linear(params.out_proj, y), { conv, ssm: h }];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (piece, carried: MambaState | undefined, flags) => parallel(config, params, piece, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

/** The published block, of no more rows than its record is for. */
function inOneRecord(
  config: MambaConfig,
  params: MambaParameters,
  x: Tensor,
  state: MambaState,
): readonly [Tensor, MambaState] | undefined {
  const { in_proj, x_proj, dt_proj, out_proj } = params;
  const { weight: conv, bias: convBias } = depthwise(params);
  const selective = config.selectiveDelta && config.selectiveB && config.selectiveC;
  const usual = selective && !in_proj.bias && !out_proj.bias && x.shape[0]! <= MOST_ROWS;
  if (!usual || !convBias || !x_proj || !dt_proj.weight) return undefined;
  const { y, nextWindow, nextState } = mambaStepKernel(
    {
      x,
      inProj: in_proj.weight,
      conv,
      convBias,
      xProj: x_proj.weight,
      dtProj: dt_proj.weight,
      dtBias: dt_proj.bias,
      aLog: params.A_log,
      skip: params.D,
      outProj: out_proj.weight,
      window: state.conv,
      state: state.ssm,
    },
    undefined,
  );
  return [y, { conv: nextWindow, ssm: nextState }];
}

function mambaStart(config: MambaConfig, batch: number): MambaState {
  const { E } = extents(config);
  return { conv: zeros([batch, E, config.dConv - 1]), ssm: zeros([batch, E, config.dState]) };
}

function parallel(
  config: MambaConfig,
  params: MambaParameters,
  x: Tensor,
  state?: MambaState,
  resets?: Tensor,
): readonly [Tensor, MambaState] {
  if (config.bidirectional !== "none") return [bothWays(config, params, x, resets), mambaStart(config, x.shape[0]!)];
  const { E } = extents(config);
  const [input, z] = split(linear(params.in_proj, x), [E, E], -1) as [Tensor, Tensor];
  const [u, conv] = causalConv1d(depthwise(params), input, state?.conv, { activation: "silu", resets });
  const { y, hT } = selectiveScan(
    { ...select(config, params, u), u, z, h0: state?.ssm, resets },
    { deltaSoftplus: true },
  );
  return [linear(params.out_proj, y), { conv, ssm: hT }];
}

/** A constant map [E N] for one position of each sequence: [B E N]. */
const perSequence = (config: MambaConfig, batch: number, { B, C, ...rest }: Selected): Selected => ({
  ...rest,
  B: config.selectiveB ? B : broadcastTo(B, [batch, ...B.shape]),
  C: config.selectiveC ? C : broadcastTo(C, [batch, ...C.shape]),
});
