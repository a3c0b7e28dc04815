/**
 * Linear recurrences along an axis, real and complex, and their gradients as rows of their own, so that the planner
 * sees a recurrence and its gradient as one thing. Values are lists of their parts: [x], or [re, im].
 */
import { assertSettings } from "../graph/assert.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import { backpropagate } from "../graph/grad.js";
import type { Op, ReferenceArray, ReferenceValue, Sample, SampleInput, Samples } from "../graph/op.js";
import { formatShape, normalizeAxis, sameShape, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { aroundAxis } from "./cumsum.js";
import { add, and, bitAnd, equal, mul, neg, or, sub, where } from "./elementwise.js";
import { iota, zeros } from "./generators.js";
import { concat, expandDims, identity, reshape, sliceAxis } from "./movement.js";

/** @internal */
export interface LinearScanAttributes {
  readonly axis: number;
  readonly reverse: boolean;
  /** Set where a decay of 0 forgets the state, infinite or not: 0 times it is 0. */
  readonly forgets?: true;
}

type Value = readonly Tensor[];

/** Products and sums of real or complex values. */
const times = (x: Value, y: Value): Value =>
  x.length === 1
    ? [mul(x[0]!, y[0]!)]
    : [sub(mul(x[0]!, y[0]!), mul(x[1]!, y[1]!)), add(mul(x[0]!, y[1]!), mul(x[1]!, y[0]!))];
const isZero = (x: Value): Tensor => x.map((part) => equal(part, 0)).reduce((a, b) => and(a, b));
/** A product of decays times a state of 0 is 0, though the product may have overflowed; times 0 that forgets, too. */
function carried(x: Value, state: Value, forgets: boolean | undefined): Value {
  const zero = forgets ? or(isZero(state), isZero(x)) : isZero(state);
  return times(x, state).map((part) => where(zero, 0, part));
}
const plus = (x: Value, y: Value): Value => x.map((part, k) => add(part, y[k]!));
const conjugate = (x: Value): Value => x.map((part, k) => (k === 1 ? neg(part) : part));
const shift = (x: Value, axis: number, by: 1 | -1, edge: Value): Value =>
  x.map((part, k) => shifted(part, axis, by, edge[k]!));

/** Element t is element t - by of x; what is missing is `edge`, of extent 1. */
function shifted(x: Tensor, axis: number, by: 1 | -1, edge: Tensor): Tensor {
  const L = x.shape[axis]!;
  return by === 1 ? concat([edge, sliceAxis(x, axis, 0, L - 1)], axis) : concat([sliceAxis(x, axis, 1, L), edge], axis);
}

/** The inputs of a call: lists of `parts` tensors each. */
const grouped = <T>(inputs: readonly T[], parts: number): readonly (readonly T[])[] =>
  Array.from({ length: inputs.length / parts }, (_, k) => inputs.slice(k * parts, (k + 1) * parts));

/** Rows of one kind of number: `parts` is 1 for real, 2 for complex. */
function rowsOf(parts: 1 | 2): { readonly scan: Op; readonly gradient: Op } {
  const name = parts === 1 ? "linearScan" : "complexLinearScan";

  const scan: Op = {
    name,
    rule: { kind: "native" },
    infer: (inputs) => inputs.slice(parts, 2 * parts).map(({ shape }) => ({ shape, dtype: "f32" })),
    reference: (inputs, attributes: LinearScanAttributes) => scanReference(grouped(inputs, parts), attributes, parts),
    ...(parts === 2 && {
      expand: (inputs: readonly Tensor[], attributes: unknown) =>
        prefixes(grouped(inputs, parts), attributes as LinearScanAttributes),
    }),
    gradient({ inputs, outputs: h, attributes }, cotangents): readonly (Tensor | undefined)[] {
      const { shape, size } = h[0]!;
      if (size === 0) return inputs.map((x) => zeros(x.shape));
      const dh = cotangents.map((g) => g ?? zeros(shape));
      return callOp(gradient, [...inputs.slice(0, parts), ...h, ...dh, ...inputs.slice(2 * parts)], attributes);
    },
  };

  /** inputs a, h, dh [..., L, ...] and h0 [..., ...] -> cotangents of a, b and h0. */
  const gradient: Op = {
    name: `${name}Gradient`,
    rule: { kind: "native" },
    infer(inputs) {
      const [a, , , h0] = grouped(inputs, parts);
      return [...a!, ...a!, ...(h0 ?? [])].map(({ shape }) => ({ shape, dtype: "f32" }));
    },
    reference: (inputs, attributes: LinearScanAttributes) =>
      gradientReference(grouped(inputs, parts), attributes, parts),
    expand: (inputs, attributes) => composedGradient(grouped(inputs, parts), attributes as LinearScanAttributes),
    gradient({ inputs, attributes }, cotangents) {
      const marked = inputs.map(identity);
      return backpropagate(
        composedGradient(grouped(marked, parts), attributes as LinearScanAttributes),
        cotangents,
        marked,
      );
    },
  };

  return { scan, gradient };
}

function scanReference(
  [a, b, h0]: readonly (readonly ReferenceValue[])[],
  { axis, reverse, forgets }: LinearScanAttributes,
  parts: 1 | 2,
): readonly ReferenceArray[] {
  const { outer, length, inner } = aroundAxis(b![0]!.shape, axis);
  const [ar, br, hr] = [a!, b!, h0].map((x) => x?.[0]!.data) as [
    ReferenceArray,
    ReferenceArray,
    ReferenceArray | undefined,
  ];
  const [re, im] = [new Float64Array(br.length), new Float64Array(br.length)];
  if (parts === 1) {
    eachStep(outer, length, inner, reverse, (at, before, line) => {
      const state = forgets && ar[at] === 0 ? 0 : before === undefined ? (hr?.[line] ?? 0) : re[before]!;
      re[at] = ar[at]! * state + br[at]!;
    });
    return [re];
  }
  const [ai, bi, hi] = [a!, b!, h0].map((x) => x?.[1]!.data) as [
    ReferenceArray,
    ReferenceArray,
    ReferenceArray | undefined,
  ];
  eachStep(outer, length, inner, reverse, (at, before, line) => {
    const [x, y] =
      forgets && ar[at] === 0 && ai[at] === 0
        ? [0, 0]
        : before === undefined
          ? [hr?.[line] ?? 0, hi?.[line] ?? 0]
          : [re[before]!, im[before]!];
    re[at] = ar[at]! * x - ai[at]! * y + br[at]!;
    im[at] = ar[at]! * y + ai[at]! * x + bi[at]!;
  });
  return [re, im];
}

/** s_t = dh_t + conj(a_(t+1)) s_(t+1) is the cotangent of b; that of a is s_t conj(h_(t-1)). */
function gradientReference(
  [a, h, dh, h0]: readonly (readonly ReferenceValue[])[],
  { axis, reverse, forgets }: LinearScanAttributes,
  parts: 1 | 2,
): readonly ReferenceArray[] {
  const { outer, length, inner } = aroundAxis(a![0]!.shape, axis);
  const none = new Float64Array(a![0]!.data.length);
  const [ar, ai, hr, hi, gr, gi] = [a!, h!, dh!].flatMap((x) => [x[0]!.data, x[1]?.data ?? none]) as [
    ReferenceArray,
    ReferenceArray,
    ReferenceArray,
    ReferenceArray,
    ReferenceArray,
    ReferenceArray,
  ];
  const make = (size: number): [Float64Array, Float64Array] => [new Float64Array(size), new Float64Array(size)];
  const [da, db, d0] = [make(none.length), make(none.length), make(outer * inner)];
  eachStep(outer, length, inner, !reverse, (at, after, line) => {
    const isForgotten = (step: number): boolean => forgets === true && ar[step] === 0 && ai[step] === 0;
    const [sr, si] = after === undefined || isForgotten(after) ? [0, 0] : [db[0][after]!, db[1][after]!];
    const [cr, ci] = after === undefined ? [0, 0] : [ar[after]!, ai[after]!];
    db[0][at] = gr[at]! + cr * sr + ci * si;
    db[1][at] = gi[at]! + cr * si - ci * sr;
    if (after !== undefined) storeDecay(after, hr[at]!, hi[at]!);
    // The last visit of a line is its first step.
    storeDecay(at, h0?.[0]!.data[line] ?? 0, h0?.[1]?.data[line] ?? 0);
    d0[0][line] = isForgotten(at) ? 0 : ar[at]! * db[0][at]! + ai[at]! * db[1][at]!;
    d0[1][line] = isForgotten(at) ? 0 : ar[at]! * db[1][at]! - ai[at]! * db[0][at]!;
  });
  /** da = s conj(x + iy), where x + iy is the state before the step. */
  function storeDecay(at: number, x: number, y: number): void {
    da[0][at] = db[0][at]! * x + db[1][at]! * y;
    da[1][at] = db[1][at]! * x - db[0][at]! * y;
  }
  return [da, db, ...(h0 ? [d0] : [])].flatMap((pair) => pair.slice(0, parts));
}

/** Visits the elements of every line in order, each with the one visited before it. */
function eachStep(
  outer: number,
  length: number,
  inner: number,
  reverse: boolean,
  visit: (at: number, before: number | undefined, line: number) => void,
): void {
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      let before: number | undefined;
      for (let s = 0; s < length; s++) {
        const at = (o * length + (reverse ? length - 1 - s : s)) * inner + i;
        visit(at, before, o * inner + i);
        before = at;
      }
    }
}

