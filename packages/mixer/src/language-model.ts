/** A language model around any mixer: embedding, residual blocks, norm, and the embedding again as the head. */
import {
  embedding,
  initEmbedding,
  initRmsNorm,
  linear,
  rmsNorm,
  type EmbeddingParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import { DTypeError, foldIn, ShapeError, type Key, type Tensor, type Tree } from "@seqmix/tensor";
import type { AnyMixer, MixerConfig, Mode } from "./contract.js";
import { initResidualBlock, residualBlock, residualBlockStep, type ResidualBlockParameters } from "./residual-block.js";
import { configure, type MixerSettings } from "./run-mixer.js";

/** What a language model is made of. */
export interface LanguageModelConfig {
  /** The mixer of every layer. */
  readonly mixer: AnyMixer;
  /** Settings other than the mixer's defaults; its dModel is the model's. */
  readonly mixerConfig?: MixerSettings;
  /** Channels D. */
  readonly dModel: number;
  /** Residual blocks. */
  readonly nLayers: number;
  /** Tokens V. */
  readonly vocabSize: number;
}

/** Parameters of a language model. */
export type LanguageModelParameters = {
  /** [V D], the input's vectors and the head's rows. */
  readonly embedding: EmbeddingParameters;
  /** One block a layer, from the input on. */
  readonly layers: readonly ResidualBlockParameters[];
  /** Scale [D] of the norm before the head. */
  readonly norm_f: RmsNormParameters;
};

/** The state of each layer's mixer. */
export type LanguageModelState = readonly Tree[];

/** The mixer's settings in a language model. */
export const mixerConfigOf = ({ mixer, mixerConfig, dModel }: LanguageModelConfig): MixerConfig =>
  configure(mixer, { ...mixerConfig, dModel });

/** Fresh parameters; the embedding is normal with deviation 0.02. */
export function initLanguageModel(config: LanguageModelConfig, key: Key): LanguageModelParameters {
  const mixerConfig = mixerConfigOf(config);
  return {
    embedding: initEmbedding(foldIn(key, "embedding"), config.vocabSize, config.dModel),
    layers: Array.from({ length: config.nLayers }, (_, k) =>
      initResidualBlock(config.mixer, mixerConfig, foldIn(key, `layers.${k}`), { index: k, count: config.nLayers }),
    ),
    norm_f: initRmsNorm(config.dModel),
  };
}

/** The state before the first token of `batch` sequences. */
export function initLanguageModelState(config: LanguageModelConfig, batch: number): LanguageModelState {
  const mixerConfig = mixerConfigOf(config);
  return Array.from({ length: config.nLayers }, () => config.mixer.initState(mixerConfig, batch));
}

/**
 * Logits of the next token at every position.
 * @param tokens i32 [B L], 0..V-1
 * @param state Of the tokens before; none by default.
 * @param mode How the mixers run; "parallel" by default.
 * @param resets bool or i32 [B L], not 0 at the first token of each packed sequence.
 * @returns logits [B L V] and the state after the last token
 */
export function forwardLanguageModel(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  state?: LanguageModelState,
  mode?: Mode,
  resets?: Tensor,
): readonly [Tensor, LanguageModelState] {
  assertTokens("forwardLanguageModel", "[B L]", tokens, 2);
  const mixerConfig = mixerConfigOf(config);
  let x = embedding(params.embedding, tokens);
  const after = params.layers.map((layer, k) => {
    const [y, next] = residualBlock(config.mixer, mixerConfig, layer, x, state?.[k], mode, resets);
    x = y;
    return next;
  });
  return [linear(params.embedding, rmsNorm(params.norm_f, x)), after];
}

/**
 * One token of {@link forwardLanguageModel}.
 * @param token i32 [B]
 * @returns logits [B V] and the state after the token
 */
export function stepLanguageModel(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  token: Tensor,
  state: LanguageModelState,
): readonly [Tensor, LanguageModelState] {
  assertTokens("stepLanguageModel", "[B]", token, 1);
  const mixerConfig = mixerConfigOf(config);
  let x = embedding(params.embedding, token);
  const after = params.layers.map((layer, k) => {
    const [y, next] = residualBlockStep(config.mixer, mixerConfig, layer, x, state[k]!);
    x = y;
    return next;
  });
  return [linear(params.embedding, rmsNorm(params.norm_f, x)), after];
}

function assertTokens(name: string, axes: string, tokens: Tensor, rank: number): void {
  if (tokens.dtype !== "i32")
    throw new DTypeError(
      `${name}: expected i32 tokens ${axes}, got ${tokens.dtype} [${tokens.shape.join(",")}]; convert them with cast`,
    );
  if (tokens.shape.length !== rank)
    throw new ShapeError(`${name}: expected tokens ${axes}, got shape [${tokens.shape.join(",")}]; reshape them`);
}
