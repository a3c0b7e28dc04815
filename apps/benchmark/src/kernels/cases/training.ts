import { mixers } from "@seqmix/catalog";
import { mamba } from "@seqmix/mamba";
import {
  initLanguageModel,
  languageModelLoss,
  type LanguageModelConfig,
  type LanguageModelParameters,
} from "@seqmix/mixer";
import { linear, meanSquaredError, type LinearParameters } from "@seqmix/nn";
import { adamw, clipByGlobalNorm, cosineSchedule } from "@seqmix/optim";
import { selectiveScanKernel } from "@seqmix/selective-scan";
import { selectiveCopying, type Batch } from "@seqmix/tasks";
import { foldIn, key, leavesOf, relu, tensor, valueAndGrad, type Tensor, type Tree } from "@seqmix/tensor";
import { parameterGroupsOf } from "../../trials/parameter-groups.js";
import { peerNames, shareOfTime, tokenRate } from "../bars.js";
import type { BenchmarkCase, Contestant } from "../contestant.js";
import { uniformValues } from "../host-values.js";
import { jaxArray, type JaxArray, type JaxPackage } from "../peers/jax.js";
import type { TensorflowPackage, TensorflowTensor, TensorflowVariable } from "../peers/tensorflow.js";
import { trainingCase, type Training } from "../training-case.js";

/** Rows, inputs (and outputs), hidden units of the perceptron. */
interface MlpSize {
  readonly batch: number;
  readonly width: number;
  readonly hidden: number;
}

const mlpSize: MlpSize = { batch: 256, width: 512, hidden: 512 };
const mlpRate = 1e-3;
const [beta1, beta2, eps] = [0.9, 0.999, 1e-8];

/** x, target, then weights [in out] and biases of two layers. */
function mlpValues({
  batch,
  width,
  hidden,
}: MlpSize): readonly { readonly values: Float32Array; readonly shape: readonly number[] }[] {
  const bound = (inputs: number): number => inputs ** -0.5;
  return [
    { values: uniformValues(batch * width, 1), shape: [batch, width] },
    { values: uniformValues(batch * width, 2), shape: [batch, width] },
    { values: uniformValues(width * hidden, 3, -bound(width), bound(width)), shape: [width, hidden] },
    { values: uniformValues(hidden, 4, -bound(width), bound(width)), shape: [hidden] },
    { values: uniformValues(hidden * width, 5, -bound(hidden), bound(hidden)), shape: [hidden, width] },
    { values: uniformValues(width, 6, -bound(hidden), bound(hidden)), shape: [width] },
  ];
}

type MlpParameters = { readonly first: LinearParameters; readonly second: LinearParameters };

function mlpTraining(size: MlpSize): Training {
  const optimizer = adamw({ learningRate: mlpRate, betas: [beta1, beta2], eps, weightDecay: 0 });
  const lossAndGradient = valueAndGrad(
    ({ first, second }: MlpParameters, [x, target]: readonly [Tensor, Tensor]): Tensor =>
      meanSquaredError(linear(second, relu(linear(first, x))), target),
  );
  return {
    fixedBatch: true,
    start() {
      // `linear` keeps its weight as [out in].
      const [, , w1, b1, w2, b2] = mlpValues(size).map(({ values, shape }) =>
        shape.length === 2
          ? tensor(transposed(values, shape as readonly [number, number]), [...shape].reverse())
          : tensor(values, shape),
      );
      const params: MlpParameters = { first: { weight: w1!, bias: b1! }, second: { weight: w2!, bias: b2! } };
      return { params, optimizer: optimizer.init(params) };
    },
    batch: () =>
      mlpValues(size)
        .slice(0, 2)
        .map(({ values, shape }) => tensor(values, shape)),
    step(learner, batch) {
      const [loss, gradient] = lossAndGradient(learner.params as MlpParameters, batch as readonly [Tensor, Tensor]);
      const [params, state] = optimizer.update(gradient, learner.optimizer, learner.params as MlpParameters);
      return { loss, params, optimizer: state };
    },
  };
}

function transposed(values: Float32Array, [rows, columns]: readonly [number, number]): Float32Array {
  return Float32Array.from(values, (_, at) => values[(at % rows) * columns + Math.floor(at / rows)]!);
}

const mlpWeights = 2 * mlpSize.width * mlpSize.hidden + mlpSize.width + mlpSize.hidden;