function composedGradient([a, h, dh, h0]: readonly Value[], attributes: LinearScanAttributes): readonly Tensor[] {
  const { axis, reverse, forgets } = attributes;
  const { shape } = a![0]!;
  const L = shape[axis]!;
  const edge = a!.map(() => zeros([...shape.slice(0, axis), 1, ...shape.slice(axis + 1)]));
  const next = shift(conjugate(a!), axis, reverse ? 1 : -1, edge);
  const db = callOp(a!.length === 1 ? linearScanRows.linearScan : linearScanRows.complexLinearScan, [...next, ...dh!], {
    ...attributes,
    reverse: !reverse,
  } satisfies LinearScanAttributes);
  const start = h0 ? h0.map((x) => expandDims(x, axis)) : edge;
  const da = times(db, conjugate(shift(h!, axis, reverse ? -1 : 1, start)));
  const first = (x: Value): Value =>
    x.map((part) => (reverse ? sliceAxis(part, axis, L - 1, L) : sliceAxis(part, axis, 0, 1)));
  const dh0 = h0 ? carried(conjugate(first(a!)), first(db), forgets).map((x, k) => reshape(x, h0[k]!.shape)) : [];
  return [...da, ...db, ...dh0];
}

/** Every element combined with the one 1, 2, 4, ... places before it (Hillis and Steele, 1986). */
function prefixes([a, b, h0]: readonly Value[], { axis, reverse, forgets }: LinearScanAttributes): readonly Tensor[] {
  const L = b![0]!.shape[axis]!;
  if (b![0]!.size === 0) return b!;
  const part = (x: Value, start: number, end: number): Value => x.map((tensor) => sliceAxis(tensor, axis, start, end));
  const join = (x: Value, y: Value): Value =>
    x.map((tensor, k) => concat(reverse ? [y[k]!, tensor] : [tensor, y[k]!], axis));
  let [decay, state] = [a!, b!];
  if (h0) {
    const start = h0.map((x) => expandDims(x, axis));
    const first = reverse ? part(a!, L - 1, L) : part(a!, 0, 1);
    const rest = reverse ? part(b!, 0, L - 1) : part(b!, 1, L);
    state = join(plus(carried(first, start, forgets), reverse ? part(b!, L - 1, L) : part(b!, 0, 1)), rest);
  }
  for (let step = 1; step < L; step *= 2) {
    const early = (x: Value): Value => (reverse ? part(x, step, L) : part(x, 0, L - step));
    const late = (x: Value): Value => (reverse ? part(x, 0, L - step) : part(x, step, L));
    const kept = (x: Value): Value => (reverse ? part(x, L - step, L) : part(x, 0, step));
    state = join(kept(state), plus(carried(late(decay), early(state), forgets), late(state)));
    decay = join(kept(decay), carried(late(decay), early(decay), forgets));
  }
  return state;
}

