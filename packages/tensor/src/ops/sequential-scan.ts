/**
 * A recurrence that only runs step by step: a body of tensor code that a device repeats along the first axis, so that a
 * sequence of any length is one node of the graph and one plan. Its gradient is such a recurrence too, the other way round.
 */
import { assertSettings } from "../graph/assert.js";
import { isReal, type HostArray } from "../graph/dtype.js";
import { ShapeError } from "../graph/errors.js";
import { backpropagate, checkpoint } from "../graph/grad.js";
import type { Op, Result, Samples } from "../graph/op.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { callOp, Tensor } from "../graph/tensor.js";
import { leavesOf, replaceLeaves, type Tree } from "../graph/tree.js";
import { graphOf, type Graph } from "../plan/signature.js";
import { add, tanh } from "./elementwise.js";
import { zeros } from "./generators.js";
import { matmul } from "./matmul.js";
import { concat, identity, reshape, sliceAxis, stack, transpose } from "./movement.js";
import { productsAhead, rebuilt, type ProductAhead } from "./products-ahead.js";
import { sumsOverSteps, type PulledStep } from "./step-products.js";

/** The leaves of state, step inputs and constants -> those of the next state and of what the step puts out. */
type Step = (leaves: readonly Tensor[]) => readonly Tensor[];

/** A step as a graph over stand-ins for its inputs. @internal */
export class SequenceBody {
  /** Stand-ins for state, step inputs and constants; they have shapes and no values. */
  readonly inputs: readonly Tensor[];
  /** Next state, then outputs. */
  readonly results: readonly Tensor[];
  readonly graph: Graph;
  /** By leaf of the graph, the input it stands for. */
  readonly places: readonly number[];
  /** Equal bodies have equal signatures. */
  readonly signature: string;
  readonly step: Step;

  constructor(step: Step, given: readonly Result[]) {
    this.step = step;
    this.inputs = standIns(given);
    this.results = step(this.inputs);
    this.graph = graphOf(this.results);
    this.places = this.graph.leaves.map((leaf) => {
      const place = this.inputs.indexOf(leaf);
      if (place < 0)
        throw new ShapeError(
          `sequentialScan: expected a step that reads its arguments alone, got one that reads another tensor of shape ${formatShape(leaf.shape)}; pass it in constants`,
        );
      return place;
    });
    this.signature = `${this.graph.key}\n${this.places.join()}`;
  }
}

const NO_VALUES: HostArray = new Float32Array(0);

/** Attributes of a call. Inputs: the state at the start, step inputs [L ...], constants. @internal */
export interface SequentialScanAttributes {
  readonly body: SequenceBody;
  /** How many of the inputs are states, and step inputs. */
  readonly states: number;
  readonly steps: number;
  readonly length: number;
  readonly reverse: boolean;
  /** Whether the state before each step is put out, for a gradient. */
  readonly history: boolean;
}

/** Outputs: the last state, what the steps put out [L ...], and with `history` the state before each step [L ...]. */
const sequentialScanRow: Op = {
  name: "sequentialScan",
  rule: { kind: "native" },
  infer(inputs, attributes) {
    const { body, states, length, history } = attributes as SequentialScanAttributes;
    const stacked = ({ shape, dtype }: Result): Result => ({ shape: [length, ...shape], dtype });
    const start = inputs.slice(0, states);
    return [
      ...start.map(({ shape, dtype }) => ({ shape, dtype })),
      ...body.results.slice(states).map(stacked),
      ...(history ? start.map(stacked) : []),
    ];
  },
  expand: (inputs, attributes) => unrolled(inputs, attributes as SequentialScanAttributes),
  gradient(call, cotangents) {
    const attributes = call.attributes as SequentialScanAttributes;
    const { body, states } = attributes;
    const outputs = body.results.length - states;
    const history = call.outputs.slice(states + outputs);
    if (!attributes.history || cotangents.slice(states + outputs).some((g) => g !== undefined))
      throw new TypeError("sequentialScan: expected no second derivative through its gradient; checkpoint the steps");
    return backwards(call.inputs, history, cotangents.slice(0, states + outputs), attributes);
  },
};

/** All outputs and the last state of h = tanh(x + h w^T), side by side. */
function sampleRecurrence(x: Tensor, h: Tensor, w: Tensor, reverse: boolean): Tensor {
  const { state, outputs } = sequentialScan({
    step: (before: Tensor, now: Tensor, weight: Tensor) => {
      const next = tanh(add(now, matmul(before, transpose(weight))));
      return [next, next] as const;
    },
    initial: h,
    inputs: x,
    constants: w,
    reverse,
  });
  return concat([outputs, reshape(state, [1, ...state.shape])], 0);
}

/** The rows of this file. @internal */
export const sequentialScanRows = { sequentialScan: sequentialScanRow };

