import { layerNorm, mlp, type LayerNormParameters, type LinearParameters } from "@seqmix/nn";
import {
  retentionAngles,
  retentionLogDecay,
  retnet,
  rotate,
  torchscaleLanguageModel,
  torchscaleMask,
  torchscaleRetention,
  xpos,
  xposLogDecay,
  type RetentionGate,
  type RetnetConfig,
  type RetnetParameters,
  type TorchscaleLanguageModelOptions,
  type TorchscaleLanguageModelParameters,
  type TorchscaleRelativePositions,
  type TorchscaleRetentionOptions,
} from "@seqmix/retnet";
import {
  add,
  arange,
  broadcastTo,
  cast,
  concat,
  cos,
  expandDims,
  full,
  iota,
  matmul,
  mul,
  reshape,
  sin,
  tensor,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase, GoldenValues } from "@seqmix/testing";
import { count, maybe, parameterTree, real } from "../inputs.js";
import { attendEveryWay } from "./ssd.js";

/** Layouts are [B H L ..]; keys as they are, queries scaled by 1/sqrt(K). */
export const retentionRawAdapter: GoldenAdapter = {
  operator: "retention_raw",
  options: ["B", "T", "H", "K", "V"],
  run(inputs) {
    const positions = (name: string): Tensor => transpose(real(inputs, name), [0, 2, 1, 3]);
    const [q, k, v] = ["q", "k", "v"].map(positions) as [Tensor, Tensor, Tensor];
    const [H, K] = q.shape.slice(2) as [number, number];
    const { y } = attendEveryWay({ q: mul(q, K ** -0.5), k, v, logDecay: retentionLogDecay("powers-of-two", H) }, 4);
    return { out: transpose(y, [0, 2, 1, 3]) };
  },
};

export const xposAdapter: GoldenAdapter = {
  operator: "xpos",
  options: ["batch", "L", "D", "offset", "downscale", "scale_base"],
  run: (inputs, { options }) => ({
    out: xpos(real(inputs, "x"), {
      offset: count(options, "offset"),
      downscale: options["downscale"] === true,
      scaleBase: count(options, "scale_base"),
    }),
  }),
};

/** One head, its weights stored as [in out]: half with xPos as published, half with xPos as decays of the keys. */
export const retentionSimpleAdapter: GoldenAdapter = {
  operator: "retention_simple",
  options: ["batch", "L", "hidden", "head_size", "gamma", "double_v_dim", "chunk"],
  run(inputs, { options }) {
    const X = real(inputs, "X");
    const [B, L] = X.shape as [number, number];
    const [q, k, v] = ["W_Q", "W_K", "W_V"].map((name) => matmul(X, real(inputs, `param.${name}`))) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const head = (x: Tensor): Tensor => expandDims(x, 2);
    const logDecay = full([1], Math.log(count(options, "gamma")));
    const position = cast(iota([B, L], 1), "f32");
    const chunk = count(options, "chunk");
    const scale = maybe(inputs, "buffer.xpos.scale");
    const published = attendEveryWay(
      { q: head(xpos(q, { scale })), k: head(xpos(k, { scale, downscale: true })), v: head(v), logDecay },
      chunk,
    );
    const [turnedQ, turnedK] = [q, k].map((x) => rotate("xpos", head(x), position)) as [Tensor, Tensor];
    const decaying = attendEveryWay(
      { q: turnedQ, k: turnedK, v: head(v), logDecay: xposLogDecay(logDecay, q.shape[2]!, { scale }) },
      chunk,
    );
    return { out: reshape(mul(0.5, add(published.y, decaying.y)), [B, L, v.shape[2]!]) };
  },
};

type PaperRetention = Readonly<{
  W_G: Tensor;
  W_O: Tensor;
  group_norm: LayerNormParameters;
  retentions: readonly Readonly<Record<"W_Q" | "W_K" | "W_V", Tensor>>[];
}>;

type PaperParameters = Readonly<{
  retentions: readonly PaperRetention[];
  ffns: readonly (readonly [LinearParameters, LinearParameters])[];
  layer_norms_1: readonly LayerNormParameters[];
  layer_norms_2: readonly LayerNormParameters[];
}>;

