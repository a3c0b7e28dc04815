/** Positions as rotations of pairs of channels. */
import {
  add,
  arange,
  assertNumber,
  assertSettings,
  assertTensor,
  cast,
  concat,
  cos,
  exp,
  mul,
  reshape,
  ShapeError,
  sin,
  split,
  sub,
  Tensor,
} from "@seqmix/tensor";

/** Which positions and angles {@link rotaryEmbedding} uses. */
export interface RotaryOptions {
  /** Position of the first element, 0 by default; as a tensor, i32 [], it may change from call to call under one plan. */
  readonly offset?: number | Tensor;
  /** Pair i turns by position * base^(-2i/P); 10000 by default. */
  readonly base?: number;
}

/**
 * Rotary position embedding (Su et al., RoFormer, 2021): pair i of the P channels turns by (offset + t) base^(-2i/P),
 * so that inner products depend on distances only. Pairs are (i, i + P/2), the layout of GPT-NeoX and Llama
 * checkpoints; RoFormer's own pairs are (2i, 2i + 1).
 * @param x [.. L P], P even
 * @returns [.. L P]
 */
export function rotaryEmbedding(x: Tensor, options: RotaryOptions = {}): Tensor {
  assertTensor("rotaryEmbedding", x);
  assertSettings("rotaryEmbedding", options, { offset: "own", base: { above: 0 } });
  const { offset = 0, base = 10000 } = options;
  if (!(offset instanceof Tensor)) assertNumber("rotaryEmbedding", "offset", offset, { whole: true });
  const [L, P] = x.shape.slice(-2) as [number, number];
  if (x.shape.length < 2 || P % 2 !== 0)
    throw new ShapeError(
      `rotaryEmbedding: expected x [.. L P] with even P, got shape [${x.shape.join(",")}]; choose an even head dimension`,
    );
  const half = P / 2;
  const frequencies = exp(mul(cast(arange(half), "f32"), (-2 * Math.log(base)) / P));
  const angles = mul(reshape(cast(add(arange(L), offset), "f32"), [L, 1]), frequencies);
  const [cosines, sines] = [cos(angles), sin(angles)];
  const [a, b] = split(x, [half, half]) as [Tensor, Tensor];
  return concat([sub(mul(a, cosines), mul(b, sines)), add(mul(b, cosines), mul(a, sines))], -1);
}
