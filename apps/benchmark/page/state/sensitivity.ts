/** What a model's state holds of each token it has seen. */
import {
  initLanguageModelState,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
} from "@seqmix/mixer";
import {
  add,
  argmax,
  compile,
  concat,
  dispose,
  expandDims,
  foldIn,
  gather,
  key,
  leavesOf,
  mean,
  mul,
  normal,
  realize,
  reshape,
  sliceAxis,
  sizeOf,
  sqrt,
  square,
  sub,
  sum,
  tensor,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** A model reading a sequence, position by position. */
export interface Reading {
  /**
   * [L L], row t and column j: how much the state after position t changes with the vector of token j, relative to the change.
   * 0 for j > t.
   */
  readonly sensitivity: Float32Array;
  /** What the model says at each position: the most likely token. */
  readonly answers: readonly number[];
  /** After each position: the largest array of each layer's state as rows and columns. */
  readonly states: readonly (readonly StateImage[])[];
}

/** An array of a state as a picture. */
export interface StateImage {
  readonly rows: number;
  readonly columns: number;
  readonly values: ArrayLike<number>;
}

/** Directions into which each token's vector is moved; their mean is shown. */
const DIRECTIONS = 3;
/** Length of the move relative to the vector: small enough for a straight line, large enough for f32. */
const MOVE = 0.02;

/**
 * Reads a sequence with a model, and the same sequence once for each token and direction with that token's vector moved a
 * little. How far the states come apart is what the state holds of the token: a model that selects keeps tokens that matter and
 * passes over the others.
 * @param tokens L tokens
 * @throws RangeError for a mixer without a recurrent form.
 */
export async function readSequence(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  tokens: readonly number[],
  device: Device,
  progress: (done: number) => void = () => {},
): Promise<Reading> {
  const L = tokens.length;
  const { wider, model } = withMovedTokens(config, params, tokens);
  const moved = await realize(wider, { device });
  const step = compile(
    (own: LanguageModelParameters, token: Tensor, state: LanguageModelState) => {
      const [logits, next] = stepLanguageModel(model, own, token, state);
      const said = argmax(sliceAxis(sliceAxis(logits, 0, 0, 1), 1, 0, config.vocabSize), 1);
      return { next, said, apart: distances(next) };
    },
    { device },
  );
  let state = await realize(initLanguageModelState(model, 1 + L * DIRECTIONS), { device });
  const sensitivity = new Float32Array(L * L);
  const answers: number[] = [];
  const states: (readonly StateImage[])[] = [];
  for (let t = 0; t < L; t++) {
    // At position t all sequences have the same token, but for those in which it is the moved one.
    const row = Int32Array.from({ length: 1 + L * DIRECTIONS }, (_, b) =>
      Math.floor((b - 1) / DIRECTIONS) === t && b > 0 ? config.vocabSize + b - 1 : tokens[t]!,
    );
    const { next, said, apart } = await step(moved, tensor(row, [row.length]), state);
    const far = await apart.data();
    for (let j = 0; j <= t; j++) {
      const mine = Array.from({ length: DIRECTIONS }, (_, d) => far[j * DIRECTIONS + d]!);
      sensitivity[t * L + j] = mine.reduce((a, b) => a + b, 0) / DIRECTIONS / MOVE;
    }
    answers.push(await said.item());
    states.push(await images(next, device));
    dispose(state);
    state = next;
    progress(t + 1);
  }
  dispose(moved);
  return { sensitivity, answers, states };
}

/** The model with one more token for each place and direction: the token of that place, moved. */
function withMovedTokens(config: LanguageModelConfig, params: LanguageModelParameters, tokens: readonly number[]) {
  const L = tokens.length;
  const [, D] = params.embedding.weight.shape as [number, number];
  const own = gather(params.embedding.weight, tensor(Int32Array.from(tokens), [L]), 0);
  const lengths = expandDims(sqrt(mean(square(own), 1, { keepDims: true })), 1);
  const directions = normal(foldIn(key(0), "directions"), [L, DIRECTIONS, D]);
  const places = reshape(add(expandDims(own, 1), mul(mul(lengths, MOVE), directions)), [L * DIRECTIONS, D]);
  const weight = concat([params.embedding.weight, places], 0);
  return {
    wider: { ...params, embedding: { ...params.embedding, weight } },
    model: { ...config, vocabSize: config.vocabSize + L * DIRECTIONS },
  };
}

/** How far the recurrent state of each sequence but the first is from the first one's: [B-1]. */
function distances(state: LanguageModelState): Tensor {
  const each = state.map(largestLeaf).map((leaf) => {
    const B = leaf.shape[0]!;
    const flat = reshape(leaf, [B, leaf.shape.slice(1).reduce((a, b) => a * b, 1)]);
    return sum(square(sub(sliceAxis(flat, 0, 1, B), sliceAxis(flat, 0, 0, 1))), 1);
  });
  return sqrt(each.reduce(add));
}

/** The largest array of a layer's state: what the recurrence carries on, beside short buffers and counters. */
const largestLeaf = (layer: Tree): Tensor =>
  leavesOf(layer)
    .filter(({ dtype }) => dtype === "f32")
    .reduce((a, b) => (sizeOf(b.shape) > sizeOf(a.shape) ? b : a));

/** That array of each layer, of the first sequence. */
function images(state: LanguageModelState, device: Device): Promise<StateImage[]> {
  return Promise.all(
    state.map(async (layer) => {
      const largest = largestLeaf(layer);
      const first = await realize(sliceAxis(largest, 0, 0, 1), { device });
      const values = await first.data();
      dispose(first);
      const columns = largest.shape.length > 2 ? largest.shape.at(-1)! : values.length;
      return upright({ rows: values.length / columns, columns, values });
    }),
  );
}

/** Wider than high, as screens are. */
function upright({ rows, columns, values }: StateImage): StateImage {
  if (rows <= columns) return { rows, columns, values };
  const turned = Float32Array.from(
    { length: values.length },
    (_, n) => values[(n % rows) * columns + Math.floor(n / rows)]!,
  );
  return { rows: columns, columns: rows, values: turned };
}
