/** H3 (Fu et al., Hungry Hungry Hippos: Towards Language Modeling with State Space Models, 2023), as released in `h3.py`. */
import { s4dEigenvalues, type S4dInit } from "@seqmix/hippo";
import {
  beforeTransform,
  companionSystem,
  convolve,
  convolvePacked,
  diagonalSystem,
  positive,
  withinBand,
  type ConvolveOptions,
  type DiagonalSystem,
  type LtiRun,
  type LtiSystem,
  type PositiveTransform,
} from "@seqmix/lti";
import { defineMixer, inChunks } from "@seqmix/mixer";
import {
  initLinear,
  linear,
  linearChannelsFirst,
  linearChannelsLast,
  normalInit,
  uniformInit,
  type LinearParameters,
} from "@seqmix/nn";
import {
  add,
  assertFields,
  broadcastTo,
  complexScale,
  concat,
  exp,
  expandDims,
  foldIn,
  mul,
  neg,
  normal,
  ones,
  reshape,
  sliceAxis,
  stack,
  sum,
  tensor,
  transpose,
  uniform,
  zeros,
  type Complex,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** Settings of {@link h3}, with the defaults of the released code. */
export type H3Config = {
  /** Channels D. */
  readonly dModel: number;
  /** N: taps of the shift model, and state entries of each head's diagonal model counting both of each conjugate pair; even. */
  readonly dState: number;
  /** P, channels a head; a head's state-space model sees all P^2 products of its keys and values. 1 in the published models. */
  readonly headDim: number;
  /** Order of a head's P output channels: "head-major" as the fused kernel, with which the published models were trained; "entry-major" as the plain code with headDim > 1. The same for headDim = 1. */
  readonly outputChannels: "head-major" | "entry-major";
  /** Discretization of the diagonal model. */
  readonly disc: "zoh" | "bilinear";
  /** Its initial eigenvalues: {@link S4dInit} behind the "diag-" of the released code. */
  readonly measure: `diag-${Exclude<S4dInit, "rand">}`;
  /** Minus the real part of the eigenvalues is this function of `inv_A_real`. */
  readonly realType: PositiveTransform;
  /** Leave the imaginary part of the eigenvalues out. */
  readonly forceReal: boolean;
  /** Leave out modes of more than half this many periods a step; 0 for none. */
  readonly bandlimit: number;
  /** Systems S among the H heads: head h uses system h mod S; "auto" is one each. */
  readonly nSsm: number | "auto";
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** Q, positions in a piece of the chunked mode, and of the parallel one with resets. */
  readonly chunkSize: number;
};

/** Parameters under the published keys; H = D / P heads, S systems of N/2 stored modes. */
export type H3Parameters = {
  /** Weights [D D], biases [D]. */
  readonly q_proj: LinearParameters;
  /** Keys. */
  readonly k_proj: LinearParameters;
  /** Values. */
  readonly v_proj: LinearParameters;
  /** The shift model of the keys. */
  readonly ssm_k_kernel: {
    /** The state-space model. */
    readonly kernel: {
      /** [D N]. */
      readonly B: Tensor;
      /** [1 D N]. */
      readonly C: Tensor;
    };
  };
  /** What the shift model passes of the present key [D]. */
  readonly ssm_k_D: Tensor;
  /** The diagonal model of the products. */
  readonly kernel: {
    /** The state-space model. */
    readonly kernel: {
      /** [1 H N/2 2], real and imaginary parts last. */
      readonly C: Tensor;
      /** [H]. */
      readonly log_dt: Tensor;
      /** [S N/2 2]. */
      readonly B: Tensor;
      /** [S N/2]. */
      readonly inv_A_real: Tensor;
      /** [S N/2]. */
      readonly A_imag: Tensor;
    };
  };
  /** What the diagonal model passes of the present product [H]. */
  readonly D: Tensor;
  /** Weight [D D], bias [D]. */
  readonly output_linear: LinearParameters;
};

/** The state: of the shift model [B D N] and of the diagonal one [B P^2 H N/2]. */
export type H3State = {
  /** [B D N]. */
  readonly shift: Tensor;
  /** [B P^2 H N/2]. */
  readonly diagonal: Complex;
};

/**
 * y = W_o (q . SSM_diag(SSM_shift(k) (x) v)): the shift model compares a key with the next values, the diagonal one
 * remembers the products, and queries read them. Both models do not depend on the input, so whole sequences are two FFT
 * convolutions; with resets, or an element at a time, they are recurrences.
 */
export const h3 = defineMixer({
  id: "h3",
  config: {
    dModel: 64,
    dState: 64,
    headDim: 1,
    outputChannels: "head-major",
    disc: "bilinear",
    measure: "diag-lin",
    realType: "exp",
    forceReal: false,
    bandlimit: 0,
    nSsm: "auto",
    dtMin: 0.001,
    dtMax: 0.1,
    chunkSize: 64,
  } as H3Config,
  state: "constant",
  resets: true,
  choices: {
    outputChannels: ["head-major", "entry-major"],
    disc: ["zoh", "bilinear"],
    measure: ["diag-lin", "diag-inv", "diag-inv2", "diag-quad", "diag-legs", "diag-real"],
    realType: ["none", "exp", "relu", "sigmoid", "softplus"],
  },
  ranges: {
    dState: [1, Infinity, "whole"],
    headDim: [1, Infinity, "whole"],
    nSsm: [0, Infinity, "whole"],
    bandlimit: [0, Infinity],
  },
  samples: {
    "one channel a head": { dModel: 2, dState: 2, dtMin: 0.2, dtMax: 0.8, chunkSize: 4 },
    "two channels a head": {
      dModel: 2,
      dState: 2,
      headDim: 2,
      disc: "zoh",
      measure: "diag-inv",
      nSsm: 1,
      dtMin: 0.2,
      dtMax: 0.8,
      chunkSize: 8,
    },
  },

  init: initH3,

  initState: (config, batch): H3State => {
    const { H, P, modes } = sizesOf(config);
    const rest = zeros([batch, P * P, H, modes]);
    return { shift: zeros([batch, config.dModel, config.dState]), diagonal: { re: rest, im: rest } };
  },

  step(config, params, x, { shift, diagonal }): readonly [Tensor, H3State] {
    const { H, P } = sizesOf(config);
    const [B, D] = x.shape as [number, number];
    const [q, k, v] = [params.q_proj, params.k_proj, params.v_proj].map((map) => linear(map, x)) as Three;
    const [shifted, nextShift] = shiftModel(params).step(k, shift);
    const keys = add(reshape(shifted, [B, D]), mul(k, params.ssm_k_D));
    const products = headProducts(reshape(keys, [B, H, P, 1]), reshape(v, [B, H, P, 1]));
    const u = reshape(products, [B * P * P, H]);
    const [y, h] = diagonalModel(config, params).step(u, perProduct(diagonal));
    const filtered = add(reshape(y, u.shape), mul(u, params.D));
    const read = queryHeads(config, reshape(q, [B, H, P, 1]), reshape(filtered, products.shape));
    return [linear(params.output_linear, reshape(read, [B, D])), { shift: nextShift, diagonal: perSequence(h, B, P) }];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (part, carried: H3State | undefined, flags) => parallel(config, params, part, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },

  parameterGroups: () => [
    { match: /(^|\.)kernel\.kernel\.(log_dt|B|inv_A_real|A_imag)$|(^|\.)ssm_k_kernel\.kernel\.B$/, weightDecay: 0 },
  ],
});

type Three = [Tensor, Tensor, Tensor];

/** Both models of a layer. */
export interface H3Models {
  /** Of the keys. */
  readonly shift: LtiSystem<Tensor>;
  /** Of the products. */
  readonly diagonal: LtiSystem<Complex>;
}

function parallel(
  config: H3Config,
  params: H3Parameters,
  x: Tensor,
  state?: H3State,
  resets?: Tensor,
): readonly [Tensor, H3State] {
  const models = { shift: shiftModel(params), diagonal: diagonalModel(config, params) };
  return throughModels(config, params, x, models, state, resets);
}

/** The layer with these models on x [B L D]. */
export function throughModels(
  config: Omit<H3Config, "disc">,
  params: H3Parameters,
  x: Tensor,
  models: H3Models,
  state?: H3State,
  resets?: Tensor,
): readonly [Tensor, H3State] {
  const { H, P } = sizesOf(config);
  const [B, L, D] = x.shape as [number, number, number];
  const run = <S extends Tree>(
    system: LtiSystem<S>,
    u: Tensor,
    h0: S | undefined,
    around: ConvolveOptions,
  ): LtiRun<S> => {
    if (!resets) return convolve(system, u, h0, around);
    const { skip, gate } = around;
    const flags = repeated(resets, u.shape[0]! / B);
    const { y, hT } = convolvePacked(system, u, flags, { h0, skip, pieceLength: config.chunkSize });
    return { y: gate ? mul(gate, y) : y, hT };
  };
  const [q, k, v] = [params.q_proj, params.k_proj, params.v_proj].map((map) => linearChannelsFirst(map, x)) as Three;
  const heads = (part: Tensor): Tensor => reshape(part, [B, H, P, L]);
  // With one channel a head, values and queries are the factors of what the models give, taken inside the convolutions.
  const factor = (part: Tensor): Tensor | undefined => (P === 1 ? reshape(part, [B, 1, D, L]) : undefined);
  const keys = run(models.shift, k, state?.shift, { skip: expandDims(params.ssm_k_D, 0), gate: factor(v) });
  const products = P === 1 ? keys.y : headProducts(heads(keys.y), heads(v));
  const memory = run(models.diagonal, reshape(products, [B * P * P, H, L]), state && perProduct(state.diagonal), {
    skip: expandDims(params.D, 0),
    gate: factor(q),
  });
  const read = P === 1 ? memory.y : queryHeads(config, heads(q), reshape(memory.y, [B, P, P, H, L]));
  return [
    linearChannelsLast(params.output_linear, reshape(read, [B, D, L])),
    { shift: keys.hT, diagonal: perSequence(memory.hT, B, P) },
  ];
}

/** Resets [B L] for each of so many products of a sequence [B times, L]. */
function repeated(resets: Tensor, times: number): Tensor {
  const [B, L] = resets.shape as [number, number];
  return times === 1 ? resets : reshape(broadcastTo(expandDims(resets, 1), [B, times, L]), [B * times, L]);
}

/** Products k_p v_r of each head: k, v [B H P L] -> [B P P H L], all of a sequence's before the next one's. */
function headProducts(k: Tensor, v: Tensor): Tensor {
  const entriesFirst = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
  return mul(expandDims(entriesFirst(k), 2), expandDims(entriesFirst(v), 1));
}

/** sum_p q_p y_pr, the channels in the config's order: q [B H P L], y [B P P H L] -> [B D L], D as [H P] or [P H]. */
function queryHeads({ outputChannels }: Pick<H3Config, "outputChannels">, q: Tensor, y: Tensor): Tensor {
  const read = sum(mul(expandDims(transpose(q, [0, 2, 1, 3]), 2), y), 1);
  return outputChannels === "head-major" ? transpose(read, [0, 2, 1, 3]) : read;
}

/** A state of P^2 products a sequence as one of so many sequences, and back. */
const perProduct = ({ re, im }: Complex): Complex => {
  const [B, products, ...rest] = re.shape as [number, number, ...number[]];
  return { re: reshape(re, [B * products, ...rest]), im: reshape(im, [B * products, ...rest]) };
};
const perSequence = ({ re, im }: Complex, B: number, P: number): Complex => {
  const shape = [B, P * P, ...re.shape.slice(1)];
  return { re: reshape(re, shape), im: reshape(im, shape) };
};

/** The shift model of the keys. Its state holds the last N inputs under the map B. */
export function shiftModel({ ssm_k_kernel: { kernel } }: H3Parameters): LtiSystem<Tensor> {
  return companionSystem({ b: kernel.B, c: kernel.C });
}

/** What {@link diagonalModel} needs to know of a config. */
export type H3ModelConfig = Pick<H3Config, "realType"> & Partial<Pick<H3Config, "forceReal" | "bandlimit">>;

/** The diagonal model of the products. */
export const diagonalModel = (
  config: H3ModelConfig & Pick<H3Config, "disc">,
  params: H3Parameters,
): LtiSystem<Complex> => diagonalSystem(continuousModel(config, params), { rule: config.disc });

/** The diagonal model before it is discretized. */
export function continuousModel(config: H3ModelConfig, { kernel: { kernel } }: H3Parameters): DiagonalSystem {
  assertFields("h3", config, { realType: "own" });
  const { realType, forceReal = false, bandlimit = 0 } = config;
  assertFields(
    "h3",
    { realType, forceReal, bandlimit },
    {
      realType: ["none", "exp", "relu", "sigmoid", "softplus"],
      forceReal: "flag",
      bandlimit: { from: 0 },
    },
  );
  const { log_dt, inv_A_real, A_imag, B, C } = kernel;
  const H = log_dt.shape[0]!;
  const [S, modes] = inv_A_real.shape as [number, number];
  // Head h uses system h mod S.
  const copies = (x: Tensor): Tensor => (S === H ? x : reshape(broadcastTo(x, [H / S, S, modes]), [H, modes]));
  const part = (pairs: Tensor, k: number): Tensor => reshape(sliceAxis(pairs, -1, k, k + 1), pairs.shape.slice(0, -1));
  const dt = exp(expandDims(log_dt, 1));
  const A = {
    re: copies(neg(positive(inv_A_real, realType))),
    im: copies(forceReal ? zeros([S, modes]) : A_imag),
  };
  const output = { re: part(C, 0), im: part(C, 1) };
  return {
    dt,
    A,
    B: { re: copies(part(B, 0)), im: copies(part(B, 1)) },
    C: bandlimit > 0 ? complexScale(output, withinBand(mul(dt, A.im), bandlimit)) : output,
  };
}

function sizesOf({ dModel, dState, headDim: P, nSsm }: Omit<H3Config, "disc">): {
  H: number;
  P: number;
  S: number;
  modes: number;
} {
  if (!Number.isInteger(P) || P < 1 || dModel % P !== 0)
    throw new RangeError(`h3: expected a headDim that divides dModel, got ${P} for ${dModel}`);
  if (!Number.isInteger(dState) || dState < 2 || dState % 2 !== 0)
    throw new RangeError(`h3: expected an even dState of at least 2, got ${dState}`);
  const H = dModel / P;
  const S = nSsm === "auto" ? H : nSsm;
  if (!Number.isInteger(S) || S < 1 || H % S !== 0)
    throw new RangeError(`h3: expected an nSsm that divides the ${H} heads, got ${S}`);
  return { H, P, S, modes: dState / 2 };
}

function initH3(config: H3Config, key: Key): H3Parameters {
  const { dModel: D, dState: N, dtMin, dtMax } = config;
  const { H, S, modes } = sizesOf(config);
  const map = (name: string): LinearParameters => initLinear(foldIn(key, name), D, D);
  const start = s4dEigenvalues(config.measure.slice("diag-".length) as S4dInit, N);
  const rows = (values: Float64Array): Tensor => broadcastTo(tensor(values), [S, modes]);
  return {
    q_proj: map("q_proj"),
    k_proj: map("k_proj"),
    v_proj: map("v_proj"),
    ssm_k_kernel: {
      kernel: {
        B: concat([ones([D, 1]), zeros([D, N - 1])], 1),
        C: uniformInit(1 / Math.sqrt(N))(foldIn(key, "ssm_k_kernel"), [1, D, N]),
      },
    },
    ssm_k_D: normal(foldIn(key, "ssm_k_D"), [D]),
    kernel: {
      kernel: {
        // A complex normal variable of variance 1.
        C: normalInit(Math.SQRT1_2)(foldIn(key, "C"), [1, H, modes, 2]),
        log_dt: uniform(foldIn(key, "log_dt"), [H], Math.log(dtMin), Math.log(dtMax)),
        B: stack([ones([S, modes]), zeros([S, modes])], 2),
        inv_A_real: rows(start.re.map((re) => beforeTransform(-re, config.realType))),
        A_imag: rows(start.im),
      },
    },
    D: normal(foldIn(key, "D"), [H]),
    output_linear: map("output_linear"),
  };
}
