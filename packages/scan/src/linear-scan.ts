/** The linear recurrence h_t = a_t h_(t-1) + b_t, for real and for complex values. */
import {
  add,
  assertSettings,
  broadcastShapes,
  broadcastTo,
  cast,
  complexAdd,
  complexLinearScan,
  complexMul,
  concat,
  expandDims,
  linearScan as realLinearScan,
  mul,
  normalizeAxis,
  sliceAxis,
  Tensor,
  where,
  zeros,
  type Complex,
  type Shape,
} from "@seqmix/tensor";

/** What {@link linearScan} takes. `T` is a tensor, or a pair of tensors for complex values. */
export interface LinearScanArguments<T extends Tensor | Complex> {
  /** Decay, broadcast against `b` (and `b` against it). */
  readonly a: T;
  /** Drive [..., L, ...]. */
  readonly b: T;
  /** State before the first element: the shape of the result without the axis. Zero by default. */
  readonly h0?: T | undefined;
  /** The axis of the recurrence; negative counts from the end. */
  readonly axis: number;
  /** Run from the last element to the first: h_t = a_t h_(t+1) + b_t. */
  readonly reverse?: boolean;
  /** Give the state before each element, h_(t-1), instead of the one after it. */
  readonly exclusive?: boolean;
  /**
   * Where sequences packed into one begin: 1 (or true) at the first element of each (the last, with `reverse`), else 0;
   * broadcast against the result. The state before such an element is forgotten, `h0` included, infinite or not
   * (Lu et al., Structured State Space Models for In-Context Reinforcement Learning, 2023, section 3.2).
   */
  readonly resets?: Tensor | undefined;
}

/** One element of a real linear recurrence: h -> a h + b. */
export type LinearElement = {
  /** Decay. */
  readonly a: Tensor;
  /** Drive. */
  readonly b: Tensor;
};

/** One element of a complex linear recurrence: h -> a h + b. */
export type ComplexLinearElement = {
  /** Decay. */
  readonly a: Complex;
  /** Drive. */
  readonly b: Complex;
};

/**
 * Two elements of a linear recurrence as one: first `earlier`, then `later`
 * (Blelloch, Prefix sums and their applications, 1990, section 1.4).
 */
export const composeLinear = (earlier: LinearElement, later: LinearElement): LinearElement => ({
  a: mul(later.a, earlier.a),
  b: add(mul(later.a, earlier.b), later.b),
});

/** {@link composeLinear} for complex elements. */
export const composeComplexLinear = (
  earlier: ComplexLinearElement,
  later: ComplexLinearElement,
): ComplexLinearElement => ({
  a: complexMul(later.a, earlier.a),
  b: complexAdd(complexMul(later.a, earlier.b), later.b),
});

/**
 * The linear recurrence h_t = a_t h_(t-1) + b_t along an axis, in one pass over the sequence. Where the device can, what is
 * computed into a and b and out of h runs in the same pass and takes no memory.
 *
 * Devices cut long axes into stretches: what decays make of the state before, and what the stretch adds. Each is right wherever
 * it fits f32, also where the product of the decays itself does not; two that cancel each other lose digits. On `cpu()` states
 * below 1e-36 are 0 at the end of a stretch. A recurrence over matrices that is read by products of them runs as such: where
 * decays grow, or what is no number lies before a reset, it runs once more, step by step, in place of that.
 * @returns All states h, of the shape that `a`, `b` and `resets` broadcast to.
 * @throws ShapeError if they do not broadcast, or `h0` has another shape; DTypeError if any but the resets is not f32.
 */
export function linearScan(scan: LinearScanArguments<Tensor>): Tensor;
export function linearScan(scan: LinearScanArguments<Complex>): Complex;
export function linearScan(scan: LinearScanArguments<Tensor> | LinearScanArguments<Complex>): Tensor | Complex {
  const kind = scan?.a instanceof Tensor ? "tensor" : "pair";
  assertSettings<LinearScanArguments<Tensor | Complex>>("linearScan", scan, {
    a: kind,
    b: kind,
    h0: `${kind}?`,
    axis: "own",
    reverse: "flag",
    exclusive: "flag",
    resets: "tensor?",
  });
  const { a, b, h0, axis, reverse = false, exclusive = false, resets } = scan;
  const [decay, drive, start] = [partsOf(a), partsOf(b), h0 && partsOf(h0)];
  const together = [...decay, ...drive, ...(resets ? [resets] : [])].reduce<Shape>(
    (shape, x) => broadcastShapes(shape, x.shape, "linearScan"),
    [],
  );
  const along = normalizeAxis(axis, together.length, "linearScan");
  const whole = (x: Tensor): Tensor => broadcastTo(x, together);
  const forgotten = resets && cast(resets, "bool");
  const h = rowOf(
    decay.map((x) => whole(forgotten ? where(forgotten, 0, x) : x)),
    drive.map(whole),
    start,
    { axis: along, reverse, forgets: forgotten !== undefined },
  );
  const states = exclusive ? h.map((x, k) => before(x, start?.[k], forgotten, along, reverse)) : h;
  return valueOf(states);
}

const partsOf = (x: Tensor | Complex): readonly Tensor[] => (x instanceof Tensor ? [x] : [x.re, x.im]);
const valueOf = ([re, im]: readonly Tensor[]): Tensor | Complex => (im ? { re: re!, im } : re!);

function rowOf(
  a: readonly Tensor[],
  b: readonly Tensor[],
  h0: readonly Tensor[] | undefined,
  how: { readonly axis: number; readonly reverse: boolean; readonly forgets: boolean },
): readonly Tensor[] {
  const pair = ([re, im]: readonly Tensor[]): Complex => ({ re: re!, im: im! });
  return partsOf(
    a.length === 1
      ? realLinearScan({ a: a[0]!, b: b[0]!, h0: h0?.[0], ...how })
      : complexLinearScan({ a: pair(a), b: pair(b), h0: h0 && pair(h0), ...how }),
  );
}

/** The state before each element; nothing is before one that resets. */
function before(
  h: Tensor,
  h0: Tensor | undefined,
  forgotten: Tensor | undefined,
  axis: number,
  reverse: boolean,
): Tensor {
  const L = h.shape[axis]!;
  if (L === 0) return h;
  const start = h0 ? expandDims(h0, axis) : zeros(h.shape.map((extent, k) => (k === axis ? 1 : extent)));
  const shifted = reverse
    ? concat([sliceAxis(h, axis, 1, L), start], axis)
    : concat([start, sliceAxis(h, axis, 0, L - 1)], axis);
  return forgotten ? where(forgotten, 0, shifted) : shifted;
}