/** Samples of both rows of one kind of number. */
function samplesOfBoth(parts: 1 | 2, { scan, gradient }: ReturnType<typeof rowsOf>): readonly [Sample[], Sample[]] {
  const run = (inputs: readonly Tensor[], attributes: LinearScanAttributes): Tensor =>
    concat(callOp(scan, inputs, attributes), attributes.axis);
  const pull = (inputs: readonly Tensor[], attributes: LinearScanAttributes): Tensor => {
    const { axis } = attributes;
    const [da, db, dh0] = grouped(callOp(gradient, inputs, attributes), parts) as readonly Tensor[][];
    return concat([...da!, ...db!, ...(dh0 ?? []).map((x) => expandDims(x, axis))], axis);
  };
  return [samplesOf(parts, 2, run), samplesOf(parts, 3, pull)];
}

/** @param lists Inputs that are [..., L, ...]; one more without L follows, unless the sample says otherwise. */
function samplesOf(
  parts: 1 | 2,
  lists: 2 | 3,
  run: (inputs: readonly Tensor[], attributes: LinearScanAttributes) => Tensor,
): Sample[] {
  const sample = (
    name: string,
    shape: Shape,
    axis: number,
    { reverse = false, initial = true, forgets = false, range = { low: -1, high: 1 } } = {},
  ): Sample => {
    const each = (input: SampleInput): SampleInput[] => Array.from({ length: parts }, () => input);
    const inputs = [
      each({ shape, ...range }),
      ...Array.from({ length: lists - 1 }, () => each({ shape })),
      ...(initial ? [each({ shape: shape.filter((_, k) => k !== axis) })] : []),
    ].flat();
    // Scan steps read operands as loops do: some samples try every view.
    const views = name === "from zero" || (parts === 1 && lists === 2 && shape.length === 3 && axis === 1);
    const attributes: LinearScanAttributes = { axis, reverse, ...(forgets && { forgets }) };
    // Some steps forget.
    const reset = (x: Tensor, k: number): Tensor =>
      forgets && k < parts ? where(equal(bitAnd(iota(shape, axis), 2), 2), 0, x) : x;
    return { name, inputs, ...(!views && { views }), apply: (...given) => run(given.map(reset), attributes) };
  };
  const decays = parts === 1 ? { low: 0.5, high: 1 } : { low: -0.7, high: 0.7 };
  // The complex row and the gradients are loops over the same lines: every axis is tried on the real one.
  const lines =
    parts === 1 && lists === 2
      ? [[5], [3, 4], [2, 3, 4], [2, 3, 2, 5]].flatMap((shape) => shape.map((_, axis) => ({ shape, axis })))
      : [{ shape: [2, 3, 4], axis: 1 }];
  return [
    ...lines.flatMap(({ shape, axis }) =>
      [false, true].map((reverse) =>
        sample(`${formatShape(shape)} axis ${axis}${reverse ? " reversed" : ""}`, shape, axis, { reverse }),
      ),
    ),
    sample("from zero", [2, 7], 1, { initial: false }),
    ...(lists === 2 ? [sample("long", [2, parts === 1 ? 1037 : 70], 1, { initial: false, range: decays })] : []),
    sample("steps that forget", [2, 7, 3], 1, { forgets: true }),
    sample("steps that forget, reversed, from zero", [7], 0, { forgets: true, reverse: true, initial: false }),
    sample("length 1", [2, 1, 3], 1),
    ...(lists === 2 ? [sample("empty", [2, 0], 1, { initial: false })] : []),
  ];
}

