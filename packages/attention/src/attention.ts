/** Softmax attention as a sequence mixer (Vaswani et al., Attention Is All You Need, 2017). */
import { defineMixer, inChunks } from "@seqmix/mixer";
import {
  embedding,
  initEmbedding,
  initLinear,
  linear,
  rotaryEmbedding,
  type EmbeddingParameters,
  type LinearParameters,
} from "@seqmix/nn";
import {
  add,
  checkpoint,
  expandDims,
  foldIn,
  reshape,
  ShapeError,
  transpose,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  emptyCache,
  extend,
  forgetCache,
  positionOf,
  positionsSinceReset,
  withRoom,
  type AttentionState,
} from "./cache.js";
import { POSITION_ENCODINGS, xpos, type PositionEncoding } from "./positions.js";
import { scaledDotProductAttention } from "./scaled-dot-product.js";

/** Settings of {@link attention}. */
export type AttentionConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Heads H. */
  readonly nHeads: number;
  /** Heads of keys and values G, a divisor of H: 1 for multi-query attention, H (or 0, the default) for multi-head. */
  readonly nKvHeads: number;
  /** Channels a head P; 0: D / H. */
  readonly headDim: number;
  /** How positions are known: "rope" (the default), "xpos", "alibi", "absolute" (a learned table added to the input) or "none". */
  readonly positionEncoding: PositionEncoding;
  /** Base of the rotations of "rope" and "xpos". */
  readonly rotaryBase: number;
  /** Positions that "absolute" has vectors for; later ones take the last. */
  readonly maxLength: number;
  /** Elements an element sees, itself included (Beltagy et al., Longformer, 2020); 0: all before it. */
  readonly window: number;
  /** Whether the linear maps have a bias. */
  readonly bias: boolean;
  /** false: every element sees all, as in an encoder; there is no state then. */
  readonly causal: boolean;
  /** Elements the chunked mode takes at once; their scores are computed again for the gradient. */
  readonly chunkSize: number;
};

/** Four linear maps under the keys of OPT's and BART's checkpoints. */
export type AttentionParameters = {
  /** Queries [H P, D]; rows h P .. h P + P - 1 belong to head h. */
  readonly q_proj: LinearParameters;
  /** Keys [G P, D]; head h uses group floor(h G / H). */
  readonly k_proj: LinearParameters;
  /** Values [G P, D]. */
  readonly v_proj: LinearParameters;
  /** The heads' results, side by side, to the output [D, H P]. */
  readonly out_proj: LinearParameters;
  /** With "absolute": vectors of positions [maxLength D]. */
  readonly wpe?: EmbeddingParameters;
};

/**
 * y_t = out(concat_h sum_(s <= t) softmax_s(q_t . k_s / sqrt(P)) v_s). Its state is the cache of keys and values, 2 G P
 * numbers for each element seen. Resets pack several sequences into one; a reset at the first element of a sequence padded
 * on the left hides the padding.
 */
export const attention = defineMixer({
  id: "attention",
  config: {
    dModel: 64,
    nHeads: 4,
    nKvHeads: 0,
    headDim: 0,
    positionEncoding: "rope",
    rotaryBase: 10000,
    maxLength: 1024,
    window: 0,
    bias: false,
    causal: true,
    chunkSize: 256,
  } as AttentionConfig,
  choices: { positionEncoding: POSITION_ENCODINGS },
  ranges: {
    nHeads: [1, Infinity, "whole"],
    nKvHeads: [0, Infinity, "whole"],
    headDim: [0, Infinity, "whole"],
    window: [0, Infinity, "whole"],
    maxLength: [1, Infinity, "whole"],
    rotaryBase: [1e-30, Infinity],
  },
  samples: {
    "grouped, rope": { dModel: 4, nHeads: 2, nKvHeads: 1, bias: true, rotaryBase: 100, chunkSize: 3 },
    "window, absolute, own head dimension": {
      dModel: 2,
      nHeads: 1,
      headDim: 3,
      positionEncoding: "absolute",
      maxLength: 20,
      window: 3,
      chunkSize: 4,
    },
    "both ways": { dModel: 4, nHeads: 2, positionEncoding: "alibi", causal: false, window: 2 },
  },
  state: "grows",
  residualMaps: /^out_proj\.weight$/,
  resets: true,
  causal: ({ causal }) => causal,

  init(config, key: Key): AttentionParameters {
    const { dModel: D, positionEncoding, maxLength, bias } = config;
    const { H, G, P } = headsOf(config);
    const project = (name: string, inputs: number, outputs: number): LinearParameters =>
      initLinear(foldIn(key, name), inputs, outputs, { bias });
    return {
      q_proj: project("q_proj", D, H * P),
      k_proj: project("k_proj", D, G * P),
      v_proj: project("v_proj", D, G * P),
      out_proj: project("out_proj", H * P, D),
      ...(positionEncoding === "absolute" && { wpe: initEmbedding(foldIn(key, "wpe"), maxLength, D) }),
    };
  },

  initState(config, batch): AttentionState {
    const { G, P } = headsOf(config);
    return emptyCache(batch, G, P);
  },

  reserve: (_, state, length) => withRoom(state, length),
  forget: (_, state, flags) => forgetCache(state, flags),

  step(config, params, x, state) {
    const [y, next] = attend(config, params, expandDims(x, 1), state);
    return [reshape(y, x.shape), next];
  },

  modes: {
    parallel: attend,
    chunked(config, params, x, state, resets) {
      const piece = (part: Tensor, before: AttentionState | undefined, flags: Tensor | undefined) => {
        const { y, after } = checkpoint((given: ChunkInputs) => {
          const [out, next] = attend(config, given.params, given.part, given.before, given.flags);
          return { y: out, after: next };
        })({ params, part, ...(before && { before }), ...(flags && { flags }) });
        return [y, after] as const;
      };
      return inChunks(piece, config.chunkSize, x, state, resets);
    },
  },
});

