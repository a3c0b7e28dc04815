/** S5 (Smith, Warrington, Linderman, Simplified State Space Layers for Sequence Modeling, 2023), also with resets (Lu et al., Structured State Space Models for In-Context Reinforcement Learning, 2023). */
import { discretizeDiagonal } from "@seqmix/discretize";
import { diagonalizeLegs } from "@seqmix/hippo";
import { configure, defineMixer, inChunks } from "@seqmix/mixer";
import { normalInit } from "@seqmix/nn";
import { complexMul, type Complex } from "@seqmix/scan";
import {
  add,
  assertFields,
  assertSettings,
  cast,
  concat,
  exp,
  expandDims,
  foldIn,
  matmul,
  minimum,
  mul,
  neg,
  normal,
  reshape,
  sliceAxis,
  stack,
  sub,
  tensor,
  transpose,
  uniform,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  activate,
  initActivation,
  layerActivations,
  type ActivationParameters,
  type LayerActivation,
} from "./activation.js";
import { restState, runMimo, stepMimo, type MimoSystem } from "./diagonal-recurrence.js";

/** What {@link s5System} needs to know of a config. */
export type S5SystemConfig = {
  /** Each stored state stands for itself and its conjugate: y = 2 Re(C h). Else y = Re(C h). */
  readonly conjSym: boolean;
  /** Zero-order hold or the bilinear rule. */
  readonly discretization: "zoh" | "bilinear";
  /** Keep Re Lambda at or below -1e-4. */
  readonly clipEigs: boolean;
  /** Multiplies every step size: 2 for a signal at half the rate of training. */
  readonly stepRescale: number;
};

