/** Softmax attention of queries to keys (Vaswani et al., Attention Is All You Need, 2017), for one or many queries a head. */
import {
  abs,
  add,
  and,
  cast,
  defineKernel,
  div,
  equal,
  exp,
  iota,
  less,
  lessEqual,
  log,
  matmul,
  max,
  mul,
  reshape,
  ShapeError,
  stopGradient,
  sub,
  sum,
  transpose,
  where,
  type Dims,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";
import { cpuAttention } from "./cpu-variant.js";
import { UNSEEN, wholePower, type AttentionOptions } from "./options.js";
import { attentionOnGpu, attentionOnMatrixUnits } from "./webgpu/variants.js";

/** Axes of the inputs of {@link scaledDotProductAttention}. */
export type AttentionInputs = {
  /** Queries of H heads. */
  readonly q: "B H L K";
  /** Keys of G groups; head h reads group floor(h G / H). G = H: multi-head, G = 1: multi-query, else grouped-query. */
  readonly k: "B G S K";
  /** Values of G groups. */
  readonly v: "B G S V";
  /** i32: which of several packed sequences a query belongs to; it sees the keys of that sequence alone. */
  readonly querySegments: "B L";
  /** i32: the same of the keys; a number no query has marks padding. */
  readonly keySegments: "B S";
  /** i32: positions of the queries; by default the last L of S, so query i is at i + S - L. */
  readonly queryPositions: "B L";
  /** i32: positions of the keys; by default 0 .. S-1. A negative one marks a place without a key. */
  readonly keyPositions: "B S";
};

/** Axes of the outputs of {@link scaledDotProductAttention}. */
export type AttentionOutputs = {
  /** Sums of values, weighted by the softmax; 0 for a query that sees no key. */
  readonly out: "B H L V";
  /** log of the sum of e^score, by which parts of a softmax can be put together; {@link UNSEEN} where no key is seen. */
  readonly logSumExp: "B H L";
};

/**
 * out_i = sum_j softmax_j(scale q_i . k_j - slope_h |p_i - p_j|) v_j over the keys j that query i sees: none after it if
 * `causal`, none `window` or more positions away, none of another segment. logSumExp_i = log sum_j e^(the same).
 */
export const scaledDotProductAttention: Kernel<AttentionInputs, AttentionOutputs, AttentionOptions> = defineKernel<
  AttentionInputs,
  AttentionOutputs,
  AttentionOptions
>({
  name: "scaledDotProductAttention",
  options: { causal: "flag", window: { from: 0, whole: true }, scale: {}, alibi: "flag" },
  inputs: {
    q: "B H L K",
    k: "B G S K",
    v: "B G S V",
    querySegments: "B L",
    keySegments: "B S",
    queryPositions: "B L",
    keyPositions: "B S",
  },
  optional: ["querySegments", "keySegments", "queryPositions", "keyPositions"],
  halves: ["q", "k", "v"],
  dtypes: { querySegments: "i32", keySegments: "i32", queryPositions: "i32", keyPositions: "i32" },
  outputs: { out: "B H L V", logSumExp: "B H L" },
  reference: plainAttention,
  cost({ B, H, G, L, S, K, V }, { causal, window }, present) {
    const pairs = pairsSeen(L!, S!, causal, window);
    const labels = (name: Optional, length: number): number => (present?.has(name) === false ? 0 : length);
    return {
      flops: B! * H! * pairs * (2 * K! + 2 * V! + 4),
      bytes:
        4 *
        B! *
        (H! * L! * (K! + V! + 1) +
          G! * S! * (K! + V!) +
          labels("querySegments", L!) +
          labels("queryPositions", L!) +
          labels("keySegments", S!) +
          labels("keyPositions", S!)),
    };
  },
  variants: [cpuAttention, attentionOnMatrixUnits, attentionOnGpu],
  samples: [
    sample("causal", { B: 1, H: 2, G: 2, L: 70, S: 70, K: 8, V: 8 }, {}),
    sample("grouped, ragged, longer keys", { B: 1, H: 4, G: 2, L: 37, S: 133, K: 5, V: 7 }, {}),
    sample("one query, shared keys", { B: 2, H: 3, G: 1, L: 1, S: 40, K: 4, V: 4 }, {}),
    sample("all keys", { B: 1, H: 2, G: 1, L: 9, S: 66, K: 4, V: 3 }, { causal: false }),
    sample("more queries than keys", { B: 1, H: 1, G: 1, L: 6, S: 4, K: 2, V: 2 }, {}),
    sample("window and alibi", { B: 1, H: 3, G: 3, L: 150, S: 150, K: 4, V: 4 }, { window: 11, alibi: true }),
    sample("window of both sides", { B: 1, H: 2, G: 1, L: 80, S: 80, K: 3, V: 4 }, { window: 5, causal: false }),
    sample("segments", { B: 2, H: 2, G: 1, L: 40, S: 40, K: 4, V: 4 }, {}, ["querySegments", "keySegments"]),
    sample("everything", { B: 2, H: 2, G: 1, L: 6, S: 35, K: 4, V: 4 }, { window: 20, alibi: true }, [
      "querySegments",
      "keySegments",
      "queryPositions",
      "keyPositions",
    ]),
  ],
});

type Optional = "querySegments" | "keySegments" | "queryPositions" | "keyPositions";

function sample(name: string, dims: Dims, options: Partial<AttentionOptions>, given: readonly Optional[] = []) {
  const all: readonly Optional[] = ["querySegments", "keySegments", "queryPositions", "keyPositions"];
  return {
    name,
    dims,
    options: { causal: true, window: 0, scale: 0.5, alibi: false, ...options },
    without: all.filter((input) => !given.includes(input)),
    ranges: {
      querySegments: [0, 2],
      keySegments: [0, 2],
      queryPositions: [0, 40],
      keyPositions: [-5, 40],
    } as const,
  };
}

/** Pairs of a query and a key that it sees, without segments. */
function pairsSeen(L: number, S: number, causal: boolean, window: number): number {
  let pairs = 0;
  for (let i = S - L; i < S; i++) {
    const first = window > 0 ? Math.max(0, i - window + 1) : 0;
    const last = causal ? i : window > 0 ? Math.min(S - 1, i + window - 1) : S - 1;
    pairs += Math.max(0, last - first + 1);
  }
  return pairs;
}

/** What {@link plainAttention} takes. */
interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly querySegments?: Tensor;
  readonly keySegments?: Tensor;
  readonly queryPositions?: Tensor;
  readonly keyPositions?: Tensor;
}

