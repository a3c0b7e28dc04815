/** RWKV-4 (Peng et al., RWKV: Reinventing RNNs for the Transformer Era, 2023): time mixing and channel mixing, a layer of each. */
import { defineMixer, inChunks, type LayerPlace } from "@seqmix/mixer";
import { constantInit, initLayerNorm, initLinear, layerNorm, linear, orthogonalInit } from "@seqmix/nn";
import type { LayerNormParameters, LinearParameters } from "@seqmix/nn";
import {
  add,
  concat,
  exp,
  expandDims,
  foldIn,
  mul,
  neg,
  relu,
  reshape,
  sigmoid,
  sliceAxis,
  square,
  sub,
  tensor,
  where,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { wkv, wkvStart, wkvStep, type WkvState } from "./wkv.js";

/** Settings of {@link rwkv4}. */
export type Rwkv4Config = {
  /** Channels D. */
  readonly dModel: number;
  /** Channels of time mixing; 0: D. */
  readonly dAttention: number;
  /** Channels inside channel mixing; 0: 4 D. */
  readonly dHidden: number;
  /** Of the norms. */
  readonly eps: number;
  /** Positions the chunked mode takes at once. */
  readonly chunkSize: number;
};

/** Time mixing under the published names. */
export type TimeMixParameters = {
  /** w = -exp(time_decay) [A]. */
  readonly time_decay: Tensor;
  /** u [A]. */
  readonly time_first: Tensor;
  /** Shares of the current input, against the one before, in keys, values and receptances [D], or [1 1 D] in checkpoints. */
  readonly time_mix_k: Tensor;
  /** Share of the current element in the values. */
  readonly time_mix_v: Tensor;
  /** Share of the current element in the receptance. */
  readonly time_mix_r: Tensor;
  /** [A D] each. */
  readonly key: LinearParameters;
  /** Values. */
  readonly value: LinearParameters;
  /** Receptance, the gate of the output. */
  readonly receptance: LinearParameters;
  /** [D A]. */
  readonly output: LinearParameters;
};

/** Channel mixing under the published names. */
export type ChannelMixParameters = {
  /** Shares of the current input in keys and receptances [D]. */
  readonly time_mix_k: Tensor;
  /** Share of the current element in the receptance. */
  readonly time_mix_r: Tensor;
  /** [F D]. */
  readonly key: LinearParameters;
  /** [D D]. */
  readonly receptance: LinearParameters;
  /** [D F]. */
  readonly value: LinearParameters;
};

/** A layer under the published names. */
export type Rwkv4Parameters = {
  /** Of the embedding, in the first layer alone. */
  readonly ln0?: LayerNormParameters;
  /** Before time mixing. */
  readonly ln1: LayerNormParameters;
  /** Time mixing. */
  readonly att: TimeMixParameters;
  /** Before channel mixing. */
  readonly ln2: LayerNormParameters;
  /** Channel mixing. */
  readonly ffn: ChannelMixParameters;
};

/** What a layer keeps: five vectors. */
export type Rwkv4State = {
  /** The last input of time mixing [B D]. */
  readonly x_att: Tensor;
  /** The last input of channel mixing [B D]. */
  readonly x_ffn: Tensor;
  /** Sums of WKV. */
  readonly wkv: WkvState;
};

/**
 * x + att(ln1(x)), and to that its channel mixing ffn(ln2(.)); a block of its own. With x' the input before (zeros at the
 * start) and mu the shares of `time_mix`: k, v, r = W (mu x + (1 - mu) x'); att = W_o (sigmoid(r) wkv(k, v));
 * ffn = sigmoid(r) W_v relu(k)^2. Initialised as published (RWKV-v4's `model.py`): every layer begins as the identity.
 */
export const rwkv4 = defineMixer({
  id: "rwkv4",
  config: { dModel: 64, dAttention: 0, dHidden: 0, eps: 1e-5, chunkSize: 256 } as Rwkv4Config,
  ranges: { dAttention: [0, Infinity, "whole"], dHidden: [0, Infinity, "whole"], eps: [0, 1] },
  samples: { published: { dModel: 3, dHidden: 4, chunkSize: 3 } },
  state: "constant",
  resets: true,
  residualBranches: 2,
  residual: "own",
  // Of the authors' second code base, RWKV-v4neo.
  parameterGroups: () => [
    { match: /\.time_decay$/, learningRateScale: 2 },
    { match: /\.time_first$/, learningRateScale: 3 },
  ],

  init(config, key: Key, place: LayerPlace = { index: 0, count: 1 }): Rwkv4Parameters {
    const { dModel: D } = config;
    return {
      ...(place.index === 0 && { ln0: initLayerNorm(D) }),
      ln1: initLayerNorm(D),
      att: initTimeMix(config, foldIn(key, "att"), place),
      ln2: initLayerNorm(D),
      ffn: initChannelMix(config, foldIn(key, "ffn"), place),
    };
  },

  initState: ({ dModel: D, dAttention }, batch): Rwkv4State => ({
    x_att: zeros([batch, D]),
    x_ffn: zeros([batch, D]),
    wkv: wkvStart(batch, dAttention || D),
  }),

  step({ eps }, { ln0, ln1, att, ln2, ffn }, input, state) {
    const x = ln0 ? layerNorm(ln0, input, { eps }) : input;
    const y = layerNorm(ln1, x, { eps });
    const { k, v, r, w, u } = timeMixInputs(att, y, state.x_att);
    const [mixed, sums] = wkvStep({ w, u, k, v }, state.wkv);
    const between = add(x, linear(att.output, mul(r, mixed)));
    const z = layerNorm(ln2, between, { eps });
    return [add(between, channelMix(ffn, z, state.x_ffn)), { x_att: y, x_ffn: z, wkv: sums }];
  },

  modes: {
    parallel: layer,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (piece, before: Rwkv4State | undefined, flags) => layer(config, params, piece, before, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

/** x [B L D] through a layer. */
function layer(
  { eps }: Rwkv4Config,
  { ln0, ln1, att, ln2, ffn }: Rwkv4Parameters,
  input: Tensor,
  state?: Rwkv4State,
  resets?: Tensor,
): readonly [Tensor, Rwkv4State] {
  const x = ln0 ? layerNorm(ln0, input, { eps }) : input;
  const y = layerNorm(ln1, x, { eps });
  const { k, v, r, w, u } = timeMixInputs(att, y, previous(y, state?.x_att, resets));
  const [mixed, sums] = wkv({ w, u, k, v, state: state?.wkv, resets });
  const between = add(x, linear(att.output, mul(r, mixed)));
  const z = layerNorm(ln2, between, { eps });
  const out = add(between, channelMix(ffn, z, previous(z, state?.x_ffn, resets)));
  return [out, { x_att: lastOf(y, state?.x_att), x_ffn: lastOf(z, state?.x_ffn), wkv: sums }];
}

/** The input before each position [B L D]; zeros at the start and where `resets` are true. */
function previous(x: Tensor, before: Tensor | undefined, resets: Tensor | undefined): Tensor {
  const [B, L, D] = x.shape as [number, number, number];
  if (L === 0) return x;
  const first = before ? expandDims(before, 1) : zeros([B, 1, D]);
  const shifted = concat([first, sliceAxis(x, 1, 0, L - 1)], 1);
  return resets ? where(expandDims(resets, 2), 0, shifted) : shifted;
}

function lastOf(x: Tensor, before: Tensor | undefined): Tensor {
  const [B, L, D] = x.shape as [number, number, number];
  return L === 0 ? (before ?? zeros([B, D])) : reshape(sliceAxis(x, 1, L - 1, L), [B, D]);
}

/** mu x + (1 - mu) x'. */
function shared(mu: Tensor, x: Tensor, before: Tensor): Tensor {
  const share = reshape(mu, [mu.size]);
  return add(mul(x, share), mul(before, sub(1, share)));
}

/** Keys, values and gates of time mixing, and its decay and bonus. */
function timeMixInputs(att: TimeMixParameters, x: Tensor, before: Tensor) {
  return {
    k: linear(att.key, shared(att.time_mix_k, x, before)),
    v: linear(att.value, shared(att.time_mix_v, x, before)),
    r: sigmoid(linear(att.receptance, shared(att.time_mix_r, x, before))),
    w: neg(exp(att.time_decay)),
    u: att.time_first,
  };
}

/** sigmoid(r) W_v relu(k)^2. */
function channelMix(ffn: ChannelMixParameters, x: Tensor, before: Tensor): Tensor {
  const k = square(relu(linear(ffn.key, shared(ffn.time_mix_k, x, before))));
  return mul(sigmoid(linear(ffn.receptance, shared(ffn.time_mix_r, x, before))), linear(ffn.value, k));
}

const none = { bias: false, weightInit: constantInit(0) } as const;
const orthogonal = { bias: false, weightInit: orthogonalInit() } as const;

/** f of every channel [D]. */
const perChannel = (D: number, f: (channel: number) => number): Tensor =>
  tensor(Float32Array.from({ length: D }, (_, i) => f(i)));

/** Layers from the first to the last, as 0 .. 1 and as 1 .. almost 0. */
const ratios = ({ index, count }: LayerPlace): { readonly r01: number; readonly r10: number } => ({
  r01: index / Math.max(1, count - 1),
  r10: 1 - index / count,
});

function initTimeMix({ dModel: D, dAttention }: Rwkv4Config, key: Key, place: LayerPlace): TimeMixParameters {
  const A = dAttention || D;
  const { r01, r10 } = ratios(place);
  return {
    time_decay: perChannel(A, (i) => -5 + 8 * (i / Math.max(1, A - 1)) ** (0.7 + 1.3 * r01)),
    time_first: perChannel(A, (i) => Math.log(0.3) + 0.5 * (((i + 1) % 3) - 1)),
    time_mix_k: perChannel(D, (i) => (i / D) ** r10),
    time_mix_v: perChannel(D, (i) => (i / D) ** r10 + 0.3 * r01),
    time_mix_r: perChannel(D, (i) => (i / D) ** (0.5 * r10)),
    key: initLinear(foldIn(key, "key"), D, A, none),
    value: initLinear(foldIn(key, "value"), D, A, orthogonal),
    receptance: initLinear(foldIn(key, "receptance"), D, A, none),
    output: initLinear(foldIn(key, "output"), A, D, none),
  };
}

function initChannelMix({ dModel: D, dHidden }: Rwkv4Config, key: Key, place: LayerPlace): ChannelMixParameters {
  const F = dHidden || 4 * D;
  const { r10 } = ratios(place);
  return {
    time_mix_k: perChannel(D, (i) => (i / D) ** r10),
    time_mix_r: perChannel(D, (i) => (i / D) ** r10),
    key: initLinear(foldIn(key, "key"), D, F, orthogonal),
    receptance: initLinear(foldIn(key, "receptance"), D, D, none),
    value: initLinear(foldIn(key, "value"), F, D, none),
  };
}
