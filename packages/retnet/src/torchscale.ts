/** Retention as in the released code (torchscale), whose three forms rescale scores and states, and its language model. */
import {
  embedding,
  linear,
  rmsNorm,
  type EmbeddingParameters,
  type LinearParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import { decayMask, passStates, structuredMaskedAttention } from "@seqmix/ssd";
import {
  abs,
  add,
  assertSettings,
  cast,
  clip,
  concat,
  div,
  exp,
  expandDims,
  gelu,
  iota,
  log,
  matmul,
  max,
  maximum,
  mul,
  ones,
  pad,
  relu,
  reshape,
  silu,
  sliceAxis,
  sqrt,
  stopGradient,
  strided,
  sub,
  sum,
  transpose,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";
import { retentionLogDecay } from "./decays.js";
import { rotate } from "./positions.js";
import type { RetentionGate, RetnetParameters } from "./retnet.js";

/** How {@link torchscaleRetention} runs. */
export interface TorchscaleRetentionOptions {
  /** Heads H. */
  readonly nHeads: number;
  /** Which of the three forms; they agree but for the eps of the norm. "parallel" by default. */
  readonly form?: "parallel" | "recurrent" | "chunk";
  /** Positions in a chunk of the chunk form; 512 by default. */
  readonly chunkSize?: number;
  /** "swish" by default. */
  readonly gate?: RetentionGate;
  /** Added to the mean square in the norm of each head; 1e-6 by default. */
  readonly eps?: number;
  /** The constants as checkpoints store them; computed by default. */
  readonly relPos?: TorchscaleRelativePositions | undefined;
}

/** Constants of a language model's retention under the keys of torchscale. */
export type TorchscaleRelativePositions = {
  /** Angles, each twice [K]. */
  readonly angle: Tensor;
  /** Logarithms of the decays [H]. */
  readonly decay: Tensor;
};

const FORM: SettingRules<Omit<TorchscaleRetentionOptions, "gate" | "relPos">> = {
  nHeads: { from: 1, whole: true },
  form: ["parallel", "recurrent", "chunk"],
  chunkSize: { from: 1, whole: true },
  eps: { from: 0 },
};

/** What {@link torchscaleRetention} returns. */
export interface TorchscaleRetentionResult {
  /** [B L D]. */
  readonly y: Tensor;
  /** Of the recurrent form: the rescaled state [B H K V], and its scale [H]. */
  readonly state?: {
    /** The state [B H K V]. */
    readonly S: Tensor;
    /** What the state is scaled by [H 1 1]. */
    readonly scale: Tensor;
  };
}

/** Queries and keys [B H L K], values [B H L V] and logarithms of the decays [H]. */
interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly logDecay: Tensor;
}

/**
 * Multi-scale retention with the scales of the released code: rows of the mask are divided by the root of their sum, scores
 * by the sum of their magnitudes (1 to 50000), states by theirs. The norm of each head takes all of them away but for its
 * eps, and no gradient goes through those that depend on scores.
 * @param x [B L D]
 */
export function torchscaleRetention(
  params: RetnetParameters,
  x: Tensor,
  options: TorchscaleRetentionOptions,
): TorchscaleRetentionResult {
  assertSettings("torchscaleRetention", options, { ...FORM, gate: ["swish", "gelu"], relPos: "own" });
  const { nHeads: H, form = "parallel", chunkSize = 512, gate = "swish", eps = 1e-6, relPos } = options;
  if (relPos !== undefined) assertSettings("torchscaleRetention, relPos", relPos, { angle: "tensor", decay: "tensor" });
  const [B, L, D] = x.shape as [number, number, number];
  const heads = (map: LinearParameters): Tensor => {
    const y = linear(map, x);
    return reshape(y, [B, L, H, y.shape[2]! / H]);
  };
  const position = cast(iota([B, L], 1), "f32");
  const theta = relPos && strided(relPos.angle, { start: [0], step: [2], size: [D / H / 2] });
  const [q, k] = [params.q_proj, params.k_proj].map((map) => rotate("torchscale", heads(map), position, theta)) as [
    Tensor,
    Tensor,
  ];
  const first = (y: Tensor): Tensor => transpose(y, [0, 2, 1, 3]);
  const given: Heads = {
    q: first(q),
    k: mul(first(k), (D / H) ** -0.5),
    v: first(heads(params.v_proj)),
    logDecay: relPos?.decay ?? retentionLogDecay("powers-of-two", H),
  };
  const { y, state } =
    form === "parallel"
      ? { y: parallelForm(given), state: undefined }
      : form === "recurrent"
        ? recurrentForm(given)
        : { y: chunkForm(given, chunkSize), state: undefined };
  const normed = reshape(first(rmsNorm({}, y, { eps })), [B, L, H * y.shape[3]!]);
  const gated = mul((gate === "gelu" ? gelu : silu)(linear(params.g_proj, x)), normed);
  return { y: linear(params.out_proj, gated), ...(state && { state }) };
}

/** gamma^(t - s), rows divided by the root of their sum [H L L]. */
export function torchscaleMask(logDecay: Tensor, L: number): Tensor {
  const mask = maskOf(logDecay, L);
  return div(mask, rootOfRows(mask));
}

const maskOf = (logDecay: Tensor, L: number): Tensor =>
  decayMask(mul(expandDims(logDecay, 1), ones([logDecay.shape[0]!, L])));
const rootOfRows = (mask: Tensor): Tensor => sqrt(sum(mask, -1, { keepDims: true }));

/** The sum of magnitudes of each row, without a gradient. */
const magnitude = (scores: Tensor): Tensor => sum(abs(stopGradient(scores)), -1, { keepDims: true });

function parallelForm({ q, k, v, logDecay }: Heads): Tensor {
  const scores = mul(matmul(q, transpose(k)), torchscaleMask(logDecay, q.shape[2]!));
  return matmul(div(scores, clip(magnitude(scores), 1, 5e4)), v);
}

/** S_n = sqrt(c_(n-1) / c_n) gamma S_(n-1) + k_n v_n^T / sqrt(c_n) with c_n = 1 + gamma c_(n-1), the sum of row n of the mask. */
function recurrentForm({ q, k, v, logDecay }: Heads): Required<TorchscaleRetentionResult> {
  const [H, L] = [q.shape[1]!, q.shape[2]!];
  const scale = sum(maskOf(logDecay, L), -1); // [H L]
  const before = concat([ones([H, 1]), sliceAxis(scale, 1, 0, L - 1)], 1);
  const decays = add(expandDims(logDecay, 1), mul(0.5, sub(log(before), log(scale))));
  const positions = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
  const { y, hT } = structuredMaskedAttention({
    q: positions(q),
    k: positions(div(k, expandDims(sqrt(scale), 2))),
    v: positions(v),
    logDecay: expandDims(transpose(decays), 0),
  });
  return { y: positions(y), state: { S: hT, scale: reshape(sliceAxis(scale, 1, L - 1, L), [H]) } };
}

/** Chunks as the parallel form, and states before them; positions that fill up the last chunk are zeros. */
function chunkForm({ q, k, v, logDecay }: Heads, Q: number): Tensor {
  const [B, H, L] = q.shape as [number, number, number];
  const C = Math.ceil(L / Q);
  const pieces = (x: Tensor): Tensor => reshape(pad(x, [0, 0, 0, 0], [0, 0, C * Q - L, 0]), [B, H, C, Q, x.shape[3]!]);
  const [qs, ks, vs] = [pieces(q), pieces(k), pieces(v)];
  const mask = expandDims(maskOf(logDecay, Q), 1); // [H 1 Q Q]
  const [root, last] = [rootOfRows(mask), sliceAxis(mask, 2, Q - 1, Q)];
  const total = sum(last, -1, { keepDims: true }); // [H 1 1 1]
  const scores = mul(matmul(qs, transpose(ks)), div(mask, root));
  const innerScale = maximum(magnitude(scores), 1);
  const absorbed = matmul(transpose(ks), mul(vs, transpose(div(last, total)))); // [B H C K V]
  const kept = reshape(exp(mul(Q, logDecay)), [1, 1, H, 1, 1]);
  const states = passStates({ states: transpose(absorbed, [0, 2, 1, 3, 4]), kept }).before;
  const before = transpose(states, [0, 2, 1, 3, 4]);
  const columns = sum(abs(stopGradient(before)), 3, { keepDims: true });
  const crossScale = maximum(max(columns, 4, { keepDims: true }), 1);
  const reach = exp(mul(reshape(logDecay, [H, 1, 1, 1]), add(cast(iota([Q, 1], 0), "f32"), 1)));
  const cross = matmul(mul(qs, mul(reach, div(total, root))), before);
  const y = div(add(matmul(scores, vs), cross), maximum(innerScale, crossScale));
  return sliceAxis(reshape(y, [B, H, C * Q, y.shape[4]!]), 2, 0, L);
}

/** Parameters of the language model under the keys of torchscale. */
export type TorchscaleLanguageModelParameters = {
  /** [V D]. */
  readonly embed_tokens: EmbeddingParameters;
  /** Scale [D] of a norm of the embedding; none: no norm. */
  readonly layernorm_embedding?: RmsNormParameters;
  /** Constants of all layers; none: they are computed. */
  readonly retnet_rel_pos?: TorchscaleRelativePositions;
  /** One a layer. */
  readonly layers: readonly {
    /** Retention. */
    readonly retention: RetnetParameters;
    /** Scale [D] of its norm. */
    readonly retention_layer_norm: RmsNormParameters;
    /** fc2(activation(fc1 x) gate x). */
    readonly ffn: Readonly<Record<"fc1" | "fc2" | "gate", LinearParameters>>;
    /** Scale [D] of its norm. */
    readonly final_layer_norm: RmsNormParameters;
  }[];
  /** Scale [D] of the norm before the head; none: no norm. */
  readonly layer_norm?: RmsNormParameters;
  /** The head [V D]; none: the embedding's. */
  readonly output_projection?: EmbeddingParameters;
};

/** How {@link torchscaleLanguageModel} runs. */
export interface TorchscaleLanguageModelOptions extends Omit<TorchscaleRetentionOptions, "gate" | "relPos"> {
  /** Of the feed-forward layers; "gelu" by default. */
  readonly activation?: "gelu" | "swish" | "relu";
  /** Multiply embeddings by sqrt(D). */
  readonly scaleEmbedding?: boolean;
  /** Norms before the layers (the default) or behind the residual connections. */
  readonly normalizeBefore?: boolean;
  /** Factor of the residual stream, (2 layers)^(1/4) for DeepNorm; 1 by default. */
  readonly residualScale?: number;
}

const ACTIVATIONS = { gelu, swish: silu, relu } as const;

/**
 * RetNet as in the released code: retention and a gated feed-forward layer, each between a norm and a residual connection.
 * @param tokens i32 [B L], 0..V-1
 * @returns Logits [B L V], and the residual stream before each layer and after the last [B L D].
 */
export function torchscaleLanguageModel(
  params: TorchscaleLanguageModelParameters,
  tokens: Tensor,
  options: TorchscaleLanguageModelOptions,
): {
  /** [B L V] */
  readonly logits: Tensor;
  /** The stream after each layer [B L D]. */
  readonly hiddenStates: readonly Tensor[];
} {
  assertSettings("torchscaleLanguageModel", options, {
    ...FORM,
    activation: Object.keys(ACTIVATIONS),
    scaleEmbedding: "flag",
    normalizeBefore: "flag",
    residualScale: { above: 0 },
  });
  const { activation = "gelu", scaleEmbedding = false, normalizeBefore = true, residualScale = 1, ...form } = options;
  const { eps = 1e-6 } = form;
  const norm = (scale: RmsNormParameters, x: Tensor): Tensor => rmsNorm(scale, x, { eps });
  const residual = (scale: RmsNormParameters, x: Tensor, f: (x: Tensor) => Tensor): Tensor => {
    const y = add(residualScale === 1 ? x : mul(x, residualScale), f(normalizeBefore ? norm(scale, x) : x));
    return normalizeBefore ? y : norm(scale, y);
  };
  const embedded = embedding(params.embed_tokens, tokens);
  const scaled = scaleEmbedding ? mul(embedded, Math.sqrt(embedded.shape[2]!)) : embedded;
  let x = params.layernorm_embedding ? norm(params.layernorm_embedding, scaled) : scaled;
  const hiddenStates = [x];
  for (const { retention, retention_layer_norm, ffn, final_layer_norm } of params.layers) {
    x = residual(
      retention_layer_norm,
      x,
      (y) => torchscaleRetention(retention, y, { ...form, relPos: params.retnet_rel_pos }).y,
    );
    x = residual(final_layer_norm, x, (y) =>
      linear(ffn.fc2, mul(ACTIVATIONS[activation](linear(ffn.fc1, y)), linear(ffn.gate, y))),
    );
    hiddenStates.push(x);
  }
  const last = params.layer_norm ? norm(params.layer_norm, x) : x;
  return { logits: linear(params.output_projection ?? params.embed_tokens, last), hiddenStates };
}