/** The definition, with all scores [B H L S] at once. */
function plainAttention(inputs: Inputs, options: AttentionOptions, dims: Dims): { out: Tensor; logSumExp: Tensor } {
  const { q, k, v } = inputs;
  const [B, H, G, L, S, K, V] = ["B", "H", "G", "L", "S", "K", "V"].map((axis) => dims[axis]!) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (H % G !== 0 || (inputs.querySegments === undefined) !== (inputs.keySegments === undefined))
    throw new ShapeError(
      `scaledDotProductAttention: expected groups G that divide heads H, and segments of queries and keys or of neither, got H=${H}, G=${G}, ${inputs.querySegments ? "querySegments" : "no querySegments"}, ${inputs.keySegments ? "keySegments" : "no keySegments"}`,
    );
  // The heads of a group are further rows of its product.
  const rows = (x: Tensor, width: number): Tensor => reshape(x, [B, G, (H / G) * L, width]);
  const products = mul(matmul(rows(q, K), transpose(k)), options.scale);
  const scores = reshape(products, [B, H, L, S]);
  const distance = distances(inputs, L, S);
  const biased = options.alibi ? sub(scores, mul(slopes(H), cast(abs(distance), "f32"))) : scores;
  const seen = visible(inputs, distance, options);
  const shown = seen ? where(seen, biased, UNSEEN) : biased;
  const largest = stopGradient(max(shown, -1, { keepDims: true }));
  const powers = exp(sub(shown, largest));
  const weights = seen ? where(seen, powers, 0) : powers;
  const total = sum(weights, -1, { keepDims: true });
  const none = equal(total, 0);
  const divisor = where(none, 1, total);
  const mixed = reshape(matmul(rows(weights, S), v), [B, H, L, V]);
  return {
    out: div(mixed, divisor),
    logSumExp: reshape(where(none, UNSEEN, add(log(divisor), largest)), [B, H, L]),
  };
}

/** {@link alibiSlope} of all heads [H 1 1]. */
function slopes(H: number): Tensor {
  const P = wholePower(H);
  const h = cast(iota([H, 1, 1], 0), "f32");
  return exp(mul(where(less(h, P), add(h, 1), sub(h, P - 0.5)), (-8 * Math.LN2) / P));
}

/** Position of the query less that of the key, i32 [1 or B, 1, L, S]. */
function distances({ queryPositions, keyPositions }: Inputs, L: number, S: number): Tensor {
  const query = queryPositions
    ? reshape(queryPositions, [queryPositions.shape[0]!, 1, L, 1])
    : add(iota([1, 1, L, 1], 2), S - L);
  return sub(query, keyPositions ? reshape(keyPositions, [keyPositions.shape[0]!, 1, 1, S]) : iota([1, 1, 1, S], 3));
}

/** Whether a query sees a key; undefined if all see all. */
function visible(
  { querySegments, keySegments, keyPositions }: Inputs,
  distance: Tensor,
  { causal, window }: AttentionOptions,
): Tensor | undefined {
  const [L, S] = distance.shape.slice(-2) as [number, number];
  const conditions = [
    causal && lessEqual(0, distance),
    window > 0 && less(causal ? distance : abs(distance), window),
    querySegments &&
      equal(
        reshape(querySegments, [querySegments.shape[0]!, 1, L, 1]),
        reshape(keySegments!, [keySegments!.shape[0]!, 1, 1, S]),
      ),
    keyPositions && lessEqual(0, reshape(keyPositions, [keyPositions.shape[0]!, 1, 1, S])),
  ].filter((condition): condition is Tensor => typeof condition === "object");
  return conditions.length === 0 ? undefined : conditions.reduce((all, condition) => and(all, condition));
}
