/** The model of a trial: a language model where the next token is guessed, else a sequence model with a head for the task. */
import {
  forwardLanguageModel,
  forwardSequenceModel,
  initLanguageModel,
  initSequenceModel,
  type AnyMixer,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type MixerSettings,
  type Pooling,
  type SequenceModelConfig,
  type SequenceModelParameters,
} from "@seqmix/mixer";
import { cast, type Key, type Tensor, type Tree } from "@seqmix/tensor";
import type { Batch, Task } from "@seqmix/tasks";

/** The network around the mixer. */
export interface Network {
  readonly mixer: AnyMixer;
  readonly mixerConfig: MixerSettings;
  readonly dModel: number;
  readonly nLayers: number;
  /** For tasks with answers of the whole sequence; the last position by default. */
  readonly pooling?: Exclude<Pooling, "none">;
}

/** A model as functions of its parameters, whatever it is made of. */
export interface Model {
  /** Where it is a language model: its settings. */
  readonly languageModel?: LanguageModelConfig;
  /** Fresh parameters. */
  init(key: Key): Tree;
  /** Scores of the classes, or numbers, for each answer: [B A classes] or [B A numbers]. */
  answers(params: Tree, batch: Pick<Batch, "inputs" | "present" | "resets">): Tensor;
}

/** The model for a task. Classes at every position that are the tokens themselves share their vectors with the input. */
export function modelOf({ input, output, answers }: Task, { pooling = "last", ...network }: Network): Model {
  const resetsOf = ({ resets }: Pick<Batch, "resets">): Tensor | undefined =>
    network.mixer.resets ? resets : undefined;
  if (answers === "positions" && "vocabSize" in input && "classes" in output && input.vocabSize === output.classes) {
    const config: LanguageModelConfig = { ...network, vocabSize: input.vocabSize };
    return {
      languageModel: config,
      init: (key) => initLanguageModel(config, key),
      answers: (params, batch) =>
        forwardLanguageModel(
          config,
          params as LanguageModelParameters,
          batch.inputs,
          undefined,
          "parallel",
          resetsOf(batch),
        )[0],
    };
  }
  const config: SequenceModelConfig = {
    ...network,
    input,
    outputs: "classes" in output ? output.classes : output.numbers,
    ...(answers === "positions" ? { pooling: "none" } : { pooling, answers }),
  };
  return {
    init: (key) => initSequenceModel(config, key),
    answers(params, batch) {
      const resets = resetsOf(batch);
      return forwardSequenceModel(config, params as SequenceModelParameters, batch.inputs, {
        ...(batch.present && config.pooling !== "none" && { mask: cast(batch.present, "bool") }),
        ...(resets && { resets }),
      });
    },
  };
}