/** What `checkOp` runs them on. @internal */
export const sequentialScanSamples = (): Samples<typeof sequentialScanRows> => ({
  sequentialScan: [
    {
      name: "tanh recurrence",
      inputs: [{ shape: [5, 2, 3] }, { shape: [2, 3] }, { shape: [3, 3], low: -0.5, high: 0.5 }],
      apply: (x, h, w) => sampleRecurrence(x!, h!, w!, false),
    },
    {
      name: "reverse",
      inputs: [{ shape: [4, 1, 2] }, { shape: [1, 2] }, { shape: [2, 2], low: -0.5, high: 0.5 }],
      apply: (x, h, w) => sampleRecurrence(x!, h!, w!, true),
    },
    {
      // steps of 256 bytes, and a weight larger than a step's factors of its cotangent
      name: "wide",
      inputs: [{ shape: [3, 4, 16] }, { shape: [4, 16] }, { shape: [16, 16], low: -0.2, high: 0.2 }],
      apply: (x, h, w) => sampleRecurrence(x!, h!, w!, false),
    },
  ],
});

/** Every step as nodes of the graph, for devices that repeat no plans. */
function unrolled(inputs: readonly Tensor[], attributes: SequentialScanAttributes): readonly Tensor[] {
  const { body, states, steps, length, reverse, history: kept } = attributes;
  const constants = inputs.slice(states + steps);
  let state = inputs.slice(0, states);
  const outputs: (readonly Tensor[])[] = new Array(length);
  const history: (readonly Tensor[])[] = new Array(length);
  for (let n = 0; n < length; n++) {
    const t = reverse ? length - 1 - n : n;
    const now = inputs.slice(states, states + steps).map((x) => reshape(sliceAxis(x, 0, t, t + 1), x.shape.slice(1)));
    history[t] = state;
    const results = body.step([...state, ...now, ...constants]);
    state = results.slice(0, states);
    outputs[t] = results.slice(states);
  }
  const together = (rows: readonly (readonly Tensor[])[], count: number): Tensor[] =>
    Array.from({ length: count }, (_, k) => stack(rows.map((row) => row[k]!)));
  return [...state, ...together(outputs, body.results.length - states), ...(kept ? together(history, states) : [])];
}

/** Cotangents of the inputs: the pullback of the step, repeated from the other end, with its state computed again from `history`. */
function backwards(
  inputs: readonly Tensor[],
  history: readonly Tensor[],
  cotangents: readonly (Tensor | undefined)[],
  { body, states, steps, length, reverse }: SequentialScanAttributes,
): readonly (Tensor | undefined)[] {
  const start = inputs.slice(0, states);
  const now = inputs.slice(states, states + steps);
  const constants = inputs.slice(states + steps);
  const movingState = indicesOf(start, moves);
  const movingInputs = indicesOf(now, moves);
  const movingConstants = indicesOf(constants, moves);
  const given = indicesOf(cotangents, (g, k) => k >= states && g !== undefined);
  const pull = (leaves: readonly Tensor[]): Pullback => {
    const take = taker(leaves);
    const dState = take(movingState.length);
    const sources = [take(states), take(steps)].map((list) => list.map(identity));
    const dOutputs = take(given.length);
    sources.push(take(constants.length).map(identity));
    const results = body.step(sources.flat());
    const pulled = results.map((_, k) => (k < states ? dState[movingState.indexOf(k)] : dOutputs[given.indexOf(k)]));
    const moving = [movingState, movingInputs, movingConstants];
    const gradients = backpropagate(
      results,
      pulled,
      moving.flatMap((indices, n) => indices.map((k) => sources[n]![k]!)),
    );
    const [before, now, fixed] = sources as [Tensor[], Tensor[], Tensor[]];
    return { before, now, fixed, gradients };
  };
  const sorted = ({ before, now: inputsNow, gradients }: Pullback): PulledStep => {
    const take = taker(gradients);
    const dState = take(movingState.length).map((g, n) => g ?? zerosOf(start[movingState[n]!]!));
    const dInputs = take(movingInputs.length).map((g, n) => g ?? zerosOf(along(now[movingInputs[n]!]!)));
    return { dState, dInputs, dConstants: take(movingConstants.length), known: [...before, ...inputsNow, ...dInputs] };
  };
  const stepInputs = [...history, ...now, ...given.map((k) => cotangents[k]!)];
  const dEnd = movingState.map((k) => cotangents[k] ?? zerosOf(start[k]!));

  // Once to see which cotangents of constants are products of all steps; the sums of the others are carried from step to step.
  // Products of states and inputs with constants are taken of all steps before.
  const first = pull(standIns([...dEnd, ...stepInputs.map(along), ...constants]));
  const ahead = aheadOf(first).map(({ all }) => {
    const [knownAll, fixedAll] = [
      placesIn([...first.before, ...first.now], stepInputs),
      placesIn(first.fixed, constants),
    ];
    return all(knownAll, fixedAll);
  });
  const { sums, kept } = sumsOverSteps(sorted(first));
  const carried = indicesOf(sums, (each) => each === undefined);
  const step: Step = (leaves) => {
    const take = taker(leaves);
    const [dState, before, products] = [take(dEnd.length), take(carried.length), take(ahead.length)];
    const own = pull([...dState, ...take(stepInputs.length), ...take(constants.length)]);
    const computed = aheadOf(own).map(({ product }) => product);
    const pulled = sorted(withGradients(own, placesIn(computed, products)));
    return [
      ...pulled.dState,
      ...before.map((sum, n) => {
        const more = pulled.dConstants[carried[n]!];
        return more ? add(sum, more) : sum;
      }),
      ...pulled.dInputs,
      ...sumsOverSteps(pulled).kept,
    ];
  };
  const zero = carried.map((n) => zerosOf(constants[movingConstants[n]!]!));
  // Nobody reads the states of the pullback step by step.
  const results = callScan(step, [...dEnd, ...zero], [...ahead, ...stepInputs], constants, {
    length,
    reverse: !reverse,
    history: false,
  });
  const take = taker(results);
  const [dStart, dCarried, dInputs] = [take(dEnd.length), take(carried.length), take(movingInputs.length)];
  const stacked = [...history, ...now, ...dInputs, ...take(kept.length)];
  const out = new Array<Tensor | undefined>(inputs.length).fill(undefined);
  movingState.forEach((k, n) => (out[k] = dStart[n]));
  movingInputs.forEach((k, n) => (out[states + k] = dInputs[n]));
  movingConstants.forEach((k, n) => {
    out[states + steps + k] = sums[n] ? sums[n](stacked) : dCarried[carried.indexOf(n)];
  });
  return out;
}