const real = rowsOf(1);
const complex = rowsOf(2);

/** The rows of this file. @internal */
export const linearScanRows: Record<
  "linearScan" | "linearScanGradient" | "complexLinearScan" | "complexLinearScanGradient",
  Op
> = {
  linearScan: real.scan,
  linearScanGradient: real.gradient,
  complexLinearScan: complex.scan,
  complexLinearScanGradient: complex.gradient,
};

/** What `checkOp` runs them on. @internal */
export function linearScanSamples(): Samples<typeof linearScanRows> {
  const [[linearScan, linearScanGradient], [complexLinearScan, complexLinearScanGradient]] = [
    samplesOfBoth(1, real),
    samplesOfBoth(2, complex),
  ];
  return { linearScan, linearScanGradient, complexLinearScan, complexLinearScanGradient };
}

/** What {@link linearScan} takes. */
export interface LinearScanArguments {
  /** Decays, f32, the shape of b. */
  readonly a: Tensor;
  /** Inputs, f32 [..., L, ...]. */
  readonly b: Tensor;
  /** State before the first step, f32, the shape of b without the axis; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** The axis L. */
  readonly axis: number;
  /** Run from the last element to the first: h_t = a_t h_(t+1) + b_t. */
  readonly reverse?: boolean;
  /** A decay of 0 forgets the state before it, infinity and NaN too; without it 0 times infinity is NaN. */
  readonly forgets?: boolean;
}

