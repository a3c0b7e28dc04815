/** The loss of a language model, where rows hold several sequences or are padded. */
import { linearCrossEntropy, type LinearCrossEntropyOptions } from "@seqmix/nn";
import {
  and,
  assertSettings,
  assertTensor,
  cast,
  not,
  or,
  ShapeError,
  sliceAxis,
  where,
  type Tensor,
} from "@seqmix/tensor";
import type { Mode } from "./contract.js";
import { languageModelFeatures, type LanguageModelConfig, type LanguageModelParameters } from "./language-model.js";
import { resetsOfMask } from "./padding.js";

/** What {@link nextTokenLoss} takes beside the tokens; the rest is that of `linearCrossEntropy`. */
export interface NextTokenLossOptions extends LinearCrossEntropyOptions {
  /** bool or i32 [B L], not 0 at the first token of each of several sequences packed into a row. */
  readonly resets?: Tensor | undefined;
  /** bool [B L], true where there is a token and not padding, which may be anywhere and hold anything. */
  readonly mask?: Tensor | undefined;
  /** How the mixers run; "parallel" by default. */
  readonly mode?: Mode;
}

/**
 * Cross entropy of each token, given those before it in its own sequence, in nats; its mean over the tokens that have one
 * before them by default.
 * @param tokens i32 [B L], L at least 2
 */
export function nextTokenLoss(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: Tensor,
  settings: NextTokenLossOptions = {},
): Tensor {
  assertTensor("nextTokenLoss", tokens);
  assertSettings("nextTokenLoss", settings, {
    resets: "tensor?",
    mask: "tensor?",
    mode: "own",
    pieces: "own",
    ignoreIndex: "own",
    labelSmoothing: "own",
    reduction: "own",
  });
  const { resets, mask, mode, ...options } = settings;
  const L = tokens.shape[1] ?? 0;
  if (L < 2)
    throw new ShapeError(`nextTokenLoss: expected tokens [B L] of at least two positions, got ${String(tokens)}`);
  const first = (x: Tensor): Tensor => sliceAxis(x, 1, 0, L - 1);
  const next = (x: Tensor): Tensor => sliceAxis(x, 1, 1, L);
  const begins = resets && cast(resets, "bool");
  const ends = mask && resetsOfMask(mask);
  const borders = begins && ends ? or(begins, ends) : (begins ?? ends);
  const known = mask ? where(mask, tokens, 0) : tokens;
  const [features] = languageModelFeatures(config, params, first(known), undefined, mode, borders && first(borders));
  const within = borders && not(next(borders));
  const counts = within && mask ? and(within, next(mask)) : within;
  return linearCrossEntropy(params.embedding, features, next(known), counts, options);
}
