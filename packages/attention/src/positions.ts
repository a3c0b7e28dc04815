/** Ways to tell attention where elements stand. */
import { rotaryEmbedding } from "@seqmix/nn";
import { add, arange, cast, concat, div, exp, log, mul, reshape, type Tensor } from "@seqmix/tensor";

/** How {@link attention} knows positions; "none": by nothing but what a query may see. */
export const POSITION_ENCODINGS = ["rope", "xpos", "alibi", "absolute", "none"] as const;

/** One of {@link POSITION_ENCODINGS}. */
export type PositionEncoding = (typeof POSITION_ENCODINGS)[number];

/** Positions over which xPos' factor of the fastest pair falls to gamma / (1 + gamma) = 0.29. */
const SCALE_BASE = 512;
/** The authors' choice. */
const GAMMA = 0.4;

/**
 * xPos (Sun et al., A Length-Extrapolatable Transformer, 2022): rotations, and pair i of queries grown by zeta_i^(t / 512)
 * and of keys shrunk by the same, so that scores fall with distance; zeta_i = (2 i / P + 0.4) / 1.4. Pairs are those of
 * {@link rotaryEmbedding}. Factors overflow f32 beyond about 36,000 positions.
 * @param x [.. L P]
 * @param side "query" or "key".
 */
export function xpos(
  x: Tensor,
  side: "query" | "key",
  options: { readonly offset: number | Tensor; readonly base: number },
): Tensor {
  const [L, P] = x.shape.slice(-2) as [number, number];
  const positions = reshape(cast(add(arange(L), options.offset), "f32"), [L, 1]);
  const zeta = div(add(mul(cast(arange(P / 2), "f32"), 2 / P), GAMMA), 1 + GAMMA);
  const rate = mul(log(zeta), (side === "query" ? 1 : -1) / SCALE_BASE);
  const half = exp(mul(positions, rate));
  return mul(rotaryEmbedding(x, options), concat([half, half], -1));
}