const SCAN_ARGUMENTS = {
  a: "tensor",
  b: "tensor",
  h0: "tensor?",
  axis: "own",
  reverse: "flag",
  forgets: "flag",
} as const;

/** Checks types and shapes of the named inputs. */
function checkScan(
  name: string,
  inputs: { readonly a: Tensor; readonly b: Tensor; readonly h0?: Tensor | undefined },
  along: number,
): void {
  const { a, b, h0 } = inputs;
  const state = b.shape.filter((_, k) => k !== along);
  for (const [input, x] of Object.entries({ a, b, ...(h0 && { h0 }) }))
    if (x.dtype !== "f32")
      throw new DTypeError(
        `${name}: expected f32, got ${x.dtype} for ${input} ${formatShape(x.shape)}; convert it with cast`,
      );
  if (!sameShape(a.shape, b.shape))
    throw new ShapeError(
      `${name}: expected a and b of one shape, got ${formatShape(a.shape)} and ${formatShape(b.shape)}; broadcast one with broadcastTo`,
    );
  if (h0 && !sameShape(h0.shape, state))
    throw new ShapeError(
      `${name}: expected h0 ${formatShape(state)} (b without axis ${along}), got ${formatShape(h0.shape)}`,
    );
}

/**
 * The linear recurrence h_t = a_t h_(t-1) + b_t along an axis.
 * @returns h, the shape of b.
 * @throws ShapeError if the shapes do not fit.
 */
export function linearScan(scan: LinearScanArguments): Tensor {
  assertSettings("linearScan", scan, SCAN_ARGUMENTS);
  const { a, b, h0, axis, reverse = false, forgets = false } = scan;
  const along = normalizeAxis(axis, b.shape.length, "linearScan");
  checkScan("linearScan", { a, b, h0 }, along);
  return callOp(linearScanRows.linearScan, h0 ? [a, b, h0] : [a, b], {
    axis: along,
    reverse,
    ...(forgets && { forgets }),
  } satisfies LinearScanAttributes)[0]!;
}

/** Real and imaginary part, of one shape. */
export interface ComplexParts {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im: Tensor;
}

/** What {@link complexLinearScan} takes: {@link LinearScanArguments} with complex values. */
export interface ComplexLinearScanArguments {
  /** Decays, f32, the shape of b. */
  readonly a: ComplexParts;
  /** Inputs, f32 [..., L, ...]. */
  readonly b: ComplexParts;
  /** State before the first step, f32, the shape of b without the axis; zeros by default. */
  readonly h0?: ComplexParts | undefined;
  /** The axis L. */
  readonly axis: number;
  /** Run from the last element to the first: h_t = a_t h_(t+1) + b_t. */
  readonly reverse?: boolean;
  /** A decay of 0 forgets the state before it, infinity and NaN too; without it 0 times infinity is NaN. */
  readonly forgets?: boolean;
}

/**
 * {@link linearScan} of complex values.
 * @returns h, the shape of b.
 * @throws ShapeError if the shapes do not fit.
 */
export function complexLinearScan(scan: ComplexLinearScanArguments): ComplexParts {
  assertSettings("complexLinearScan", scan, { ...SCAN_ARGUMENTS, a: "pair", b: "pair", h0: "pair?" });
  const { a, b, h0, axis, reverse = false, forgets = false } = scan;
  const along = normalizeAxis(axis, b.re.shape.length, "complexLinearScan");
  if (!sameShape(a.re.shape, b.re.shape))
    throw new ShapeError(
      `complexLinearScan: expected a and b of one shape, got ${formatShape(a.re.shape)} and ${formatShape(b.re.shape)}; broadcast one with broadcastTo`,
    );
  for (const part of ["re", "im"] as const)
    checkScan(`complexLinearScan, ${part}`, { a: a[part], b: b[part], h0: h0?.[part] }, along);
  if (!sameShape(b.re.shape, b.im.shape))
    throw new ShapeError(
      `complexLinearScan: expected real and imaginary parts of one shape, got ${formatShape(b.re.shape)} and ${formatShape(b.im.shape)}`,
    );
  const [re, im] = callOp(linearScanRows.complexLinearScan, [a.re, a.im, b.re, b.im, ...(h0 ? [h0.re, h0.im] : [])], {
    axis: along,
    reverse,
    ...(forgets && { forgets }),
  } satisfies LinearScanAttributes) as [Tensor, Tensor];
  return { re, im };
}