/** Heads side by side, weights stored as [in out]. */
function paperRetention(
  { W_G, W_O, group_norm, retentions }: PaperRetention,
  scale: Tensor | undefined,
): RetnetParameters {
  const together = (name: "W_Q" | "W_K" | "W_V"): LinearParameters => ({
    weight: transpose(
      concat(
        retentions.map((head) => head[name]),
        1,
      ),
    ),
  });
  return {
    q_proj: together("W_Q"),
    k_proj: together("W_K"),
    v_proj: together("W_V"),
    g_proj: { weight: transpose(W_G) },
    group_norm,
    out_proj: { weight: transpose(W_O) },
    gammas: singlePrecisionGammas(retentions.length),
    ...(scale && { xpos: { scale } }),
  };
}

/** 1 - exp(linspace(log 1/32, log 1/512, H)) as the published model makes it, in single precision. */
function singlePrecisionGammas(H: number): Tensor {
  const { fround } = Math;
  const [start, end] = [fround(Math.log(1 / 32)), fround(Math.log(1 / 512))];
  const step = H === 1 ? 0 : fround(fround(end - start) / (H - 1));
  const exponent = (h: number): number =>
    h < H / 2 ? fround(start + fround(step * h)) : fround(end - fround(step * (H - 1 - h)));
  return tensor(Float64Array.from({ length: H }, (_, h) => fround(1 - fround(Math.exp(exponent(h))))));
}

/** The layers of the paper: pre-norm, retention with xPos, group norm and gate; GELU between two linear maps. */
export const retnetPaperAdapter: GoldenAdapter = {
  operator: "retnet_paper",
  options: ["batch", "L", "layers", "hidden", "ffn", "heads", "double_v_dim", "chunk"],
  run(inputs, { options }) {
    const { retentions, ffns, layer_norms_1, layer_norms_2 } = parameterTree(inputs) as PaperParameters;
    const config: RetnetConfig = {
      ...retnet.config,
      dModel: count(options, "hidden"),
      nHeads: count(options, "heads"),
      valueFactor: options["double_v_dim"] === true ? 2 : 1,
      positions: "xpos",
      decay: "log-range",
      scaleKeys: false,
      norm: "group",
      normEps: 1e-5,
      chunkSize: count(options, "chunk"),
    };
    const everyMode = (params: RetnetParameters, x: Tensor): Tensor => {
      const [scan, attention, chunked] = [
        retnet.modes.parallel(config, params, x)[0],
        retnet.modes.parallel({ ...config, parallel: "attention" }, params, x)[0],
        retnet.modes.chunked!(config, params, x)[0],
      ];
      return mul(1 / 3, add(add(scan, attention), chunked));
    };
    let x = real(inputs, "X");
    retentions.forEach((retention, n) => {
      const scale = maybe(inputs, `buffer.retentions.${n}.retentions.0.xpos.scale`);
      x = add(x, everyMode(paperRetention(retention, scale), layerNorm(layer_norms_1[n]!, x)));
      const [fc1, fc2] = ffns[n]!;
      x = add(x, mlp({ fc1, fc2 }, layerNorm(layer_norms_2[n]!, x)));
    });
    return { out: x };
  },
};

export const retentionTorchscaleAdapter: GoldenAdapter = {
  operator: "retention_torchscale",
  options: ["batch", "L", "embed_dim", "value_dim", "heads", "chunk", "mode", "gate_fn", "layernorm_eps"],
  supports: ({ options }) => {
    if (!["swish", "gelu"].includes(String(options["gate_fn"] ?? "swish")))
      return `gate_fn=${String(options["gate_fn"])}`;
    return ["parallel", "chunk", "recurrent"].includes(String(options["mode"])) || `mode=${String(options["mode"])}`;
  },
  run(inputs, { options, tensors }) {
    const x = real(inputs, "x");
    const [nHeads, L] = [count(options, "heads"), x.shape[1]!];
    const { y, state } = torchscaleRetention(parameterTree(inputs) as RetnetParameters, x, {
      nHeads,
      form: options["mode"] as NonNullable<TorchscaleRetentionOptions["form"]>,
      chunkSize: count(options, "chunk"),
      gate: (options["gate_fn"] ?? "swish") as RetentionGate,
      eps: count(options, "layernorm_eps"),
    });
    return {
      out: y,
      ...(state && { final_kv: transpose(state.S), final_scale: state.scale }),
      ...(tensors["sin"] && angles(x.shape[2]! / nHeads, L)),
      ...(tensors["decay_mask"] && { decay_mask: torchscaleMask(retentionLogDecay("powers-of-two", nHeads), L) }),
    };
  },
};