/** What a step reads, and the cotangents of what of it moves: of states, inputs and constants. */
interface Pullback {
  readonly before: readonly Tensor[];
  readonly now: readonly Tensor[];
  readonly fixed: readonly Tensor[];
  readonly gradients: readonly (Tensor | undefined)[];
}

const aheadOf = ({ before, now, fixed, gradients }: Pullback): ProductAhead[] =>
  productsAhead(
    gradients.filter((g) => g !== undefined),
    [...before, ...now],
    fixed,
  );

/** The same with other tensors in the place of some. */
function withGradients(pulled: Pullback, replacement: (x: Tensor) => Tensor): Pullback {
  const given = pulled.gradients.filter((g) => g !== undefined);
  const next = rebuilt(given, replacement);
  return { ...pulled, gradients: pulled.gradients.map((g) => g && next[given.indexOf(g)]) };
}

/** By a tensor of the first list, the one of the second in its place; any other tensor is its own. */
const placesIn =
  (from: readonly Tensor[], to: readonly Tensor[]) =>
  (x: Tensor): Tensor =>
    to[from.indexOf(x)] ?? x;

const moves = (x: { readonly dtype: Tensor["dtype"] }): boolean => isReal(x.dtype);
const zerosOf = ({ shape, dtype }: Result): Tensor => zeros(shape, dtype);
/** A step's part of a sequence. */
const along = ({ shape, dtype }: Result): Result => ({ shape: shape.slice(1), dtype });
const standIns = (given: readonly Result[]): Tensor[] =>
  given.map(({ shape, dtype }) => new Tensor(shape, dtype, { kind: "host", data: NO_VALUES, uploads: new Map() }));

const indicesOf = <T>(list: readonly T[], choose: (item: T, index: number) => boolean): number[] =>
  list.flatMap((item, k) => (choose(item, k) ? [k] : []));

/** Takes the next few of a list. */
function taker<T>(list: readonly T[]): (count: number) => readonly T[] {
  let next = 0;
  return (count) => list.slice(next, (next += count));
}

function callScan(
  step: Step,
  start: readonly Tensor[],
  stepInputs: readonly Tensor[],
  constants: readonly Tensor[],
  how: Pick<SequentialScanAttributes, "length" | "reverse" | "history">,
): readonly Tensor[] {
  const body = new SequenceBody(step, [...start, ...stepInputs.map(along), ...constants]);
  start.forEach((state, k) => {
    const next = body.results[k]!;
    if (!sameShape(next.shape, state.shape) || next.dtype !== state.dtype)
      throw new ShapeError(
        `sequentialScan: expected a step that keeps the form of its state, ${String(state)}, got ${String(next)}`,
      );
  });
  return callOp(sequentialScanRow, [...start, ...stepInputs, ...constants], {
    body,
    states: start.length,
    steps: stepInputs.length,
    ...how,
  } satisfies SequentialScanAttributes);
}

