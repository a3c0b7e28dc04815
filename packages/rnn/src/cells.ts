/** Steps of recurrent cells, with the names, the gate order and the biases of torch.nn. */
import { uniformInit } from "@seqmix/nn";
import {
  add,
  assertFields,
  assertOneOf,
  assertSettings,
  foldIn,
  matmul,
  mul,
  sigmoid,
  split,
  sub,
  tanh,
  transpose,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Kinds of cells: how many gates they stack in their weights. */
export const GATES = {
  /** One. */
  rnn: 1,
  /** Reset, update and new. */
  gru: 3,
  /** Input, forget, cell and output. */
  lstm: 4,
} as const;

/** A kind of cell: "rnn" (Elman, 1990, with tanh), "gru" (Cho et al., 2014), "lstm" (Hochreiter and Schmidhuber, 1997). */
export type CellKind = keyof typeof GATES;

/** Parameters of one cell; gates of gru are r, z, n and those of lstm i, f, g, o, N rows each. */
export type CellParameters = {
  /** Of the input [gates N, D]. */
  readonly weight_ih: Tensor;
  /** Of the state [gates N, N]. */
  readonly weight_hh: Tensor;
  /** Added to both products [gates N] each; none: nothing is added. */
  readonly bias_ih?: Tensor;
  /** Bias of the hidden products [G H]. */
  readonly bias_hh?: Tensor;
};

/** What a cell carries: h [B N], and the cell state c [B N] of lstm. */
export type CellState = {
  /** The hidden state [B H]. */
  readonly h: Tensor;
  /** The cell state [B H], of the LSTM alone. */
  readonly c?: Tensor;
};

/** Uniform in +-1/sqrt(N), all of them, as in torch.nn. */
export function initCell(
  kind: CellKind,
  key: Key,
  sizes: { readonly inputs: number; readonly state: number; readonly bias: boolean },
): CellParameters {
  assertOneOf("initCell", "kind", kind, Object.keys(GATES));
  const count = { from: 1, whole: true };
  assertSettings("initCell", sizes, { inputs: count, state: count, bias: "flag" });
  assertFields("initCell", sizes, { inputs: count, state: count, bias: "flag" });
  const { inputs, state, bias } = sizes;
  const draw = (name: string, shape: readonly number[]): Tensor =>
    uniformInit(1 / Math.sqrt(state))(foldIn(key, name), shape);
  const rows = GATES[kind] * state;
  return {
    weight_ih: draw("weight_ih", [rows, inputs]),
    weight_hh: draw("weight_hh", [rows, state]),
    ...(bias && { bias_ih: draw("bias_ih", [rows]), bias_hh: draw("bias_hh", [rows]) }),
  };
}

/** What the input adds to the gates, at all positions at once: [.. D] -> [.. gates N]. */
export function inputPart({ weight_ih, bias_ih }: CellParameters, x: Tensor): Tensor {
  const product = matmul(x, transpose(weight_ih));
  return bias_ih ? add(product, bias_ih) : product;
}

/** The state after one position, from the input's part [B, gates N]. */
export function stepCell(
  kind: CellKind,
  { weight_hh, bias_hh }: Pick<CellParameters, "weight_hh" | "bias_hh">,
  part: Tensor,
  state: CellState,
): CellState {
  assertOneOf("stepCell", "kind", kind, Object.keys(GATES));
  assertSettings("stepCell, state", state, { h: "tensor", c: "tensor?" });
  const { h, c } = state;
  const product = matmul(h, transpose(weight_hh));
  const own = bias_hh ? add(product, bias_hh) : product;
  const N = h.shape[1]!;
  if (kind === "rnn") return { h: tanh(add(part, own)) };
  if (kind === "gru") {
    const [xr, xz, xn] = split(part, [N, N, N]) as [Tensor, Tensor, Tensor];
    const [hr, hz, hn] = split(own, [N, N, N]) as [Tensor, Tensor, Tensor];
    const z = sigmoid(add(xz, hz));
    const candidate = tanh(add(xn, mul(sigmoid(add(xr, hr)), hn)));
    return { h: add(mul(sub(1, z), candidate), mul(z, h)) };
  }
  const [i, f, g, o] = split(add(part, own), [N, N, N, N]) as [Tensor, Tensor, Tensor, Tensor];
  const cell = add(mul(sigmoid(f), c!), mul(sigmoid(i), tanh(g)));
  return { h: mul(sigmoid(o), tanh(cell)), c: cell };
}
