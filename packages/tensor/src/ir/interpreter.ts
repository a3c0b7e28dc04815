/**
 * The kernel IR as it is defined, in float64, point by point: what the tests of planner and renderers compare with.
 * No device runs it.
 */
import type { Affine, LoopKernel, Scalar } from "./loop.js";
import { intrinsics } from "../ops/elementwise-rows.js";
import type { ScanKernel, ScanStep, ScanValue } from "./scan-kernel.js";
import { sizeOf } from "../graph/shape.js";

/** Contents of a buffer. */
export interface Numbers {
  readonly length: number;
  readonly [index: number]: number;
}

/** What expressions mean at the point that `enter` goes to. */
interface Evaluator {
  enter(point: readonly number[]): void;
  evaluate(node: Scalar): number;
}

type Given = Extract<Scalar, { readonly op: "reduced" | "state" }>;

function evaluatorOf(inputs: readonly Numbers[], given: (node: Given) => number): Evaluator {
  let point: readonly number[] = [];
  let memo = new Map<Scalar, number>();
  const at = (index: Affine): number => index.coefficients.reduce((sum, c, k) => sum + c * point[k]!, index.offset);
  const evaluate = (node: Scalar): number => {
    let value = memo.get(node);
    if (value === undefined) memo.set(node, (value = compute(node)));
    return value;
  };
  const compute = (node: Scalar): number => {
    switch (node.op) {
      case "constant":
        return node.value;
      case "position":
        return at(node.index) | 0;
      case "reduced":
      case "state":
        return given(node);
      case "guard":
        return node.conditions.every(({ index, lo, hi }) => at(index) >= lo && at(index) < hi)
          ? evaluate(node.value)
          : node.fill;
      case "load": {
        let index = at(node.index);
        for (const { value, size, stride } of node.gather ?? [])
          index += Math.min(Math.max(evaluate(value), 0), size - 1) * stride;
        const input = inputs[node.input]!;
        if (!(index >= 0 && index < input.length)) throw new Error(`load out of bounds: ${index} of ${input.length}`);
        return input[index]!;
      }
    }
    const args = node.args.map(evaluate);
    const integer = node.args[0]!.dtype === "i32";
    if (node.op === "cast") return convert(args[0]!, node.dtype);
    const { number, integer: exact = number } = intrinsics[node.op];
    return integer && node.dtype === "i32" ? exact(...args) | 0 : number(...args);
  };
  return {
    enter(next) {
      point = next;
      memo = new Map();
    },
    evaluate,
  };
}

/** A number as another type: to i32 toward zero, within its bounds. */
function convert(x: number, to: Scalar["dtype"]): number {
  if (to === "bool") return x === 0 ? 0 : 1;
  return to === "i32" ? Math.max(-0x80000000, Math.min(0x7fffffff, Math.trunc(x) || 0)) : x;
}

/** All points of the axes, row-major. */
function* pointsOf(extents: readonly number[]): Generator<number[]> {
  const total = sizeOf(extents);
  const point = extents.map(() => 0);
  for (let i = 0; i < total; i++) {
    yield point;
    for (let k = extents.length - 1; k >= 0 && ++point[k]! === extents[k]; k--) point[k] = 0;
  }
}

/** Results of a loop kernel. */
export function interpretLoop(
  { extents, reduceExtents, reductions, outputs }: LoopKernel,
  inputs: readonly Numbers[],
): Float64Array[] {
  const results = outputs.map(({ index }) => new Float64Array(sizeOf(extents) * (index ? sizeOf(reduceExtents) : 1)));
  let reduced: number[] = [];
  const { enter, evaluate } = evaluatorOf(inputs, (node) => {
    if (node.op === "state") throw new Error("a state node in a loop kernel");
    return reduced[node.reduction]!;
  });
  let position = 0;
  for (const point of pointsOf(extents)) {
    reduced = reductions.map(({ combine, value }) =>
      combine === "sum" ? 0 : value.dtype === "i32" ? -0x80000000 : -Infinity,
    );
    // One reduction after the other: a later one may use the results of those before it.
    reductions.forEach(({ combine, value: expression }, k) => {
      for (const inner of pointsOf(reduceExtents)) {
        enter([...point, ...inner]);
        const value = evaluate(expression);
        const sum = reduced[k]!;
        reduced[k] =
          combine === "max" ? Math.max(sum, value) : expression.dtype === "i32" ? (sum + value) | 0 : sum + value;
      }
    });
    outputs.forEach(({ value, index }, k) => {
      for (const inner of index ? pointsOf(reduceExtents) : [reduceExtents.map(() => 0)]) {
        const place = [...point, ...inner];
        enter(place);
        results[k]![
          index ? index.coefficients.reduce((sum, c, axis) => sum + c * place[axis]!, index.offset) : position
        ] = evaluate(value);
      }
    });
    position++;
  }
  return results;
}

