/** The linear recurrence h_t = a_t h_(t-1) + b_t, for real and for complex values. */
import { add, broadcastShapes, broadcastTo, expandDims, linearScan as scanRow, mul, sub, Tensor } from "@seqmix/tensor";
import { associativeScan } from "./associative-scan.js";

/** A complex tensor: real and imaginary parts of one shape. */
export type Complex = {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im: Tensor;
};

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

/** Product of two complex tensors, elementwise with broadcasting. */
export const complexMul = (x: Complex, y: Complex): Complex => ({ re: sub(mul(x.re, y.re), mul(x.im, y.im)), im: add(mul(x.re, y.im), mul(x.im, y.re)) });

/** Sum of two complex tensors, elementwise with broadcasting. */
export const complexAdd = (x: Complex, y: Complex): Complex => ({ re: add(x.re, y.re), im: add(x.im, y.im) });

/**
 * Two elements of a linear recurrence as one: first `earlier`, then `later`
 * (Blelloch, Prefix sums and their applications, 1990, section 1.4).
 */
export const composeLinear = (earlier: LinearElement, later: LinearElement): LinearElement => ({ a: mul(later.a, earlier.a), b: add(mul(later.a, earlier.b), later.b) });

/** {@link composeLinear} for complex elements. */
export const composeComplexLinear = (earlier: ComplexLinearElement, later: ComplexLinearElement): ComplexLinearElement => ({
  a: complexMul(later.a, earlier.a),
  b: complexAdd(complexMul(later.a, earlier.b), later.b),
});

/**
 * The linear recurrence h_t = a_t h_(t-1) + b_t along an axis.
 * Real values run in one pass over the sequence; complex ones in log2(L) rounds of {@link associativeScan}.
 * @returns All states h, of the shape that `a` and `b` broadcast to.
 * @throws ShapeError if `a` and `b` do not broadcast, or `h0` has another shape; DTypeError if any is not f32.
 */
export function linearScan(scan: LinearScanArguments<Tensor>): Tensor;
export function linearScan(scan: LinearScanArguments<Complex>): Complex;
export function linearScan({ a, b, h0, axis, reverse = false }: LinearScanArguments<Tensor> | LinearScanArguments<Complex>): Tensor | Complex {
  if (a instanceof Tensor) {
    const drive = b as Tensor;
    const shape = broadcastShapes(a.shape, drive.shape, "linearScan");
    return scanRow({ a: broadcastTo(a, shape), b: broadcastTo(drive, shape), h0: h0 as Tensor | undefined, axis, reverse });
  }
  const drive = b as Complex;
  const shape = broadcastShapes(a.re.shape, drive.re.shape, "linearScan");
  const along = axis < 0 ? axis + shape.length : axis;
  const whole = ({ re, im }: Complex): Complex => ({ re: broadcastTo(re, shape), im: broadcastTo(im, shape) });
  const first = h0 as Complex | undefined;
  // The state before the sequence is an element that forgets whatever came before it.
  const start = first && { re: expandDims(first.re, along), im: expandDims(first.im, along) };
  const nothing = start && { re: mul(start.re, 0), im: mul(start.im, 0) };
  const initial = start && nothing ? { a: nothing, b: start } : undefined;
  return associativeScan(composeComplexLinear, { a: whole(a), b: whole(drive) }, along, { reverse, initial }).b;
}
