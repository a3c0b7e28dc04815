/** Choosing a token of each sequence by its logits, as tensor code: only the chosen numbers leave the device. */
import {
  add,
  argmax,
  assertSettings,
  assertTensor,
  broadcastTo,
  cast,
  cumsum,
  div,
  equal,
  exp,
  expandDims,
  greaterEqual,
  lessEqual,
  max,
  min,
  mul,
  reshape,
  ShapeError,
  sub,
  sum,
  where,
  type Tensor,
} from "@seqmix/tensor";

/** Which of the tokens may be chosen, and how evenly. */
export interface SamplingOptions {
  /** 0 (the default) takes the most probable token; else logits are divided by it and a token is drawn. */
  readonly temperature?: number;
  /** Only the so many most probable tokens are drawn from, and those as probable as the last of them; all by default. */
  readonly topK?: number;
}

/** Names of {@link SamplingOptions}. */
export const SAMPLING_OPTIONS = { temperature: "own", topK: "own" } as const;

/** Halvings of the range of the logits in which the k-th largest is looked for; nearer ones count as equal. */
const HALVINGS = 32;

/** @throws RangeError for a negative temperature, or topK that is no whole number of at least 1. */
export function assertSampling(name: string, { temperature = 0, topK }: SamplingOptions): void {
  if (!(temperature >= 0)) throw new RangeError(`${name}: expected a temperature of at least 0, got ${temperature}`);
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1))
    throw new RangeError(
      `${name}: expected topK, a whole number of at least 1, got ${topK}; leave it out for all tokens`,
    );
}

/**
 * A token for each row of logits: the first of the largest, or with a temperature the one at which the sum of the
 * probabilities softmax(logits / temperature), in the order of the tokens, exceeds the row's draw.
 * @param logits f32 [B V]
 * @param draws f32 [B], uniform in [0, 1); needed with a temperature above 0.
 * @returns i32 [B]
 */
export function sampleTokens(logits: Tensor, options: SamplingOptions = {}, draws?: Tensor): Tensor {
  assertTensor("sampleTokens", logits);
  assertSettings("sampleTokens", options, SAMPLING_OPTIONS);
  assertSampling("sampleTokens", options);
  const { temperature = 0, topK } = options;
  const best = argmax(logits, -1);
  if (temperature === 0) return best;
  const [B, V] = logits.shape as [number, number];
  if (draws?.shape.join() !== `${B}`)
    throw new ShapeError(
      `sampleTokens: expected draws [${B}] for logits [${B},${V}], got ${draws ? `[${draws.shape.join(",")}]` : "none"}; give a number in [0, 1) for each row`,
    );
  const spread = (x: Tensor): Tensor => broadcastTo(expandDims(x, -1), logits.shape);
  const weights = exp(div(sub(logits, spread(max(logits, -1))), temperature));
  const kept =
    topK === undefined || topK >= V ? weights : where(greaterEqual(logits, spread(leastOf(logits, topK))), weights, 0);
  const reached = mul(draws, sum(kept, -1));
  const before = sum(cast(lessEqual(cumsum(kept, -1), spread(reached)), "i32"), -1);
  // Where rounding leaves the draw beyond the last sum.
  return where(equal(before, V), best, before);
}

/** The k-th largest of each row [B V], or a little less: the largest number found that k of the row are not below. */
function leastOf(logits: Tensor, k: number): Tensor {
  const [B] = logits.shape as [number, number];
  let low = min(logits, -1);
  let high = max(logits, -1);
  for (let halving = 0; halving < HALVINGS; halving++) {
    const middle = add(mul(low, 0.5), mul(high, 0.5));
    const above = sum(cast(greaterEqual(logits, broadcastTo(reshape(middle, [B, 1]), logits.shape)), "i32"), -1);
    const enough = greaterEqual(above, k);
    [low, high] = [where(enough, middle, low), where(enough, high, middle)];
  }
  return low;
}
