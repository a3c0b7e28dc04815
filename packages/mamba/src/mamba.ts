/** The Mamba block (Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023). */
import { defineMixer, inChunks } from "@seqmix/mixer";
import {
  causalConv1d,
  causalConv1dStep,
  initLinear,
  linear,
  uniformInit,
  type CausalConv1dParameters,
  type LinearParameters,
} from "@seqmix/nn";
import { selectiveScan, selectiveScanStep } from "@seqmix/selective-scan";
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
  matmul,
  maximum,
  mul,
  neg,
  normal,
  ones,
  reshape,
  ShapeError,
  split,
  transpose,
  uniform,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link mamba}. */
export type MambaConfig = {
  /** Channels D of the residual stream. */
  readonly dModel: number;
  /** N, state entries a channel. */
  readonly dState: number;
  /** W, width of the short convolution. */
  readonly dConv: number;
  /** Channels inside the block (dInner) over those outside. */
  readonly expand: number;
  /** R, rank of the projection to step sizes; "auto" is ceil(dModel / 16). */
  readonly dtRank: number | "auto";
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** Initial step sizes below this are raised to it. */
  readonly dtInitFloor: number;
  /** Initial weights of the projection to step sizes: uniform in +-dtScale/sqrt(R), or all dtScale/sqrt(R). */
  readonly dtInit: "random" | "constant";
  /** See `dtInit`. */
  readonly dtScale: number;
  /** Whether the short convolution has a bias. */
  readonly convBias: boolean;
  /** Whether the projections into and out of the block have a bias. */
  readonly bias: boolean;
  /** Whether the step size depends on the input (paper, table 7); else each channel learns one. */
  readonly selectiveDelta: boolean;
  /** Whether B depends on the input; else it is learned for each channel. */
  readonly selectiveB: boolean;
  /** Whether C depends on the input; else it is learned for each channel. */
  readonly selectiveC: boolean;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys; E is dInner. */
export type MambaParameters = {
  /** Weight [2E D]: input of the scan, then gate. */
  readonly in_proj: LinearParameters;
  /** The short convolution: weight [E 1 W], bias [E]. */
  readonly conv1d: CausalConv1dParameters;
  /** Weight [R+2N E]: step sizes, B, C, those of them that depend on the input; none if nothing does. */
  readonly x_proj?: LinearParameters;
  /** Weight [E R], bias [E]; softplus of the result is the step size. The bias alone if it does not depend on the input. */
  readonly dt_proj: {
    /** [E R]. */
    readonly weight?: Tensor;
    /** [E]. */
    readonly bias: Tensor;
  };
  /** Input map [E N], where it does not depend on the input. */
  readonly B?: Tensor;
  /** Output map [E N], where it does not depend on the input. */
  readonly C?: Tensor;
  /** Logarithms of decay rates [E N]: A = -exp(A_log). */
  readonly A_log: Tensor;
  /** Skip from the scan's input to its output [E]. */
  readonly D: Tensor;
  /** Weight [D E]. */
  readonly out_proj: LinearParameters;
};

/** The last W-1 inputs of the short convolution [B E W-1], and the state of the scan [B E N]. */
export type MambaState = {
  /** [B E W-1], oldest first. */
  readonly conv: Tensor;
  /** [B E N]. */
  readonly ssm: Tensor;
};

/** Parameter groups of the published training code, for an optimizer's `groups`: no weight decay on A_log and D. */
export const mambaParameterGroups: readonly {
  /** Paths of the parameters. */
  readonly match: RegExp;
  /** In place of the optimizer's. */
  readonly weightDecay: number;
}[] = [{ match: /(^|\.)(A_log|D)$/, weightDecay: 0 }];

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
    chunkSize: 256,
  } as MambaConfig,
  choices: { dtInit: ["random", "constant"] },
  ranges: { dState: [1, Infinity], dConv: [1, Infinity], chunkSize: [1, Infinity] },
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
  },
  parameterGroups: () => mambaParameterGroups,
  resets: true,
  state: "constant",

  init(config, key: Key): MambaParameters {
    const { dModel, dState: N, dConv: W, bias, convBias } = config;
    const { E } = extents(config);
    const projected = sizes(config).reduce((total, size) => total + size, 0);
    const convInit = uniformInit(1 / Math.sqrt(W));
    const convWeight = convInit(foldIn(key, "conv1d.weight"), [E, 1, W]);
    return {
      in_proj: initLinear(foldIn(key, "in_proj"), dModel, 2 * E, { bias }),
      conv1d: convBias
        ? { weight: convWeight, bias: convInit(foldIn(key, "conv1d.bias"), [E]) }
        : { weight: convWeight },
      ...(projected > 0 && { x_proj: initLinear(foldIn(key, "x_proj"), E, projected, { bias: false }) }),
      dt_proj: {
        ...(config.selectiveDelta && { weight: initialStepWeight(config, foldIn(key, "dt_proj.weight")) }),
        bias: initialStepBias(config, foldIn(key, "dt_proj.bias")),
      },
      ...(!config.selectiveB && { B: ones([E, N]) }),
      ...(!config.selectiveC && { C: normal(foldIn(key, "C"), [E, N]) }),
      // S4D-Real: the eigenvalues -1, -2, ..., -N in every channel.
      A_log: broadcastTo(log(cast(add(arange(N), 1), "f32")), [E, N]),
      D: ones([E]),
      out_proj: initLinear(foldIn(key, "out_proj"), E, dModel, { bias }),
    };
  },

  initState(config, batch): MambaState {
    const { E } = extents(config);
    return { conv: zeros([batch, E, config.dConv - 1]), ssm: zeros([batch, E, config.dState]) };
  },

  step(config, params, x, state) {
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

function parallel(
  config: MambaConfig,
  params: MambaParameters,
  x: Tensor,
  state?: MambaState,
  resets?: Tensor,
): readonly [Tensor, MambaState] {
  const { E } = extents(config);
  const [input, z] = split(linear(params.in_proj, x), [E, E], -1) as [Tensor, Tensor];
  const [u, conv] = causalConv1d(depthwise(params), input, state?.conv, { activation: "silu", resets });
  const { y, hT } = selectiveScan(
    { ...select(config, params, u), u, z, h0: state?.ssm, resets },
    { deltaSoftplus: true },
  );
  return [linear(params.out_proj, y), { conv, ssm: hT }];
}

/** Rows of x_proj for step sizes, B and C: none for what does not depend on the input. */
function sizes(config: MambaConfig): readonly [number, number, number] {
  const N = config.dState;
  return [config.selectiveDelta ? extents(config).R : 0, config.selectiveB ? N : 0, config.selectiveC ? N : 0];
}

/** What the scan takes besides its input [.. E]: step size before its bias, A, B, C and the skip; constant B and C are [E N]. */
function select(
  config: MambaConfig,
  params: MambaParameters,
  u: Tensor,
): Record<"delta" | "A" | "B" | "C" | "D" | "deltaBias", Tensor> {
  const present = sizes(config).filter((size) => size > 0);
  const rows = present.reduce((total, size) => total + size, 0);
  const given = params.x_proj?.weight.shape[0] ?? 0;
  if (given !== rows)
    throw new ShapeError(
      `mamba: expected an x_proj of ${rows} rows for this config, got ${given}; take the parameters from init with the same config`,
    );
  const parts = params.x_proj ? split(linear(params.x_proj, u), present, -1) : [];
  const next = (selective: boolean, constant: Tensor | undefined, name: string): Tensor => {
    const part = selective ? parts.shift() : constant;
    if (!part)
      throw new TypeError(
        `mamba: expected ${name} among the parameters for this config, got none; take them from init with the same config`,
      );
    return part;
  };
  const { weight, bias } = params.dt_proj;
  const delta =
    config.selectiveDelta && weight ? matmul(next(true, undefined, "x_proj"), transpose(weight)) : zeros(u.shape);
  return {
    delta,
    A: neg(exp(params.A_log)),
    B: next(config.selectiveB, params.B, "B"),
    C: next(config.selectiveC, params.C, "C"),
    D: params.D,
    deltaBias: bias,
  };
}

/** A constant map [E N] for one position of each sequence: [B E N]. */
const perSequence = (
  config: MambaConfig,
  batch: number,
  { B, C, ...rest }: ReturnType<typeof select>,
): ReturnType<typeof select> => ({
  ...rest,
  B: config.selectiveB ? B : broadcastTo(B, [batch, ...B.shape]),
  C: config.selectiveC ? C : broadcastTo(C, [batch, ...C.shape]),
});

/** The convolution's parameters without the axis of one input a group. */
function depthwise({ conv1d: { weight, bias } }: MambaParameters): CausalConv1dParameters {
  const flat = reshape(weight, [weight.shape[0]!, weight.shape[2]!]);
  return bias ? { weight: flat, bias } : { weight: flat };
}

/** dInner and the rank of the step size's projection. */
function extents({ dModel, expand, dtRank }: MambaConfig): { readonly E: number; readonly R: number } {
  const E = expand * dModel;
  const R = dtRank === "auto" ? Math.ceil(dModel / 16) : dtRank;
  if (!Number.isInteger(E) || E < 1)
    throw new RangeError(`mamba: expected expand * dModel to be a positive integer, got ${expand} * ${dModel}`);
  if (!Number.isInteger(R) || R < 1)
    throw new RangeError(`mamba: expected dtRank "auto" or a positive integer, got ${String(dtRank)}`);
  return { E, R };
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
