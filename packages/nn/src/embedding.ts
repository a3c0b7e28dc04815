/** Vectors of tokens. */
import { gather, type Key, type Tensor } from "@seqmix/tensor";
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
  return { weight: (options.weightInit ?? normalInit(0.02))(key, [vocabSize, dModel]) };
}

/**
 * Vectors of tokens.
 * @param tokens i32 [..], 0..V-1 (values outside are clamped)
 * @returns [.. D]
 */
export const embedding = ({ weight }: EmbeddingParameters, tokens: Tensor): Tensor => gather(weight, tokens, 0);
