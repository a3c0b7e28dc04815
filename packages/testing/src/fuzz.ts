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

/** Steps keep values within about -3..3, so that differences of rounding stay small. */
function stepOf(draw: Draw, shapes: readonly Shape[]): Step | undefined {
  const k = draw(shapes.length);
  const shape = shapes[k]!;
  const rank = shape.length;
  const axis = rank > 0 ? draw(rank) : 0;
  const size = shape.reduce((a, b) => a * b, 1);
  const one = (name: string, f: (x: Tensor) => Tensor): Step => ({ name: `${name} %${k}`, apply: (x) => f(x[k]!) });
  const partners = shapes.flatMap((other, j) => (compatible(shape, other) ? [j] : []));
  const two = (name: string, f: (x: Tensor, y: Tensor) => Tensor): Step => {
    const j = pickFrom(draw, partners);
    return { name: `${name} %${k} %${j}`, apply: (x) => f(x[k]!, x[j]!) };
  };
  switch (draw(26)) {
    case 0:
      return one("tanh", tanh);
    case 1:
      return one("sigmoid", sigmoid);
    case 2:
      return one("sin", sin);
    case 3:
      return one("exp of tanh", (x) => exp(tanh(x)));
    case 4:
      return two("half the sum", (x, y) => mul(add(x, y), 0.5));
    case 5:
      return two("product", (x, y) => tanh(mul(x, y)));
    case 6:
      return two("difference", (x, y) => sin(sub(x, y)));
    case 7:
      return two("quotient", (x, y) => div(x, add(abs(y), 1)));
    case 8:
      return two("maximum", maximum);
    case 9:
      return two("minimum", minimum);
    case 10:
      return two("where", (x, y) => where(less(x, y), mul(x, 0.5), y));
    case 11:
      return rank > 0 ? one(`sum ${axis}`, (x) => tanh(sum(x, axis))) : undefined;
    case 12:
      return rank > 0 && shape[axis]! > 0 ? one(`max ${axis}`, (x) => max(x, axis, { keepDims: true })) : undefined;
    case 13:
      return rank > 0 && shape[axis]! > 0 ? one(`mean ${axis}`, (x) => mean(x, axis, { keepDims: true })) : undefined;
    case 14:
      return rank > 0 && size > 0 ? one(`softmax ${axis}`, (x) => softmax(x, axis)) : undefined;
    case 15:
      return rank > 0 ? one(`cumsum ${axis}`, (x) => tanh(cumsum(x, axis, { reverse: axis === 0 }))) : undefined;
    case 16: {
      if (rank === 0) return undefined;
      const reverse = draw(2) === 1;
      return two(`scan ${axis} ${reverse}`, (x, y) => {
        const a = broadcastTo(sigmoid(y), x.shape);
        return tanh(linearScan({ a, b: x, axis, reverse }));
      });
    }
    case 17:
      return rank > 1 ? one("transpose", (x) => transpose(x)) : undefined;
    case 18:
      return rank > 1 ? one("flatten", (x) => reshape(x, [size])) : one("new axis", (x) => expandDims(x, 0));
    case 19:
      return rank > 0 ? one(`flip ${axis}`, (x) => flip(x, axis)) : undefined;
    case 20: {
      if (rank === 0 || shape[axis]! < 2) return undefined;
      const from = draw(shape[axis]!);
      const end = shape.map((extent, a) => (a === axis ? Math.min(extent, from + 1 + draw(3)) : extent));
      return one(`slice ${axis}`, (x) =>
        slice(
          x,
          shape.map((_, a) => (a === axis ? from : 0)),
          end,
        ),
      );
    }
    case 21: {
      const [before, after] = [draw(3), draw(2)];
      const counts = (n: number): number[] => shape.map((_, a) => (a === axis ? n : 0));
      return rank > 0 && size < 200
        ? one(`pad ${axis}`, (x) => pad(x, counts(before), counts(after), 0.25))
        : undefined;
    }
    case 22:
      return rank > 0 && size < 200 ? one(`concat ${axis}`, (x) => concat([x, mul(x, -0.5)], axis)) : undefined;
    case 23:
      return rank === 2 ? one("gram", (x) => tanh(mul(matmul(x, transpose(x)), 0.3))) : undefined;
    case 24: {
      if (rank === 0 || shape[axis] === 0) return undefined;
      const indices = Int32Array.from({ length: 1 + draw(4) }, () => draw(shape[axis]!));
      return one(`gather ${axis}`, (x) => gather(x, tensor(indices.slice()), axis));
    }
    default: {
      if (rank === 0) return undefined;
      const indices = Int32Array.from({ length: shape[0]! }, () => draw(4));
      return one("scatter", (x) => tanh(scatterAdd(x, tensor(indices.slice()), 4)));
    }
  }
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
