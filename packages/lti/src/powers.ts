/** Powers of many decays at once without ever holding all of them: a^(cT + j) = a^(cT) a^j with T near sqrt(L). */
import {
  add,
  arange,
  assertNumber,
  cast,
  complexEinsum,
  complexExp,
  complexMap,
  complexMul,
  concat,
  einsum,
  expandDims,
  flip,
  floor,
  mul,
  neg,
  ones,
  pad,
  reshape,
  sliceAxis,
  stopGradient,
  sub,
  transpose,
  zeros,
  type Complex,
  type Tensor,
} from "@seqmix/tensor";

/** What is raised to powers [H N]: e^exponent, or a base. */
export type Decay =
  | {
      /** Logarithm of the decay. */
      readonly exponent: Complex;
    }
  | {
      /** The decay itself. */
      readonly base: Complex;
    };

/** Powers 0 .. L-1 in two levels. */
export interface PowerTable {
  /** L. */
  readonly length: number;
  /** T. */
  readonly stride: number;
  /** a^j for j < T [H N T]. */
  readonly fine: Complex;
  /** a^(cT) for cT < L [H N C]. */
  readonly coarse: Complex;
}

/** The powers of `decay` up to L - 1, L at least 1, in O(N sqrt(L)) memory a channel. */
export function powerTable(decay: Decay, L: number): PowerTable {
  assertNumber("powerTable", "the length L", L, { from: 0, whole: true });
  const stride = 2 ** Math.ceil(Math.log2(L) / 2);
  const count = Math.ceil(L / stride);
  return {
    length: L,
    stride,
    fine: powers(decay, stride, 1),
    coarse: powers(decay, count, stride),
  };
}

/** a^(k stride) for k < count [H N count]; stride is a power of 2. */
function powers(decay: Decay, count: number, stride: number): Complex {
  if ("exponent" in decay) return exponentials(decay.exponent, count, stride);
  const [H, N] = decay.base.re.shape as [number, number];
  let square = complexMap(decay.base, (part) => expandDims(part, 2));
  for (let step = 1; step < stride; step *= 2) square = complexMul(square, square);
  let table: Complex = { re: ones([H, N, 1]), im: zeros([H, N, 1]) };
  for (let known = 1; known < count; known *= 2) {
    const more = complexMul(table, square);
    table = { re: concat([table.re, more.re], 2), im: concat([table.im, more.im], 2) };
    square = complexMul(square, square);
  }
  return complexMap(table, (part) => sliceAxis(part, 2, 0, count));
}

/** Steps of an angle that a multiple of in single precision is exact up to 2^12. */
const STEPS_PER_TURN = 4096;

/** e^(k stride z). Whole turns are taken off before the angle is rounded: the angle is a number of steps and a small rest. */
function exponentials(z: Complex, count: number, stride: number): Complex {
  const k = mul(cast(arange(count), "f32"), stride);
  const exponent = expandDims(z.re, 2);
  const angle = expandDims(z.im, 2);
  if (count * stride < STEPS_PER_TURN) return complexExp({ re: mul(exponent, k), im: mul(angle, k) });
  const steps = floor(stopGradient(mul(angle, STEPS_PER_TURN / (2 * Math.PI))));
  const rest = sub(sub(angle, mul(steps, HIGH)), mul(steps, LOW));
  const withinTurn = sub(steps, mul(STEPS_PER_TURN, floor(mul(steps, 1 / STEPS_PER_TURN))));
  const turns = mul(withinTurn, mul(k, 1 / STEPS_PER_TURN));
  const reduced = add(mul(sub(turns, floor(turns)), 2 * Math.PI), mul(rest, k));
  return complexExp({ re: mul(exponent, k), im: reduced });
}

/** 2 pi / STEPS_PER_TURN in two parts: products of the first with up to 12 bits are exact in single precision. */
const HIGH = Math.round(((2 * Math.PI) / STEPS_PER_TURN) * 2 ** 21) / 2 ** 21;
const LOW = (2 * Math.PI) / STEPS_PER_TURN - HIGH;

/**
 * Re sum_n W_n a_n^l for l < L: a Vandermonde product, as one matrix product a channel.
 * @param W [M H N]
 * @returns [M H L]
 */
export function powerSum(W: Complex, { fine, coarse, length }: PowerTable): Tensor {
  const [M, H] = W.re.shape as [number, number];
  const started = complexMul(
    complexMap(W, (part) => expandDims(part, 3)),
    coarse,
  );
  const left = concat([started.re, neg(started.im)], 2);
  const right = concat([fine.re, fine.im], 1);
  // Channels first, as the product leaves them: a single output needs no copy.
  const sums = einsum("M H N C, H N T -> H M C T", left, right);
  const rows = reshape(sums, [H, M, sums.shape[2]! * sums.shape[3]!]);
  return sliceAxis(M === 1 ? reshape(rows, [M, H, rows.shape[2]!]) : transpose(rows, [1, 0, 2]), 2, 0, length);
}

/**
 * sum_t a^(L-1-t) u_t: what a state has collected of the inputs.
 * @param u [B H L]
 * @returns [B H N]
 */
export function powerCollect(u: Tensor, { fine, coarse, stride, length }: PowerTable): Complex {
  const [B, H] = u.shape as [number, number];
  const count = Math.ceil(length / stride);
  const backwards = pad(flip(u, 2), [0, 0, 0], [0, 0, count * stride - length]);
  const pieces = reshape(backwards, [B, H, count, stride]);
  const collected = complexMap(fine, (part) => einsum("B H C T, H N T -> B H C N", pieces, part));
  return complexEinsum("B H C N, H N C -> B H N", collected, coarse);
}
