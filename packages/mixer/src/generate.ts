/** Text from a language model, one token after another, by its recurrent form. */
import {
  compile,
  dispose,
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
  forwardLanguageModel,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
} from "./language-model.js";
import { layersOf } from "./layers.js";
import { alignToEnd } from "./padding.js";

/** How {@link generate} chooses tokens. */
export interface GenerateOptions {
  /** Tokens to make for each sequence. */
  readonly length: number;
  /** 0 (the default) takes the most probable token; else logits are divided by it and a token is drawn. */
  readonly temperature?: number;
  /** Needed to draw: the same key gives the same tokens. */
  readonly key?: Key;
  /**
   * Of prompts of different lengths in one batch: bool [B L], true from the first to the last token of each row, which has
   * at least one; padding may be on either side. All tokens by default.
   */
  readonly mask?: Tensor;
  /** Where to compute; where the parameters live by default. */
  readonly device?: Device;
}

/**
 * Continues sequences. The prompt runs at once, then every token by one `step`; the state's memory is reused.
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
  const { length, temperature = 0, key } = options;
  const where = options.device ? { device: options.device } : {};
  const whole = layersOf(config).find(({ mixer }) => mixer && !mixer.step)?.mixer;
  if (whole)
    throw new RangeError(
      `generate: expected a mixer with a recurrent form, got ${whole.id} without one; call forwardLanguageModel on ever longer sequences`,
    );
  if (!(temperature >= 0)) throw new RangeError(`generate: expected a temperature of at least 0, got ${temperature}`);
  if (temperature > 0 && !key)
    throw new RangeError(
      `generate: expected a key to draw at temperature ${temperature}, got none; pass one, or temperature 0`,
    );
  if ((prompt.shape[1] ?? 0) === 0)
    throw new ShapeError(
      `generate: expected a prompt [B L] of at least one token, got shape [${prompt.shape.join(",")}]`,
    );

  const [B, L] = prompt.shape as [number, number];
  const V = config.vocabSize;
  const aligned = options.mask && alignToEnd(options.mask);
  const [all, afterPrompt] = forwardLanguageModel(
    config,
    params,
    aligned ? aligned.toEnd(prompt) : prompt,
    undefined,
    undefined,
    aligned?.resets,
  );
  let logits: Tensor = reshape(sliceAxis(all, 1, L - 1, L), [B, V]);
  const step = compile(
    (
      given: LanguageModelParameters,
      before: LanguageModelState,
      token: Tensor,
    ): readonly [Tensor, LanguageModelState] => stepLanguageModel(config, given, token, before),
    { ...where, donate: [1, 2] },
  );
  let state = withRoom(config, afterPrompt, length);
  try {
    await realize([logits, state] as readonly Tree[], where);
    for (let t = 0; t < length; t++) {
      const scores = await logits.data();
      const chosen = Int32Array.from({ length: B }, (_, b) =>
        choose(scores.subarray(b * V, (b + 1) * V), temperature, temperature > 0 ? threefry(key!.words, [t, b])[0] : 0),
      );
      yield chosen;
      if (t === length - 1) return;
      const token = tensor(chosen.slice());
      const spent = logits;
      [logits, state] = await step(params, state, token);
      spent.dispose();
    }
  } finally {
    dispose([logits, state] as readonly Tree[]);
  }
}

/** The state with room for `length` more tokens where it grows, so that every token is the same plan. */
function withRoom(config: LanguageModelConfig, state: LanguageModelState, length: number): LanguageModelState {
  const layers = layersOf(config);
  return state.map((own, k) => layers[k]!.mixer?.reserve?.(layers[k]!.mixerConfig, own, length) ?? own);
}

/** The index of the largest score, or one drawn with probability softmax(scores / temperature) by 24 of 32 random bits. */
function choose(scores: ArrayLike<number>, temperature: number, bits: number): number {
  let best = 0;
  for (let v = 1; v < scores.length; v++) if (scores[v]! > scores[best]!) best = v;
  if (temperature === 0) return best;
  const weights = Array.from(scores, (score) => Math.exp((score - scores[best]!) / temperature));
  let left = (bits >>> 8) * 2 ** -24 * weights.reduce((a, b) => a + b, 0);
  for (let v = 0; v < weights.length; v++) {
    left -= weights[v]!;
    if (left < 0) return v;
  }
  return best;
}
