/** The GateLoop recurrence (Katsch, GateLoop: Fully Data-Controlled Linear Recurrence for Sequence Modeling, 2023): S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t Re(S_t), a_t complex. */
import { complexMul, linearScan, type Complex } from "@seqmix/scan";
import {
  abs,
  add,
  any,
  cast,
  concat,
  cumsum,
  div,
  einsum,
  equal,
  expandDims,
  formatShape,
  full,
  iota,
  matmul,
  max,
  mul,
  reshape,
  ShapeError,
  sigmoid,
  sliceAxis,
  sqrt,
  sub,
  transpose,
  where,
  zeros,
  type Tensor,
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

/** Outputs [B L H V] and the state after the last position [B H K V]. */
export type GateLoopResult = readonly [Tensor, Complex];

/** The recurrence by a scan over all states: memory B L H K V. */
export function gateLoopScan({ q, k, v, a, h0, resets }: GateLoopArguments): GateLoopResult {
  const { B, L, H, K, V } = extents(q, v, a);
  if (L === 0) return nothing(B, H, K, V, h0);
  const outer = mul(expandDims(k, 4), expandDims(v, 3));
  const perHead = (part: Tensor): Tensor => reshape(part, [B, L, H, 1, 1]);
  const h = linearScan({
    a: { re: perHead(a.re), im: perHead(a.im) },
    b: { re: outer, im: mul(outer, 0) },
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
 * Products of transitions are run up step by step, so that they neither divide nor overflow where |a| is far from 1, or 0.
 */
export function gateLoopAttention({ q, k, v, a, h0, resets }: GateLoopArguments): GateLoopResult {
  const { B, L, H, K, V } = extents(q, v, a);
  if (L === 0) return nothing(B, H, K, V, h0);
  const heads = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
  const [Q, Y, Z] = [heads(q), writing(heads(k), heads(v)), heads(v)];
  const path = products({ re: transpose(a.re), im: transpose(a.im) }, resets && expandDims(resets, 1));
  const within = attend(path, Q, Y, Z);
  const carried = h0 && fromState(path, Q, h0);
  const h = absorb(path, Y, Z);
  const left = h0 && remaining(path, h0);
  return [transpose(carried ? add(within, carried) : within, [0, 2, 1, 3]), left ? plus(h, left) : h];
}

/**
 * Pieces of `chunkSize` positions as surrogate attention, all at once, and a scan over the states between them: memory
 * B H L chunkSize and B H (L / chunkSize) K V. A product of the transitions of a whole piece above 3.4e38 makes no number of a
 * state; transitions of at most 1 in size never do that. What a reset forgets has to be finite here, and in
 * {@link gateLoopAttention}: it is multiplied by 0.
 */
export function gateLoopChunked({ q, k, v, a, h0, resets }: GateLoopArguments, chunkSize: number): GateLoopResult {
  if (!Number.isInteger(chunkSize) || chunkSize < 1)
    throw new RangeError(`gateLoopChunked: expected a chunkSize of at least 1, got ${chunkSize}`);
  const { B, L, H, K, V } = extents(q, v, a);
  if (L <= chunkSize) return gateLoopAttention({ q, k, v, a, h0, resets });
  const pieces = Math.ceil(L / chunkSize);
  const missing = pieces * chunkSize - L;
  // Positions past the end pass the state on: a = 1, k = 0.
  const padded = (x: Tensor, value: number): Tensor =>
    missing === 0 ? x : concat([x, full([B, missing, ...x.shape.slice(2)], value, x.dtype)], 1);
  const rows = (x: Tensor): Tensor =>
    transpose(reshape(padded(x, 0), [B, pieces, chunkSize, H, x.shape[3]!]), [0, 3, 1, 2, 4]);
  const steps = (x: Tensor, value: number): Tensor =>
    transpose(reshape(padded(x, value), [B, pieces, chunkSize, H]), [0, 3, 1, 2]);
  const [Q, Y, Z] = [rows(q), writing(rows(k), rows(v)), rows(v)];
  const flags = resets && reshape(padded(resets, 0), [B, 1, pieces, chunkSize]);
  const path = products({ re: steps(a.re, 1), im: steps(a.im, 0) }, flags);
  const all = total(path);
  // Nothing is before the first piece: a product of its transitions that overflows does not matter.
  const kept = (part: Tensor): Tensor => (h0 ? part : where(equal(iota(part.shape, 2), 0), 0, part));
  const ends = linearScan({
    a: at({ re: kept(all.re), im: kept(all.im) }, 3),
    b: absorb(path, Y, Z),
    h0,
    axis: 2,
    resets: flags && reshape(any(flags, 3), [B, 1, pieces, 1, 1]),
  });
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
 * One position: q, k [B H K], v [B H V], a [B H], h [B H K V].
 * @returns y [B H V] and the next state
 */
export function gateLoopStep({
  q,
  k,
  v,
  a,
  h,
}: Omit<GateLoopArguments, "h0" | "resets"> & {
  /** State before the position [B H K V]. */
  readonly h: Complex;
}): GateLoopResult {
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

/** Products of transitions over L positions [..]. */
interface Path {
  /** M_ts [.. L L]: the product from s + 1 to t for s <= t, else 0. */
  readonly pairs: Complex;
  /** a_0 .. a_t [.. L]. */
  readonly prefix: Complex;
  /** bool [.. L 1], whether what was before the first position reaches t; absent: everywhere. */
  readonly reached: Tensor | undefined;
}

/**
 * M is the recurrence itself, run on the identity: M_ts = a_t M_(t-1)s for t > s, M_ss = 1. Nothing is divided and no
 * logarithm taken, so that a transition of 0 ends the memory and has a gradient.
 */
function products({ re, im }: Complex, resets: Tensor | undefined): Path {
  const shape = [...re.shape, re.shape.at(-1)!];
  const axis = shape.length - 2;
  const diagonal = cast(equal(iota(shape, axis), iota(shape, axis + 1)), "f32");
  const column = (x: Tensor): Tensor => expandDims(x, -1);
  const flags = resets && column(resets);
  const run = (b: Complex): Complex => linearScan({ a: { re: column(re), im: column(im) }, b, axis, resets: flags });
  const pairs = run({ re: diagonal, im: zeros(shape) });
  // The prefix is a_0 M_t0.
  const first = (x: Tensor): Tensor => sliceAxis(x, -1, 0, 1);
  const from0 = (x: Tensor): Tensor => reshape(first(x), re.shape);
  const prefix = complexMul({ re: first(re), im: first(im) }, { re: from0(pairs.re), im: from0(pairs.im) });
  return { pairs, prefix, reached: flags && equal(cumsum(cast(flags, "f32"), axis), 0) };
}

/** Keys [.. L K] without those whose value is 0: they write nothing, also where a product of transitions overflows. */
const writing = (keys: Tensor, v: Tensor): Tensor => where(equal(max(abs(v), -1, { keepDims: true }), 0), 0, keys);

/** A product with transitions: nothing times them is nothing, even if they overflow. */
const weigh = (x: Tensor, transitions: Tensor): Tensor => where(equal(x, 0), 0, mul(x, transitions));

/** What the positions of a piece add to its outputs: Q, keys [.. L K], v [.. L V] -> [.. L V]. */
const attend = ({ pairs }: Path, Q: Tensor, keys: Tensor, v: Tensor): Tensor =>
  matmul(weigh(matmul(Q, transpose(keys)), pairs.re), v);

/** What is left of a state [.. K V] after all positions. */
function remaining(path: Path, { re, im }: Complex): Complex {
  const part = at(total(path), 2);
  const left = {
    re: sub(weigh(re, part.re), weigh(im, part.im)),
    im: add(weigh(im, part.re), weigh(re, part.im)),
  };
  if (!path.reached) return left;
  const L = path.reached.shape.at(-2)!;
  const last = sliceAxis(path.reached, -2, L - 1, L);
  return { re: where(last, left.re, 0), im: where(last, left.im, 0) };
}

/** The product of all [..]. */
function total({ prefix }: Path): Complex {
  const L = prefix.re.shape.at(-1)!;
  const last = (x: Tensor): Tensor => reshape(sliceAxis(x, -1, L - 1, L), x.shape.slice(0, -1));
  return { re: last(prefix.re), im: last(prefix.im) };
}

/** What a state [.. K V] before the first position adds to the outputs: Q [.. L K] -> [.. L V]. */
function fromState(path: Path, Q: Tensor, h: Complex): Tensor {
  const { prefix, reached } = path;
  const carried = sub(
    weigh(matmul(Q, h.re), expandDims(prefix.re, -1)),
    weigh(matmul(Q, h.im), expandDims(prefix.im, -1)),
  );
  return reached ? where(reached, carried, 0) : carried;
}

/** The state after the last position from nothing: sum_s M_(L-1)s k_s v_s^T [.. K V]. */
function absorb(path: Path, keys: Tensor, v: Tensor): Complex {
  const { re, im } = path.pairs;
  const L = re.shape.at(-1)!;
  const weighted = (part: Tensor): Tensor =>
    matmul(transpose(weigh(keys, transpose(sliceAxis(part, -2, L - 1, L)))), v);
  return { re: weighted(re), im: weighted(im) };
}

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
