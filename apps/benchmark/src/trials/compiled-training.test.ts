import { mamba } from "@seqmix/mamba";
import {
  forwardLanguageModel,
  initLanguageModel,
  type LanguageModelConfig,
  type LanguageModelParameters,
} from "@seqmix/mixer";
import { crossEntropy } from "@seqmix/nn";
import { adamw, clipByGlobalNorm, cosineSchedule, type OptimizerState } from "@seqmix/optim";
import { selectiveCopying, type Batch } from "@seqmix/tasks";
import { compile, cpu, dispose, foldIn, key, leavesOf, realize, valueAndGrad, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";

const model: LanguageModelConfig = {
  mixer: mamba,
  mixerConfig: { dState: 4 },
  dModel: 8,
  nLayers: 2,
  vocabSize: 8,
};
const task = selectiveCopying({ vocabSize: 8, dataTokens: 3, positions: 9 });
const optimizer = adamw({ learningRate: cosineSchedule({ peak: 1e-2, warmupSteps: 10, totalSteps: 200 }) });

type Learner = readonly [LanguageModelParameters, OptimizerState];
const loss = valueAndGrad((params: LanguageModelParameters, { inputs, targets, mask }: Batch): Tensor =>
  crossEntropy(forwardLanguageModel(model, params, inputs)[0], targets, mask),
);
const advance = (
  params: LanguageModelParameters,
  state: OptimizerState,
  batch: Batch,
): readonly [LanguageModelParameters, OptimizerState, Tensor] => {
  const [value, gradient] = loss(params, batch);
  return [...optimizer.update(clipByGlobalNorm(gradient, 1)[0], state, params), value];
};

type Step = (...args: Parameters<typeof advance>) => Promise<ReturnType<typeof advance>>;

test("200 compiled steps of a language model give every loss and parameter of the uncompiled ones, bit for bit", async () => {
  const device = cpu({ threads: 2 });
  const compiled = compile(advance, { device, donate: [0, 1] });
  const plain: Step = async (params, state, batch) =>
    realize(advance(params, state, batch), { device, donate: [params, state] });
  const run = async (step: Step): Promise<number[]> => {
    const params = initLanguageModel(model, key(0));
    let learner: Learner = await realize([params, optimizer.init(params)], { device });
    const losses: Tensor[] = [];
    for (let t = 0; t < 200; t++) {
      const batch = task.batch(foldIn(key(1), t), "train", 2);
      const [next, state, value] = await step(...learner, batch);
      learner = [next, state];
      losses.push(value);
      dispose(batch);
    }
    const seen: number[] = [];
    for (const x of [...losses, ...leavesOf(learner)]) seen.push(...(await x.data()));
    dispose([losses, learner]);
    return seen;
  };
  const [actual, expected] = [await run(compiled), await run(plain)];
  expect(expected.length).toBeGreaterThan(2000);
  expect(actual).toEqual(expected);
  await device.close();
});