/** Settings of {@link s5}. */
export type S5Config = S5SystemConfig & {
  /** Channels D. */
  readonly dModel: number;
  /** States of the whole layer, counting both of each conjugate pair; N = dState / 2 are stored if `conjSym`. A multiple of `blocks`. */
  readonly dState: number;
  /** Diagonal blocks of the initial transition, each HiPPO-N of order dState / blocks. */
  readonly blocks: number;
  /** Initial output map: a real one (normal, deviation 1/sqrt(dState) or 1/sqrt(dState dModel)) in the eigenbasis, or a complex normal one. */
  readonly cInit: "trunc_standard_normal" | "lecun_normal" | "complex_normal";
  /** Least and largest initial step size, log-uniform between them, one for each state. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** What follows the state-space model. */
  readonly activation: LayerActivation;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters of the state-space model under the published keys; N states are stored. */
export type S5SsmParameters = {
  /** Re Lambda [N]. */
  readonly Lambda_re: Tensor;
  /** Im Lambda [N]. */
  readonly Lambda_im: Tensor;
  /** Input map [N D 2], real and imaginary parts last. */
  readonly B: Tensor;
  /** Output map [D N 2]; [D 2N 2] for both directions. */
  readonly C?: Tensor;
  /** Output map of the forward direction [D N 2], in place of C. */
  readonly C1?: Tensor;
  /** Output map of the backward direction [D N 2]. */
  readonly C2?: Tensor;
  /** Skip from input to output [D]. */
  readonly D: Tensor;
  /** Logarithms of the step sizes [N 1]. */
  readonly log_step: Tensor;
};

/** Parameters of the layer under the published keys. */
export type S5Parameters = ActivationParameters & {
  /** The state-space model. */
  readonly seq: S5SsmParameters;
};

/** A discrete S5 system. */
export interface S5System extends MimoSystem {
  /** Output map of the backward direction [D N], where there is one. */
  readonly CBackward?: Complex;
}

/**
 * The discrete system that the parameters stand for: Abar = e^(dt Lambda), Bbar = (Abar - 1)/Lambda B, or by the bilinear
 * rule (1 + dt Lambda/2)/(1 - dt Lambda/2), dt/(1 - dt Lambda/2) B. C carries the 2 of conjugate pairs.
 */
export function s5System(
  config: S5SystemConfig,
  { Lambda_re, Lambda_im, B, C, C1, C2, log_step }: S5SsmParameters,
): S5System {
  assertFields("s5System", config, {
    conjSym: "flag",
    discretization: ["zoh", "bilinear"],
    clipEigs: "flag",
    stepRescale: { from: 0 },
  });
  const { conjSym, discretization, clipEigs, stepRescale } = config;
  const N = Lambda_re.shape[0]!;
  const lambda = { re: clipEigs ? minimum(Lambda_re, -1e-4) : Lambda_re, im: Lambda_im };
  const delta = mul(stepRescale, exp(reshape(log_step, [N])));
  const { Abar: a, weight } = discretizeDiagonal(lambda, delta, discretization);
  const output = (map: Tensor): Complex => {
    const { re, im } = fromPairs(map);
    return conjSym ? { re: mul(2, re), im: mul(2, im) } : { re, im };
  };
  const forward = C1 ?? C;
  if (!forward) throw new TypeError("s5System: expected an output map C, or C1 and C2, got none");
  const column = (part: Tensor): Tensor => expandDims(part, 1);
  const system = { a, B: complexMul({ re: column(weight.re), im: column(weight.im) }, fromPairs(B)) };
  if (C2) return { ...system, C: output(forward), CBackward: output(C2) };
  if (forward.shape[1] !== 2 * N) return { ...system, C: output(forward) };
  return { ...system, C: output(sliceAxis(forward, 1, 0, N)), CBackward: output(sliceAxis(forward, 1, N, 2 * N)) };
}

/**
 * The state-space model alone: y = Re(C h) + D u; with an output map of the backward direction, a second run from the end is
 * added, in which each position sees itself and what follows.
 * @param u [B L D]
 * @param past h0: state before the first position [B N]; resets: 1 where a new episode begins, the state before that position is forgotten, else 0 [B L], f32.
 * @returns y [B L D] and the state after the last position [B N].
 * @throws RangeError for resets or a state with both directions.
 */
export function s5Ssm(
  config: S5SystemConfig,
  params: S5SsmParameters,
  u: Tensor,
  past: { readonly h0?: Complex | undefined; readonly resets?: Tensor | undefined } = {},
): readonly [Tensor, Complex] {
  assertSettings("s5Ssm", past, { h0: "pair?", resets: "tensor?" });
  const { h0, resets } = past;
  const { CBackward, ...system } = s5System(config, params);
  if (CBackward && (h0 || resets))
    throw new RangeError(
      "s5Ssm: expected neither state nor resets with both directions, got one; leave it out, or use parameters of one direction",
    );
  const [forward, hT] = runMimo(system, u, { h0, resets });
  const y = CBackward ? add(forward, runMimo({ ...system, C: CBackward }, u, { reverse: true })[0]) : forward;
  return [add(y, mul(u, params.D)), hT];
}

/** The layer with resets: {@link s5} where 1 in `resets` [B L] marks the first position of an episode, before which all is forgotten. */
export function resettableS5(
  config: S5Config,
  { seq, ...gate }: S5Parameters,
  x: Tensor,
  resets: Tensor,
  state?: Complex,
): readonly [Tensor, Complex] {
  const [y, hT] = s5Ssm(config, seq, x, { h0: state, resets });
  return [activate(config.activation, gate, y), hT];
}

/** One position of {@link resettableS5}: x [B D], reset [B]. */
export function resettableS5Step(
  config: S5Config,
  { seq, ...gate }: S5Parameters,
  x: Tensor,
  reset: Tensor | undefined,
  state: Complex,
): readonly [Tensor, Complex] {
  const [y, h] = stepMimo(s5System(config, seq), x, state, reset);
  return [activate(config.activation, gate, add(y, mul(x, seq.D))), h];
}

/** The S5 layer between norm and residual connection: one state-space model with all channels as inputs and outputs, then {@link LayerActivation}. The state is h [B N]. */
export const s5 = defineMixer({
  id: "s5",
  config: {
    dModel: 64,
    dState: 64,
    blocks: 1,
    conjSym: true,
    discretization: "zoh",
    clipEigs: false,
    stepRescale: 1,
    cInit: "lecun_normal",
    dtMin: 0.001,
    dtMax: 0.1,
    activation: "full_glu",
    chunkSize: 64,
  } as S5Config,
  choices: {
    discretization: ["zoh", "bilinear"],
    cInit: ["trunc_standard_normal", "lecun_normal", "complex_normal"],
    activation: layerActivations,
  },
  ranges: { dState: [1, Infinity, "whole"], blocks: [1, Infinity, "whole"], stepRescale: [0, Infinity] },
  samples: {
    zoh: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, chunkSize: 2 },
    bilinear: {
      dModel: 2,
      dState: 4,
      dtMin: 0.05,
      dtMax: 0.5,
      discretization: "bilinear",
      blocks: 2,
      activation: "gelu",
    },
  },
  parameterGroups: (lr) => s5ParameterGroups.map((group) => ({ ...group, learningRateScale: Math.min(1, 1e-3 / lr) })),
  resets: true,
  state: "constant",
  init: (config, key: Key): S5Parameters => ({
    seq: initS5Ssm(config, foldIn(key, "seq")),
    ...initActivation(config.activation, config.dModel, foldIn(key, "activation")),
  }),
  initState: (config, batch): Complex => restState(batch, storedStates(config)),
  step: (config, params, x, state) => resettableS5Step(config, params, x, undefined, state),
  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (part, carried: Complex | undefined, flags) => parallel(config, params, part, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

function parallel(
  config: S5Config,
  { seq, ...gate }: S5Parameters,
  x: Tensor,
  state?: Complex,
  resets?: Tensor,
): readonly [Tensor, Complex] {
  const [y, hT] = s5Ssm(config, seq, x, { h0: state, resets: resets && cast(resets, "f32") });
  return [activate(config.activation, gate, y), hT];
}

/** Parameter groups of the published training code ("standard"), for an optimizer's `groups`: the state-space model's dynamics and input map without weight decay. */
export const s5ParameterGroups: readonly {
  /** Paths of the parameters. */
  readonly match: RegExp;
  /** In place of the optimizer's. */
  readonly weightDecay: number;
}[] = [{ match: /(^|\.)seq\.(Lambda_re|Lambda_im|log_step|B)$/, weightDecay: 0 }];

/** Fresh parameters of the state-space model; `bidirectional` gives output maps C1 and C2, for {@link s5Ssm}. */
export function initS5Ssm(
  config: S5Config,
  key: Key,
  options: { readonly bidirectional?: boolean } = {},
): S5SsmParameters {
  assertSettings("initS5Ssm", options, { bidirectional: "flag" });
  configure(s5, config);
  const { bidirectional = false } = options;
  const { dModel: D, dState, cInit, dtMin, dtMax } = config;
  const { lambda, V } = initialEigenvectors(config);
  const N = storedStates(config);
  const draw = normalInit(1 / Math.sqrt(dState))(foldIn(key, "B"), [dState, D]);
  // V^H times a real map.
  const B = stack([matmul(transpose(V.re), draw), neg(matmul(transpose(V.im), draw))], 2);
  const output = (name: string): Tensor => {
    if (cInit === "complex_normal") return normalInit(Math.SQRT1_2)(foldIn(key, name), [D, N, 2]);
    if (cInit !== "lecun_normal" && cInit !== "trunc_standard_normal")
      throw new RangeError(
        `s5: expected cInit "trunc_standard_normal", "lecun_normal" or "complex_normal", got "${String(cInit)}"`,
      );
    const deviation = 1 / Math.sqrt(cInit === "lecun_normal" ? dState * D : dState);
    const [re, im] = ["re", "im"].map((part) => normalInit(deviation)(foldIn(key, `${name}.${part}`), [D, dState])) as [
      Tensor,
      Tensor,
    ];
    return stack([sub(matmul(re, V.re), matmul(im, V.im)), add(matmul(re, V.im), matmul(im, V.re))], 2);
  };
  return {
    Lambda_re: lambda.re,
    Lambda_im: lambda.im,
    B,
    ...(!bidirectional
      ? { C: output("C") }
      : cInit === "complex_normal"
        ? { C: concat([output("C1"), output("C2")], 1) }
        : { C1: output("C1"), C2: output("C2") }),
    D: normal(foldIn(key, "D"), [D]),
    log_step: uniform(foldIn(key, "log_step"), [N, 1], Math.log(dtMin), Math.log(dtMax)),
  };
}

/** Eigenvalues [N] and eigenvectors [dState N] of the block-diagonal HiPPO-N; of each block the half with negative frequencies if `conjSym`. */
function initialEigenvectors(config: S5Config): { readonly lambda: Complex; readonly V: Complex } {
  const N = storedStates(config);
  const { dState, blocks } = config;
  const order = dState / blocks;
  const kept = N / blocks;
  const { re, im, V } = diagonalizeLegs(order);
  const place = (part: Float64Array): Tensor => {
    const whole = new Float64Array(dState * N);
    for (let j = 0; j < blocks; j++)
      for (let n = 0; n < order; n++)
        for (let k = 0; k < kept; k++) whole[(j * order + n) * N + j * kept + k] = part[n * order + k]!;
    return tensor(whole, [dState, N]);
  };
  const column = (f: (k: number) => number): Tensor =>
    tensor(
      Float64Array.from({ length: N }, (_, k) => f(k % kept)),
      [N],
    );
  return { lambda: { re: column(() => re), im: column((k) => im[k]!) }, V: { re: place(V.re), im: place(V.im) } };
}

function storedStates({ dState, blocks, conjSym }: S5Config): number {
  const order = dState / blocks;
  if (!Number.isInteger(order) || order < 1 || (conjSym && order % 2 !== 0))
    throw new RangeError(
      `s5: expected dState / blocks to be a positive integer, even with conjSym, got ${dState} / ${blocks}`,
    );
  return conjSym ? dState / 2 : dState;
}

/** [.. 2] -> [..]. */
function fromPairs(x: Tensor): Complex {
  const part = (k: number): Tensor => reshape(sliceAxis(x, -1, k, k + 1), x.shape.slice(0, -1));
  return { re: part(0), im: part(1) };
}