/** What {@link sequentialScan} takes. */
export interface SequentialScanArguments<S extends Tree, X extends Tree, C extends Tree, Y extends Tree> {
  /** State, inputs of the step and constants -> the next state and what the step puts out. It reads its arguments alone. */
  step(state: S, inputs: X, constants: C): readonly [S, Y];
  /** The state before the first step. */
  readonly initial: S;
  /** Inputs of all steps: a tree of tensors [L ...]. */
  readonly inputs: X;
  /** What every step reads, weights above all. */
  readonly constants: C;
  /** From the last step to the first. */
  readonly reverse?: boolean;
  /**
   * Steps whose states are kept together for the gradient; those of other chunks are computed again from the state between
   * them. By default all L states are kept.
   */
  readonly chunkSize?: number;
}

/**
 * Repeats a step along the first axis of its inputs. Devices repeat the step's plan; one that cannot unrolls it.
 * For linear recurrences `linearScan` is faster. Weights that multiply the inputs belong outside, where all positions are
 * one product.
 * @returns The last state, and what the steps put out, stacked [L ...].
 * @throws ShapeError if the inputs have no first axis in common, the step changes the form of the state, or reads a tensor
 *   that is not among its arguments.
 */
export function sequentialScan<S extends Tree, X extends Tree, C extends Tree, Y extends Tree>(
  given: SequentialScanArguments<S, X, C, Y>,
): {
  /** The state after the last step. */
  readonly state: S;
  /** Outputs of every step, stacked. */
  readonly outputs: Y;
} {
  assertSettings("sequentialScan", given, {
    step: "function",
    initial: "own",
    inputs: "own",
    constants: "own",
    reverse: "flag",
    chunkSize: { from: 1, to: Infinity, whole: true },
  });
  const { step, initial, inputs, constants, reverse = false, chunkSize = Infinity } = given;
  const length = lengthOf(leavesOf(inputs));
  const [states, steps] = [leavesOf(initial).length, leavesOf(inputs).length];
  let form: Y | undefined;
  const flat: Step = (leaves) => {
    const take = taker(leaves);
    const [state, output] = step(
      replaceLeaves(initial, take(states)),
      replaceLeaves(inputs, take(steps)),
      replaceLeaves(constants, take(leaves.length - states - steps)),
    );
    form = output;
    return [...leavesOf(state), ...leavesOf(output)];
  };
  const run = (start: readonly Tensor[], given: readonly Tensor[], fixed: readonly Tensor[]): readonly Tensor[] => {
    const all = callScan(flat, start, given, fixed, { length: given[0]!.shape[0]!, reverse, history: true });
    return all.slice(0, all.length - states);
  };
  const results = inPieces(run, leavesOf(initial), leavesOf(inputs), leavesOf(constants), {
    length,
    reverse,
    chunkSize,
  });
  return {
    state: replaceLeaves(initial, results.slice(0, states)),
    outputs: replaceLeaves(form!, results.slice(states)),
  };
}

/** The extent that the inputs' first axes share. */
function lengthOf(inputs: readonly Tensor[]): number {
  const lengths = inputs.map(({ shape }) => shape[0]);
  const [first] = lengths;
  if (first === undefined || lengths.some((length) => length !== first))
    throw new ShapeError(
      `sequentialScan: expected inputs that share a first axis, got ${inputs.map(({ shape }) => formatShape(shape)).join(", ") || "none"}`,
    );
  return first;
}

/** Runs chunks one after another, each of which is computed again for the gradient. */
function inPieces(
  run: (start: readonly Tensor[], given: readonly Tensor[], fixed: readonly Tensor[]) => readonly Tensor[],
  initial: readonly Tensor[],
  inputs: readonly Tensor[],
  constants: readonly Tensor[],
  { length, reverse, chunkSize }: { readonly length: number; readonly reverse: boolean; readonly chunkSize: number },
): readonly Tensor[] {
  if (length <= chunkSize) return run(initial, inputs, constants);
  const pieces: (readonly Tensor[])[] = [];
  let state = initial;
  for (let done = 0; done < length; done += chunkSize) {
    const size = Math.min(chunkSize, length - done);
    const start = reverse ? length - done - size : done;
    const given = inputs.map((x) => sliceAxis(x, 0, start, start + size));
    const results = checkpoint((tree: readonly (readonly Tensor[])[]) => run(tree[0]!, tree[1]!, tree[2]!))([
      state,
      given,
      constants,
    ]);
    state = results.slice(0, initial.length);
    pieces.push(results.slice(initial.length));
  }
  const ordered = reverse ? pieces.reverse() : pieces;
  return [
    ...state,
    ...ordered[0]!.map((_, k) =>
      concat(
        ordered.map((piece) => piece[k]!),
        0,
      ),
    ),
  ];
}
