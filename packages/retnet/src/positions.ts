/** Positions as rotations of pairs of entries of queries and keys. */
import {
  add,
  arange,
  assertNumber,
  assertSettings,
  assertTensors,
  cast,
  concat,
  cos,
  div,
  exp,
  expandDims,
  formatShape,
  iota,
  log,
  mul,
  neg,
  reshape,
  ShapeError,
  sin,
  sliceAxis,
  split,
  sub,
  type Tensor,
} from "@seqmix/tensor";
import { inPairs, xposScale } from "./decays.js";

/**
 * Names of the published conventions. Pair i of K/2 turns by theta_i a position:
 * - "torchscale": theta_i = 10000^(-i / (K/2 - 1)), pairs (2i, 2i + 1), as in the code of RetNet's authors;
 * - "xpos": theta_i = 10000^(-i / (K/2)), pairs (2i, 2i + 1), and keys that fade at their own rates, as in the paper;
 * - "rotary": theta_i = 10000^(-i / (K/2)), pairs (i, i + K/2), as in flash-linear-attention;
 * - "none": no positions.
 */
export type RetentionPositions = "torchscale" | "xpos" | "rotary" | "none";

/** All names. */
export const retentionPositions: readonly RetentionPositions[] = ["torchscale", "xpos", "rotary", "none"];

/** theta [K/2]. @throws RangeError for an odd K. */
export function retentionAngles(positions: RetentionPositions, K: number): Tensor {
  if (K % 2 !== 0) throw new RangeError(`retention: expected an even number of entries of a key, got ${K}`);
  const steps = positions === "torchscale" ? Math.max(1, K / 2 - 1) : K / 2;
  return exp(mul(cast(arange(K / 2), "f32"), -Math.log(10000) / steps));
}

/**
 * Turns the pairs of each position's queries or keys by its number times theta.
 * @param x [.. H K]
 * @param position f32 [..], the number of each position
 * @param angles theta [K/2]; those of the convention by default
 */
export function rotate(positions: RetentionPositions, x: Tensor, position: Tensor, angles?: Tensor): Tensor {
  if (positions === "none") return x;
  const K = x.shape.at(-1)!;
  const angle = mul(reshape(position, [...position.shape, 1, 1]), angles ?? retentionAngles(positions, K)); // [.. 1 K/2]
  const [c, s] = [cos(angle), sin(angle)];
  const turned = (a: Tensor, b: Tensor): readonly [Tensor, Tensor] => [
    sub(mul(a, c), mul(b, s)),
    add(mul(b, c), mul(a, s)),
  ];
  if (positions === "rotary") {
    const [a, b] = split(x, [K / 2, K / 2]) as [Tensor, Tensor];
    return concat(turned(a, b), -1);
  }
  const pairs = reshape(x, [...x.shape.slice(0, -1), K / 2, 2]);
  const member = (n: number): Tensor => reshape(sliceAxis(pairs, -1, n, n + 1), pairs.shape.slice(0, -1));
  return reshape(
    concat(
      turned(member(0), member(1)).map((part) => expandDims(part, -1)),
      -1,
    ),
    x.shape,
  );
}

/** What {@link xpos} does. */
export interface XposOptions {
  /** Number of the first position; 0 by default. */
  readonly offset?: number;
  /** For keys: divide by the scale instead of multiplying. */
  readonly downscale?: boolean;
  /** Positions over which a pair is scaled by zeta; 512 by default. */
  readonly scaleBase?: number;
  /** zeta [K/2], as checkpoints store it; (2i + 0.4 K) / 1.4 K by default. */
  readonly scale?: Tensor | undefined;
}

/**
 * xPos as published (Sun et al., A Length-Extrapolatable Transformer, 2022): a rotation, and a scale zeta^(position / scaleBase),
 * which grows without bound for keys. The layer has it as decays: {@link xposLogDecay}.
 * @param x [B L K]
 * @returns [B L K]
 */
export function xpos(x: Tensor, options: XposOptions = {}): Tensor {
  assertSettings("xpos", options, { offset: "own", downscale: "flag", scaleBase: { above: 0 }, scale: "tensor?" });
  const { offset = 0, downscale = false, scaleBase = 512, scale } = options;
  if (typeof offset === "number") assertNumber("xpos", "offset", offset);
  else assertTensors("xpos", { offset }, ["offset"]);
  if (x.shape.length !== 3) throw new ShapeError(`xpos: expected x [B L K], got shape ${formatShape(x.shape)}`);
  const [B, L, K] = x.shape as [number, number, number];
  const position = add(cast(iota([B, L], 1), "f32"), offset);
  const turned = reshape(rotate("xpos", expandDims(x, 2), position), x.shape);
  const power = div(expandDims(position, 2), scaleBase);
  return mul(turned, exp(mul(downscale ? neg(power) : power, log(inPairs(scale ?? xposScale(K))))));
}
