/** The recurrent block of Griffin and Hawk (De et al., Griffin: Mixing Gated Linear Recurrences with Local Attention, 2024). */
import { defineMixer, inChunks } from "@seqmix/mixer";
import {
  causalConv1d,
  causalConv1dStep,
  initLinear,
  linear,
  normalInit,
  type CausalConv1dParameters,
  type LinearParameters,
} from "@seqmix/nn";
import { linearScan } from "@seqmix/scan";
import {
  add,
  cast,
  concat,
  div,
  einsum,
  exp,
  expandDims,
  expm1,
  foldIn,
  geluTanh,
  log,
  maximum,
  mul,
  ones,
  reshape,
  sigmoid,
  sliceAxis,
  softplus,
  sqrt,
  stopGradient,
  sub,
  transpose,
  uniform,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link hawk}. */
export type HawkConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Channels of the recurrence over dModel: E = expand D; 1 in RecurrentGemma, 4/3 in the paper. */
  readonly expand: number;
  /** Blocks H on the diagonal of the gates' weights, of P = E / H channels. */
  readonly nHeads: number;
  /** W, width of the short convolution. */
  readonly dConv: number;
  /** Positions the chunked mode takes at once. */
  readonly chunkSize: number;
};

/** A map whose matrix has H blocks on its diagonal. */
export type BlockDiagonalParameters = {
  /** [H P P], inputs first. */
  readonly w: Tensor;
  /** [H P]. */
  readonly b: Tensor;
};

/** Parameters under the keys of RecurrentGemma's `RecurrentBlock`. */
export type HawkParameters = {
  /** The gate of the output, weight [E D]. */
  readonly linear_y: LinearParameters;
  /** What goes through the recurrence, weight [E D]. */
  readonly linear_x: LinearParameters;
  /** The short convolution; the last row of w multiplies the present input. */
  readonly conv_1d: {
    /** [W E]. */
    readonly w: Tensor;
    /** [E]. */
    readonly b: Tensor;
  };
  /** The recurrence. */
  readonly rg_lru: {
    /** Lambda [E]: softplus of it is the rate of decay. */
    readonly a_param: Tensor;
    /** i, the share of the input that is taken. */
    readonly input_gate: BlockDiagonalParameters;
    /** r, how much of the rate applies. */
    readonly a_gate: BlockDiagonalParameters;
  };
  /** Weight [D E]. */
  readonly linear_out: LinearParameters;
};

/** What later outputs need of the elements so far. */
export type HawkState = {
  /** The last W-1 inputs of the short convolution [B E W-1]. */
  readonly conv: Tensor;
  /** The state of the recurrence [B E]. */
  readonly h: Tensor;
  /** 1 before the first element, then 0 [B 1]: the first one is not scaled. */
  readonly fresh: Tensor;
};

/** c: the gate r lets the decay be anything from 1 to a^c. */
const SHARPNESS = 8;
/** Least and largest size of a fresh decay a = e^-softplus(a_param), uniform in the ring between them. */
const [LEAST, LARGEST] = [0.9, 0.999];
/** Bound of the slope of the square root. */
const STEEPEST = 1000;

/**
 * y = linear_out(gelu(linear_y x) h) with u = conv(linear_x x) and
 * h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t u_t, where log a_t = -8 r_t softplus(a_param), r_t = sigmoid(a_gate u_t) and
 * i_t = sigmoid(input_gate u_t) (equations 1 to 4). As in the authors' code the first element of a sequence enters whole,
 * h_0 = i_0 u_0, GELU is the one by tanh, and the slope of the square root is bounded by 1,000.
 */
