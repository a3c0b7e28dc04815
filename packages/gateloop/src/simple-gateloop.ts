/** The simplified GateLoop layer, real and without outer products, as published in `simplified_gate_loop.py`. */
import { defineMixer, inChunks } from "@seqmix/mixer";
import {
  initLayerNorm,
  initLinear,
  layerNorm,
  linear,
  rmsNorm,
  type LayerNormParameters,
  type LinearParameters,
} from "@seqmix/nn";
import { linearScan } from "@seqmix/scan";
import {
  add,
  assertSettings,
  expandDims,
  foldIn,
  mul,
  ones,
  reshape,
  sigmoid,
  sliceAxis,
  split,
  tanh,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link simpleGateLoop}. */
export type SimpleGateLoopConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Whether inputs are normalized. */
  readonly preNorm: boolean;
  /** Whether outputs are normalized. */
  readonly postLn: boolean;
  /** Whether decays go from -1 to 1, 2 sigmoid(a) - 1, instead of from 0 to 1: a state may change its sign, which parity needs (Grazzi et al., 2024, section 4). */
  readonly allowNegEigval: boolean;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys. */
export type SimpleGateLoopParameters = {
  /** The norm before the layer: x / |x| sqrt(D) gamma; none: no norm. */
  readonly norm?: {
    /** [D]. */
    readonly gamma: Tensor;
  };
  /** Weight [3D D]: queries, inputs of the recurrence, gates. */
  readonly to_qkva: readonly [LinearParameters];
  /** Scale and shift [D]; none: no norm. */
  readonly maybe_post_ln?: LayerNormParameters;
};

/**
 * h_t = sigmoid(a_t) h_(t-1) + u_t, y = q_t h_t, channel by channel, with q, u, a linear maps of the normed input. The state is h [B D].
 * With `allowNegEigval` the decay is 2 sigmoid(a_t) - 1 (Grazzi et al., Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024).
 */
export const simpleGateLoop = defineMixer({
  id: "simple-gateloop",
  config: { dModel: 64, preNorm: true, postLn: false, allowNegEigval: false, chunkSize: 64 } as SimpleGateLoopConfig,
  samples: {
    "with a norm": { dModel: 3, postLn: true, chunkSize: 2 },
    "without any": { dModel: 3, preNorm: false, chunkSize: 2 },
    "decays from -1 to 1": { dModel: 3, allowNegEigval: true, chunkSize: 2 },
  },
  resets: true,
  state: "constant",
  init: ({ dModel, preNorm, postLn }, key: Key): SimpleGateLoopParameters => ({
    ...(preNorm && { norm: { gamma: ones([dModel]) } }),
    to_qkva: [initLinear(foldIn(key, "to_qkva"), dModel, 3 * dModel, { bias: false })],
    ...(postLn && { maybe_post_ln: initLayerNorm(dModel) }),
  }),
  initState: ({ dModel }, batch): Tensor => zeros([batch, dModel]),
  step({ allowNegEigval }, params, x, h) {
    const [q, u, a] = project(params, x, allowNegEigval);
    const next = add(mul(a, h), u);
    return [finish(params, mul(q, next)), next];
  },
  modes: {
    parallel: ({ allowNegEigval }, params, x, h0, resets) =>
      simpleGateLoopSequence(params, x, { h0, resets, allowNegEigval }),
    chunked: ({ chunkSize, allowNegEigval }, params, x, h0, resets) =>
      inChunks(
        (piece, state: Tensor | undefined, flags) =>
          simpleGateLoopSequence(params, piece, { h0: state, resets: flags, allowNegEigval }),
        chunkSize,
        x,
        h0,
        resets,
      ),
  },
});

/** How {@link simpleGateLoopSequence} runs. */
export interface SimpleGateLoopSequenceOptions {
  /** State before the first position of the run [B D]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** From the last position to the first. */
  readonly reverse?: boolean;
  /** bool [B L], true at the first position (the last, with `reverse`) of each of several sequences packed into one. */
  readonly resets?: Tensor | undefined;
  /** Decays from -1 to 1; false by default. */
  readonly allowNegEigval?: boolean;
}

/**
 * The layer over a whole sequence, forwards or from the last position to the first.
 * @param x [B L D]
 * @returns y [B L D] and the state after the last position of the run [B D]
 */
export function simpleGateLoopSequence(
  params: SimpleGateLoopParameters,
  x: Tensor,
  options: SimpleGateLoopSequenceOptions = {},
): readonly [Tensor, Tensor] {
  assertSettings("simpleGateLoopSequence", options, {
    h0: "tensor?",
    reverse: "flag",
    resets: "tensor?",
    allowNegEigval: "flag",
  });
  const { h0, reverse = false, resets, allowNegEigval = false } = options;
  const [B, L, D] = x.shape as [number, number, number];
  if (L === 0) return [x, h0 ?? zeros([B, D])];
  const [q, u, a] = project(params, x, allowNegEigval);
  const h = linearScan({ a, b: u, h0, axis: 1, reverse, resets: resets && expandDims(resets, 2) });
  const end = reverse ? 0 : L - 1;
  return [finish(params, mul(q, h)), reshape(sliceAxis(h, 1, end, end + 1), [B, D])];
}

/** Queries, drive and decay (0 to 1, or -1 to 1) of x [.. D]. */
function project(
  { norm, to_qkva: [map] }: SimpleGateLoopParameters,
  x: Tensor,
  allowNegEigval: boolean,
): readonly [Tensor, Tensor, Tensor] {
  const D = x.shape.at(-1)!;
  const [q, u, a] = split(linear(map, unitNorm(norm, x)), [D, D, D]) as [Tensor, Tensor, Tensor];
  return [q, u, allowNegEigval ? tanh(mul(a, 0.5)) : sigmoid(a)];
}

const finish = ({ maybe_post_ln }: SimpleGateLoopParameters, y: Tensor): Tensor =>
  maybe_post_ln ? layerNorm(maybe_post_ln, y) : y;

/** x / |x| sqrt(D) gamma: a norm by the root mean square whose eps only spares 0/0. Without parameters, x. */
export const unitNorm = (norm: SimpleGateLoopParameters["norm"], x: Tensor): Tensor =>
  norm ? rmsNorm({ weight: norm.gamma }, x, { eps: 1e-24 }) : x;
