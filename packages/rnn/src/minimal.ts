/** minGRU and minLSTM (Feng et al., Were RNNs All We Needed?, 2024): gates without the state, so that a scan runs them. */
import { defineMixer, inChunks, type MixerDefinition } from "@seqmix/mixer";
import { initLinear, linear, type LinearParameters } from "@seqmix/nn";
import { linearScan } from "@seqmix/scan";
import {
  add,
  broadcastTo,
  cast,
  expandDims,
  foldIn,
  full,
  mul,
  neg,
  reshape,
  sigmoid,
  sliceAxis,
  softplus,
  sub,
  where,
  less,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link minGru} and {@link minLstm}. */
export type MinimalConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** State entries N as a multiple of D. */
  readonly expand: number;
  /** Positions the chunked mode takes at once. */
  readonly chunkSize: number;
};

/** Linear maps [N D] of gates and candidate, and [D N] of the state to the output. */
export type MinimalParameters = {
  /** minGRU: the share of the candidate. */
  readonly linear_z?: LinearParameters;
  /** minLSTM: what is kept, and what is taken in, before they are divided by their sum. */
  readonly linear_f?: LinearParameters;
  /** The input gate, of the minLSTM alone. */
  readonly linear_i?: LinearParameters;
  /** The candidate, before {@link positive}. */
  readonly linear_h: LinearParameters;
  /** State to output. */
  readonly out_proj: LinearParameters;
};

/** h [B N]. */
export type MinimalState = {
  /** The state [B D]. */
  readonly h: Tensor;
};

/** x + 1/2 where x is at least 0, else sigmoid(x): the paper's g, which keeps states positive (appendix B.3). */
export const positive = (x: Tensor): Tensor => where(less(x, 0), sigmoid(x), add(x, 0.5));

/** The state before anything, g(0) = 1/2 as in the paper's code. */
const START = 0.5;

/** h_t = kept h_(t-1) + drive. */
interface Recurrence {
  readonly kept: Tensor;
  readonly drive: Tensor;
}

function minimalMixer(
  id: string,
  gates: readonly ("linear_z" | "linear_f" | "linear_i")[],
  recurrence: (params: MinimalParameters, x: Tensor) => Recurrence,
): MixerDefinition<MinimalConfig, MinimalParameters, MinimalState> {
  const size = ({ dModel, expand }: MinimalConfig): number => Math.round(dModel * expand);
  const initState = (config: MinimalConfig, batch: number): MinimalState => ({ h: full([batch, size(config)], START) });
  const parallel = (
    config: MinimalConfig,
    params: MinimalParameters,
    x: Tensor,
    state = initState(config, x.shape[0]!),
    resets?: Tensor,
  ): readonly [Tensor, MinimalState] => {
    const [B, L] = x.shape as [number, number];
    const { kept, drive } = recurrence(params, x);
    if (L === 0) return [linear(params.out_proj, drive), state];
    const flags = resets && broadcastTo(expandDims(cast(resets, "f32"), 2), kept.shape);
    const h = linearScan({
      a: kept,
      // what a reset forgets begins again from START
      b: flags ? add(drive, mul(mul(flags, kept), START)) : drive,
      h0: state.h,
      axis: 1,
      resets: flags,
    });
    return [linear(params.out_proj, h), { h: reshape(sliceAxis(h, 1, L - 1, L), [B, size(config)]) }];
  };
  return defineMixer({
    id,
    config: { dModel: 64, expand: 1, chunkSize: 256 } as MinimalConfig,
    ranges: { expand: [0, Infinity] },
    samples: { expanded: { dModel: 2, expand: 2, chunkSize: 4 } },
    state: "constant",
    resets: true,

    init(config, key: Key): MinimalParameters {
      const N = size(config);
      const maps = Object.fromEntries(
        [...gates, "linear_h"].map((name) => [name, initLinear(foldIn(key, name), config.dModel, N)]),
      );
      return {
        ...maps,
        out_proj: initLinear(foldIn(key, "out_proj"), N, config.dModel, { bias: false }),
      } as MinimalParameters;
    },

    initState,

    step(_, params, x, { h }) {
      const { kept, drive } = recurrence(params, x);
      const next = add(mul(kept, h), drive);
      return [linear(params.out_proj, next), { h: next }];
    },

    modes: {
      parallel,
      chunked: (config, params, x, state, resets) =>
        inChunks(
          (piece, before: MinimalState | undefined, flags) => parallel(config, params, piece, before, flags),
          config.chunkSize,
          x,
          state,
          resets,
        ),
    },
  });
}

/** h_t = (1 - z_t) h_(t-1) + z_t g(W_h x_t), z_t = sigmoid(W_z x_t); y = W_o h. */
export const minGru = minimalMixer("minGru", ["linear_z"], ({ linear_z, linear_h }, x) => {
  const z = sigmoid(linear(linear_z!, x));
  return { kept: sub(1, z), drive: mul(z, positive(linear(linear_h, x))) };
});

/**
 * h_t = f' h_(t-1) + i' g(W_h x_t) with f' = f / (f + i), i' = i / (f + i) and f, i = sigmoid(W x_t); y = W_o h. The quotients
 * are of logarithms, as in the paper's algorithm (appendix B.3): both gates may be smaller than any number.
 */
export const minLstm = minimalMixer("minLstm", ["linear_f", "linear_i"], ({ linear_f, linear_i, linear_h }, x) => {
  const [f, i] = [linear(linear_f!, x), linear(linear_i!, x)];
  const kept = sigmoid(sub(softplus(neg(i)), softplus(neg(f))));
  return { kept, drive: mul(sub(1, kept), positive(linear(linear_h, x))) };
});
