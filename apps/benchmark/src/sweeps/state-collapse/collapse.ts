/**
 * State collapse (Chen et al., Stuffed Mamba: State Collapse and State Capacity of RNN-Based Long-Context Modeling, 2024): a
 * model trained on short sequences never had to forget, and beyond their length its state fills up. Mamba-2 is trained on
 * streams from their start to one of several lengths, and read far beyond, as it is and with each way to keep the state in bounds.
 */
import { mixers } from "@seqmix/catalog";
import {
  initLanguageModel,
  initLanguageModelState,
  languageModelHead,
  languageModelLoss,
  limitNorm,
  mixerConfigOf,
  reduceRetention,
  residualBlock,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type ResidualBlockParameters,
  type StateHook,
} from "@seqmix/mixer";
import { embedding, rmsNorm } from "@seqmix/nn";
import { adamw, cosineSchedule, trainer } from "@seqmix/optim";
import {
  argmax,
  cast,
  compile,
  dispose,
  equal,
  foldIn,
  key,
  mean,
  mul,
  realize,
  sqrt,
  square,
  stack,
  sum,
  zeros,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { parameterGroupsOf } from "../../trials/parameter-groups.js";
import { recallStreams, type RecallBatch, type RecallStreamConfig } from "./recall-stream.js";

/** A model and how long it is trained. */
export interface CollapseTrial {
  /** T, tokens of a training sequence. */
  readonly trained: number;
  /** N of Mamba-2. */
  readonly dState: number;
  readonly seed: number;
}

/** What all trials have in common. */
export interface CollapseSetting {
  readonly stream: RecallStreamConfig;
  readonly steps: number;
  /** Tokens of a training step. */
  readonly tokens: number;
  readonly learningRate: number;
  /** D. */
  readonly dModel: number;
  readonly nLayers: number;
  /** Tokens that a trained model is read to; a power of two times `stretch`. */
  readonly longest: number;
  /** Tokens between two changes of the state. */
  readonly stretch: number;
  /** Streams that a trained model is read on. */
  readonly sequences: number;
}

/** What was found with one way to keep the state in bounds. */
export interface CollapseCurve {
  readonly mitigation: string;
  /** Last token of each octave: accuracies are of those since the one before. */
  readonly positions: readonly number[];
  /** Share of values that were right. */
  readonly accuracy: readonly number[];
  /** Root mean square of the entries of each head's state, layer by layer, after the last token of each octave. */
  readonly states: readonly (readonly number[])[];
}

/** One trained model. */
export interface CollapseOutcome extends CollapseTrial {
  /** Of the last training steps. */
  readonly loss: number;
  readonly curves: readonly CollapseCurve[];
}

/** A state of Mamba-2: inputs of its convolution, and the state space's [B H N P]. */
type LayerState = { readonly conv: Tensor; readonly ssm: Tensor };

/** How a state is kept in bounds. */
interface Mitigation {
  readonly name: string;
  /** For the state of a layer, given its largest norm of a head at the training length. */
  hook?(norm: number): StateHook;
  /** Tokens after which the state becomes that of as many last tokens. */
  readonly window?: number;
}

const mamba2 = mixers.find(({ id }) => id === "mamba2")!;
const configOf = ({ stream, dModel, nLayers }: CollapseSetting, { dState }: CollapseTrial): LanguageModelConfig => ({
  mixer: mamba2,
  mixerConfig: { dState, headDim: 16, chunkSize: 64 },
  dModel,
  nLayers,
  vocabSize: 2 * stream.keys,
});

/** The paper's three, with what each needs to know taken from the training length. */
export const mitigationsFor = (trained: number, stretch: number): readonly Mitigation[] => [
  { name: "none" },
  { name: "less retention", hook: () => reduceRetention(Math.exp(-stretch / trained)) },
  { name: "norm limit", hook: limitNorm },
  { name: "window", window: Math.max(stretch, trained / 2) },
];

/** Trains one model and reads it far beyond its training length in every way. */
export async function runCollapseTrial(
  setting: CollapseSetting,
  trial: CollapseTrial,
  device: Device,
): Promise<CollapseOutcome> {
  const config = configOf(setting, trial);
  const { params, loss, close } = await train(setting, trial, config, device);
  const curves: CollapseCurve[] = [];
  let limits: readonly number[] = [];
  for (const mitigation of mitigationsFor(trial.trained, setting.stretch)) {
    const { norms, ...curve } = await read(setting, trial, config, params, mitigation, limits, device);
    if (limits.length === 0) limits = norms;
    curves.push(curve);
  }
  close();
  return { ...trial, loss, curves };
}

async function train(
  { stream, steps, tokens, learningRate }: CollapseSetting,
  { trained, seed }: CollapseTrial,
  config: LanguageModelConfig,
  device: Device,
) {
  const source = key(seed);
  const step = trainer({
    loss: (params: LanguageModelParameters, batch: RecallBatch) => languageModelLoss(config, params, batch),
    optimizer: adamw({
      learningRate: cosineSchedule({ peak: learningRate, warmupSteps: Math.ceil(steps / 20), totalSteps: steps }),
      weightDecay: 0.1,
      groups: parameterGroupsOf(config.mixer!, learningRate),
    }),
    params: initLanguageModel(config, foldIn(source, "parameters")),
    clip: 1,
    disposeBatch: true,
    device,
  });
  let loss = 0;
  for (let k = 0; k < steps; k++) {
    const streams = recallStreams(stream, foldIn(foldIn(source, "training"), k), tokens / trained);
    ({ loss } = await step(await realize(streams.next(trained), { device })));
  }
  return { params: step.params, loss, close: () => step.dispose() };
}

/** What a stretch leaves: counts of right and of all answers, states' sizes, and the states themselves. */
type Stretch = readonly [
  right: Tensor,
  all: Tensor,
  sizes: Tensor,
  states: readonly LayerState[],
  fresh: readonly LayerState[],
];

async function read(
  { stream, longest, stretch, sequences }: CollapseSetting,
  { trained, seed }: CollapseTrial,
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  { name, hook, window }: Mitigation,
  limits: readonly number[],
  device: Device,
): Promise<CollapseCurve & { readonly norms: readonly number[] }> {
  const streams = recallStreams(stream, foldIn(key(seed), "test"), sequences);
  const hooks = limits.map((limit) => hook?.(limit));
  const advance = compile(
    (given: LanguageModelParameters, batch: RecallBatch, before: readonly LayerState[], alone: readonly LayerState[]) =>
      readStretch(config, given, batch, before, alone, hooks),
    { device, donate: [2, 3] },
  );
  const begin = async (): Promise<readonly LayerState[]> =>
    realize(initLanguageModelState(config, sequences) as readonly LayerState[], { device });
  let states = await begin();
  let fresh = window === undefined ? [] : await begin();
  const [positions, accuracy, sizes]: [number[], number[], number[][]] = [[], [], []];
  let [right, all, octave] = [0, 0, Math.max(stretch, trained / 8)];
  let norms: readonly number[] = limits;
  for (let seen = stretch; seen <= longest; seen += stretch) {
    const batch = await realize(streams.next(stretch), { device });
    const [rightNow, allNow, sizeNow, after, since] = (await advance(params, batch, states, fresh)) as Stretch;
    right += await rightNow.item();
    all += await allNow.item();
    const size = [...(await sizeNow.data())];
    dispose([batch, rightNow, allNow, sizeNow]);
    [states, fresh] = [after, since];
    if (window !== undefined && seen % window === 0) {
      dispose(after);
      states = since;
      fresh = await realize(emptied(since), { device });
    }
    if (seen === trained) norms = largestNorms(size, states);
    if (seen !== octave) continue;
    positions.push(seen);
    accuracy.push(all === 0 ? 0 : right / all);
    sizes.push(size);
    [right, all, octave] = [0, 0, 2 * octave];
  }
  dispose([states, fresh]);
  return { mitigation: name, positions, accuracy, states: sizes, norms };
}

/** States that have seen nothing but what the convolution still holds. */
const emptied = (states: readonly LayerState[]): LayerState[] =>
  states.map(({ conv, ssm }) => ({ conv: mul(conv, 1), ssm: zeros(ssm.shape) }));

/** The largest norm of a head's state by layer, of root mean squares by layer and head. */
function largestNorms(sizes: readonly number[], states: readonly LayerState[]): readonly number[] {
  const heads = sizes.length / states.length;
  return states.map(({ ssm }, layer) => {
    const entries = ssm.size / (ssm.shape[0]! * ssm.shape[1]!);
    return Math.max(...sizes.slice(layer * heads, (layer + 1) * heads)) * Math.sqrt(entries);
  });
}

/**
 * A stretch of tokens from given states. `fresh` are states of the last tokens alone: they see the same inputs of their layers,
 * so that they are what is left of the states when the share of what came before is taken away.
 */
function readStretch(
  config: LanguageModelConfig,
  params: LanguageModelParameters,
  { tokens, labels, mask }: RecallBatch,
  states: readonly LayerState[],
  fresh: readonly LayerState[],
  hooks: readonly (StateHook | undefined)[],
): Stretch {
  const mixer = config.mixer!;
  const settings = mixerConfigOf(config);
  let x = embedding(params.embedding, tokens);
  const [after, since]: [LayerState[], LayerState[]] = [[], []];
  for (const [k, layer] of params.layers.entries()) {
    const block = layer as ResidualBlockParameters;
    const [y, next] = residualBlock(mixer, settings, block, x, states[k]) as readonly [Tensor, LayerState];
    const hook = hooks[k];
    after.push(hook ? { conv: next.conv, ssm: hook(next.ssm, 0) as Tensor } : next);
    if (fresh[k]) since.push(residualBlock(mixer, settings, block, x, fresh[k])[1] as LayerState);
    x = y;
  }
  const logits = languageModelHead(params, rmsNorm(params.norm_f, x));
  const right = mul(mask, cast(equal(argmax(logits, -1), labels), "f32"));
  const sizes = stack(after.map(({ ssm }) => sqrt(mean(square(ssm), [0, 2, 3]))));
  return [sum(right), sum(mask), sizes, after, since];
}