/** Real and imaginary part. */
type Complex = readonly [number, number];

const ZERO: Complex = [0, 0];
/** x y + z. */
const follow = ([a, b]: Complex, [c, d]: Complex, [e, f]: Complex): Complex => [a * c - b * d + e, a * d + b * c + f];
const conjugate = ([a, b]: Complex): Complex => [a, -b];

/** Results of a scan kernel. Every state is kept. */
export function interpretScan(
  { extents, along, reverse, forgets, decay, drive, initial, adjoint, sums, outputs }: ScanKernel,
  inputs: readonly Numbers[],
): Float64Array[] {
  const L = extents[along]!;
  const others = extents.map((extent, axis) => (axis === along ? 1 : extent));
  const states = {
    previous: new Map<string, Complex>(),
    current: new Map<string, Complex>(),
    adjoint: new Map<string, Complex>(),
  };
  let place = "";
  let totals: number[] = [];
  const { enter, evaluate } = evaluatorOf(inputs, (node) => {
    if (node.op === "reduced") return totals[node.reduction]!;
    const value = states[node.which].get(place);
    if (!value) throw new Error(`no ${node.which} state at ${place}`);
    return value[node.part === "re" ? 0 : 1];
  });
  const go = (point: readonly number[]): void => {
    place = point.join();
    enter(point);
  };
  const step = (decay: Complex, h: Complex, drive: Complex): Complex =>
    follow(decay, forgets && decay[0] === 0 && decay[1] === 0 ? ZERO : h, drive);
  const valueOf = ([re, im]: ScanValue): Complex => [evaluate(re), im ? evaluate(im) : 0];
  /** Point of step s, in the order of the recurrence, on the line through `point`. */
  const at = (point: readonly number[], s: number): number[] =>
    point.map((i, axis) => (axis === along ? (reverse ? L - 1 - s : s) : i));

  for (const line of pointsOf(others)) {
    go(line);
    let h = initial ? valueOf(initial) : ZERO;
    for (let s = 0; s < L; s++) {
      go(at(line, s));
      states.previous.set(place, h);
      states.current.set(place, (h = step(valueOf(decay), h, valueOf(drive))));
    }
    if (!adjoint) continue;
    let [g, after] = [ZERO, ZERO];
    for (let s = L - 1; s >= 0; s--) {
      go(at(line, s));
      states.adjoint.set(place, (g = step(conjugate(after), g, valueOf(adjoint.seed))));
      after = valueOf(decay);
    }
  }

  /** Extents of the points that a sum or an output visits at a step, and the point of the loop for each. */
  const domain = (step: ScanStep): readonly number[] => (step === "each" ? extents : others);
  const visit = (step: ScanStep, point: readonly number[]): void =>
    go(step === "each" ? point : at(point, step === "first" ? 0 : L - 1));
  const positionOf = (keeps: readonly number[], point: readonly number[]): number =>
    keeps.reduce((position, axis) => position * extents[axis]! + point[axis]!, 0);
  const kept = (keeps: readonly number[]): number => sizeOf(keeps.map((axis) => extents[axis]!));

  const summed: Float64Array[] = [];
  /** Goes to a point of the kept axes, with the sums there at hand. */
  const visitKept = (keeps: readonly number[], step: ScanStep, point: readonly number[]): void => {
    const position = positionOf(keeps, point);
    totals = summed.map((sum, k) =>
      sums[k]!.step === step && sums[k]!.keeps.join() === keeps.join() ? sum[position]! : NaN,
    );
    visit(step, point);
  };
  const keptPoints = (keeps: readonly number[], step: ScanStep): Generator<number[]> =>
    pointsOf(domain(step).map((extent, axis) => (keeps.includes(axis) ? extent : 1)));
  for (const { value, keeps, step, of } of sums) {
    const result = new Float64Array(kept(keeps));
    for (const point of of ? keptPoints(of, step) : pointsOf(domain(step))) {
      if (of) visitKept(of, step, point);
      else visit(step, point);
      result[positionOf(keeps, point)]! += evaluate(value);
    }
    summed.push(result);
  }
  return outputs.map(({ value, keeps, step }) => {
    const result = new Float64Array(kept(keeps));
    for (const point of keptPoints(keeps, step)) {
      const position = positionOf(keeps, point);
      visitKept(keeps, step, point);
      result[position] = evaluate(value);
    }
    return result;
  });
}
