/** Generating tokens one by one. */
import { mamba } from "@seqmix/mamba";
import {
  initLanguageModel,
  initLanguageModelState,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
} from "@seqmix/mixer";
import {
  compile,
  dispose,
  key,
  leavesOf,
  realize,
  reference,
  tensor,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { Bar } from "../bars.js";
import { relativeError } from "../compare.js";
import type { BenchmarkCase, OwnContestant } from "../contestant.js";
import type { Check } from "../row.js";
import { variantOf } from "../variant.js";

/** Mamba-130m (Gu and Dao, 2023). */
const published: LanguageModelConfig = {
  mixer: mamba,
  mixerConfig: { dState: 16, expand: 2 },
  dModel: 768,
  nLayers: 24,
  vocabSize: 50280,
};
const small: LanguageModelConfig = { ...published, dModel: 64, nLayers: 2, vocabSize: 100 };

interface Decoder {
  readonly params: LanguageModelParameters;
  readonly step: (
    params: LanguageModelParameters,
    state: LanguageModelState,
    token: Tensor,
  ) => Promise<readonly [Tensor, LanguageModelState]>;
  state: LanguageModelState;
  tokens: Int32Array;
}

async function start(config: LanguageModelConfig, device: Device, batch: number): Promise<Decoder> {
  const params = initLanguageModel(config, key(1));
  const state = initLanguageModelState(config, batch);
  await realize([params, state] as readonly Tree[], { device });
  const step = compile(
    (
      given: LanguageModelParameters,
      before: LanguageModelState,
      token: Tensor,
    ): readonly [Tensor, LanguageModelState] => stepLanguageModel(config, given, token, before),
    { device, donate: [1, 2] },
  );
  return { params, step, state, tokens: new Int32Array(batch).fill(1) };
}

/** Reads the most probable tokens, which are the next step's inputs. */
async function advance(decoder: Decoder): Promise<ArrayLike<number>> {
  const token = tensor(decoder.tokens);
  const [logits, next] = await decoder.step(decoder.params, decoder.state, token);
  decoder.state = next;
  const scores = await logits.data();
  dispose(logits);
  const V = scores.length / decoder.tokens.length;
  decoder.tokens = decoder.tokens.map((_, b) => {
    let best = 0;
    for (let v = 1; v < V; v++) if (scores[b * V + v]! > scores[b * V + best]!) best = v;
    return best;
  });
  return scores;
}

const close = (decoder: Decoder): void => dispose([decoder.params, decoder.state] as readonly Tree[]);

async function open(device: Device, batch: number, tolerance: number): Promise<OwnContestant> {
  const decoder = await start(published, device, batch);
  const [logits] = stepLanguageModel(published, decoder.params, tensor(decoder.tokens.slice()), decoder.state);
  return {
    variant: await variantOf(logits as Tensor, device),
    run: async () => void (await advance(decoder)),
    read: () => [],
    check: () => check(device, batch, tolerance),
    close: () => close(decoder),
  };
}

/** Logits of eight tokens, each the most probable one after those before it. */
async function check(device: Device, batch: number, tolerance: number): Promise<Check> {
  const oracle = reference();
  const [ours, theirs] = [await start(small, device, batch), await start(small, oracle, batch)];
  let error = 0;
  for (let t = 0; t < 8; t++) {
    const found = await advance(ours);
    const expected = await advance(theirs);
    error = Math.max(error, relativeError(found, expected));
    ours.tokens = theirs.tokens.slice();
  }
  close(ours);
  close(theirs);
  await oracle.close();
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: "logits of 8 tokens of a smaller model, layers2 D64 V100",
  };
}

const weights = leavesOf(initLanguageModel(published, key(0))).reduce((total, { size }) => total + size, 0);

/** A token for each of `batch` sequences by a Mamba language model with random weights. */
export const mambaDecode = (batch: number, bars: readonly Bar[]): BenchmarkCase => ({
  kernel: "mambaDecode",
  shape: `${batch > 1 ? `B${batch} ` : ""}layers${published.nLayers} D${published.dModel} N16 V${published.vocabSize}`,
  mode: "step",
  flops: 2 * batch * weights,
  bytes: 4 * weights,
  rate: "tokens/s",
  tokens: batch,
  bars,
  prepare: () => ({
    open: (device, products) => open(device, batch, products === "tf32" ? 2e-2 : 1e-4),
    loops: {},
    peers: {},
  }),
});
