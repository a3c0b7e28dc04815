/** Elman's network, GRU and LSTM as sequence mixers. */
import { defineMixer, inChunks, type MixerDefinition } from "@seqmix/mixer";
import { initLinear, linear, type LinearParameters } from "@seqmix/nn";
import { foldIn, type Key, type Tensor } from "@seqmix/tensor";
import { initCell, inputPart, stepCell, type CellKind, type CellParameters, type CellState } from "./cells.js";
import { runCell, zeroState } from "./recurrent.js";

/** Settings of {@link rnn}, {@link gru} and {@link lstm}. */
export type RecurrentConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** State entries N; 0: D. */
  readonly dState: number;
  /** Whether the products have biases. */
  readonly bias: boolean;
  /** Positions whose states are kept together for the gradient, and that the chunked mode takes at once. */
  readonly chunkSize: number;
};

/** A cell, and where N is not D a map of its states to the output. */
export type RecurrentMixerParameters = CellParameters & {
  /** [D N]; none: the state is the output. */
  readonly out_proj?: LinearParameters;
};

/** The output and the state of one cell. */
function recurrentMixer(kind: CellKind): MixerDefinition<RecurrentConfig, RecurrentMixerParameters, CellState> {
  const out = ({ out_proj }: RecurrentMixerParameters, h: Tensor): Tensor => (out_proj ? linear(out_proj, h) : h);
  const parallel = (
    { dModel, dState, chunkSize }: RecurrentConfig,
    params: RecurrentMixerParameters,
    x: Tensor,
    state?: CellState,
    resets?: Tensor,
  ): readonly [Tensor, CellState] => {
    const start = state ?? zeroState(kind, x.shape[0]!, dState || dModel);
    const [h, last] = runCell(kind, params, x, start, { resets, chunkSize });
    return [out(params, h), last];
  };
  return defineMixer({
    id: kind,
    config: { dModel: 64, dState: 0, bias: true, chunkSize: 4096 } as RecurrentConfig,
    ranges: { dState: [0, Infinity, "whole"] },
    samples: { "own size of state": { dModel: 2, dState: 3, chunkSize: 4 } },
    state: "constant",
    resets: true,

    init({ dModel: D, dState, bias }, key: Key): RecurrentMixerParameters {
      const N = dState || D;
      return {
        ...initCell(kind, key, { inputs: D, state: N, bias }),
        ...(N !== D && { out_proj: initLinear(foldIn(key, "out_proj"), N, D) }),
      };
    },

    initState: ({ dModel, dState }, batch): CellState => zeroState(kind, batch, dState || dModel),

    step(_, params, x, state) {
      const next = stepCell(kind, params, inputPart(params, x), state);
      return [out(params, next.h), next];
    },

    modes: {
      parallel,
      chunked: (config, params, x, state, resets) =>
        inChunks(
          (piece, before: CellState | undefined, flags) => parallel(config, params, piece, before, flags),
          config.chunkSize,
          x,
          state,
          resets,
        ),
    },
  });
}

/** h_t = tanh(W_ih x_t + W_hh h_(t-1)) (Elman, Finding Structure in Time, 1990), torch.nn.RNN; y = h, or a map of it. */
export const rnn = recurrentMixer("rnn");

/** The gated recurrent unit (Cho et al., 2014), torch.nn.GRU: the reset gate is applied behind the state's product. */
export const gru = recurrentMixer("gru");

/** Long short-term memory (Hochreiter and Schmidhuber, 1997; Gers et al., 2000), torch.nn.LSTM; the state is h and c. */
export const lstm = recurrentMixer("lstm");
