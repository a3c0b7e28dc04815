/** Causal multi-head softmax attention (Vaswani et al., Attention Is All You Need, 2017) with rotary positions. */
import { defineMixer } from "@seqmix/mixer";
import { initLinear, linear, rotaryEmbedding, type LinearParameters } from "@seqmix/nn";
import {
  add,
  concat,
  expandDims,
  foldIn,
  iota,
  lessEqual,
  matmul,
  mul,
  reshape,
  ShapeError,
  softmax,
  transpose,
  where,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link attention}. */
export type AttentionConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Heads H, a divisor of D; P = D / H channels each. */
  readonly nHeads: number;
  /** Base of the rotary position embedding; 0 for none. P must be even otherwise. */
  readonly rotaryBase: number;
  /** Whether the four linear maps have a bias. */
  readonly bias: boolean;
};

/** Four maps of D to D channels under the keys of OPT's and BART's checkpoints. */
export type AttentionParameters = {
  /** Queries; rows h P .. h P + P - 1 belong to head h, in this and the next two. */
  readonly q_proj: LinearParameters;
  /** Keys. */
  readonly k_proj: LinearParameters;
  /** Values. */
  readonly v_proj: LinearParameters;
  /** The heads' results, side by side, to the output. */
  readonly out_proj: LinearParameters;
};

/** The cache of all T elements so far. */
export type AttentionState = {
  /** Keys, turned by their positions [B H T P]. */
  readonly k: Tensor;
  /** Values [B H T P]. */
  readonly v: Tensor;
};

/**
 * y_t = out(concat_h sum_(s <= t) softmax_s(q_t . k_s / sqrt(P)) v_s), with q and k turned by their positions.
 * Its state is the cache of keys and values, 2 D numbers for each element seen.
 */
export const attention = defineMixer({
  id: "attention",
  config: { dModel: 64, nHeads: 4, rotaryBase: 10000, bias: false } as AttentionConfig,
  samples: { rotary: { dModel: 4, nHeads: 2, bias: true, rotaryBase: 100 } },
  state: "grows",

  init({ dModel, bias, ...config }, key: Key): AttentionParameters {
    headDim({ dModel, bias, ...config });
    const project = (name: string): LinearParameters => initLinear(foldIn(key, name), dModel, dModel, { bias });
    return {
      q_proj: project("q_proj"),
      k_proj: project("k_proj"),
      v_proj: project("v_proj"),
      out_proj: project("out_proj"),
    };
  },

  initState(config, batch): AttentionState {
    const empty = zeros([batch, config.nHeads, 0, headDim(config)]);
    return { k: empty, v: empty };
  },

  step(config, params, x, state) {
    const [y, next] = attend(config, params, expandDims(x, 1), state);
    return [reshape(y, x.shape), next];
  },

  modes: {
    parallel: attend,
  },
});

/** x [B L D] attends to the cache and to itself. */
function attend(
  config: AttentionConfig,
  params: AttentionParameters,
  x: Tensor,
  state?: AttentionState,
): readonly [Tensor, AttentionState] {
  const [B, L, D] = x.shape as [number, number, number];
  const [H, P] = [config.nHeads, headDim(config)];
  const T = state?.k.shape[2] ?? 0;
  const heads = (projection: LinearParameters): Tensor =>
    transpose(reshape(linear(projection, x), [B, L, H, P]), [0, 2, 1, 3]);
  const turn = (each: Tensor): Tensor =>
    config.rotaryBase === 0 ? each : rotaryEmbedding(each, { offset: T, base: config.rotaryBase });
  const grow = (cache: Tensor | undefined, each: Tensor): Tensor => (cache && T > 0 ? concat([cache, each], 2) : each);

  const q = turn(heads(params.q_proj));
  const k = grow(state?.k, turn(heads(params.k_proj)));
  const v = grow(state?.v, heads(params.v_proj));
  const scores = mul(matmul(q, transpose(k)), 1 / Math.sqrt(P));
  // Query i stands at position T + i. A large number in place of -infinity keeps 0 * infinity out of the gradients.
  const seen = lessEqual(iota([L, T + L], 1), add(iota([L, T + L], 0), T));
  const mixed = matmul(softmax(where(seen, scores, -1e30)), v);
  return [linear(params.out_proj, reshape(transpose(mixed, [0, 2, 1, 3]), [B, L, D])), { k, v }];
}

/** P. @throws ShapeError if the heads do not divide the channels, or cannot be turned in pairs. */
function headDim({ dModel, nHeads, rotaryBase }: AttentionConfig): number {
  const P = dModel / nHeads;
  if (!Number.isInteger(P) || P < 1)
    throw new ShapeError(
      `attention: expected nHeads that divides dModel, got nHeads=${nHeads} and dModel=${dModel}; change one of them`,
    );
  if (rotaryBase !== 0 && P % 2 !== 0)
    throw new ShapeError(
      `attention: expected an even dModel / nHeads for rotary positions, got ${P}; change nHeads, or set rotaryBase=0`,
    );
  return P;
}