/** Two layers with relu between, mean squared error, forward, backward and Adam. */
export const mlpStep: BenchmarkCase = trainingCase({
  kernel: "mlpStep",
  shape: `${mlpSize.batch}x${mlpSize.width}x${mlpSize.hidden}`,
  // A product and a sum for each row and weight, forward; twice that backward.
  flops: 6 * mlpSize.batch * mlpWeights,
  // Parameters and both moments read and written, the data read.
  bytes: 4 * (6 * mlpWeights + 2 * mlpSize.batch * mlpSize.width),
  rate: "GFLOP/s",
  bars: [shareOfTime(0.4, peerNames.jax, 2)],
  tolerance: 1e-4,
  training: () => mlpTraining(mlpSize),
  smaller: () => mlpTraining({ batch: 64, width: 128, hidden: 128 }),
  smallerSize: "64x128x128",
  peers: () => ({
    [peerNames.tensorflow]: ({ tensorflow }) => tensorflowMlp(tensorflow),
    [peerNames.jax]: ({ jax }) => jaxMlp(jax),
  }),
});

/** Its Node build has no gradients, so the backward pass is written out, without its tape's cost; the optimizer is its own. */
async function tensorflowMlp(tf: TensorflowPackage): Promise<Contestant> {
  const [x, target, ...weights] = mlpValues(mlpSize).map(({ values, shape }) => tf.tensor(values, shape)) as [
    TensorflowTensor,
    TensorflowTensor,
    ...TensorflowTensor[],
  ];
  const variables = weights.map((weight) => tf.variable(weight));
  const [w1, b1, w2, b2] = variables as [
    TensorflowVariable,
    TensorflowVariable,
    TensorflowVariable,
    TensorflowVariable,
  ];
  const optimizer = tf.train.adam(mlpRate, beta1, beta2, eps);
  const step = (): TensorflowTensor =>
    tf.tidy(() => {
      const hidden = tf.relu(tf.add(tf.matMul(x, w1), b1));
      const difference = tf.sub(tf.add(tf.matMul(hidden, w2), b2), target);
      const loss = tf.mean(tf.square(difference));
      const dOut = tf.mul(difference, 2 / (mlpSize.batch * mlpSize.width));
      const dHidden = tf.mul(tf.matMul(dOut, w2, false, true), tf.step(hidden));
      const gradients = [
        tf.matMul(x, dHidden, true, false),
        tf.sum(dHidden, 0),
        tf.matMul(hidden, dOut, true, false),
        tf.sum(dOut, 0),
      ];
      optimizer.applyGradients(gradients.map((gradient, k) => ({ name: variables[k]!.name, tensor: gradient })));
      return loss;
    });
  const loss = step();
  const first = await loss.data();
  loss.dispose();
  return {
    run: () => step().dispose(),
    read: () => first,
    close() {
      optimizer.dispose();
      for (const each of [x, target, ...weights, ...variables]) each.dispose();
    },
  };
}

async function jaxMlp(jax: JaxPackage): Promise<Contestant> {
  const { numpy, nn } = jax;
  const [x, target, ...weights] = mlpValues(mlpSize).map(({ values, shape }) => jaxArray(jax, values, shape)) as [
    JaxArray,
    JaxArray,
    ...JaxArray[],
  ];
  const lossAndGradient = jax.valueAndGrad((params: readonly JaxArray[], ...data: readonly JaxArray[]) => {
    const [w1, b1, w2, b2] = params;
    const hidden = nn.relu(numpy.matmul(data[0]!, w1!).add(b1!));
    return numpy.mean(numpy.square(numpy.matmul(hidden, w2!).add(b2!).sub(data[1]!)));
  });
  interface State {
    readonly params: readonly JaxArray[];
    readonly m: readonly JaxArray[];
    readonly v: readonly JaxArray[];
    readonly count: JaxArray;
  }
  const step = jax.jit(({ params, m, v, count }: State, data: JaxArray, wanted: JaxArray) => {
    const next = count.add(1);
    const [loss, gradient] = lossAndGradient(jax.tree.ref(params), data, wanted);
    const unbias = (beta: number): JaxArray =>
      numpy
        .exp(next.ref.mul(Math.log(beta)))
        .neg()
        .add(1);
    const [bias1, bias2] = [unbias(beta1), unbias(beta2)];
    const m1 = gradient.map((g, k) => m[k]!.mul(beta1).add(g.ref.mul(1 - beta1)));
    const v1 = gradient.map((g, k) => v[k]!.mul(beta2).add(numpy.square(g).mul(1 - beta2)));
    const moved = params.map((p, k) =>
      p.sub(
        m1[k]!.ref.div(bias1.ref)
          .div(numpy.sqrt(v1[k]!.ref.div(bias2.ref)).add(eps))
          .mul(mlpRate),
      ),
    );
    jax.tree.dispose([bias1, bias2]);
    return { loss, state: { params: moved, m: m1, v: v1, count: next } };
  });
  let state: State = {
    params: weights,
    m: weights.map((w) => numpy.zerosLike(w.ref)),
    v: weights.map((w) => numpy.zerosLike(w.ref)),
    count: numpy.array(0),
  };
  const advance = async (): Promise<JaxArray> => {
    const result = await jax.blockUntilReady(step(state, x.ref, target.ref));
    state = result.state;
    return result.loss;
  };
  const first = await (await advance()).data();
  return {
    run: async () => (await advance()).dispose(),
    read: () => first,
    close() {
      step.dispose();
      jax.tree.dispose([x, target, state.params, state.m, state.v, state.count]);
    },
  };
}

