/** A model that turns a sequence into one answer, or one at every position: classes, or numbers. */
import {
  embedding,
  initEmbedding,
  initLinear,
  initRmsNorm,
  linear,
  normalInit,
  rmsNorm,
  type EmbeddingParameters,
  type LinearParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import {
  add,
  arange,
  assertFields,
  assertNumber,
  assertOneOf,
  assertSettings,
  assertTensor,
  broadcastTo,
  cast,
  concat,
  cos,
  div,
  equal,
  exp,
  expandDims,
  foldIn,
  gelu,
  max,
  maximum,
  mean,
  mul,
  reshape,
  ShapeError,
  sin,
  sliceAxis,
  sum,
  where,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import type { AnyMixer, Mode } from "./contract.js";
import { initResidualBlock, residualBlock, type ResidualBlockParameters } from "./residual-block.js";
import { assertMixerSettings, configure, isCausal, type MixerSettings } from "./run-mixer.js";

/** How a sequence becomes one vector; "none" keeps one at every position. */
export const POOLINGS = ["mean", "last", "cls", "none"] as const;

/** One of {@link POOLINGS}. */
export type Pooling = (typeof POOLINGS)[number];

/** What a sequence model is made of. */
export interface SequenceModelConfig {
  /** The mixer of every layer. */
  readonly mixer: AnyMixer;
  /** Settings other than the mixer's defaults; its dModel is the model's. */
  readonly mixerConfig?: MixerSettings;
  /** Channels D. */
  readonly dModel: number;
  /** Residual blocks. */
  readonly nLayers: number;
  /** What comes in: tokens out of `vocabSize`, or vectors of `channels` numbers. */
  readonly input:
    | {
        /** Tokens V. */
        readonly vocabSize: number;
      }
    | {
        /** Channels of the input. */
        readonly channels: number;
      };
  /** Classes, or numbers to predict. */
  readonly outputs: number;
  /**
   * "mean" of all positions that count; the "last" of them, which in a causal model has seen them all; "cls", a learned
   * vector in the sequence (Devlin et al., BERT, 2019): in front where the mixer sees both ways, behind the end where it is
   * causal; "none" for an answer at every position.
   */
  readonly pooling: Pooling;
  /**
   * Answers of the whole sequence, 1 by default. Where there are more, the pooled vector goes through a map of two layers once
   * for each, with a vector that says which is due added to it (the decoder of Poli et al., Mechanistic Design and Scaling of
   * Hybrid Architectures, 2024).
   */
  readonly answers?: number;
}

/** Parameters of a sequence model. */
export type SequenceModelParameters = {
  /** Vectors of tokens [V D], or a map of the input's channels [D C]. */
  readonly encoder: EmbeddingParameters | LinearParameters;
  /** With pooling "cls": its vector [D]. */
  readonly cls?: Tensor;
  /** One block a layer, from the input on. */
  readonly layers: readonly ResidualBlockParameters[];
  /** With several answers: a norm and a map [D D] each. */
  readonly decoder?: readonly {
    /** Scale [D]. */
    readonly norm: RmsNormParameters;
    /** [D D]. */
    readonly linear: LinearParameters;
  }[];
  /** Scale [D] of the norm before the head. */
  readonly norm_f: RmsNormParameters;
  /** [outputs D]. */
  readonly head: LinearParameters;
};

const mixerSettings = ({ mixer, mixerConfig, dModel }: SequenceModelConfig) =>
  configure(mixer, { ...mixerConfig, dModel });

/** @throws TypeError for settings that do not exist, RangeError for values that mean nothing. */
function assertModel(config: SequenceModelConfig): void {
  const name = "sequence model";
  const count = { from: 1, whole: true };
  assertSettings(name, config, ["mixer", "mixerConfig", "dModel", "nLayers", "input", "outputs", "pooling", "answers"]);
  assertSettings<object>(`${name}, input`, config.input, { vocabSize: count, channels: count } as object);
  assertOneOf(name, "pooling", config.pooling, POOLINGS);
  assertFields(name, config, { dModel: count, nLayers: { from: 0, whole: true }, outputs: count });
  if (config.mixerConfig !== undefined) assertMixerSettings(`${name}, mixerConfig`, config.mixerConfig);
  if (config.answers !== undefined) assertNumber(name, "answers", config.answers, { from: 1, whole: true });
}

/** Fresh parameters. */
export function initSequenceModel(config: SequenceModelConfig, key: Key): SequenceModelParameters {
  assertModel(config);
  const { mixer, dModel: D, nLayers, input, outputs, pooling } = config;
  const place = foldIn(key, "encoder");
  return {
    encoder: "vocabSize" in input ? initEmbedding(place, input.vocabSize, D) : initLinear(place, input.channels, D),
    ...(pooling === "cls" && { cls: normalInit(0.02)(foldIn(key, "cls"), [D]) }),
    layers: Array.from({ length: nLayers }, (_, k) =>
      initResidualBlock(mixer, mixerSettings(config), foldIn(key, `layers.${k}`), { index: k, count: nLayers }),
    ),
    ...(config.answers !== undefined &&
      config.answers > 1 && {
        decoder: [0, 1].map((k) => ({
          norm: initRmsNorm(D),
          linear: initLinear(foldIn(key, `decoder.${k}`), D, D),
        })),
      }),
    norm_f: initRmsNorm(D),
    head: initLinear(foldIn(key, "head"), D, outputs),
  };
}

/** How {@link forwardSequenceModel} reads a sequence. */
export interface SequenceOptions {
  /**
   * bool [B L]: the positions that count for "mean" and "last"; all by default. What comes behind a causal model's last
   * position that counts does not change its answer.
   */
  readonly mask?: Tensor;
  /** How the mixers run; "parallel" by default. */
  readonly mode?: Mode;
  /** bool or i32 [B L], not 0 at the first element of each packed sequence. */
  readonly resets?: Tensor;
}

/**
 * Answers of a sequence model.
 * @param x i32 tokens [B L], or numbers [B L channels]
 * @returns [B outputs]; [B L outputs] with pooling "none"; [B answers outputs] where `answers` is given
 * @throws ShapeError for a mask with pooling "cls" or "none".
 * @throws RangeError if the mixer is asked to honour resets and does not.
 */
export function forwardSequenceModel(
  config: SequenceModelConfig,
  params: SequenceModelParameters,
  x: Tensor,
  options: SequenceOptions = {},
): Tensor {
  assertModel(config);
  if (!Array.isArray(params?.layers))
    throw new TypeError(
      "forwardSequenceModel: expected parameters with layers, got none; make them with initSequenceModel",
    );
  assertTensor("forwardSequenceModel", x);
  assertSettings("forwardSequenceModel", options, { mask: "tensor?", mode: "own", resets: "tensor?" });
  const { mask, mode, resets } = options;
  const { mixer, input, pooling, answers } = config;
  if (mask && (pooling === "cls" || pooling === "none"))
    throw new ShapeError(`forwardSequenceModel: expected no mask with pooling ${pooling}; use "mean" or "last"`);
  const settings = mixerSettings(config);
  const encoded =
    "vocabSize" in input
      ? embedding(params.encoder as EmbeddingParameters, x)
      : linear(params.encoder as LinearParameters, x);
  const inFront = !isCausal(mixer, settings);
  let y = params.cls ? withVector(encoded, params.cls, inFront) : encoded;
  for (const layer of params.layers) [y] = residualBlock(mixer, settings, layer, y, undefined, mode, resets);
  let pooled = pooling === "none" ? y : pool(y, pooling, mask, inFront);
  if (answers !== undefined && pooling !== "none") pooled = decoded(params.decoder, pooled, answers);
  return linear(params.head, rmsNorm(params.norm_f, pooled));
}

function withVector(x: Tensor, vector: Tensor, inFront: boolean): Tensor {
  const [B, , D] = x.shape as [number, number, number];
  const extra = broadcastTo(reshape(vector, [1, 1, D]), [B, 1, D]);
  return concat(inFront ? [extra, x] : [x, extra], 1);
}

/** x [B D] -> [B A D]: once for each answer. */
function decoded(decoder: SequenceModelParameters["decoder"], x: Tensor, answers: number): Tensor {
  const D = x.shape[1]!;
  let y = expandDims(x, 1);
  if (decoder) y = add(y, sinusoids(answers, D));
  for (const layer of decoder ?? []) y = gelu(linear(layer.linear, rmsNorm(layer.norm, y)));
  return y;
}

/** [L D]: sines, then cosines, of the position at frequencies 1 .. 1/10000 (Vaswani et al., Attention Is All You Need, 2017). */
function sinusoids(L: number, D: number): Tensor {
  const half = Math.ceil(D / 2);
  const frequencies = exp(mul(cast(arange(half), "f32"), -Math.log(10_000) / Math.max(1, half - 1)));
  const angles = mul(reshape(cast(arange(L), "f32"), [L, 1]), reshape(frequencies, [1, half]));
  return sliceAxis(concat([sin(angles), cos(angles)], 1), 1, 0, D);
}

/** x [B L D] -> [B D]. */
function pool(x: Tensor, pooling: Exclude<Pooling, "none">, mask: Tensor | undefined, inFront: boolean): Tensor {
  const [B, L, D] = x.shape as [number, number, number];
  const at = (t: number): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [B, D]);
  if (pooling === "cls") return at(inFront ? 0 : L - 1);
  if (!mask) return pooling === "mean" ? mean(x, 1) : at(L - 1);
  const counts = expandDims(cast(mask, "f32"), 2);
  if (pooling === "mean") return div(weightedSum(x, counts), maximum(sum(counts, 1), 1));
  // the last position that counts, or the first if none does
  const positions = broadcastTo(reshape(arange(L), [1, L]), [B, L]);
  const last = max(where(mask, positions, 0), 1, { keepDims: true });
  return weightedSum(x, expandDims(cast(equal(positions, last), "f32"), 2));
}

/** Positions that do not count may hold anything, infinity included. */
const weightedSum = (x: Tensor, weights: Tensor): Tensor => sum(where(equal(weights, 0), 0, mul(x, weights)), 1);
