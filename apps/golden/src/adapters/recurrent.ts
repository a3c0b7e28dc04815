import { recurrentNetwork, type CellKind, type RecurrentParameters } from "@seqmix/rnn";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, maybe, parameterTree, real } from "../inputs.js";

/** Modules of torch.nn with batch_first; states are [layers directions, B, N]. */
const recurrent = (operator: string, kind: CellKind): GoldenAdapter => ({
  operator,
  options: ["B", "L", "inputSize", "hiddenSize", "layers", "bidirectional", "bias", "seed"],
  run(inputs, { options }) {
    const h0 = maybe(inputs, "h0");
    const { y, h, c } = recurrentNetwork(kind, parameterTree(inputs) as RecurrentParameters, real(inputs, "x"), {
      layers: count(options, "layers"),
      bidirectional: options["bidirectional"] === true,
      hiddenSize: count(options, "hiddenSize"),
      initial: h0 && { h: h0, c: maybe(inputs, "c0") },
    });
    return { y, hT: h, ...(c && { cT: c }) };
  },
});

export const rnnAdapters: readonly GoldenAdapter[] = [
  recurrent("rnn_tanh", "rnn"),
  recurrent("gru", "gru"),
  recurrent("lstm", "lstm"),
];
