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
import { tokenRate } from "../bars.js";
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
  token: number;
}

async function start(config: LanguageModelConfig, device: Device): Promise<Decoder> {
  const params = initLanguageModel(config, key(1));
  const state = initLanguageModelState(config, 1);
  await realize([params, state] as readonly Tree[], { device });
  const step = compile(
    (
      given: LanguageModelParameters,
      before: LanguageModelState,
      token: Tensor,
    ): readonly [Tensor, LanguageModelState] => stepLanguageModel(config, given, token, before),
    { device, donate: [1, 2] },
  );
  return { params, step, state, token: 1 };
}

/** Reads the most probable token, which is the next one's input. */
async function advance(decoder: Decoder): Promise<ArrayLike<number>> {
  const token = tensor(Int32Array.of(decoder.token));
  const [logits, next] = await decoder.step(decoder.params, decoder.state, token);
  decoder.state = next;
  const scores = await logits.data();
  dispose(logits);
  let best = 0;
  for (let v = 1; v < scores.length; v++) if (scores[v]! > scores[best]!) best = v;
  decoder.token = best;
  return scores;
}

const close = (decoder: Decoder): void => dispose([decoder.params, decoder.state] as readonly Tree[]);

async function open(device: Device): Promise<OwnContestant> {
  const decoder = await start(published, device);
  const [logits] = stepLanguageModel(published, decoder.params, tensor(Int32Array.of(1)), decoder.state);
  return {
    variant: await variantOf(logits as Tensor, device),
    run: async () => void (await advance(decoder)),
    read: () => [],
    check: () => check(device),
    close: () => close(decoder),
  };
}

/** Logits of eight tokens, each the most probable one after those before it. */
async function check(device: Device): Promise<Check> {
  const oracle = reference();
  const [ours, theirs] = [await start(small, device), await start(small, oracle)];
  let error = 0;
  for (let t = 0; t < 8; t++) {
    const found = await advance(ours);
    const expected = await advance(theirs);
    error = Math.max(error, relativeError(found, expected));
    ours.token = theirs.token;
  }
  close(ours);
  close(theirs);
  await oracle.close();
  const tolerance = 1e-4;
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: "logits of 8 tokens of a smaller model, layers2 D64 V100",
  };
}

const weights = leavesOf(initLanguageModel(published, key(0))).reduce((total, { size }) => total + size, 0);

/** One token of a Mamba language model with random weights. */
export const mambaDecode: BenchmarkCase = {
  kernel: "mambaDecode",
  shape: `layers${published.nLayers} D${published.dModel} N16 V${published.vocabSize}`,
  mode: "fwd",
  flops: 2 * weights,
  bytes: 4 * weights,
  rate: "tokens/s",
  tokens: 1,
  bars: [tokenRate(8, 2)],
  prepare: () => ({ open, loops: {}, peers: {} }),
};
