/** Text from a language model, one token after another, by its recurrent form. */
import {
  autocast,
  cast,
  compile,
  dispose,
  leavesOf,
  mapTree,
  realize,
  reshape,
  ShapeError,
  sliceAxis,
  tensor,
  threefry,
  type Device,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import {
  languageModelFeatures,
  languageModelHead,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
} from "./language-model.js";
import { layersOf } from "./layers.js";
import { alignToEnd } from "./padding.js";
import { assertSampling, sampleTokens, type SamplingOptions } from "./sampling.js";

/** How {@link generate} chooses tokens. */
export interface GenerateOptions extends SamplingOptions {
  /** Tokens to make for each sequence. */
  readonly length: number;
  /** Needed to draw: the same key gives the same tokens. */
  readonly key?: Key;
  /**
   * Of prompts of different lengths in one batch: bool [B L], true from the first to the last token of each row, which has
   * at least one; padding may be on either side. All tokens by default.
   */
  readonly mask?: Tensor;
  /**
   * "f16": matrices are kept in f16 while tokens are made, and multiplied with inputs rounded to it ({@link autocast}): half
   * the memory to read, nearly the same tokens. By default as they are.
   */
  readonly weights?: "f16";
  /** Where to compute; where the parameters live by default. */
  readonly device?: Device;
}

/** Tokens that are on their way to the host while the device computes those behind them. */
const UNDER_WAY = 4;

/**
 * Continues sequences. The prompt runs at once, then every token by one compiled step that chooses on the device: the
 * next one begins before the chosen numbers have come to the host, and the state's memory is reused.
 * @param prompt i32 [B L], L at least 1
 * @returns One Int32Array of B tokens after another.
 * @throws RangeError if the mixer has no recurrent form, or temperature and key do not fit together.
 */
export async function* generate(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  prompt: Tensor,
  options: GenerateOptions,
): AsyncGenerator<Int32Array, void, undefined> {
  assertGenerates(config, prompt, options);
  const { length } = options;
  if (length < 1) return;
  const where = options.device ? { device: options.device } : {};
  const [B, L] = prompt.shape as [number, number];
  const drawsAt = drawsOf(options, B);
  const aligned = options.mask && alignToEnd(options.mask);
  const [features, afterPrompt] = languageModelFeatures(
    config,
    params,
    aligned ? aligned.toEnd(prompt) : prompt,
    undefined,
    undefined,
    aligned?.resets,
  );
  const last = reshape(sliceAxis(features, 1, L - 1, L), [B, config.dModel]);
  const oneToken = (
    given: LanguageModelParameters,
    before: LanguageModelState,
    token: Tensor,
    draws: readonly Tensor[],
  ): Next => {
    const [logits, after] = stepLanguageModel(config, inSingle(given), token, before);
    return [sampleTokens(logits, options, draws[0]), after];
  };
  const half = options.weights === "f16";
  const step = compile(half ? autocast(oneToken) : oneToken, { ...where, donate: [1, 3] });
  const weights = half ? inHalf(params) : params;
  let token = sampleTokens(languageModelHead(params, last), options, drawsAt(0)[0]);
  let state = withRoom(config, afterPrompt, length);
  const waiting: Reading[] = [];
  try {
    await realize([token, state, weights] as readonly Tree[], where);
    for (let made = 1; ; made++) {
      waiting.push(readingOf(token));
      const most = made < length ? UNDER_WAY : 0;
      while (waiting.length > most || waiting[0]?.isHere()) yield waiting.shift()!.tokens as Promise<Int32Array>;
      if (made >= length) return;
      const spent = token;
      [token, state] = await step(weights, state, token, drawsAt(made));
      spent.dispose();
    }
  } finally {
    // What a reader who stops early did not wait for.
    await Promise.allSettled(waiting.map(({ tokens }) => tokens));
    dispose([token, state] as readonly Tree[]);
    const given = new Set(leavesOf(params as Tree));
    dispose(leavesOf(weights as Tree).filter((x) => !given.has(x)));
  }
}

/** The next token of each sequence and the state behind it. */
type Next = readonly [Tensor, LanguageModelState];

/** Matrices in f16; other parameters are few and stay. */
const inHalf = (params: LanguageModelParameters): LanguageModelParameters =>
  mapTree(
    (x) => (x.dtype === "f32" && x.shape.length === 2 ? cast(x, "f16") : x),
    params as Tree,
  ) as LanguageModelParameters;

/** Parameters as models take them. */
const inSingle = (params: LanguageModelParameters): LanguageModelParameters =>
  mapTree((x) => (x.dtype === "f16" ? cast(x, "f32") : x), params as Tree) as LanguageModelParameters;

/** Tokens on their way to the host. */
interface Reading {
  readonly tokens: Promise<unknown>;
  /** Whether they have come. */
  isHere(): boolean;
}

function readingOf(token: Tensor): Reading {
  let here = false;
  const tokens = token.data();
  tokens.then(
    () => (here = true),
    () => (here = true),
  );
  return { tokens, isHere: () => here };
}

function assertGenerates(config: LanguageModelConfig, prompt: Tensor, options: GenerateOptions): void {
  const whole = layersOf(config).find(({ mixer }) => mixer && !mixer.step)?.mixer;
  if (whole)
    throw new RangeError(
      `generate: expected a mixer with a recurrent form, got ${whole.id} without one; call forwardLanguageModel on ever longer sequences`,
    );
  assertSampling("generate", options);
  const { temperature = 0, key } = options;
  if (temperature > 0 && !key)
    throw new RangeError(
      `generate: expected a key to draw at temperature ${temperature}, got none; pass one, or temperature 0`,
    );
  if ((prompt.shape[1] ?? 0) === 0)
    throw new ShapeError(
      `generate: expected a prompt [B L] of at least one token, got shape [${prompt.shape.join(",")}]`,
    );
}

/** By token, 24 random bits in [0, 1) for each sequence, f32 [B]; none where nothing is drawn. */
function drawsOf({ temperature = 0, key }: GenerateOptions, B: number): (t: number) => readonly Tensor[] {
  if (temperature === 0 || !key) return () => [];
  const draw = (t: number, b: number): number => (threefry(key.words, [t, b])[0] >>> 8) * 2 ** -24;
  return (t) => [tensor(Float32Array.from({ length: B }, (_, b) => draw(t, b)))];
}

/** The state with room for `length` more tokens where it grows, so that every token is the same plan. */
function withRoom(config: LanguageModelConfig, state: LanguageModelState, length: number): LanguageModelState {
  const layers = layersOf(config);
  return state.map((own, k) => layers[k]!.mixer?.reserve?.(layers[k]!.mixerConfig, own, length) ?? own);
}
