/** The GateLoop transformer, a language model as published in `gateloop_transformer.py`. */
import { embedding, linear, type EmbeddingParameters, type LinearParameters } from "@seqmix/nn";
import { add, assertSettings, gelu, type Tensor } from "@seqmix/tensor";
import { gateLoop, type GateLoopConfig, type GateLoopParameters } from "./gateloop.js";
import { unitNorm } from "./simple-gateloop.js";

/** A part between a norm and a residual connection. */
export type Normed<T> = {
  /** The part. */
  readonly fn: T;
  /** x / |x| sqrt(D) gamma; none: no norm. */
  readonly norm?: {
    /** [D]. */
    readonly gamma: Tensor;
  };
};

/** Parameters under the published keys (of the feed-forward's list, 0 and 2 are the maps: here 0 and 1). */
export type GateLoopTransformerParameters = {
  /** [V D]. */
  readonly token_emb: EmbeddingParameters;
  /** In each layer GateLoop, then two linear maps with GELU between. */
  readonly layers: readonly (readonly [
    Normed<GateLoopParameters>,
    Normed<readonly [LinearParameters, LinearParameters]>,
  ])[];
  /** The last norm, if there is one, and the head [V D]. */
  readonly to_logits: readonly [NonNullable<Normed<never>["norm"]>, LinearParameters] | readonly [LinearParameters];
};

/**
 * Logits of the next token at every position.
 * @param tokens i32 [B L], 0..V-1
 * @param resets bool [B L], true at the first token of each of several sequences packed into one.
 * @returns [B L V]
 */
export function gateLoopTransformer(
  params: GateLoopTransformerParameters,
  tokens: Tensor,
  settings: Partial<Pick<GateLoopConfig, "fracGradientStateTransition" | "parallel">> = {},
  resets?: Tensor,
): Tensor {
  assertSettings("gateLoopTransformer", settings, {
    parallel: gateLoop.choices!.parallel!,
    fracGradientStateTransition: { from: 0, to: 1 },
  });
  let x = embedding(params.token_emb, tokens);
  const config = { ...gateLoop.config, dModel: x.shape.at(-1)!, ...settings };
  for (const [mix, feed] of params.layers) {
    x = add(x, gateLoop.modes.parallel(config, mix.fn, unitNorm(mix.norm, x), undefined, resets)[0]);
    const [up, down] = feed.fn;
    x = add(x, linear(down, gelu(linear(up, unitNorm(feed.norm, x)))));
  }
  const [first, last] = params.to_logits;
  return last ? linear(last, unitNorm(first as Normed<never>["norm"], x)) : linear(first as LinearParameters, x);
}