type ChunkInputs = {
  readonly params: AttentionParameters;
  readonly part: Tensor;
  readonly before?: AttentionState;
  readonly flags?: Tensor;
};

/** x [B L D] attends to the cache and to itself. */
function attend(
  config: AttentionConfig,
  params: AttentionParameters,
  input: Tensor,
  state?: AttentionState,
  resets?: Tensor,
): readonly [Tensor, AttentionState] {
  const [B, L] = input.shape as [number, number, number];
  const { H, G, P } = headsOf(config);
  const x = params.wpe ? add(input, embedding(params.wpe, positionsSinceReset(state, resets, [B, L]))) : input;
  const heads = (projection: LinearParameters, count: number): Tensor =>
    transpose(reshape(linear(projection, x), [B, L, count, P]), [0, 2, 1, 3]);
  const turn = turning(config, positionOf(state));
  const { state: next, ...places } = extend(
    state,
    turn(heads(params.k_proj, G), "key"),
    heads(params.v_proj, G),
    resets,
  );
  const { out } = scaledDotProductAttention(
    { q: turn(heads(params.q_proj, H), "query"), k: next.k, v: next.v, ...places },
    { causal: config.causal, window: config.window, scale: P ** -0.5, alibi: config.positionEncoding === "alibi" },
  );
  return [linear(params.out_proj, reshape(transpose(out, [0, 2, 1, 3]), [B, L, H * P])), next];
}

/** What is done to queries and keys [B . L P] of elements from `offset` on. */
function turning(
  { positionEncoding, rotaryBase: base }: AttentionConfig,
  offset: number | Tensor,
): (x: Tensor, side: "query" | "key") => Tensor {
  if (positionEncoding === "rope") return (x) => rotaryEmbedding(x, { offset, base });
  if (positionEncoding === "xpos") return (x, side) => xpos(x, side, { offset, base });
  return (x) => x;
}

/** H, G and P. @throws ShapeError if the heads do not divide the channels, the groups the heads, or rotations have no pairs. */
function headsOf({ dModel, nHeads: H, nKvHeads, headDim, positionEncoding }: AttentionConfig): {
  readonly H: number;
  readonly G: number;
  readonly P: number;
} {
  const P = headDim > 0 ? headDim : dModel / H;
  const G = nKvHeads > 0 ? nKvHeads : H;
  if (!Number.isInteger(P) || P < 1)
    throw new ShapeError(
      `attention: expected nHeads that divides dModel, got nHeads=${H} and dModel=${dModel}; change one of them, or set headDim`,
    );
  if (H % G !== 0)
    throw new ShapeError(`attention: expected nKvHeads that divides nHeads, got nKvHeads=${G} and nHeads=${H}`);
  if (["rope", "xpos"].includes(positionEncoding) && P % 2 !== 0)
    throw new ShapeError(
      `attention: expected an even number of channels a head for rotations, got ${P}; change nHeads, or set positionEncoding`,
    );
  return { H, G, P };
}
