/** Feature maps: what stands for exp(q k) as a product phi(q) phi(k). */
import {
  add,
  concat,
  exp,
  expandDims,
  maximum,
  minimum,
  mul,
  ones,
  reshape,
  where,
  less,
  type Tensor,
} from "@seqmix/tensor";

/**
 * Names of feature maps. "elu+1": 1 + x above 0, e^x below (Katharopoulos et al., Transformers are RNNs, 2020). "taylor":
 * phi(q) phi(k) = 1 + s + s^2/2 with s = q k / sqrt(K), the exponential of softmax attention to second order, K to 1 + K + K^2
 * entries (Arora et al., Simple linear attention language models (Based), 2024). "identity", "relu" and "exp" are themselves.
 */
export type FeatureMap = "elu+1" | "identity" | "relu" | "exp" | "taylor";

/** All names. */
export const featureMaps: readonly FeatureMap[] = ["elu+1", "identity", "relu", "exp", "taylor"];

/**
 * A feature map of the last axis.
 * @param x [.. K]
 * @returns [.. F], F = {@link featuresOf}(map, K)
 */
export function applyFeatureMap(map: FeatureMap, x: Tensor): Tensor {
  switch (map) {
    case "identity":
      return x;
    case "relu":
      return maximum(x, 0);
    case "exp":
      return exp(x);
    case "elu+1":
      // Each side is cut to its own half, so that neither overflows.
      return where(less(x, 0), exp(minimum(x, 0)), add(x, 1));
    case "taylor":
      return taylor(x);
  }
}

/** Entries of a feature for keys of K entries. */
export const featuresOf = (map: FeatureMap, K: number): number => (map === "taylor" ? 1 + K + K * K : K);

function taylor(x: Tensor): Tensor {
  const [outer, K] = [x.shape.slice(0, -1), x.shape.at(-1)!];
  const squares = reshape(mul(expandDims(x, -1), expandDims(x, -2)), [...outer, K * K]);
  return concat([ones([...outer, 1]), mul(x, K ** -0.25), mul(squares, 1 / Math.sqrt(2 * K))], -1);
}
