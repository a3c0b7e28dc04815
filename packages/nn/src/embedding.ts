/** Vectors of tokens. */
import {
  assertSettings,
  assertTensor,
  assertTensors,
  checkIndices,
  equal,
  expandDims,
  gather,
  where,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { normalInit, type Initializer } from "./initialize.js";

/** A table of V vectors. */
export type EmbeddingParameters = {
  /** [V D]. */
  readonly weight: Tensor;
};

/** A table of V vectors of D channels, by default normal with deviation 0.02 (GPT-2's choice). */
export function initEmbedding(
  key: Key,
  vocabSize: number,
  dModel: number,
  options: { readonly weightInit?: Initializer } = {},
): EmbeddingParameters {
  assertSettings("initEmbedding", options, { weightInit: "function?" });
  return { weight: (options.weightInit ?? normalInit(0.02))(key, [vocabSize, dModel]) };
}

/**
 * Vectors of tokens.
 * @param tokens i32 [..], 0..V-1; outside they are clamped, where they are not seen
 * @param options `paddingIndex`, a token whose vector is zeros and gets no gradient.
 * @returns [.. D]
 * @throws RangeError for a token outside 0..V-1 that is host data, and in debug mode for any.
 */
export function embedding(
  parameters: EmbeddingParameters,
  tokens: Tensor,
  options: { readonly paddingIndex?: number } = {},
): Tensor {
  assertTensors("embedding", parameters, ["weight"]);
  assertTensor("embedding", tokens);
  assertSettings("embedding", options, ["paddingIndex"]);
  const { weight } = parameters;
  const { paddingIndex } = options;
  const V = weight.shape[0]!;
  if (paddingIndex !== undefined && !(Number.isInteger(paddingIndex) && paddingIndex >= 0 && paddingIndex < V))
    throw new RangeError(
      `embedding: expected paddingIndex, a whole number from 0 to ${V - 1}, got ${paddingIndex}; leave it out if there is none`,
    );
  const vectors = gather(weight, checkIndices("embedding", tokens, V), 0);
  return paddingIndex === undefined ? vectors : where(expandDims(equal(tokens, paddingIndex), -1), 0, vectors);
}