/** Sine and cosine of the angles [L K], two entries alike. */
function angles(K: number, L: number): GoldenValues {
  const theta = mul(expandDims(cast(arange(L), "f32"), 1), retentionAngles("torchscale", K));
  const twice = (x: Tensor): Tensor => reshape(broadcastTo(expandDims(x, 2), [L, K / 2, 2]), [L, K]);
  return { sin: twice(sin(theta)), cos: twice(cos(theta)) };
}

/** Options of the language model that change nothing here: sizes, and what only training does. */
const RETNET_SIZES = [
  "batch",
  "L",
  "decoder_embed_dim",
  "decoder_value_embed_dim",
  "decoder_layers",
  "decoder_ffn_embed_dim",
  "vocab_size",
  "checkpoint_activations",
  "fsdp",
  "layernorm_embedding",
  "share_decoder_input_output_embed",
];
/** Options that must be zero: dropout, and mixtures of experts. */
const RETNET_ZERO = ["dropout", "drop_path_rate", "activation_dropout", "moe_freq"];

export const retnetLmAdapter: GoldenAdapter = {
  operator: "retnet_lm",
  options: [
    ...RETNET_SIZES,
    ...RETNET_ZERO,
    "layernorm_eps",
    "decoder_retention_heads",
    "recurrent_chunk_size",
    "chunkwise_recurrent",
    "decoder_normalize_before",
    "activation_fn",
    "deepnorm",
    "no_scale_embedding",
  ],
  supports({ options }) {
    const present = RETNET_ZERO.find((name) => options[name] !== undefined && options[name] !== 0);
    if (present) return `${present}=${String(options[present])}`;
    const activation = String(options["activation_fn"]);
    return ["gelu", "swish", "relu"].includes(activation) || `activation_fn=${activation}`;
  },
  run(inputs, golden) {
    const params = {
      retnet_rel_pos: singlePrecisionConstants(golden),
      ...(parameterTree(inputs) as TorchscaleLanguageModelParameters),
    };
    const tokens = cast(real(inputs, "tokens"), "i32");
    const { logits, hiddenStates } = torchscaleLanguageModel(params, tokens, retnetOptions(golden));
    return { logits, ...Object.fromEntries(hiddenStates.map((x, n) => [`hidden_${n}`, x])) };
  },
};

/** Angles and decays as the published model makes them, in single precision whatever its parameters are. */
function singlePrecisionConstants({ options }: GoldenCase): TorchscaleRelativePositions {
  const { fround } = Math;
  const H = count(options, "decoder_retention_heads");
  const pairs = count(options, "decoder_embed_dim") / H / 2;
  const angle = Float64Array.from({ length: 2 * pairs }, (_, k) => {
    const step = pairs === 1 ? 0 : fround(Math.floor(k / 2) / (pairs - 1));
    return fround(1 / fround(10000 ** step));
  });
  return {
    angle: tensor(angle),
    decay: tensor(Float64Array.from({ length: H }, (_, h) => fround(Math.log(1 - 2 ** (-5 - h))))),
  };
}

const retnetOptions = ({ options }: GoldenCase): TorchscaleLanguageModelOptions => ({
  nHeads: count(options, "decoder_retention_heads"),
  form: options["chunkwise_recurrent"] === true ? "chunk" : "parallel",
  chunkSize: count(options, "recurrent_chunk_size"),
  eps: count(options, "layernorm_eps"),
  activation: options["activation_fn"] as NonNullable<TorchscaleLanguageModelOptions["activation"]>,
  scaleEmbedding: options["no_scale_embedding"] !== true,
  normalizeBefore: options["decoder_normalize_before"] === true,
  residualScale: options["deepnorm"] === true ? (2 * count(options, "decoder_layers")) ** 0.25 : 1,
});
