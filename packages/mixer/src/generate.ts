/** Text from a language model, one token after another, by its recurrent form. */
import {
  assertKey,
  assertNumber,
  assertSettings,
  assertTensor,
  autocast,
  broadcastTo,
  cast,
  compile,
  concat,
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
  type SettingRules,
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
import { assertSampling, SAMPLING_OPTIONS, sampleTokens, type SamplingOptions } from "./sampling.js";

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
  /**
   * Tokens of a sequence that the device makes in one go, and that come to the reader together. The work around a call is
   * most of the time of a token of a small model on a GPU, but the plan of so many tokens takes longer to make. 1 by
   * default, and 8 for 256 tokens or more.
   */
  readonly together?: number;
  /** Where to compute; where the parameters live by default. */
  readonly device?: Device;
}

const OPTIONS: SettingRules<GenerateOptions> = {
  ...SAMPLING_OPTIONS,
  length: "own",
  key: "own",
  mask: "tensor?",
  weights: ["f16"],
  together: "own",
  device: "own",
};

/** Tokens for which it is worth while to plan several of them as one step. */
const LONG = 256,
  TOGETHER = 8;

/** Tokens that are on their way to the host while the device computes those behind them. */
const UNDER_WAY = 4;

/**
 * Continues sequences. The prompt runs at once, then every token by one compiled step that chooses on the device: the
 * next one begins before the chosen numbers have come to the host, and the state's memory is reused.
 * @param prompt i32 [B L], L at least 1
 * @returns One Int32Array of B tokens after another.
 * @throws RangeError if the mixer has no recurrent form, or temperature and key do not fit together; TypeError for settings
 *   that do not exist.
 */
export async function* generate(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  prompt: Tensor,
  options: GenerateOptions,
): AsyncGenerator<Int32Array, void, undefined> {
  assertGenerates(config, prompt, options);
  const { length, temperature = 0, topK } = options;
  if (length < 1) return;
  const sampling: SamplingOptions = { temperature, ...(topK !== undefined && { topK }) };
  const { together = length < LONG ? 1 : TOGETHER } = options;
  const where = options.device ? { device: options.device } : {};
  const [B, L] = prompt.shape as [number, number];
  const drawsFrom = drawsOf(options, B);
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
  const half = options.weights === "f16";
  const tokens = tokensAfter(config, sampling, together);
  const step = compile(half ? autocast(tokens) : tokens, { ...where, donate: [1, 3] });
  const weights = half ? inHalf(params) : params;
  const first = sampleTokens(languageModelHead(params, last), sampling, drawsFrom(0, 1)[0]);
  let made = broadcastTo(first, [together, B]);
  let state = withRoom(config, afterPrompt, Math.ceil((length - 1) / together) * together + 1);
  const waiting: Reading[] = [];
  try {
    await realize([made, state, weights] as readonly Tree[], where);
    for (let count = 1; ; count += together) {
      waiting.push(readingOf(made, count === 1 ? 1 : Math.min(together, length - count + together)));
      const most = count < length ? Math.ceil(UNDER_WAY / together) : 0;
      while (waiting.length > most || waiting[0]?.isHere()) {
        const { tokens: coming, count: own } = waiting.shift()!;
        const came = await coming;
        for (let k = 0; k < own; k++) yield came.slice(k * B, (k + 1) * B);
      }
      if (count >= length) return;
      const spent = made;
      [made, state] = await step(weights, state, made, drawsFrom(count, together));
      spent.dispose();
    }
  } finally {
    // What a reader who stops early did not wait for.
    await Promise.allSettled(waiting.map(({ tokens: each }) => each));
    dispose([made, state] as readonly Tree[]);
    const given = new Set(leavesOf(params as Tree));
    dispose(leavesOf(weights as Tree).filter((x) => !given.has(x)));
  }
}

/** Tokens [K B] and the state before the last of them. */
type Next = readonly [Tensor, LanguageModelState];

/** From the last of tokens [.. B] to the `count` tokens behind it. */
const tokensAfter =
  (config: LanguageModelConfig, sampling: SamplingOptions, count: number) =>
  (params: LanguageModelParameters, before: LanguageModelState, known: Tensor, draws: readonly Tensor[]): Next => {
    const weights = inSingle(params);
    const [K, B] = known.shape as [number, number];
    let token = reshape(sliceAxis(known, 0, K - 1, K), [B]);
    let state = before;
    const made: Tensor[] = [];
    for (let k = 0; k < count; k++) {
      const [logits, after] = stepLanguageModel(config, weights, token, state);
      token = sampleTokens(logits, sampling, draws[k]);
      state = after;
      made.push(reshape(token, [1, B]));
    }
    return [concat(made, 0), state];
  };

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
  readonly tokens: Promise<Int32Array>;
  /** Of each sequence, those that are asked for. */
  readonly count: number;
  /** Whether they have come. */
  isHere(): boolean;
}

function readingOf(made: Tensor, count: number): Reading {
  let here = false;
  const tokens = made.data() as Promise<Int32Array>;
  tokens.then(
    () => (here = true),
    () => (here = true),
  );
  return { tokens, count, isHere: () => here };
}

function assertGenerates(config: LanguageModelConfig, prompt: Tensor, options: GenerateOptions): void {
  assertSettings("generate", options, OPTIONS);
  assertNumber("generate", "length", options.length, { from: 0, whole: true });
  assertTensor("generate", prompt);
  const whole = layersOf(config).find(({ mixer }) => mixer && !mixer.step)?.mixer;
  if (whole)
    throw new RangeError(
      `generate: expected a mixer with a recurrent form, got ${whole.id} without one; call forwardLanguageModel on ever longer sequences`,
    );
  assertSampling("generate", options);
  const { together = 1 } = options;
  if (!(Number.isInteger(together) && together >= 1))
    throw new RangeError(`generate: expected together, a whole number of at least 1, got ${together}`);
  const { temperature = 0, key } = options;
  if (key !== undefined) assertKey("generate", key);
  if (temperature > 0 && !key)
    throw new RangeError(
      `generate: expected a key to draw at temperature ${temperature}, got none; pass one, or temperature 0`,
    );
  if ((prompt.shape[1] ?? 0) === 0)
    throw new ShapeError(
      `generate: expected a prompt [B L] of at least one token, got shape [${prompt.shape.join(",")}]`,
    );
}

/** By number of a token and count, 24 random bits in [0, 1) for each sequence of each, f32 [B]; none where nothing is drawn. */
function drawsOf(
  { temperature = 0, key }: GenerateOptions,
  B: number,
): (first: number, count: number) => readonly Tensor[] {
  if (temperature === 0 || !key) return () => [];
  const draw = (t: number, b: number): number => (threefry(key.words, [t, b])[0] >>> 8) * 2 ** -24;
  return (first, count) =>
    Array.from({ length: count }, (_, t) => tensor(Float32Array.from({ length: B }, (__, b) => draw(first + t, b))));
}

/** The state with room for `length` more tokens where it grows, so that every token is the same plan. */
function withRoom(config: LanguageModelConfig, state: LanguageModelState, length: number): LanguageModelState {
  const layers = layersOf(config);
  return state.map((own, k) => layers[k]!.mixer?.reserve?.(layers[k]!.mixerConfig, own, length) ?? own);
}
