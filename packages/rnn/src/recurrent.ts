/** A cell along a sequence, and stacks of cells as torch.nn.RNN, GRU and LSTM have them. */
import {
  assertFields,
  assertSettings,
  concat,
  expandDims,
  mapTree,
  reshape,
  sequentialScan,
  sliceAxis,
  transpose,
  where,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { inputPart, stepCell, type CellKind, type CellParameters, type CellState } from "./cells.js";

/** How {@link runCell} runs. */
export interface RunCellOptions {
  /** From the last position to the first. */
  readonly reverse?: boolean;
  /** bool [B L]: true where the state before a position is zero again. */
  readonly resets?: Tensor | undefined;
  /** Positions whose states are kept together for the gradient; all by default. */
  readonly chunkSize?: number;
}

/** The state of zeros. */
export const zeroState = (kind: CellKind, batch: number, size: number): CellState => ({
  h: zeros([batch, size]),
  ...(kind === "lstm" && { c: zeros([batch, size]) }),
});

/**
 * A cell along a sequence.
 * @param x [B L D]
 * @returns h at every position [B L N], and the state after the last one
 */
export function runCell(
  kind: CellKind,
  params: CellParameters,
  x: Tensor,
  initial: CellState,
  options: RunCellOptions = {},
): readonly [Tensor, CellState] {
  assertSettings("runCell", options, {
    reverse: "flag",
    resets: "tensor?",
    chunkSize: { from: 1, to: Infinity, whole: true },
  });
  const { reverse = false, resets, chunkSize = Infinity } = options;
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [zeros([B, 0, initial.h.shape[1]!]), initial];
  const parts = transpose(inputPart(params, x), [1, 0, 2]);
  const { weight_hh, bias_hh } = params;
  const { state, outputs } = sequentialScan({
    step: (before: CellState, now: StepInputs, weights: Weights) => {
      const next = stepCell(kind, weights, now.part, now.reset ? forgotten(before, now.reset) : before);
      return [next, next.h] as const;
    },
    initial,
    inputs: { part: parts, ...(resets && { reset: expandDims(transpose(resets), 2) }) } as StepInputs,
    constants: { weight_hh, ...(bias_hh && { bias_hh }) } as Weights,
    reverse,
    chunkSize,
  });
  return [transpose(outputs, [1, 0, 2]), state];
}

type StepInputs = { readonly part: Tensor; readonly reset?: Tensor };
type Weights = Pick<CellParameters, "weight_hh" | "bias_hh">;

/** Zeros where `reset` [B 1] is true. */
const forgotten = (state: CellState, reset: Tensor): CellState =>
  mapTree((x) => where(reset, 0, x), state as Tree) as CellState;

/** Parameters by torch.nn's names: `weight_ih_l0`, `bias_hh_l1_reverse`, ... */
export type RecurrentParameters = Readonly<Record<string, Tensor>>;

/** What {@link recurrentNetwork} takes beside parameters and input. */
export interface RecurrentOptions {
  /** Cells above each other. */
  readonly layers: number;
  /** Whether each layer also runs backwards; both results lie side by side. */
  readonly bidirectional: boolean;
  /** Channels N of a state. */
  readonly hiddenSize: number;
  /** h and, for lstm, c before the first position, [layers directions, B, N]; zeros by default. */
  readonly initial?:
    | {
        /** The hidden states. */
        readonly h: Tensor;
        /** The cell states, of the LSTM alone. */
        readonly c?: Tensor | undefined;
      }
    | undefined;
}

/**
 * torch.nn.RNN (tanh), GRU or LSTM with batch_first.
 * @param x [B L D]
 * @returns y [B L, directions N] of the last layer, and the last states [layers directions, B, N]
 */
export function recurrentNetwork(
  kind: CellKind,
  params: RecurrentParameters,
  x: Tensor,
  options: RecurrentOptions,
): {
  /** Outputs [B L H]. */
  readonly y: Tensor;
  /** The hidden states after the last element. */
  readonly h: Tensor;
  /** The cell states after the last element, of the LSTM alone. */
  readonly c?: Tensor;
} {
  assertSettings("recurrentNetwork", options, ["layers", "bidirectional", "hiddenSize", "initial"]);
  const count = { from: 1, whole: true };
  assertFields("recurrentNetwork", options, { layers: count, bidirectional: "flag", hiddenSize: count });
  const { layers, bidirectional, hiddenSize, initial } = options;
  if (initial !== undefined) assertSettings("recurrentNetwork, initial", initial, { h: "tensor", c: "tensor?" });
  const B = x.shape[0]!;
  const directions = bidirectional ? ["", "_reverse"] : [""];
  const ends: CellState[] = [];
  let y = x;
  for (let layer = 0; layer < layers; layer++) {
    const outputs = directions.map((suffix) => {
      const at = ends.length;
      const start = initial ? stateAt(initial, at, B, hiddenSize) : zeroState(kind, B, hiddenSize);
      const [out, end] = runCell(kind, cellAt(params, `l${layer}${suffix}`), y, start, { reverse: suffix !== "" });
      ends.push(end);
      return out;
    });
    y = outputs.length === 1 ? outputs[0]! : concat(outputs, 2);
  }
  const together = (part: "h" | "c"): Tensor =>
    concat(
      ends.map((end) => expandDims(end[part]!, 0)),
      0,
    );
  return { y, h: together("h"), ...(kind === "lstm" && { c: together("c") }) };
}

function stateAt(
  {
    h,
    c,
  }: {
    /** The hidden states. */
    readonly h: Tensor;
    /** The cell states, of the LSTM alone. */
    readonly c?: Tensor | undefined;
  },
  at: number,
  B: number,
  N: number,
): CellState {
  const part = (x: Tensor): Tensor => reshape(sliceAxis(x, 0, at, at + 1), [B, N]);
  return { h: part(h), ...(c && { c: part(c) }) };
}

/** The cell whose names end in `suffix`. @throws RangeError if there is none. */
function cellAt(params: RecurrentParameters, suffix: string): CellParameters {
  const named = (name: string): Tensor | undefined => params[`${name}_${suffix}`];
  const [weight_ih, weight_hh] = [named("weight_ih"), named("weight_hh")];
  if (!weight_ih || !weight_hh)
    throw new RangeError(
      `recurrentNetwork: expected weight_ih_${suffix} and weight_hh_${suffix} in the parameters, got ${Object.keys(params).join(", ")}`,
    );
  const [bias_ih, bias_hh] = [named("bias_ih"), named("bias_hh")];
  return { weight_ih, weight_hh, ...(bias_ih && { bias_ih }), ...(bias_hh && { bias_hh }) };
}
