/** Random programs, the same for a seed: what a device computes of them, fused and not, is what the reference device does. */
import {
  abs,
  add,
  broadcastTo,
  concat,
  cumsum,
  div,
  exp,
  expandDims,
  flip,
  gather,
  grad,
  leavesOf,
  less,
  linearScan,
  matmul,
  max,
  maximum,
  mean,
  minimum,
  mul,
  pad,
  reference,
  reshape,
  scatterAdd,
  sigmoid,
  sin,
  slice,
  softmax,
  sub,
  sum,
  tanh,
  tensor,
  threefry,
  transpose,
  where,
  zeros,
  type Device,
  type Shape,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { assertClose, attempt, toleranceOfScale, type Tolerance } from "./compare.js";
import { checkDerivatives } from "./finite-differences.js";
import { evaluate, type HostValues } from "./host-values.js";

/** A program in one variable, and its values. */
interface Program {
  readonly inputs: readonly HostValues[];
  /** Names of the operations, in order. */
  readonly text: string;
  run(inputs: readonly Tensor[]): readonly Tensor[];
}

/** Draws whole numbers below a bound. */
type Draw = (below: number) => number;

const drawOf = (seed: number): Draw => {
  let count = 0;
  return (below) => (threefry([seed, 0], [count++, 0])[0] >>> 1) % below;
};
const pickFrom = <T>(draw: Draw, list: readonly T[]): T => list[draw(list.length)]!;
const shapeOf = (draw: Draw): Shape =>
  Array.from({ length: 1 + draw(3) }, () => pickFrom(draw, [1, 1, 2, 3, 4, 5, 7, 0]));

/** A step makes one tensor of those before it; it is decided once, and applied to other values too. */
interface Step {
  readonly name: string;
  apply(x: readonly Tensor[]): Tensor;
}

/** Where a step begins: with one of the tensors so far, and one of its axes. */
interface Start {
  readonly draw: Draw;
  readonly shapes: readonly Shape[];
  /** Number of the tensor. */
  readonly k: number;
  readonly shape: Shape;
  readonly rank: number;
  readonly axis: number;
  readonly size: number;
}

/** A kind of step, or undefined where the tensor has no such one. */
type Kind = (start: Start) => Step | undefined;

const one =
  (
    name: (start: Start) => string,
    f: (x: Tensor, start: Start) => Tensor,
    fits: (start: Start) => boolean = always,
  ): Kind =>
  (start) =>
    fits(start) ? { name: `${name(start)} %${start.k}`, apply: (x) => f(x[start.k]!, start) } : undefined;

const two =
  (name: string, f: (x: Tensor, y: Tensor) => Tensor): Kind =>
  ({ draw, shapes, shape, k }) => {
    const j = pickFrom(
      draw,
      shapes.flatMap((other, at) => (compatible(shape, other) ? [at] : [])),
    );
    return { name: `${name} %${k} %${j}`, apply: (x) => f(x[k]!, x[j]!) };
  };

const unary = (name: string, f: (x: Tensor) => Tensor): Kind => one(() => name, f);
/** Along the axis. */
const along = (
  name: string,
  f: (x: Tensor, start: Start) => Tensor,
  fits: (start: Start) => boolean = ({ rank }) => rank > 0,
): Kind => one(({ axis }) => `${name} ${axis}`, f, fits);

const always = (): boolean => true;
const hasPoints = ({ rank, shape, axis }: Start): boolean => rank > 0 && shape[axis]! > 0;
const isSmall = ({ rank, size }: Start): boolean => rank > 0 && size < 200;

const scanned: Kind = (start) => {
  const { draw, rank, axis } = start;
  if (rank === 0) return undefined;
  const reverse = draw(2) === 1;
  return two(`scan ${axis} ${reverse}`, (x, y) => {
    const a = broadcastTo(sigmoid(y), x.shape);
    return tanh(linearScan({ a, b: x, axis, reverse }));
  })(start);
};

const sliced: Kind = (start) => {
  const { draw, rank, shape, axis } = start;
  if (rank === 0 || shape[axis]! < 2) return undefined;
  const from = draw(shape[axis]!);
  const first = shape.map((_, a) => (a === axis ? from : 0));
  const end = shape.map((extent, a) => (a === axis ? Math.min(extent, from + 1 + draw(3)) : extent));
  return along("slice", (x) => slice(x, first, end))(start);
};

const padded: Kind = (start) => {
  const { draw, shape, axis } = start;
  const [before, after] = [draw(3), draw(2)];
  const counts = (n: number): number[] => shape.map((_, a) => (a === axis ? n : 0));
  return along("pad", (x) => pad(x, counts(before), counts(after), 0.25), isSmall)(start);
};

const gathered: Kind = (start) => {
  const { draw, rank, shape, axis } = start;
  if (rank === 0 || shape[axis] === 0) return undefined;
  const indices = Int32Array.from({ length: 1 + draw(4) }, () => draw(shape[axis]!));
  return along("gather", (x) => gather(x, tensor(indices.slice()), axis))(start);
};

const scattered: Kind = (start) => {
  const { draw, rank, shape } = start;
  if (rank === 0) return undefined;
  const indices = Int32Array.from({ length: shape[0]! }, () => draw(4));
  return unary("scatter", (x) => tanh(scatterAdd(x, tensor(indices.slice()), 4)))(start);
};

const flattened: Kind = (start) =>
  start.rank > 1
    ? unary("flatten", (x) => reshape(x, [start.size]))(start)
    : unary("new axis", (x) => expandDims(x, 0))(start);

/** Steps keep values within about -3..3, so that differences of rounding stay small. */
const KINDS: readonly Kind[] = [
  unary("tanh", tanh),
  unary("sigmoid", sigmoid),
  unary("sin", sin),
  unary("exp of tanh", (x) => exp(tanh(x))),
  two("half the sum", (x, y) => mul(add(x, y), 0.5)),
  two("product", (x, y) => tanh(mul(x, y))),
  two("difference", (x, y) => sin(sub(x, y))),
  two("quotient", (x, y) => div(x, add(abs(y), 1))),
  two("maximum", maximum),
  two("minimum", minimum),
  two("where", (x, y) => where(less(x, y), mul(x, 0.5), y)),
  along("sum", (x, { axis }) => tanh(sum(x, axis))),
  along("max", (x, { axis }) => max(x, axis, { keepDims: true }), hasPoints),
  along("mean", (x, { axis }) => mean(x, axis, { keepDims: true }), hasPoints),
  along(
    "softmax",
    (x, { axis }) => softmax(x, axis),
    ({ rank, size }) => rank > 0 && size > 0,
  ),
  along("cumsum", (x, { axis }) => tanh(cumsum(x, axis, { reverse: axis === 0 }))),
  scanned,
  one(
    () => "transpose",
    (x) => transpose(x),
    ({ rank }) => rank > 1,
  ),
  flattened,
  along("flip", (x, { axis }) => flip(x, axis)),
  sliced,
  padded,
  along("concat", (x, { axis }) => concat([x, mul(x, -0.5)], axis), isSmall),
  one(
    () => "gram",
    (x) => tanh(mul(matmul(x, transpose(x)), 0.3)),
    ({ rank }) => rank === 2,
  ),
  gathered,
  scattered,
];

function stepOf(draw: Draw, shapes: readonly Shape[]): Step | undefined {
  const k = draw(shapes.length);
  const shape = shapes[k]!;
  const rank = shape.length;
  const axis = rank > 0 ? draw(rank) : 0;
  const size = shape.reduce((a, b) => a * b, 1);
  return pickFrom(draw, KINDS)({ draw, shapes, k, shape, rank, axis, size });
}

/** Whether the second broadcasts to the first. */
const compatible = (a: Shape, b: Shape): boolean =>
  b.length <= a.length && b.every((extent, k) => extent === 1 || extent === a[a.length - b.length + k]);

function programOf(seed: number): Program {
  const draw = drawOf(seed);
  const inputs = Array.from({ length: 1 + draw(2) }, (): HostValues => {
    const shape = shapeOf(draw);
    const size = shape.reduce((a, b) => a * b, 1);
    const data = Float64Array.from({ length: size }, () => Math.fround(draw(4001) / 1000 - 2));
    return { shape, dtype: "f32", data };
  });
  const steps: Step[] = [];
  const trial = inputs.map(({ shape }) => zeros(shape));
  const wanted = 3 + draw(12);
  for (let tries = 0; steps.length < wanted && tries < 200; tries++) {
    const step = stepOf(
      draw,
      trial.map(({ shape }) => shape),
    );
    if (!step) continue;
    trial.push(step.apply(trial));
    steps.push(step);
  }
  const roots = [trial.length - 1, ...Array.from({ length: draw(3) }, () => draw(trial.length))];
  return {
    inputs,
    text: `${inputs.map(({ shape }) => `[${shape.join()}]`).join(" ")}; ${steps.map(({ name }) => name).join("; ")}; roots ${roots.join()}`,
    run(given) {
      const all = [...given];
      for (const step of steps) all.push(step.apply(all));
      return roots.map((k) => mul(all[k]!, 1));
    },
  };
}

/**
 * Compares a random program's values and gradients on a device, fused and not, with the reference device, and its gradients
 * there with finite differences.
 * @returns The program, in words.
 * @throws LawError with the seed and the program.
 */
export async function checkRandomProgram(seed: number, device: Device): Promise<string> {
  const { inputs, text, run } = programOf(seed);
  const law = `random program ${seed} (${text})`;
  const make = (): Tensor[] => inputs.map(({ data, shape }) => tensor(data.slice(), shape));
  const loss = (given: readonly Tensor[]): Tensor =>
    run(given).reduce((total: Tensor, y, k) => {
      const weights = tensor(
        Float64Array.from({ length: y.size }, (_, i) => Math.sin(1 + i + 3 * k)),
        y.shape,
      );
      return add(total, sum(mul(y, weights)));
    }, zeros([]));
  const values = (): readonly Tensor[] => run(make());
  const gradients = (): readonly Tensor[] => leavesOf(grad(loss)(make()) as Tree).map((g) => mul(g, 1));
  const oracle = reference();
  for (const [what, build] of [
    ["values", values],
    ["gradients", gradients],
  ] as const) {
    const expected = await evaluate(oracle, build);
    for (const fuse of [true, false]) {
      const place = `${law}: ${what} on ${fuse ? "fused" : "unfused"} ${device.name}`;
      const actual = await attempt(place, () => evaluate(device, build, { fuse }));
      expected.forEach(({ data, shape }, k) =>
        assertClose(`${place}, result ${k}`, actual[k]!.data, data, toleranceOf(data), shape),
      );
    }
  }
  const derivatives = (at: readonly HostValues[]): Promise<void> =>
    checkDerivatives({ law, inputs: at, names: at.map((_, k) => `input ${k}`), loss, step: 1e-6, relative: 1e-4 });
  // Inputs may lie on a corner of a maximum, where there is no derivative: then those beside it have to have the right one.
  await derivatives(inputs).catch(() => derivatives(inputs.map(beside)));
  return text;
}

/** A share of each number and of the largest; sums of numbers of size 1 that cancel leave their rounding. */
function toleranceOf(expected: HostValues["data"]): Tolerance {
  const { relative, absolute } = toleranceOfScale(expected, 1e-4);
  return { relative: relative!, absolute: Math.max(absolute!, ROUNDING) };
}

const ROUNDING = 1e-6;

const beside = (x: HostValues): HostValues => ({
  ...x,
  data: Float64Array.from(x.data, (value, k) => Math.fround(value + 0.01 * Math.sin(1 + 2 * k))),
});
