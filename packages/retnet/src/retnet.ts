/** Multi-scale retention (Sun et al., Retentive Network: A Successor to Transformer for Large Language Models, 2023). */
import { defineMixer } from "@seqmix/mixer";
import {
  groupNorm,
  initLayerNorm,
  initLinear,
  linear,
  rmsNorm,
  uniformInit,
  type LayerNormParameters,
  type LinearParameters,
} from "@seqmix/nn";
import { linearScan } from "@seqmix/scan";
import { structuredMaskedAttention, structuredMaskedAttentionStep } from "@seqmix/ssd";
import {
  add,
  cast,
  expandDims,
  foldIn,
  gelu,
  iota,
  log,
  mul,
  reshape,
  silu,
  sliceAxis,
  sub,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { retentionDecays, retentionLogDecay, xposLogDecay, type RetentionDecay } from "./decays.js";
import { retentionPositions, rotate, type RetentionPositions } from "./positions.js";

/** Settings of {@link retnet}. */
export type RetnetConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Heads H, of K = D/H entries of a key. */
  readonly nHeads: number;
  /** Entries of a value over those of a key: V = valueFactor K. */
  readonly valueFactor: number;
  /** How positions turn queries and keys. */
  readonly positions: RetentionPositions;
  /** How fast each head forgets. */
  readonly decay: RetentionDecay;
  /** Multiply keys by 1/sqrt(K). */
  readonly scaleKeys: boolean;
  /** Norm of each head: by its root mean square, without a scale; or a group norm with scale and shift, as in the paper. */
  readonly norm: "rms" | "group";
  /** Added in the norm. */
  readonly normEps: number;
  /** What the map of the input that gates the heads goes through. */
  readonly gate: RetentionGate;
  /** Whole sequences by a scan over states, or as attention of all pairs. */
  readonly parallel: "scan" | "attention";
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Names of gates: silu or gelu. */
export type RetentionGate = "swish" | "gelu";

/** Parameters under the keys of torchscale. */
export type RetnetParameters = {
  /** Queries, weight [D D]. */
  readonly q_proj: LinearParameters;
  /** Keys, weight [D D]. */
  readonly k_proj: LinearParameters;
  /** Values, weight [H V, D]. */
  readonly v_proj: LinearParameters;
  /** Gate, weight [H V, D]. */
  readonly g_proj: LinearParameters;
  /** Scale and shift [H V] of the group norm; none: the norm by the root mean square. */
  readonly group_norm?: LayerNormParameters;
  /** Weight [D, H V]. */
  readonly out_proj: LinearParameters;
  /** Decays [H] as checkpoints store them; none: they are computed. */
  readonly gammas?: Tensor;
  /** The constants of xPos as checkpoints store them: zeta [K/2]; none: they are computed. */
  readonly xpos?: {
    /** [K/2]. */
    readonly scale: Tensor;
  };
};

/** What is kept of the positions so far. */
export type RetnetState = {
  /** [B H K V]. */
  readonly S: Tensor;
  /** How many there were [B], f32. */
  readonly position: Tensor;
};

/**
 * y = (q k^T o mask) v with mask_ts = gamma^(t - s), gamma of its own for each head; then a norm of each head, a gate and a
 * linear map. The released code also divides scores by their sums, which the norm takes away again but for its eps:
 * `torchscaleRetention` has it.
 */
export const retnet = defineMixer({
  id: "retnet",
  config: {
    dModel: 64,
    nHeads: 4,
    valueFactor: 2,
    positions: "torchscale",
    decay: "powers-of-two",
    scaleKeys: true,
    norm: "rms",
    normEps: 1e-6,
    gate: "swish",
    parallel: "scan",
    chunkSize: 64,
  } as RetnetConfig,
  choices: {
    positions: retentionPositions,
    decay: retentionDecays,
    norm: ["rms", "group"],
    gate: ["swish", "gelu"],
    parallel: ["scan", "attention"],
  },
  ranges: { nHeads: [1, Infinity, "whole"], normEps: [0, Infinity] },
  samples: {
    torchscale: { dModel: 4, nHeads: 2, chunkSize: 3, normEps: 1e-3 },
    paper: {
      dModel: 4,
      nHeads: 1,
      valueFactor: 1,
      positions: "xpos",
      decay: "log-range",
      scaleKeys: false,
      norm: "group",
      normEps: 1e-3,
      chunkSize: 4,
    },
    attention: { dModel: 4, nHeads: 2, positions: "rotary", gate: "gelu", parallel: "attention", normEps: 1e-3 },
  },
  resets: true,
  state: "constant",

  init(config, key: Key): RetnetParameters {
    const { dModel: D } = config;
    const { H, V } = extents(config);
    const map = (name: string, inputs: number, outputs: number, gain: number): LinearParameters =>
      initLinear(foldIn(key, name), inputs, outputs, {
        bias: false,
        weightInit: uniformInit(gain * Math.sqrt(6 / (inputs + outputs))),
      });
    return {
      q_proj: map("q_proj", D, D, 2 ** -2.5),
      k_proj: map("k_proj", D, D, 2 ** -2.5),
      v_proj: map("v_proj", D, H * V, 2 ** -2.5),
      g_proj: map("g_proj", D, H * V, 2 ** -2.5),
      ...(config.norm === "group" && { group_norm: initLayerNorm(H * V) }),
      out_proj: map("out_proj", H * V, D, 2 ** -1),
    };
  },

  initState(config, batch): RetnetState {
    const { H, K, V } = extents(config);
    return { S: zeros([batch, H, K, V]), position: zeros([batch]) };
  },

  step(config, params, x, { S, position }) {
    const perKey = logDecayOf(config, params);
    const logDecay = perKey.shape.length === 1 ? expandDims(perKey, 1) : perKey;
    const [y, next] = layer(config, params, x, position, (heads) =>
      structuredMaskedAttentionStep({ ...heads, logDecay, h: S }),
    );
    return [y, { S: next, position: add(position, 1) }];
  },

  modes: {
    parallel: (config, params, x, state, resets) =>
      sequence(config, params, x, state, resets, config.parallel === "attention" ? "quadratic" : "recurrent"),
    chunked: (config, params, x, state, resets) => sequence(config, params, x, state, resets, "chunked"),
  },
});

/** A whole sequence by one of the algorithms of structured masked attention. */
function sequence(
  config: RetnetConfig,
  params: RetnetParameters,
  x: Tensor,
  state: RetnetState | undefined,
  resets: Tensor | undefined,
  algorithm: "recurrent" | "chunked" | "quadratic",
): readonly [Tensor, RetnetState] {
  const [B, L] = x.shape as [number, number];
  const position = positionsOf([B, L], state?.position, resets);
  const [y, S] = layer(config, params, x, position, (heads) => {
    const { y, hT } = structuredMaskedAttention(
      { ...heads, logDecay: logDecayOf(config, params), h0: state?.S, resets },
      { algorithm, chunkSize: config.chunkSize },
    );
    return [y, hT];
  });
  const last = L === 0 ? (state?.position ?? zeros([B])) : add(reshape(sliceAxis(position, 1, L - 1, L), [B]), 1);
  return [y, { S, position: last }];
}

/** The number of each position in its own sequence, f32 [B L]. */
function positionsOf([B, L]: readonly [number, number], start: Tensor | undefined, resets: Tensor | undefined): Tensor {
  if (!resets) {
    const index = cast(iota([B, L], 1), "f32");
    return start ? add(index, reshape(start, [B, 1])) : index;
  }
  // One more than the position before, and 0 again where a sequence begins.
  const inside = sub(1, cast(resets, "f32"));
  return linearScan({ a: inside, b: inside, h0: sub(start ?? zeros([B]), 1), axis: 1 });
}

/** Everything around retention: x [.. D] -> [.. D]; `run` takes queries and keys [.. H K], turned, and values [.. H V]. */
function layer(
  config: RetnetConfig,
  params: RetnetParameters,
  x: Tensor,
  position: Tensor,
  run: (heads: Readonly<Record<"q" | "k" | "v", Tensor>>) => readonly [Tensor, Tensor],
): readonly [Tensor, Tensor] {
  const { H, K, V } = extents(config);
  const outer = x.shape.slice(0, -1);
  const heads = (map: LinearParameters, extent: number): Tensor => reshape(linear(map, x), [...outer, H, extent]);
  const turned = (map: LinearParameters): Tensor => rotate(config.positions, heads(map, K), position);
  const k = turned(params.k_proj);
  const [y, S] = run({
    q: turned(params.q_proj),
    k: config.scaleKeys ? mul(k, K ** -0.5) : k,
    v: heads(params.v_proj, V),
  });
  const gate = (config.gate === "gelu" ? gelu : silu)(linear(params.g_proj, x));
  return [linear(params.out_proj, mul(gate, headNorm(config, params.group_norm, y))), S];
}

/** Each head normalized by itself: [.. H V] -> [.. H V]. */
function headNorm({ norm, normEps: eps }: RetnetConfig, affine: LayerNormParameters | undefined, y: Tensor): Tensor {
  const [H, V] = y.shape.slice(-2) as [number, number];
  const merged = [...y.shape.slice(0, -2), H * V];
  return norm === "group"
    ? groupNorm(affine ?? {}, reshape(y, merged), { groups: H, eps })
    : reshape(rmsNorm({}, y, { eps }), merged);
}

/** [H], or [H K] where keys fade at rates of their own. */
function logDecayOf(config: RetnetConfig, { gammas, xpos }: RetnetParameters): Tensor {
  const { H, K } = extents(config);
  const logDecay = gammas ? log(gammas) : retentionLogDecay(config.decay, H);
  return config.positions === "xpos" ? xposLogDecay(logDecay, K, { scale: xpos?.scale }) : logDecay;
}

function extents({ dModel, nHeads: H, valueFactor, positions }: RetnetConfig): Record<"H" | "K" | "V", number> {
  const [K, V] = [dModel / H, (valueFactor * dModel) / H];
  if (!Number.isInteger(K) || !Number.isInteger(V) || V < 1 || (positions !== "none" && K % 2 !== 0))
    throw new RangeError(
      `retnet: expected nHeads that divide dModel (into even parts, for positions) and ${valueFactor} dModel, got ${H} for ${dModel}`,
    );
  return { H, K, V };
}
