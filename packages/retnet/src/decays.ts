/** Decays of multi-scale retention: one a head, each forgetting at its own rate. */
import {
  add,
  arange,
  assertSettings,
  broadcastTo,
  cast,
  exp,
  expandDims,
  log,
  log1p,
  mul,
  neg,
  reshape,
  type Tensor,
} from "@seqmix/tensor";

/**
 * Names of decays. "powers-of-two": 1 - 2^(-5-h) (Sun et al., Retentive Network, 2023, section 2.1). "log-range":
 * 1 - exp(linspace(log 1/32, log 1/512, H)), of its language models (section 3.1), the same range for any number of heads.
 */
export type RetentionDecay = "powers-of-two" | "log-range";

/** All names. */
export const retentionDecays: readonly RetentionDecay[] = ["powers-of-two", "log-range"];

/** Logarithms of the decays of H heads [H]. */
export function retentionLogDecay(decay: RetentionDecay, heads: number): Tensor {
  const h = cast(arange(heads), "f32");
  const rate =
    decay === "powers-of-two"
      ? mul(-Math.LN2, add(h, 5))
      : add(mul(h, heads === 1 ? 0 : -Math.log(16) / (heads - 1)), -Math.log(32));
  return log1p(neg(exp(rate)));
}

/**
 * Decays a key, of {@link retentionLogDecay} and xPos: keys 2i and 2i + 1 fade by zeta_i^(1/scaleBase) a position more, with
 * zeta_i = (2i + 0.4 K) / 1.4 K (Sun et al., A Length-Extrapolatable Transformer, 2022). The published code multiplies queries
 * by zeta^(t/scaleBase) and keys by zeta^(-s/scaleBase) instead: the same map, until the latter overflows.
 * @param logDecay [H]
 * @param options `scale`: zeta [K/2], as checkpoints store it; as above by default.
 * @returns [H K]
 */
export function xposLogDecay(
  logDecay: Tensor,
  K: number,
  options: { readonly scaleBase?: number; readonly scale?: Tensor | undefined } = {},
): Tensor {
  assertSettings("xposLogDecay", options, { scaleBase: { above: 0 }, scale: "tensor?" });
  const { scaleBase = 512, scale = xposScale(K) } = options;
  return add(expandDims(logDecay, 1), mul(1 / scaleBase, log(inPairs(scale))));
}

/** zeta [K/2]. */
export const xposScale = (K: number): Tensor => mul(add(mul(cast(arange(K / 2), "f32"), 2), 0.4 * K), 1 / (1.4 * K));

/** Each entry twice: [K/2] -> [K]. */
export const inPairs = (x: Tensor): Tensor =>
  reshape(broadcastTo(expandDims(x, 1), [x.shape[0]!, 2]), [2 * x.shape[0]!]);
