/** A language model around any mixers: embedding, layers, norm, and the embedding again as the head. */
import {
  embedding,
  initEmbedding,
  initRmsNorm,
  linear,
  linearCrossEntropy,
  rmsNorm,
  type EmbeddingParameters,
  type LinearCrossEntropyOptions,
  type RmsNormParameters,
} from "@seqmix/nn";
import {
  assertFields,
  assertNumber,
  assertSettings,
  assertTensor,
  assertTensors,
  checkpoint,
  DTypeError,
  foldIn,
  ShapeError,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { MixerConfig, Mode } from "./contract.js";
import { feedForwardBlock, initFeedForwardBlock, type FeedForwardBlockParameters } from "./feed-forward-block.js";
import { layersOf, type Layer, type LayersConfig } from "./layers.js";
import { initResidualBlock, residualBlock, residualBlockStep, type ResidualBlockParameters } from "./residual-block.js";
import { branchesOf, scaledFeedForward } from "./residual-maps.js";
import { alignToEnd } from "./padding.js";
import { assertMixerSettings, configure, forget, modesOf } from "./run-mixer.js";

/** What a language model is made of. */
export interface LanguageModelConfig extends LayersConfig {
  /** Tokens V. */
  readonly vocabSize: number;
  /**
   * true: what a layer computes is computed again in the backward pass instead of kept, so that of each layer only its input
   * stays in memory; about a third more work. The same numbers.
   */
  readonly checkpoint?: boolean;
}

/** Parameters of one layer: a mixer's residual block, a feed-forward block, or one behind the other. */
export type LayerParameters = Partial<ResidualBlockParameters> & Partial<FeedForwardBlockParameters>;

/** Parameters of a language model. */
export type LanguageModelParameters = {
  /** [V D], the input's vectors and the head's rows. */
  readonly embedding: EmbeddingParameters;
  /** One a layer, from the input on. */
  readonly layers: readonly LayerParameters[];
  /** Scale [D] of the norm before the head. */
  readonly norm_f: RmsNormParameters;
};

/** The state of each layer's mixer; a layer without one has an empty tree. */
export type LanguageModelState = readonly Tree[];

/** The settings of the model's own mixer. */
export function mixerConfigOf(config: LanguageModelConfig): MixerConfig {
  assertFields("mixerConfigOf", config, { dModel: { from: 1, whole: true } });
  const { mixer, mixerConfig = {}, dModel } = config;
  assertMixerSettings("mixerConfigOf, mixerConfig", mixerConfig);
  return configure(mixer, { ...mixerConfig, dModel });
}

/**
 * Fresh parameters. The embedding is normal with deviation 0.02. Where a mixer's published models divide what ends in the
 * residual stream by the square root of the model's branches, its maps are, and with them those of feed-forward blocks.
 */
export function initLanguageModel(config: LanguageModelConfig, key: Key): LanguageModelParameters {
  const layers = layersOf(config);
  const { vocabSize, dModel, nLayers: count } = config;
  assertNumber("initLanguageModel", "vocabSize", vocabSize, { from: 1, whole: true });
  const branches = layers.reduce((all, layer) => all + branchesOfLayer(layer), 0);
  const smaller = layers.some(({ mixer }) => mixer?.residualMaps);
  return {
    embedding: initEmbedding(foldIn(key, "embedding"), vocabSize, dModel),
    layers: layers.map(({ mixer, mixerConfig, feedForward }, k) => {
      const own = foldIn(key, `layers.${k}`);
      const maps = feedForward && initFeedForwardBlock(feedForward, dModel, own);
      return {
        ...(mixer && initResidualBlock(mixer, mixerConfig, own, { index: k, count, branches })),
        ...(maps && smaller ? scaledFeedForward(maps, branches) : maps),
      };
    }),
    norm_f: initRmsNorm(dModel),
  };
}

const branchesOfLayer = ({ mixer, feedForward }: Layer): number =>
  (mixer ? branchesOf(mixer) : 0) + (feedForward ? 1 : 0);

/** The state before the first token of `batch` sequences. */
export const initLanguageModelState = (config: LanguageModelConfig, batch: number): LanguageModelState =>
  layersOf(config).map(({ mixer, mixerConfig }) => mixer?.initState(mixerConfig, batch) ?? {});

/**
 * Logits of the next token at every position.
 * @param tokens i32 [B L], 0..V-1
 * @param state Of the tokens before; none by default.
 * @param mode How the mixers run; "parallel" by default. Where a model mixes mixers, those without the mode run in parallel.
 * @param resets bool or i32 [B L], not 0 at the first token of each packed sequence.
 * @returns logits [B L V] and the state after the last token
 * @throws RangeError if no mixer has the mode, or one that is asked to does not honour resets.
 */
export function forwardLanguageModel(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  state?: LanguageModelState,
  mode: Mode = "parallel",
  resets?: Tensor,
): readonly [Tensor, LanguageModelState] {
  const [features, after] = languageModelFeatures(config, params, tokens, state, mode, resets);
  return [languageModelHead(params, features), after];
}

/**
 * {@link forwardLanguageModel} up to the head: for a loss that needs no logits of its own, or logits at some positions alone.
 * @returns What the head sees [B L D], and the state after the last token.
 * @throws RangeError as there.
 */
export function languageModelFeatures(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  state?: LanguageModelState,
  mode: Mode = "parallel",
  resets?: Tensor,
): readonly [Tensor, LanguageModelState] {
  assertTokens("forwardLanguageModel", "[B L]", tokens, 2);
  if (resets !== undefined) assertTensor("forwardLanguageModel", resets);
  const layers = layersOf(config);
  const has = ({ mixer, mixerConfig }: Layer): boolean => !mixer || modesOf(mixer, mixerConfig).includes(mode);
  const some = layers.some((layer) => layer.mixer && has(layer));
  return through(config, params, tokens, state, resets, (layer, block, x, before, flags) =>
    residualBlock(layer.mixer!, layer.mixerConfig, block, x, before, some && !has(layer) ? "parallel" : mode, flags),
  );
}

/** Logits of what {@link languageModelFeatures} found: [.. D] -> [.. V]. */
export const languageModelHead = ({ embedding: head }: LanguageModelParameters, features: Tensor): Tensor =>
  linear(head, features);

/** What {@link languageModelLoss} learns from. */
export interface LanguageModelBatch {
  /** i32 [B L], 0..V-1. */
  readonly tokens: Tensor;
  /** The token to come at each position, i32 [B L]. */
  readonly labels: Tensor;
  /** Positions that count, bool [B L] or f32 weights; all by default. */
  readonly mask?: Tensor;
}

/**
 * Cross entropy of the next token in nats, the mean over the positions that count. With a large vocabulary the logits are
 * computed in pieces of the positions, as `linearCrossEntropy` says.
 * @returns f32 []
 */
export function languageModelLoss(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  batch: LanguageModelBatch,
  options: LinearCrossEntropyOptions = {},
): Tensor {
  assertSettings("languageModelLoss", batch, ["tokens", "labels", "mask"]);
  assertTensors("languageModelLoss", batch, ["tokens", "labels"], ["mask"]);
  const { tokens, labels, mask } = batch;
  const [features] = languageModelFeatures(config, params, tokens);
  return linearCrossEntropy(params.embedding, features, labels, mask, options);
}

/**
 * {@link forwardLanguageModel} over sequences of different lengths, each as if it were alone. What is in the padding, a token
 * of the vocabulary or not, does not matter.
 * @param tokens i32 [B L]
 * @param mask bool [B L]: true from the first to the last token of each row.
 * @returns logits [B L V], 0 in the padding, and the state after each row's own last token
 * @throws RangeError if a mixer does not honour resets.
 */
export function forwardPaddedLanguageModel(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  mask: Tensor,
  mode?: Mode,
): readonly [Tensor, LanguageModelState] {
  assertTokens("forwardPaddedLanguageModel", "[B L]", tokens, 2);
  const { toEnd, back, resets, empty } = alignToEnd(mask);
  const [logits, after] = forwardLanguageModel(config, params, toEnd(tokens), undefined, mode, resets);
  const layers = layersOf(config);
  const state = after.map((own, k) => {
    const { mixer, mixerConfig } = layers[k]!;
    return mixer ? forget(mixer, mixerConfig, own, empty) : own;
  });
  return [back(logits), state];
}

/**
 * One token of {@link forwardLanguageModel}.
 * @param token i32 [B]
 * @returns logits [B V] and the state after the token
 * @throws RangeError if a mixer has no recurrent form.
 */
export function stepLanguageModel(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  token: Tensor,
  state: LanguageModelState,
): readonly [Tensor, LanguageModelState] {
  assertTokens("stepLanguageModel", "[B]", token, 1);
  const [features, after] = through(
    { ...config, checkpoint: false },
    params,
    token,
    state,
    undefined,
    ({ mixer, mixerConfig }, block, x, before) => residualBlockStep(mixer!, mixerConfig, block, x, before!),
  );
  return [languageModelHead(params, features), after];
}

/** Runs the mixer's block of a layer that has one. */
type Mix = (
  layer: Layer,
  params: ResidualBlockParameters,
  x: Tensor,
  state: Tree | undefined,
  resets: Tensor | undefined,
) => readonly [Tensor, Tree];

/** What a layer computes from. */
type LayerInputs = {
  readonly own: LayerParameters;
  readonly x: Tensor;
  /** One or none. */
  readonly state: readonly Tree[];
  /** One or none. */
  readonly resets: readonly Tensor[];
};

/** Embedding, layers and norm. */
function through(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  state: LanguageModelState | undefined,
  resets: Tensor | undefined,
  mix: Mix,
): readonly [Tensor, LanguageModelState] {
  const layers = layersOf(config);
  assertLayers("parameters", params?.layers, layers.length);
  if (state !== undefined) assertLayers("a state", state, layers.length);
  let x = embedding(params.embedding, tokens);
  const flags = resets ? [resets] : [];
  const after = layers.map((layer, k) => {
    const run = (inputs: LayerInputs): readonly [Tensor, Tree] => throughLayer(layer, inputs, mix);
    const before = state ? [state[k]!] : [];
    const [y, next] = (config.checkpoint ? checkpoint(run) : run)({
      own: params.layers[k]!,
      x,
      state: before,
      resets: flags,
    });
    x = y;
    return next;
  });
  return [rmsNorm(params.norm_f, x), after];
}

function throughLayer(layer: Layer, { own, x, state, resets }: LayerInputs, mix: Mix): readonly [Tensor, Tree] {
  const [y, next] = layer.mixer ? mix(layer, own as ResidualBlockParameters, x, state[0], resets[0]) : [x, {}];
  return [layer.feedForward ? feedForwardBlock(own as FeedForwardBlockParameters, y) : y, next];
}

/** @throws ShapeError for anything but a list with one tree for each layer. */
function assertLayers(what: string, list: readonly unknown[] | undefined, count: number): void {
  const got = Array.isArray(list) ? String(list.length) : "none";
  if (got !== String(count) || list!.some((each) => typeof each !== "object" || each === null))
    throw new ShapeError(
      `language model: expected ${what} of ${count} layers, got ${got}; take those of the same config`,
    );
}

function assertTokens(name: string, axes: string, tokens: Tensor, rank: number): void {
  assertTensor(name, tokens);
  if (tokens.dtype !== "i32")
    throw new DTypeError(
      `${name}: expected i32 tokens ${axes}, got ${tokens.dtype} [${tokens.shape.join(",")}]; convert them with cast`,
    );
  if (tokens.shape.length !== rank)
    throw new ShapeError(`${name}: expected tokens ${axes}, got shape [${tokens.shape.join(",")}]; reshape them`);
}
