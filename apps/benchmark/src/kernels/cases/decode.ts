/** Generating tokens one by one. */
import { mamba } from "@seqmix/mamba";
import {
  generate,
  initLanguageModel,
  initLanguageModelState,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
} from "@seqmix/mixer";
import {
  autocast,
  cpu,
  dispose,
  key,
  leavesOf,
  realize,
  reference,
  sum,
  tensor,
  type Device,
  type Tensor,
  type TensorData,
  type Tree,
} from "@seqmix/tensor";
import { timesOf, tokenRate, type Bar } from "../bars.js";
import { relativeError } from "../compare.js";
import type { BenchmarkCase, Contestant, OwnContestant } from "../contestant.js";
import { withoutHalf } from "../gpu.js";
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
const smallOf = (model: LanguageModelConfig): LanguageModelConfig => ({
  ...model,
  dModel: 64,
  nLayers: 2,
  vocabSize: 100,
});

/** What is decoded, and how. */
interface Decoding {
  readonly model: LanguageModelConfig;
  readonly batch: number;
  /** With weights and products of f16. */
  readonly half: boolean;
}

/** Tokens asked for at once: more than are ever measured. */
const ENDLESS = 1e9;
/** Tokens of a run: single ones come to the host in bursts, some of them at once. */
const TOGETHER = 16;

async function open(device: Device, { model, batch, half }: Decoding, tolerance: number): Promise<OwnContestant> {
  const params = initLanguageModel(model, key(1));
  await realize(params as Tree, { device });
  const tokens = generate(model, params, prompt(batch), {
    length: ENDLESS,
    device,
    ...(half && { weights: "f16" }),
  });
  const logits = stepLanguageModel(model, params, first(batch), initLanguageModelState(model, batch))[0];
  return {
    variant: await variantOf(logits, device),
    times: TOGETHER,
    async run() {
      for (let k = 0; k < TOGETHER; k++) await tokens.next();
    },
    read: () => [],
    check: () => check(device, { model: smallOf(model), batch, half }, tolerance),
    async close() {
      await tokens.return();
      dispose(params as Tree);
    },
  };
}

const prompt = (batch: number): Tensor => tensor(new Int32Array(batch).fill(1), [batch, 1]);
const first = (batch: number): Tensor => tensor(new Int32Array(batch).fill(1));

/** Logits of eight tokens, each the most probable one after those before it. */
async function check(device: Device, { model, batch, half }: Decoding, tolerance: number): Promise<Check> {
  const oracle = reference();
  const [ours, theirs] = [await start(device, model, batch), await start(oracle, model, batch)];
  let error = 0;
  let tokens = new Int32Array(batch).fill(1);
  for (let t = 0; t < 8; t++) {
    const [found, expected] = [await logitsBehind(ours, tokens, half), await logitsBehind(theirs, tokens, false)];
    error = Math.max(error, relativeError(found, expected));
    const V = model.vocabSize;
    tokens = tokens.map((_, b) => largest(expected.subarray(b * V, (b + 1) * V)));
  }
  for (const { params, state } of [ours, theirs]) dispose([params, state] as readonly Tree[]);
  await oracle.close();
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: "logits of 8 tokens of a smaller model, layers2 D64 V100",
  };
}

interface Decoder {
  readonly device: Device;
  readonly model: LanguageModelConfig;
  readonly params: LanguageModelParameters;
  state: LanguageModelState;
}

async function start(device: Device, model: LanguageModelConfig, batch: number): Promise<Decoder> {
  const params = initLanguageModel(model, key(1));
  const state = initLanguageModelState(model, batch);
  await realize([params, state] as readonly Tree[], { device });
  return { device, model, params, state };
}

/** @param half With products of f16. */
async function logitsBehind(decoder: Decoder, tokens: Int32Array, half: boolean): Promise<TensorData> {
  const before = decoder.state;
  const step = half ? autocast(stepLanguageModel) : stepLanguageModel;
  const [logits, after] = step(decoder.model, decoder.params, tensor(tokens), before);
  await realize([logits, after] as readonly Tree[], { device: decoder.device, donate: [before as Tree] });
  decoder.state = after;
  const values = await logits.data();
  logits.dispose();
  return values;
}

const largest = (scores: TensorData): number => scores.indexOf(Math.max(...scores));

const weightsOf = (model: LanguageModelConfig): number =>
  leavesOf(initLanguageModel(model, key(0))).reduce((total, { size }) => total + size, 0);

/** A token for each of `batch` sequences by a language model with random weights, kept in f32 or f16. */
function decodeCase(kernel: string, decoding: Decoding, bars: readonly Bar[], elsewhere?: string): BenchmarkCase {
  const { model, batch, half } = decoding;
  const { nLayers, dModel, vocabSize, mixerConfig } = model;
  const weights = weightsOf(model);
  return {
    kernel,
    shape: `${batch > 1 ? `B${batch} ` : ""}layers${nLayers} D${dModel} N${String(mixerConfig!.dState)} V${vocabSize}`,
    mode: "step",
    dtype: half ? "f16" : "f32",
    ...(half && { missing: withoutHalf }),
    ...(elsewhere !== undefined && { reference: elsewhere }),
    flops: 2 * batch * weights,
    bytes: (half ? 2 : 4) * weights,
    rate: "tokens/s",
    tokens: batch,
    bars,
    prepare: () => ({
      open: (device, products) => open(device, decoding, products === "tf32" || half ? 2e-2 : 1e-4),
      loops: {},
      peers: {},
    }),
  };
}

/** Mamba's tokens. */
export const mambaDecode = (batch: number, bars: readonly Bar[], dtype: "f32" | "f16" = "f32"): BenchmarkCase =>
  decodeCase("mambaDecode", { model: published, batch, half: dtype === "f16" }, bars);

/** Mamba-2's. */
export const mamba2Decode = (model: LanguageModelConfig): BenchmarkCase =>
  decodeCase("mamba2Decode", { model, batch: 1, half: false }, [], "H200: official PyTorch and Triton 0.64 ms a token");

/** Threads that the figures of the processor are asked of. */
const THREADS = 2;
const readOnce = `reading the weights once, ${THREADS} threads`;

/** Reads every weight once: what a token takes at least. */
async function reading(): Promise<Contestant> {
  const device = cpu({ threads: THREADS });
  const weights = leavesOf(initLanguageModel(published, key(1)));
  await realize(weights, { device });
  return {
    async run() {
      dispose(
        await realize(
          weights.map((x) => sum(x)),
          { device },
        ),
      );
    },
    read: () => [],
    async close() {
      dispose(weights);
      await device.close();
    },
  };
}

const onProcessor = mambaDecode(1, [tokenRate(8, 1), timesOf({ [readOnce]: 1.3 }, THREADS)]);

/** A token on the processor, beside the time that reading the weights takes. */
export const mambaDecodeOnProcessor: BenchmarkCase = {
  ...onProcessor,
  prepare: () => ({ ...onProcessor.prepare(), beside: async () => ({ [readOnce]: await reading() }) }),
};
