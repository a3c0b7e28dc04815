/** A block of positions as masked attention: what they are to each other, what they leave behind, and how they read a state. */
import {
  and,
  cast,
  cumsum,
  equal,
  exp,
  expandDims,
  less,
  matmul,
  mul,
  reshape,
  sliceAxis,
  sub,
  sum,
  transpose,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { causal, decayMask } from "./decay-mask.js";

/** N blocks of L positions, their heads as [G R]. */
export interface Block {
  /** (q k^T o mask) v [N G R L V]: what the positions are to each other. */
  readonly within: Tensor;
  /** The state after the last position, from nothing [N G R K V]. */
  readonly absorbed: Tensor;
  /** What is left of a state after the last position [n G R K 1] or [n G R 1 1]; none: all of it. */
  readonly kept: Tensor | undefined;
  /** What a state before the first position [N G R K V] adds to the outputs [N G R L V]. */
  read(state: Tensor): Tensor;
}

/** A log decay below this is a boundary: what is left is less than the smallest single-precision number. */
const BOUNDARY = -88;

/**
 * @param q [N G r L K], r of 1 or R
 * @param k [N G r L K]
 * @param v [N G r L V]
 * @param logDecay [n G R L 1] or [n G R L K], n of 1 or N; none: nothing decays
 */
export function blockOf(q: Tensor, k: Tensor, v: Tensor, logDecay: Tensor | undefined): Block {
  if (!logDecay) return withoutDecay(q, k, v);
  return logDecay.shape[4] === 1 ? withDecay(q, k, v, logDecay) : withDecayOfKeys(q, k, v, logDecay);
}

function withoutDecay(q: Tensor, k: Tensor, v: Tensor): Block {
  return {
    within: matmul(where(causal(q.shape[3]!), matmul(q, transpose(k)), 0), v),
    absorbed: matmul(transpose(k), v),
    kept: undefined,
    read: (state) => matmul(q, state),
  };
}

/** One decay for all keys: one mask. */
function withDecay(q: Tensor, k: Tensor, v: Tensor, logDecay: Tensor): Block {
  const mask = decayMask(reshape(logDecay, logDecay.shape.slice(0, 4))); // [n G R L L]
  const fromStart = exp(cumsum(logDecay, 3)); // [n G R L 1]
  return {
    within: matmul(mul(matmul(q, transpose(k)), mask), v),
    absorbed: matmul(transpose(k), mul(v, transpose(last(mask)))),
    kept: last(fromStart),
    read: (state) => mul(matmul(q, state), fromStart),
  };
}

/**
 * A decay for each key: a mask for each key. Sums begin at the start of the block and go on anew behind a boundary, so that
 * they stay short; a difference of two is at most 0 wherever it is used.
 */
function withDecayOfKeys(q: Tensor, k: Tensor, v: Tensor, logDecay: Tensor): Block {
  const L = q.shape[3]!;
  const boundary = less(logDecay, BOUNDARY);
  const sums = cumsum(where(boundary, 0, logDecay), 3); // [n G R L K]
  const passed = cumsum(cast(boundary, "f32"), 3);
  /** What is left at `t` of what was written at `s`. */
  const left = (t: (x: Tensor) => Tensor, s: (x: Tensor) => Tensor, order?: Tensor): Tensor => {
    const together = equal(t(passed), s(passed));
    const reaches = order ? and(order, together) : together;
    return where(reaches, exp(where(reaches, sub(t(sums), s(sums)), 0)), 0);
  };
  const mask = left(
    (x) => expandDims(x, 4),
    (x) => expandDims(x, 3),
    reshape(causal(L), [L, L, 1]),
  ); // [n G R L L K]
  const fromStart = where(equal(passed, 0), exp(sums), 0);
  return {
    within: matmul(sum(mul(mul(expandDims(q, 4), expandDims(k, 3)), mask), 5), v),
    absorbed: matmul(
      transpose(
        mul(
          k,
          left(last, (x) => x),
        ),
      ),
      v,
    ),
    kept: transpose(last(fromStart)),
    read: (state) => matmul(mul(q, fromStart), state),
  };
}

/** The last position alone: [.. L X] -> [.. 1 X]. */
const last = (x: Tensor): Tensor => sliceAxis(x, -2, x.shape.at(-2)! - 1, x.shape.at(-2)!);