export const hawk = defineMixer({
  id: "hawk",
  config: { dModel: 64, expand: 1, nHeads: 4, dConv: 4, chunkSize: 256 } as HawkConfig,
  ranges: {
    expand: [0, Infinity],
    nHeads: [1, Infinity, "whole"],
    dConv: [1, Infinity, "whole"],
  },
  samples: { wider: { dModel: 2, expand: 2, nHeads: 2, dConv: 3, chunkSize: 3 } },
  resets: true,
  state: "constant",

  init(config, key: Key, place): HawkParameters {
    const { dModel: D, nHeads: H, dConv: W } = config;
    const { E, P } = extents(config);
    const map = (name: string, inputs: number, outputs: number, scale = 1): LinearParameters =>
      initLinear(foldIn(key, name), inputs, outputs, {
        weightInit: normalInit(Math.sqrt(scale / inputs)),
        biasInit: (_, shape) => zeros(shape),
      });
    const gate = (name: string): BlockDiagonalParameters => ({
      w: normalInit(1 / Math.sqrt(P))(foldIn(key, name), [H, P, P]),
      b: zeros([H, P]),
    });
    const square = uniform(foldIn(key, "a_param"), [E], LEAST ** 2, LARGEST ** 2);
    return {
      linear_y: map("linear_y", D, E),
      linear_x: map("linear_x", D, E),
      conv_1d: { w: normalInit(Math.sqrt(0.01 / W))(foldIn(key, "conv_1d"), [W, E]), b: zeros([E]) },
      rg_lru: {
        // softplus^-1(-log a), a = sqrt(square)
        a_param: log(expm1(mul(log(square), -0.5))),
        input_gate: gate("input_gate"),
        a_gate: gate("a_gate"),
      },
      // a layer of the published models adds to the residual stream twice
      linear_out: map("linear_out", E, D, place ? 2 / place.count : 1),
    };
  },

  initState,

  step(_, params, x, { conv, h, fresh }) {
    const [u, next] = causalConv1dStep(depthwise(params), linear(params.linear_x, x), conv);
    const { a, b } = recurrence(params, u, fresh);
    const after = add(mul(a, h), b);
    return [output(params, x, after), { conv: next, h: after, fresh: zeros(fresh.shape) }];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (piece, before: HawkState | undefined, flags) => parallel(config, params, piece, before, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

function initState(config: HawkConfig, batch: number): HawkState {
  const { E } = extents(config);
  return { conv: zeros([batch, E, config.dConv - 1]), h: zeros([batch, E]), fresh: ones([batch, 1]) };
}

function parallel(
  config: HawkConfig,
  params: HawkParameters,
  x: Tensor,
  given?: HawkState,
  resets?: Tensor,
): readonly [Tensor, HawkState] {
  const [B, L] = x.shape as [number, number];
  const state = given ?? initState(config, B);
  if (L === 0) return [x, state];
  const [u, conv] = causalConv1d(depthwise(params), linear(params.linear_x, x), state.conv, { resets });
  const begun = concat([expandDims(state.fresh, 1), zeros([B, L - 1, 1])], 1);
  const flags = resets && expandDims(cast(resets, "f32"), 2);
  const { a, b } = recurrence(params, u, flags ? maximum(begun, flags) : begun);
  const h = linearScan({ a, b, h0: state.h, axis: 1, resets: flags });
  const last = reshape(sliceAxis(h, 1, L - 1, L), state.h.shape);
  return [output(params, x, h), { conv, h: last, fresh: zeros([B, 1]) }];
}

/** Decay and drive of the recurrence for its inputs u [.. E]; `fresh` [.. 1] is 1 at the first element of a sequence, else 0. */
function recurrence({ rg_lru }: HawkParameters, u: Tensor, fresh: Tensor): { readonly a: Tensor; readonly b: Tensor } {
  const rate = mul(softplus(rg_lru.a_param), -SHARPNESS);
  const logDecay = mul(sigmoid(blockDiagonal(rg_lru.a_gate, u)), rate);
  // 1 - a^2, without cancellation where a is near 1
  const taken = boundedSqrt(mul(expm1(mul(logDecay, 2)), -1));
  const scale = add(fresh, mul(sub(1, fresh), taken));
  return { a: exp(logDecay), b: mul(mul(u, sigmoid(blockDiagonal(rg_lru.input_gate, u))), scale) };
}

/** The root of x, whose slope is that of the root of the bound where x is smaller. */
function boundedSqrt(x: Tensor): Tensor {
  const root = stopGradient(sqrt(x));
  const slope = stopGradient(div(0.5, sqrt(maximum(x, 1 / (2 * STEEPEST) ** 2))));
  return add(root, mul(slope, sub(x, stopGradient(x))));
}

/** x [.. H P] -> [.. H P], as [.. E] both. */
function blockDiagonal({ w, b }: BlockDiagonalParameters, x: Tensor): Tensor {
  const [H, P] = b.shape as [number, number];
  const rows = reshape(x, [x.size / (H * P), H, P]);
  return reshape(add(einsum("M H I, H I J -> M H J", rows, w), b), x.shape);
}

const depthwise = ({ conv_1d }: HawkParameters): CausalConv1dParameters => ({
  weight: transpose(conv_1d.w),
  bias: conv_1d.b,
});

const output = (params: HawkParameters, x: Tensor, h: Tensor): Tensor =>
  linear(params.linear_out, mul(geluTanh(linear(params.linear_y, x)), h));

function extents({ dModel, expand, nHeads }: HawkConfig): { readonly E: number; readonly P: number } {
  const E = Math.round(expand * dModel);
  if (E === 0 || E % nHeads !== 0)
    throw new RangeError(
      `hawk: expected nHeads that divide the ${E} channels of the recurrence, got ${nHeads}; change it, expand or dModel`,
    );
  return { E, P: E / nHeads };
}
