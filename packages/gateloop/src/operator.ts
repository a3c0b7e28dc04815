/** The GateLoop recurrence (Katsch, GateLoop: Fully Data-Controlled Linear Recurrence for Sequence Modeling, 2023): S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t Re(S_t), a_t complex. */
import { complexMul, linearScan, type Complex } from "@seqmix/scan";
import {
  abs,
  add,
  any,
  assertSettings,
  cast,
  clip,
  concat,
  cumsum,
  div,
  einsum,
  equal,
  exp,
  expandDims,
  formatShape,
  full,
  iota,
  lessEqual,
  log,
  matmul,
  max,
  maximum,
  minimum,
  mul,
  neg,
  reshape,
  round,
  ShapeError,
  sigmoid,
  sliceAxis,
  sqrt,
  stopGradient,
  sub,
  sum,
  transpose,
  where,
  zeros,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";

/** What {@link gateLoopScan}, {@link gateLoopAttention} and {@link gateLoopChunked} take; H heads with K entries of a key and V of a value. */
export interface GateLoopArguments {
  /** Queries [B L H K]. */
  readonly q: Tensor;
  /** Keys [B L H K]. */
  readonly k: Tensor;
  /** Values [B L H V]. */
  readonly v: Tensor;
  /** Transitions [B L H], |a| at most 1 for a state that does not grow. */
  readonly a: Complex;
  /** State before the first position [B H K V]; zeros by default. */
  readonly h0?: Complex | undefined;
  /** bool [B L], true at the first position of each of several sequences packed into one: all before it is forgotten, `h0` included. */
  readonly resets?: Tensor | undefined;
}

const ARGUMENTS: SettingRules<GateLoopArguments> = {
  q: "tensor",
  k: "tensor",
  v: "tensor",
  a: "pair",
  h0: "pair?",
  resets: "tensor?",
};

/** Outputs [B L H V] and the state after the last position [B H K V]. */
export type GateLoopResult = readonly [Tensor, Complex];

/** The recurrence by a scan over all states: memory B L H K V. */
export function gateLoopScan(given: GateLoopArguments): GateLoopResult {
  assertSettings("gateLoopScan", given, ARGUMENTS);
  const { q, k, v, a, h0, resets } = given;
  const { B, L, H, K, V } = extents(q, v, a);
  if (L === 0) return nothing(B, H, K, V, h0);
  const outer = mul(expandDims(k, 4), expandDims(v, 3));
  const perHead = (part: Tensor): Tensor => reshape(part, [B, L, H, 1, 1]);
  const h = linearScan({
    a: { re: perHead(a.re), im: perHead(a.im) },
    b: { re: outer, im: zeros(outer.shape) },
    h0,
    axis: 1,
    resets: resets && reshape(resets, [B, L, 1, 1, 1]),
  });
  const y = reshape(matmul(expandDims(q, 3), h.re), [B, L, H, V]);
  const last = (part: Tensor): Tensor => reshape(sliceAxis(part, 1, L - 1, L), [B, H, K, V]);
  return [y, { re: last(h.re), im: last(h.im) }];
}

/**
 * The recurrence as surrogate attention: y = (q k^T o Re M) v with M_ts = a_(s+1) .. a_t for s <= t. Memory B H L L.
 * Products of transitions are run up step by step, and have exponents of their own, so that they neither divide nor leave the
 * range of f32 where |a| is far from 1, or 0.
 */
export function gateLoopAttention(given: GateLoopArguments): GateLoopResult {
  assertSettings("gateLoopAttention", given, ARGUMENTS);
  const { B, L, H, K, V } = extents(given.q, given.v, given.a);
  if (L === 0) return nothing(B, H, K, V, given.h0);
  return forgetting(given, ({ q, k, v, a, h0, resets }) => {
    const heads = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
    const [Q, Y, Z] = [heads(q), heads(k), scaled(heads(v))];
    const path = products({ re: transpose(a.re), im: transpose(a.im) }, resets && expandDims(resets, 1));
    const within = attend(path, Q, Y, Z);
    const carried = h0 && fromState(path, Q, h0);
    const h = absorb(path, Y, Z);
    const left = h0 && remaining(path, h0);
    return [transpose(carried ? add(within, carried) : within, [0, 2, 1, 3]), left ? plus(h, left) : h];
  });
}

/**
 * Pieces of `chunkSize` positions as surrogate attention, all at once, and a scan over the states between them: memory
 * B H L chunkSize and B H (L / chunkSize) K V.
 */
export function gateLoopChunked(given: GateLoopArguments, chunkSize: number): GateLoopResult {
  if (!Number.isInteger(chunkSize) || chunkSize < 1)
    throw new RangeError(`gateLoopChunked: expected a chunkSize of at least 1, got ${chunkSize}`);
  assertSettings("gateLoopChunked", given, ARGUMENTS);
  const { L } = extents(given.q, given.v, given.a);
  if (L <= chunkSize) return gateLoopAttention(given);
  return forgetting(given, (clean) => inPieces(clean, chunkSize));
}

function inPieces({ q, k, v, a, h0, resets }: GateLoopArguments, chunkSize: number): GateLoopResult {
  const { B, L, H, K, V } = extents(q, v, a);
  const pieces = Math.ceil(L / chunkSize);
  const missing = pieces * chunkSize - L;
  // Positions past the end pass the state on: a = 1, k = 0.
  const padded = (x: Tensor, value: number): Tensor =>
    missing === 0 ? x : concat([x, full([B, missing, ...x.shape.slice(2)], value, x.dtype)], 1);
  const rows = (x: Tensor): Tensor =>
    transpose(reshape(padded(x, 0), [B, pieces, chunkSize, H, x.shape[3]!]), [0, 3, 1, 2, 4]);
  const steps = (x: Tensor, value: number): Tensor =>
    transpose(reshape(padded(x, value), [B, pieces, chunkSize, H]), [0, 3, 1, 2]);
  const [Q, Y, Z] = [rows(q), rows(k), scaled(rows(v))];
  const flags = resets && reshape(padded(resets, 0), [B, 1, pieces, chunkSize]);
  const path = products({ re: steps(a.re, 1), im: steps(a.im, 0) }, flags);
  const ends = betweenPieces(path, absorb(path, Y, Z), h0, flags && any(flags, 3));
  const first = h0 ?? { re: zeros([B, H, K, V]), im: zeros([B, H, K, V]) };
  const before = (end: Tensor, start: Tensor): Tensor =>
    concat([expandDims(start, 2), sliceAxis(end, 2, 0, pieces - 1)], 2);
  const carried = fromState(path, Q, { re: before(ends.re, first.re), im: before(ends.im, first.im) });
  const y = add(attend(path, Q, Y, Z), carried);
  const last = (part: Tensor): Tensor => reshape(sliceAxis(part, 2, pieces - 1, pieces), [B, H, K, V]);
  return [
    sliceAxis(reshape(transpose(y, [0, 2, 3, 1, 4]), [B, pieces * chunkSize, H, V]), 1, 0, L),
    { re: last(ends.re), im: last(ends.im) },
  ];
}

/**
 * The states after each piece [B H pieces K V] from what the pieces add. A piece's transitions take two steps, since their
 * product may leave the range of f32 where the state does not.
 */
function betweenPieces(path: Path, added: Complex, h0: Complex | undefined, resets: Tensor | undefined): Complex {
  const [B, H, pieces, K, V] = added.re.shape as [number, number, number, number, number];
  const { of, exponent } = total(path);
  const half = power(exponent);
  const twice = (first: Tensor, second: Tensor): Tensor =>
    reshape(concat([expandDims(first, 3), expandDims(second, 3)], 3), [
      ...first.shape.slice(0, 2),
      2 * pieces,
      ...first.shape.slice(3),
    ]);
  const column = (x: Tensor): Tensor => reshape(x, [...x.shape, 1, 1]);
  const none = zeros(added.re.shape);
  const states = linearScan({
    a: {
      re: column(twice(mul(of.re, half), half)),
      im: column(twice(mul(of.im, half), zeros(half.shape))),
    },
    b: { re: twice(none, added.re), im: twice(none, added.im) },
    h0,
    axis: 2,
    resets: resets && column(twice(resets, zeros(resets.shape, resets.dtype))),
  });
  const after = (x: Tensor): Tensor =>
    reshape(sliceAxis(reshape(x, [B, H, pieces, 2, K, V]), 3, 1, 2), [B, H, pieces, K, V]);
  return { re: after(states.re), im: after(states.im) };
}

/**
 * One position: q, k [B H K], v [B H V], a [B H], h [B H K V].
 * @returns y [B H V] and the next state
 */
export function gateLoopStep(
  given: Omit<GateLoopArguments, "h0" | "resets"> & {
    /** State before the position [B H K V]. */
    readonly h: Complex;
  },
): GateLoopResult {
  assertSettings("gateLoopStep", given, { q: "tensor", k: "tensor", v: "tensor", a: "pair", h: "pair" });
  const { q, k, v, a, h } = given;
  const kept = complexMul(at(a, 2), h);
  const next = { re: add(kept.re, mul(expandDims(k, 3), expandDims(v, 2))), im: kept.im };
  return [einsum("B H K, B H K V -> B H V", q, next.re), next];
}

/**
 * Complex transitions in polar form from any complex numbers: magnitude sigmoid(|z|) (1/2 to 1), phase that of z.
 * @param z [..]
 */
export function polarGate({ re, im }: Complex): Complex {
  // The smallest addend that float32 keeps spares 0/0 at z = 0.
  const modulus = sqrt(add(add(mul(re, re), mul(im, im)), 1e-30));
  const factor = div(sigmoid(modulus), modulus);
  return { re: mul(re, factor), im: mul(im, factor) };
}

/** A product of transitions: a number near 1, times e^(UNIT exponent). */
interface Scaled {
  readonly of: Complex;
  /** A whole number. */
  readonly exponent: Tensor;
}

/** Products of transitions over L positions [..]. */
interface Path {
  /** M_ts [.. L L]: the product from s + 1 to t for s <= t, else 0. */
  readonly pairs: Scaled;
  /** a_0 .. a_t [.. L]. */
  readonly prefix: Scaled;
  /** bool [.. L 1], whether what was before the first position reaches t; absent: everywhere. */
  readonly reached: Tensor | undefined;
}

/** Products have exponents in whole UNITs, so that few steps change one, and numbers beside them from e^-10 to e^10. */
const UNIT = 20,
  MOST = 8;

/** e^(UNIT exponent / 2): that twice is a factor from e^-160 to e^160. */
const power = (exponent: Tensor): Tensor => exp(mul(clip(exponent, -MOST, MOST), UNIT / 2));

/**
 * M is the recurrence itself, run on the identity: M_ts = a_t M_(t-1)s for t > s, M_ss = 1. Nothing is divided and no
 * logarithm taken but for exponents, so that a transition of 0 ends the memory and has a gradient. The exponent of M_ts is
 * N_t - N_s, where N are the logarithms of the products from the first position on, in UNITs; the transitions that are run up are
 * without their share of it.
 */
function products(a: Complex, resets: Tensor | undefined): Path {
  const L = a.re.shape.at(-1)!;
  const shape = [...a.re.shape, L];
  const axis = shape.length - 2;
  const forgotten = resets && cast(resets, "bool");
  const kept = (x: Tensor): Tensor => (forgotten ? where(forgotten, 0, x) : x);
  const exponents = stopGradient(round(mul(cumsum(logarithm({ re: kept(a.re), im: kept(a.im) }), -1), 1 / UNIT)));
  const start = zeros([...exponents.shape.slice(0, -1), 1]);
  const share = power(sub(concat([start, sliceAxis(exponents, -1, 0, L - 1)], -1), exponents));
  const column = (x: Tensor): Tensor => expandDims(mul(mul(x, share), share), -1);
  const [re, im] = [column(a.re), column(a.im)];
  const diagonal = cast(equal(iota(shape, axis), iota(shape, axis + 1)), "f32");
  const lower = cast(lessEqual(iota(shape, axis + 1), iota(shape, axis)), "f32");
  const flags = resets && expandDims(resets, -1);
  const pairs = linearScan({ a: { re, im }, b: { re: diagonal, im: zeros(shape) }, axis, resets: flags });
  // The prefix is a_0 M_t0.
  const first = (x: Tensor): Tensor => reshape(sliceAxis(x, axis, 0, 1), [...a.re.shape.slice(0, -1), 1]);
  const from0 = (x: Tensor): Tensor => reshape(sliceAxis(x, -1, 0, 1), a.re.shape);
  return {
    // none above the diagonal: what is multiplied with the zeros there has a gradient
    pairs: { of: pairs, exponent: mul(sub(expandDims(exponents, -1), expandDims(exponents, -2)), lower) },
    prefix: {
      of: complexMul({ re: first(re), im: first(im) }, { re: from0(pairs.re), im: from0(pairs.im) }),
      exponent: exponents,
    },
    reached: flags && equal(cumsum(cast(flags, "f32"), axis), 0),
  };
}

/** log |a|, and 0 of 0. */
function logarithm({ re, im }: Complex): Tensor {
  const largest = maximum(abs(re), abs(im));
  const scale = where(equal(largest, 0), 1, largest);
  const [x, y] = [div(re, scale), div(im, scale)];
  const square = add(mul(x, x), mul(y, y));
  return add(log(scale), mul(log(where(equal(square, 0), 1, square)), 0.5));
}

/** Values of at most 1 in size, what they are times, and how large their weights may be: those of nothing have to be numbers. */
interface ScaledValues {
  /** [.. L V]. */
  readonly of: Tensor;
  /** [.. L 1]. */
  readonly size: Tensor;
  readonly most: Tensor;
}

function scaled(v: Tensor): ScaledValues {
  const largest = stopGradient(max(abs(v), -1, { keepDims: true }));
  const isNothing = equal(largest, 0);
  const size = where(isNothing, 1, largest);
  return { of: div(v, size), size, most: where(isNothing, 3e38, Infinity) };
}

/** x times the products. */
const weigh = (x: Tensor, of: Tensor, half: Tensor): Tensor => mul(mul(mul(x, of), half), half);
const within = (x: Tensor, most: Tensor): Tensor => minimum(maximum(x, neg(most)), most);

/** What the positions of a piece add to its outputs: Q, keys [.. L K], values [.. L V] -> [.. L V]. */
function attend({ pairs }: Path, Q: Tensor, keys: Tensor, { of, size, most }: ScaledValues): Tensor {
  const scores = matmul(Q, transpose(mul(keys, size)));
  return matmul(within(weigh(scores, pairs.of.re, power(pairs.exponent)), transpose(most)), of);
}

/** What is left of a state [.. K V] after all positions. */
function remaining(path: Path, { re, im }: Complex): Complex {
  const { of, exponent } = total(path);
  const [part, half] = [at(of, 2), expandDims(expandDims(power(exponent), 2), 2)];
  const left = {
    re: sub(weigh(re, part.re, half), weigh(im, part.im, half)),
    im: add(weigh(im, part.re, half), weigh(re, part.im, half)),
  };
  if (!path.reached) return left;
  const L = path.reached.shape.at(-2)!;
  const last = sliceAxis(path.reached, -2, L - 1, L);
  return { re: where(last, left.re, 0), im: where(last, left.im, 0) };
}

/** The product of all [..]. */
function total({ prefix: { of, exponent } }: Path): Scaled {
  const L = of.re.shape.at(-1)!;
  const last = (x: Tensor): Tensor => reshape(sliceAxis(x, -1, L - 1, L), x.shape.slice(0, -1));
  return { of: { re: last(of.re), im: last(of.im) }, exponent: last(exponent) };
}

/** What a state [.. K V] before the first position adds to the outputs: Q [.. L K] -> [.. L V]. */
function fromState({ prefix, reached }: Path, Q: Tensor, h: Complex): Tensor {
  const half = expandDims(power(prefix.exponent), -1);
  const carried = sub(
    weigh(matmul(Q, h.re), expandDims(prefix.of.re, -1), half),
    weigh(matmul(Q, h.im), expandDims(prefix.of.im, -1), half),
  );
  return reached ? where(reached, carried, 0) : carried;
}

/** The state after the last position from nothing: sum_s M_(L-1)s k_s v_s^T [.. K V]. */
function absorb({ pairs }: Path, keys: Tensor, { of, size, most }: ScaledValues): Complex {
  const L = pairs.exponent.shape.at(-1)!;
  const last = (x: Tensor): Tensor => transpose(sliceAxis(x, -2, L - 1, L));
  const half = power(last(pairs.exponent));
  const weighted = (part: Tensor): Tensor =>
    matmul(transpose(within(weigh(mul(keys, size), last(part), half), most)), of);
  return { re: weighted(pairs.of.re), im: weighted(pairs.of.im) };
}

/**
 * What is no number and lies before a reset is forgotten, where products with it would be none: the form runs without such
 * numbers, and what they reach is added to its results.
 */
function forgetting(given: GateLoopArguments, run: (given: GateLoopArguments) => GateLoopResult): GateLoopResult {
  const { q, k, v, a, h0, resets } = given;
  if (!resets) return run(given);
  const { B, L, H, V } = extents(q, v, a);
  const begins = reshape(cast(resets, "bool"), [B, L, 1]);
  // the transition of a reset is not taken
  const taken = { re: where(begins, 0, a.re), im: where(begins, 0, a.im) };
  const [y, h] = run({
    ...given,
    q: numbers(q),
    k: numbers(k),
    v: numbers(v),
    a: { re: numbers(taken.re), im: numbers(taken.im) },
    h0: h0 && { re: numbers(h0.re), im: numbers(h0.im) },
  });
  const ofKeys = (x: Tensor): Tensor => sum(others(x), -1, { keepDims: true });
  const ofTransition = expandDims(add(others(taken.re), others(taken.im)), 3);
  const reached = linearScan({
    a: full([1, 1, 1, 1], 1),
    b: add(add(others(v), ofKeys(k)), ofTransition),
    h0: h0 && sum(add(others(h0.re), others(h0.im)), 2),
    axis: 1,
    resets: reshape(resets, [B, L, 1, 1]),
  });
  const last = reshape(sliceAxis(reached, 1, L - 1, L), [B, H, 1, V]);
  return [add(y, add(reached, ofKeys(q))), { re: add(h.re, last), im: add(h.im, last) }];
}

const isNumber = (x: Tensor): Tensor => lessEqual(abs(x), 3.4028234663852886e38);
/** 0 in the place of what is no number, and the other way round. */
const numbers = (x: Tensor): Tensor => where(isNumber(x), x, 0);
const others = (x: Tensor): Tensor => where(isNumber(x), 0, x);

/** Two axes of extent 1 behind those of `x`. */
const at = ({ re, im }: Complex, axis: number): Complex => ({
  re: expandDims(expandDims(re, axis), axis),
  im: expandDims(expandDims(im, axis), axis),
});
const plus = (x: Complex, y: Complex): Complex => ({ re: add(x.re, y.re), im: add(x.im, y.im) });
const nothing = (B: number, H: number, K: number, V: number, h0: Complex | undefined): GateLoopResult => [
  zeros([B, 0, H, V]),
  h0 ?? { re: zeros([B, H, K, V]), im: zeros([B, H, K, V]) },
];

function extents(q: Tensor, v: Tensor, a: Complex): Record<"B" | "L" | "H" | "K" | "V", number> {
  if (q.shape.length !== 4 || v.shape.length !== 4)
    throw new ShapeError(
      `gateLoop: expected q [B L H K] and v [B L H V], got shapes ${formatShape(q.shape)} and ${formatShape(v.shape)}`,
    );
  const [B, L, H, K] = q.shape as [number, number, number, number];
  if (a.re.shape.join() !== `${B},${L},${H}`)
    throw new ShapeError(
      `gateLoop: expected a [${B} ${L} ${H}], one for each position and head, got shape ${formatShape(a.re.shape)}`,
    );
  return { B, L, H, K, V: v.shape[3]! };
}
