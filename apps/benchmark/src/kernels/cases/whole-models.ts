/** Whole language models on a large GPU, with random weights: a training step, tokens one by one, and a long prompt at once. */
import { attention } from "@seqmix/attention";
import { mamba } from "@seqmix/mamba";
import { mamba2 } from "@seqmix/mamba2";
import {
  forwardLanguageModel,
  initLanguageModel,
  languageModelLoss,
  stepLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
} from "@seqmix/mixer";
import { adamw, clipByGlobalNorm } from "@seqmix/optim";
import {
  autocast,
  cast,
  dispose,
  floor,
  foldIn,
  key,
  leavesOf,
  mapTree,
  mul,
  realize,
  reference,
  reshape,
  sliceAxis,
  uniform,
  valueAndGrad,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { parameterGroupsOf } from "../../trials/parameter-groups.js";
import { atMost, tokenRate, type Bar } from "../bars.js";
import { relativeError } from "../compare.js";
import type { BenchmarkCase, OwnContestant } from "../contestant.js";
import { withoutHalf } from "../gpu.js";
import type { Check } from "../row.js";
import { variantOf } from "../variant.js";
import { trainingCase, type Training } from "../training-case.js";
import { mamba2Decode, mambaDecode } from "./decode.js";

const k = key(2026);

const weightsOf = (config: LanguageModelConfig): number =>
  leavesOf(initLanguageModel(config, k)).reduce((total, { size }) => total + size, 0);

/** Random tokens [B L]. */
const words = ({ vocabSize }: LanguageModelConfig, batch: number, length: number, name = "tokens"): Tensor =>
  cast(floor(uniform(foldIn(k, name), [batch, length], 0, vocabSize)), "i32");

/** What the loss of a step in f16 is multiplied by, so that gradients fit. */
const LOSS_SCALE = 1024;

/** Forward, backward, clipping and AdamW on random tokens; `half`: with products of f16 and a scaled loss. */
function training(config: LanguageModelConfig, batch: number, length: number, half = false): Training {
  const optimizer = adamw({ learningRate: 1e-3, weightDecay: 0.01, groups: parameterGroupsOf(config.mixer, 1e-3) });
  const lossOf = (params: LanguageModelParameters, [tokens, labels]: readonly [Tensor, Tensor]): Tensor =>
    languageModelLoss(config, params, { tokens, labels });
  const inHalf = autocast(lossOf);
  const lossAndGradient = valueAndGrad((params: LanguageModelParameters, data: readonly [Tensor, Tensor]): Tensor =>
    half ? mul(inHalf(params, data), LOSS_SCALE) : lossOf(params, data),
  );
  const ofLoss = <T extends Tree>(tree: T): T =>
    half ? (mapTree((x) => mul(x, 1 / LOSS_SCALE), tree as Tree) as T) : tree;
  return {
    fixedBatch: true,
    start() {
      const params = initLanguageModel(config, foldIn(k, "parameters"));
      return { params, optimizer: optimizer.init(params) };
    },
    batch: () => [words(config, batch, length, "tokens"), words(config, batch, length, "labels")],
    step(learner, data) {
      const [loss, gradient] = lossAndGradient(
        learner.params as LanguageModelParameters,
        data as Tree as readonly [Tensor, Tensor] & Tree,
      );
      const [params, state] = optimizer.update(
        clipByGlobalNorm(ofLoss(gradient), 1)[0],
        learner.optimizer,
        learner.params as LanguageModelParameters,
      );
      return { loss: ofLoss(loss), params, optimizer: state };
    },
  };
}

interface Step {
  readonly kernel: string;
  readonly config: LanguageModelConfig;
  readonly batch: number;
  readonly length: number;
  /** Operations beside six for each token and weight. */
  readonly more: number;
  readonly smaller: Partial<LanguageModelConfig>;
  readonly bars: readonly Bar[];
  /** Where products are of tf32; as `bars` by default. */
  readonly tf32Bars?: readonly Bar[];
  readonly elsewhere: string;
  /** Products of f16. */
  readonly half?: boolean;
}

function stepCase({
  kernel,
  config,
  batch,
  length,
  more,
  smaller,
  bars,
  tf32Bars = bars,
  elsewhere,
  half = false,
}: Step): BenchmarkCase {
  const weights = weightsOf(config);
  const tokens = batch * length;
  return trainingCase({
    kernel,
    shape: `B${batch} L${length} layers${config.nLayers} D${config.dModel} V${config.vocabSize}`,
    flops: 6 * tokens * weights + more,
    bytes: 4 * 6 * weights,
    rate: "tokens/s",
    tokens,
    bars,
    tf32Bars,
    reference: elsewhere,
    ...(half && { dtype: "f16", missing: withoutHalf }),
    tolerance: half ? 3e-2 : 1e-3,
    tf32Tolerance: 3e-2,
    training: () => training(config, batch, length, half),
    smaller: () => training({ ...config, nLayers: 2, vocabSize: 16, ...smaller }, 2, 24, half),
    smallerSize: "B2 L24, 2 layers, V16",
  });
}

const transformer: LanguageModelConfig = {
  mixer: attention,
  mixerConfig: { nHeads: 8 },
  dModel: 512,
  nLayers: 2,
  vocabSize: 256,
};
const smallMamba: LanguageModelConfig = {
  mixer: mamba,
  mixerConfig: { dState: 16, expand: 2 },
  dModel: 64,
  nLayers: 2,
  vocabSize: 16,
};
/** Mamba-130m (Gu and Dao, 2023). */
const mamba130m: LanguageModelConfig = { ...smallMamba, dModel: 768, nLayers: 24, vocabSize: 50280 };

/** Mamba2-130m (Dao and Gu, 2024). */
const mamba2130m: LanguageModelConfig = {
  ...mamba130m,
  mixer: mamba2,
  mixerConfig: { dState: 128, headDim: 64, expand: 2 },
};

/** Logits behind a prompt: only the state of all tokens but the last is asked for, so that one row goes through the head. */
function logitsBehind(config: LanguageModelConfig, params: LanguageModelParameters, tokens: Tensor): Tensor {
  const L = tokens.shape[1]!;
  const [, state] = forwardLanguageModel(config, params, sliceAxis(tokens, 1, 0, L - 1));
  return stepLanguageModel(config, params, reshape(sliceAxis(tokens, 1, L - 1, L), [tokens.shape[0]!]), state)[0];
}

async function openPrefill(device: Device, length: number, tolerance: number): Promise<OwnContestant> {
  const params = await realize(initLanguageModel(mamba130m, k), { device });
  const tokens = await realize(words(mamba130m, 1, length), { device });
  return {
    variant: await variantOf(logitsBehind(mamba130m, params, tokens), device),
    run: async () => dispose(await realize(logitsBehind(mamba130m, params, tokens), { device })),
    read: () => [],
    check: () => checkPrefill(device, tolerance),
    close: () => dispose([params, tokens] as readonly Tree[]),
  };
}

/** The logits behind 100 tokens of a smaller model. */
async function checkPrefill(device: Device, tolerance: number): Promise<Check> {
  const oracle = reference();
  const [found, expected] = await Promise.all(
    [device, oracle].map(async (each) => {
      const logits = logitsBehind(smallMamba, initLanguageModel(smallMamba, k), words(smallMamba, 2, 100));
      return (await realize(logits, { device: each })).data();
    }),
  );
  const error = relativeError(found!, expected!);
  await oracle.close();
  const coverage = "logits behind 100 tokens of a smaller model, layers2 D64 V16";
  return { check: error <= tolerance ? "green" : "red", error, tolerance, unit: "relative", coverage };
}

function prefillCase(length: number, bars: readonly Bar[], tf32Bars: readonly Bar[], elsewhere: string): BenchmarkCase {
  const weights = weightsOf(mamba130m);
  return {
    kernel: "mambaPrefill",
    shape: `B1 L${length} layers${mamba130m.nLayers} D${mamba130m.dModel} V${mamba130m.vocabSize}`,
    mode: "fwd",
    flops: 2 * length * (weights - mamba130m.vocabSize * mamba130m.dModel),
    bytes: 4 * weights,
    rate: "tokens/s",
    tokens: length,
    bars,
    tf32Bars,
    reference: elsewhere,
    prepare: () => ({
      open: (device, products) => openPrefill(device, length, products === "tf32" ? 2e-2 : 1e-4),
      loops: {},
      peers: {},
    }),
  };
}

const step = { batch: 8, length: 1024 };

/** The cases, small models first. */
export const wholeModels: readonly BenchmarkCase[] = [
  stepCase({
    kernel: "mambaLmStep",
    config: smallMamba,
    batch: 8,
    length: 256,
    more: 0,
    smaller: { dModel: 16 },
    bars: [atMost(1.49)],
    elsewhere: "as ablations train; first measured at 7.45 ms",
  }),
  stepCase({
    kernel: "attentionLmStep",
    config: transformer,
    ...step,
    // Scores and values: twelve for each pair of positions and channel.
    more: 12 * transformer.nLayers * step.batch * step.length ** 2 * transformer.dModel,
    smaller: { dModel: 32, mixerConfig: { nHeads: 2 } },
    bars: [atMost(6.2)],
    elsewhere: "H200: torch 6.2 ms f32 eager, 4.6 ms bf16 compiled",
  }),
  stepCase({
    kernel: "mambaLmStep",
    config: mamba130m,
    ...step,
    more: 0,
    smaller: { dModel: 16 },
    bars: [atMost(165)],
    tf32Bars: [atMost(95)],
    elsewhere: "H200: official PyTorch and CUDA 182.8 ms f32, 77.3 tf32, 86.9 bf16",
  }),
  stepCase({
    kernel: "mambaLmStep",
    config: mamba130m,
    ...step,
    more: 0,
    smaller: { dModel: 16 },
    bars: [atMost(95)],
    elsewhere: "H200: official PyTorch and CUDA 86.9 ms bf16",
    half: true,
  }),
  stepCase({
    kernel: "mamba2LmStep",
    config: mamba2130m,
    ...step,
    more: 0,
    smaller: { dModel: 32, mixerConfig: { dState: 16, headDim: 16, expand: 2 } },
    bars: [],
    elsewhere: "H200: official PyTorch and Triton 173 ms f32",
  }),
  mambaDecode(1, [tokenRate(600, 1)]),
  mamba2Decode(mamba2130m),
  mambaDecode(64, [tokenRate(25_000, 1)]),
  mambaDecode(64, [tokenRate(40_000, 1)], "f16"),
  prefillCase(65536, [atMost(340)], [atMost(140)], "H200: official PyTorch and CUDA 342 ms f32, 78 bf16"),
];