const model: LanguageModelConfig = {
  mixer: mamba,
  mixerConfig: { dState: 16, expand: 2 },
  dModel: 64,
  nLayers: 2,
  vocabSize: 16,
};
const peak = 1e-2;

/** The step of `seqmix-bench run`: a new batch, forward, backward, clipping, AdamW; nothing left out. */
function languageModelTraining(model: LanguageModelConfig, batchSize: number, length: number): Training {
  const dataTokens = Math.min(8, length / 4);
  const task = selectiveCopying({ vocabSize: model.vocabSize, dataTokens, positions: length - dataTokens });
  const source = key(0);
  const optimizer = adamw({
    learningRate: cosineSchedule({ peak, warmupSteps: 50, totalSteps: 10_000 }),
    weightDecay: 0.01,
    groups: parameterGroupsOf(model.mixer, peak),
  });
  const lossAndGradient = valueAndGrad((params: LanguageModelParameters, { inputs, targets, mask }: Batch): Tensor =>
    languageModelLoss(model, params, { tokens: inputs, labels: targets, mask }),
  );
  return {
    fixedBatch: false,
    start() {
      const params = initLanguageModel(model, foldIn(source, "parameters"));
      return { params, optimizer: optimizer.init(params) };
    },
    batch: (step) => task.batch(foldIn(source, step), "train", batchSize),
    step(learner, batch) {
      const [loss, gradient] = lossAndGradient(
        learner.params as LanguageModelParameters,
        batch as Tree as Batch & Tree,
      );
      const [params, state] = optimizer.update(
        clipByGlobalNorm(gradient, 1)[0],
        learner.optimizer,
        learner.params as LanguageModelParameters,
      );
      return { loss, params, optimizer: state };
    },
  };
}

const lm = { B: 8, L: 256 };
const tokens = lm.B * lm.L;
const weightsOf = (config: LanguageModelConfig): number =>
  leavesOf(initLanguageModel(config, key(0))).reduce((total, { size }) => total + size, 0);
const lmWeights = weightsOf(model);
const scanFlops = selectiveScanKernel.record.cost({ ...lm, D: 128, N: 16 }, { deltaSoftplus: true }).flops;

/** A full training step of a Mamba language model. */
export const mambaLmStep: BenchmarkCase = trainingCase({
  kernel: "mambaLmStep",
  shape: `B${lm.B} L${lm.L} layers2 D64 N16 V16`,
  // Six for each token and weight, and the scans three times.
  flops: 6 * tokens * lmWeights + 3 * model.nLayers * scanFlops,
  // Parameters and both moments read and written, the tokens read.
  bytes: 4 * (6 * lmWeights + 3 * tokens),
  rate: "tokens/s",
  tokens,
  bars: [tokenRate(40_000, 2)],
  reference: "PyTorch 2.13 eager, 2 threads of a like machine, measured elsewhere: 1,472 tokens/s",
  tolerance: 1e-3,
  training: () => languageModelTraining(model, lm.B, lm.L),
  smaller: () => languageModelTraining(model, 2, 32),
  smallerSize: "B2 L32",
});

const gruModel: LanguageModelConfig = {
  mixer: mixers.find(({ id }) => id === "gru")!,
  dModel: 64,
  nLayers: 1,
  vocabSize: 16,
};

/** The same of a GRU, whose positions follow each other. */
export const gruLmStep: BenchmarkCase = trainingCase({
  kernel: "gruLmStep",
  shape: `B${lm.B} L${lm.L} layers1 D64 V16`,
  flops: 6 * tokens * weightsOf(gruModel),
  bytes: 4 * (6 * weightsOf(gruModel) + 3 * tokens),
  rate: "tokens/s",
  tokens,
  bars: [tokenRate(10_000, 2)],
  tolerance: 1e-3,
  training: () => languageModelTraining(gruModel, lm.B, lm.L),
  smaller: () => languageModelTraining(gruModel, 2, 32),
  smallerSize: "B2 L32",
});
