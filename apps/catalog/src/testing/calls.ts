/** Right arguments of every public function that takes something by name; all that it may be given is tried in their place. */
import * as attention from "@seqmix/attention";
import * as checkpoint from "@seqmix/checkpoint";
import * as deltaRule from "@seqmix/delta-rule";
import * as discretize from "@seqmix/discretize";
import * as fft from "@seqmix/fft";
import * as gateloop from "@seqmix/gateloop";
import * as h3 from "@seqmix/h3";
import * as hippo from "@seqmix/hippo";
import * as hyena from "@seqmix/hyena";
import * as linear from "@seqmix/linear-attention";
import * as lti from "@seqmix/lti";
import * as mamba from "@seqmix/mamba";
import * as mamba2 from "@seqmix/mamba2";
import * as mixer from "@seqmix/mixer";
import * as nn from "@seqmix/nn";
import * as optim from "@seqmix/optim";
import * as retnet from "@seqmix/retnet";
import * as rnn from "@seqmix/rnn";
import * as rwkv from "@seqmix/rwkv";
import * as s4 from "@seqmix/s4";
import * as s5 from "@seqmix/s5";
import * as scan from "@seqmix/scan";
import * as selectiveScan from "@seqmix/selective-scan";
import * as spacetime from "@seqmix/spacetime";
import * as ssd from "@seqmix/ssd";
import * as tasks from "@seqmix/tasks";
import * as T from "@seqmix/tensor";
import * as testing from "@seqmix/testing";

/** A function and its arguments. Generic functions take them all. */
export interface Call {
  readonly call: (...args: never[]) => unknown;
  readonly args: readonly unknown[];
}

const call = <A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): Call => ({
  call: f as unknown as Call["call"],
  args,
});

const some = (...shape: number[]): T.Tensor => T.full(shape, 0.5);
const pair = (...shape: number[]): T.Complex => ({ re: some(...shape), im: some(...shape) });
const whole = (...shape: number[]): T.Tensor => T.full(shape, 1, "i32");
const key = T.key(0);
/** A mixer's config and parameters, as small as its samples. */
function small<C extends mixer.MixerConfig, P extends T.Tree, S extends T.Tree>(
  of: mixer.MixerDefinition<C, P, S>,
  settings: Partial<C> = {},
): { readonly config: C; readonly params: P } {
  const config = { ...of.config, ...Object.values(of.samples ?? {})[0], ...settings };
  return { config, params: of.init(config, key) };
}

const heads = { q: some(1, 4, 2, 3), k: some(1, 4, 2, 3), v: some(1, 4, 2, 3) };
const head = { q: some(1, 2, 3), k: some(1, 2, 3), v: some(1, 2, 3) };
const resets = T.full([1, 4], 0, "bool");

const dense = { A: some(3, 3), B: some(3, 2), C: some(2, 3), D: some(2, 2) };
const lowRank = { A: pair(2, 3), P: pair(1, 2, 3), Q: pair(1, 2, 3), B: pair(2, 3) };
const diagonal = { dt: some(2, 1), A: pair(2, 3), B: pair(2, 3), C: pair(1, 2, 3) };
const dplr = { ...lowRank, dt: some(2, 1), C: pair(1, 2, 3) };
const system = lti.diagonalSystem(diagonal);
const rule = { rule: "bilinear", alpha: undefined } as const;

const lm = { mixer: mamba.mamba as mixer.AnyMixer, dModel: 4, nLayers: 1, vocabSize: 5, mixerConfig: { dState: 2 } };
const lmParams = mixer.initLanguageModel(lm, key);
const sequence = {
  mixer: lm.mixer,
  dModel: 4,
  nLayers: 1,
  input: { vocabSize: 5 },
  outputs: 3,
  pooling: "mean" as const,
};
const mambas = small(mamba.mamba);
const runs = [lm.mixer, mambas.config, mambas.params, some(1, 4, mambas.config.dModel)] as const;
const tokens = whole(1, 4);

const s4s = small(s4.s4);
const s4Sample = some(1, 4, s4s.config.dModel);
const dsss = small(s4.dss);
const lssls = small(s4.lssl);
const h3s = small(h3.h3);
const s5s = small(s5.s5);
const hyenas = { ...hyena.hyena.config, dModel: 2, lMax: 4 };
const retnets = small(retnet.retnet);
const retnetModel = {
  embed_tokens: { weight: some(5, retnets.config.dModel) },
  layers: [],
};
const cells = rnn.initCell("gru", key, { inputs: 3, state: 2, bias: true });
const loop = { a: some(1, 3), b: some(1, 3), c: some(1, 3), k: some(1, 3) };
const forecaster = {
  ...spacetime.forecasterConfig,
  nBlocks: 0,
  block: { ...spacetime.spacetime.config, dModel: 2 },
  dState: 2,
};
const forecasters = spacetime.initForecaster(forecaster, key);
const steps = { x: some(1, 2, 3), dt: some(1, 2), A: some(2), B: some(1, 1, 3), C: some(1, 1, 3), D: some(2) };
const ssds = { ...steps, x: some(1, 4, 2, 3), dt: some(1, 4, 2), B: some(1, 4, 1, 3), C: some(1, 4, 1, 3), resets };
const selective = { u: some(1, 4, 2), delta: some(1, 4, 2), A: T.neg(some(2, 3)), B: some(1, 4, 3), C: some(1, 4, 3) };

/** By package and function. */
export const calls: Readonly<Record<string, Call>> = {
  "attention.scaledDotProductAttention": call(
    attention.scaledDotProductAttention,
    { q: some(1, 1, 4, 2), k: some(1, 1, 4, 2), v: some(1, 1, 4, 2) },
    { causal: true, window: 0, scale: 1, alibi: false },
  ),
  "attention.gpt2LanguageModel": call(
    attention.gpt2LanguageModel,
    {
      transformer: { wte: { weight: some(5, 2) }, wpe: { weight: some(4, 2) }, h: [], ln_f: { weight: some(2) } },
    } as never,
    tokens,
    { n_head: 1 },
  ),
  "attention.llamaLanguageModel": call(
    attention.llamaLanguageModel,
    { model: { embed_tokens: { weight: some(5, 2) }, layers: [], norm: { weight: some(2) } } },
    tokens,
    { num_attention_heads: 1 },
  ),
  "checkpoint.saveSafetensors": call(checkpoint.saveSafetensors, { x: some(2) }, { metadata: {} }),
  "delta-rule.deltaRule": call(deltaRule.deltaRule, { ...heads, beta: some(1, 4, 2), resets }, { chunkSize: 2 }),
  "delta-rule.deltaRuleStep": call(deltaRule.deltaRuleStep, { ...head, beta: some(1, 2), h: some(1, 2, 3, 3) }),
  "discretize.differenceWeight": call(discretize.differenceWeight, "bilinear", {}, "test"),
  "discretize.discretizeDiagonal": call(discretize.discretizeDiagonal, pair(3), some(3), "zoh" as const, {}),
  "discretize.discretizeDense": call(discretize.discretizeDense, dense, 0.1, "bilinear", {}),
  "discretize.discretizeOutputs": call(discretize.discretizeOutputs, dense, 0.1, "bilinear", {}),
  "discretize.discretizeDplr": call(discretize.discretizeDplr, lowRank, some(2, 1), "bilinear", {}),
  "discretize.dplrMatrix": call(discretize.dplrMatrix, lowRank, {}),
  "discretize.matrixExponential": call(discretize.matrixExponential, some(2, 2), {}),
  "fft.fft": call(fft.fft, pair(4)),
  "fft.ifft": call(fft.ifft, pair(4)),
  "fft.fftConv": call(fft.fftConv, { u: some(1, 2, 4), k: some(2, 4) }),
  "fft.chunkedFftConv": call(fft.chunkedFftConv, { u: some(1, 2, 4), k: some(2, 4) }, 2),
  "fft.fftConvChunk": call(fft.fftConvChunk, { u: some(1, 2, 4), k: some(2, 4) }),
  "fft.fftCorrelationKernel": call(fft.fftCorrelationKernel, { a: some(1, 2, 4), b: some(1, 2, 4) }, { taps: 2 }),
  "fft.packedFftConv": call(fft.packedFftConv, { u: some(1, 2, 4), k: some(2, 4), resets }),
  "gateloop.gateLoopAttention": call(gateloop.gateLoopAttention, { ...heads, a: pair(1, 4, 2), resets }),
  "gateloop.gateLoopChunked": call(gateloop.gateLoopChunked, { ...heads, a: pair(1, 4, 2), resets }, 2),
  "gateloop.gateLoopScan": call(gateloop.gateLoopScan, { ...heads, a: pair(1, 4, 2), resets }),
  "gateloop.gateLoopStep": call(gateloop.gateLoopStep, { ...head, a: pair(1, 2), h: pair(1, 2, 3, 3) }),
  "gateloop.simpleGateLoopSequence": call(
    gateloop.simpleGateLoopSequence,
    { to_qkva: [{ weight: some(9, 3) }] } as never,
    some(1, 4, 3),
    {},
  ),
  "gateloop.gateLoopTransformer": call(
    gateloop.gateLoopTransformer,
    { token_emb: { weight: some(5, 2) }, layers: [], to_logits: [{ weight: some(5, 2) }] },
    tokens,
    {},
  ),
  "h3.diagonalModel": call(h3.diagonalModel, h3s.config, h3s.params),
  "h3.memoryModel": call(h3.memoryModel, h3s.config, h3s.params),
  "h3.h3Layer": call(h3.h3Layer, h3s.config, h3s.params, some(1, 4, h3s.config.dModel), {}),
  "hippo.hippo": call(hippo.hippo, "legs", 4, {}),
  "hippo.hippoDiagonal": call(hippo.hippoDiagonal, "legs", 4, {}),
  "hippo.hippoNormal": call(hippo.hippoNormal, "legs", 4, {}),
  "hippo.s4dEigenvalues": call(hippo.s4dEigenvalues, "lin", 4, {}),
  "hippo.lruRing": call(hippo.lruRing, { rMin: 0.1, rMax: 0.9, maxPhase: 1 }, 4, key),
  "hippo.hippoBasis": call(hippo.hippoBasis, "legs", 4, 0.5, {}),
  "hippo.hippoKernel": call(hippo.hippoKernel, "legs", 4, 0.5, {}),
  "hippo.hippoRecurrence": call(hippo.hippoRecurrence, "legt", 4, 0.1, "bilinear", {}),
  "hippo.project": call(hippo.project, some(8), "legt", { order: 4, dt: 0.1 }),
  "hippo.reconstruct": call(hippo.reconstruct, some(4), "legt", { dt: 0.1, at: [0.1] } as never),
  "hyena.hyenaFilter": call(hyena.hyenaFilter, hyenas, hyena.initHyenaFilter(hyenas, key), 4),
  "hyena.initHyenaFilter": call(hyena.initHyenaFilter, hyenas, key),
  "linear-attention.bidirectionalLinearAttention": call(linear.bidirectionalLinearAttention, { ...heads, resets }, {}),
  "linear-attention.linearAttention": call(linear.linearAttention, { ...heads, resets }, {}),
  "linear-attention.linearAttentionStep": call(
    linear.linearAttentionStep,
    { ...head, state: { S: some(1, 2, 3, 3) } },
    {},
  ),
  "lti.diagonalStateSpace": call(lti.diagonalStateSpace, diagonal, {}),
  "lti.dplrStateSpace": call(lti.dplrStateSpace, dplr),
  "lti.convolvePacked": call(lti.convolvePacked, system, some(1, 2, 4), resets, {}),
  "lti.convolve": call(lti.convolve, system, some(1, 2, 4), undefined, {}),
  "lti.diagonalKernel": call(lti.diagonalKernel, diagonal, 4, rule),
  "lti.diagonalRecurrence": call(lti.diagonalRecurrence, diagonal, rule),
  "lti.diagonalSystem": call(lti.diagonalSystem, diagonal, rule),
  "lti.dssKernel": call(lti.dssKernel, diagonal, 4, {}),
  "lti.companionKernel": call(lti.companionKernel, { a: some(2, 3), b: some(2, 3), c: some(1, 2, 3) }, 4),
  "lti.companionSystem": call(lti.companionSystem, { a: some(2, 3), b: some(2, 3), c: some(1, 2, 3) }),
  "lti.denseSystem": call(
    lti.denseSystem,
    { dt: some(2), A: some(3, 3), B: some(3), C: some(1, 2, 3) },
    { rule: "bilinear" },
  ),
  "lti.cauchyKernel": call(
    lti.cauchyKernel,
    { p: some(1, 2, 3), q: some(1, 2, 3), s: some(2, 3), d: some(2, 3) },
    { length: 4 },
  ),
  "lti.powerSumsKernel": call(
    lti.powerSumsKernel,
    { Wr: some(1, 2, 3), Wi: some(1, 2, 3), zr: some(2, 3), zi: some(2, 3) },
    { length: 4 },
  ),
  "lti.completeOutput": call(lti.completeOutput, dplr, 4),
  "lti.doubleTruncation": call(lti.doubleTruncation, dplr, 4),
  "lti.dplrKernel": call(lti.dplrKernel, dplr, 4, {}),
  "lti.dplrSystem": call(lti.dplrSystem, dplr, {}),
  "lti.realForm": call(lti.realForm, dplr, {}),
  "lti.truncatedDplrSystem": call(lti.truncatedDplrSystem, dplr, 4),
  "lti.truncateOutput": call(lti.truncateOutput, dplr, 4),
  "mamba.mambaLanguageModel": call(
    mamba.mambaLanguageModel,
    { backbone: { embeddings: { weight: some(5, 2) }, layers: [], norm_f: { weight: some(2) } } },
    tokens,
    {},
  ),
  "mamba2.mamba2ConfigOf": call(mamba2.mamba2ConfigOf, small(mamba2.mamba2).params, { headDim: 1 }),
  "mamba2.mamba2LanguageModel": call(
    mamba2.mamba2LanguageModel,
    { backbone: { embeddings: { weight: some(5, 2) }, layers: [], norm_f: { weight: some(2) } } },
    tokens,
    { headDim: 1 },
  ),
  "mixer.runPadded": call(mixer.runPadded, ...runs, T.full([1, 4], 1, "bool"), {}),
  "mixer.initResidualBlock": call(mixer.initResidualBlock, lm.mixer, mambas.config, key, { index: 0, count: 2 }),
  "mixer.forwardLanguageModel": call(mixer.forwardLanguageModel, lm, lmParams, tokens),
  "mixer.forwardPaddedLanguageModel": call(mixer.forwardPaddedLanguageModel, lm, lmParams, tokens, resets),
  "mixer.initLanguageModel": call(mixer.initLanguageModel, lm, key),
  "mixer.initLanguageModelState": call(mixer.initLanguageModelState, lm, 1),
  "mixer.languageModelFeatures": call(mixer.languageModelFeatures, lm, lmParams, tokens),
  "mixer.languageModelLoss": call(mixer.languageModelLoss, lm, lmParams, { tokens, labels: tokens }, {}),
  "mixer.mixerConfigOf": call(mixer.mixerConfigOf, lm),
  "mixer.stepLanguageModel": call(mixer.stepLanguageModel, lm, lmParams, whole(1), mixer.initLanguageModelState(lm, 1)),
  "mixer.initFeedForwardBlock": call(mixer.initFeedForwardBlock, { kind: "mlp", dHidden: 4 }, 4, key),
  "mixer.layersOf": call(mixer.layersOf, lm),
  "mixer.nextTokenLoss": call(mixer.nextTokenLoss, lm, lmParams, tokens, {}),
  "mixer.generate": call(
    (...args: Parameters<typeof mixer.generate>) => mixer.generate(...args).next(),
    lm,
    lmParams,
    tokens,
    { length: 1 },
  ),
  "mixer.sampleTokens": call(mixer.sampleTokens, some(1, 5), { temperature: 0 }),
  "mixer.forwardSequenceModel": call(
    mixer.forwardSequenceModel,
    sequence,
    mixer.initSequenceModel(sequence, key),
    tokens,
    {},
  ),
  "mixer.initSequenceModel": call(mixer.initSequenceModel, sequence, key),
  "mixer.runWithHook": call(mixer.runWithHook, ...runs, { hook: (state) => state }),
  "mixer.stateStatistics": call(mixer.stateStatistics, ...runs, { every: 2 }),
  "nn.initLinear": call(nn.initLinear, key, 3, 2, {}),
  "nn.linear": call(nn.linear, { weight: some(2, 3), bias: some(2) }, some(3)),
  "nn.linearChannelsFirst": call(nn.linearChannelsFirst, { weight: some(2, 3) }, some(1, 4, 3)),
  "nn.linearChannelsLast": call(nn.linearChannelsLast, { weight: some(2, 3) }, some(1, 3, 4)),
  "nn.initEmbedding": call(nn.initEmbedding, key, 3, 2, {}),
  "nn.embedding": call(nn.embedding, { weight: some(5, 2) }, tokens, {}),
  "nn.rmsNorm": call(nn.rmsNorm, { weight: some(3) }, some(2, 3), {}),
  "nn.layerNorm": call(nn.layerNorm, { weight: some(3) }, some(2, 3), {}),
  "nn.groupNorm": call(nn.groupNorm, { weight: some(4) }, some(2, 4), { groups: 2 }),
  "nn.gatedRmsNorm": call(nn.gatedRmsNorm, { weight: some(4) }, some(2, 4), undefined, {}),
  "nn.initCausalConv1d": call(nn.initCausalConv1d, key, 3, 2, {}),
  "nn.causalConv1d": call(nn.causalConv1d, { weight: some(3, 2) }, some(1, 4, 3), undefined, {}),
  "nn.causalConv1dStep": call(nn.causalConv1dStep, { weight: some(3, 2) }, some(1, 3), some(1, 3, 1), {}),
  "nn.dropout": call(nn.dropout, some(3), { rate: 0.5, key }),
  "nn.initMlp": call(nn.initMlp, key, 3, 2, {}),
  "nn.initGatedMlp": call(nn.initGatedMlp, key, 3, 2, {}),
  "nn.rotaryEmbedding": call(nn.rotaryEmbedding, some(1, 3, 4), {}),
  "nn.crossEntropy": call(nn.crossEntropy, some(2, 3), whole(2), undefined, {}),
  "nn.linearCrossEntropy": call(nn.linearCrossEntropy, { weight: some(4, 3) }, some(2, 3), whole(2), undefined, {}),
  "optim.adamw": call(optim.adamw, { learningRate: 0.1 }),
  "optim.sgd": call(optim.sgd, { learningRate: 0.1 }),
  "optim.cosineSchedule": call(optim.cosineSchedule, { peak: 1, totalSteps: 10 }),
  "optim.linearWarmup": call(optim.linearWarmup, { peak: 1, warmupSteps: 2 }),
  "optim.trainer": call(optim.trainer, {
    loss: () => some(),
    optimizer: optim.sgd({ learningRate: 0.1 }),
    params: { w: some(2) },
  }),
  "retnet.xposLogDecay": call(retnet.xposLogDecay, some(2), 4, {}),
  "retnet.xpos": call(retnet.xpos, some(1, 3, 4), {}),
  "retnet.torchscaleLanguageModel": call(retnet.torchscaleLanguageModel, retnetModel, tokens, { nHeads: 1 }),
  "retnet.torchscaleRetention": call(retnet.torchscaleRetention, retnets.params, some(1, 4, retnets.config.dModel), {
    nHeads: retnets.config.nHeads,
  }),
  "rnn.initCell": call(rnn.initCell, "gru", key, { inputs: 3, state: 2, bias: true }),
  "rnn.stepCell": call(rnn.stepCell, "gru", cells, rnn.inputPart(cells, some(1, 3)), { h: some(1, 2) }),
  "rnn.recurrentNetwork": call(
    rnn.recurrentNetwork,
    "gru",
    Object.fromEntries(Object.entries(cells).map(([name, x]) => [`${name}_l0`, x as T.Tensor])),
    some(1, 4, 3),
    { layers: 1, bidirectional: false, hiddenSize: 2 },
  ),
  "rnn.runCell": call(rnn.runCell, "gru", cells, some(1, 4, 3), { h: some(1, 2) }, {}),
  "rwkv.wkv": call(rwkv.wkv, { w: some(2), u: some(2), k: some(1, 4, 2), v: some(1, 4, 2), resets }),
  "rwkv.wkv6": call(rwkv.wkv6, {
    r: heads.q,
    k: heads.k,
    v: heads.v,
    logDecay: T.neg(some(1, 4, 2, 3)),
    u: some(2, 3),
    resets,
  }),
  "rwkv.rwkv4LanguageModel": call(
    rwkv.rwkv4LanguageModel,
    {
      emb: { weight: some(5, 2) },
      blocks: [],
      ln_out: { weight: some(2), bias: some(2) },
      head: { weight: some(5, 2) },
    },
    tokens,
    {},
  ),
  "s4.s4Block": call(s4.s4Block, s4s.config, s4s.params, s4Sample, {}),
  "s4.s4Output": call(s4.s4Output, s4s.config, s4s.params, some(1, 1, s4s.config.dModel, 4), s4Sample),
  "s4.s4System": call(s4.s4System, s4s.config, s4s.params.layer.kernel),
  "s4.dssKernelOf": call(s4.dssKernelOf, dsss.params.kernel, 4, { version: dsss.config.version }),
  "s4.dssLayer": call(s4.dssLayer, dsss.config, dsss.params, some(1, 4, dsss.config.dModel)),
  "s4.dssSystem": call(s4.dssSystem, s4.dss.init({ ...dsss.config, version: "exp" }, key).kernel, { version: "exp" }),
  "s4.lsslSystem": call(s4.lsslSystem, lssls.config, lssls.params),
  "s4.kernelSystem": call(s4.kernelSystem, s4s.params.layer.kernel, {}),
  "s5.runMimo": call(s5.runMimo, { a: pair(3), B: pair(3, 2), C: pair(2, 3) }, some(1, 4, 2), {}),
  "s5.initS5Ssm": call(s5.initS5Ssm, s5s.config, key, {}),
  "s5.resettableS5": call(s5.resettableS5, s5s.config, s5s.params, some(1, 4, s5s.config.dModel), resets),
  "s5.resettableS5Step": call(
    s5.resettableS5Step,
    s5s.config,
    s5s.params,
    some(1, s5s.config.dModel),
    undefined,
    s5.s5.initState(s5s.config, 1) as T.Complex,
  ),
  "s5.s5Ssm": call(s5.s5Ssm, s5s.config, s5s.params.seq, some(1, 4, s5s.config.dModel), {}),
  "s5.s5System": call(s5.s5System, s5s.config, s5s.params.seq),
  "scan.associativeScan": call(scan.associativeScan<T.Tensor>, T.add as never, some(4), 0, {}),
  "scan.linearScan": call(scan.linearScan as (given: scan.LinearScanArguments<T.Tensor>) => T.Tensor, {
    a: some(4),
    b: some(4),
    axis: 0,
  }),
  "scan.windowedLinearScan": call(scan.windowedLinearScan, { logDecay: some(4), b: some(4), axis: 0, window: 2 }),
  "selective-scan.selectiveScan": call(selectiveScan.selectiveScan, selective, {}),
  "selective-scan.selectiveScanKernel": call(selectiveScan.selectiveScanKernel, selective as never, {} as never),
  "selective-scan.selectiveScanStep": call(
    selectiveScan.selectiveScanStep,
    { u: some(1, 2), delta: some(1, 2), A: T.neg(some(2, 3)), B: some(1, 3), C: some(1, 3), h: some(1, 2, 3) },
    {},
  ),
  "spacetime.closedLoop": call(spacetime.closedLoop, loop, some(1, 4, 1), 2, {}),
  "spacetime.openLoop": call(spacetime.openLoop, loop, some(1, 4, 1), {}),
  "spacetime.sharedCompanion": call(spacetime.sharedCompanion, { a: some(1, 3), b: some(1, 3), c: some(1, 3) }, 2),
  "spacetime.forecast": call(spacetime.forecast, forecaster, forecasters, some(1, 4, 1), 2),
  "spacetime.forecastLoss": call(spacetime.forecastLoss, forecaster, forecasters, some(1, 4, 1), some(1, 2, 1)),
  "spacetime.initForecaster": call(spacetime.initForecaster, forecaster, key),
  "spacetime.preprocessingTaps": call(spacetime.preprocessingTaps, spacetime.spacetime.config),
  "ssd.passStates": call(ssd.passStates, { states: some(1, 4, 2, 3, 3) }),
  "ssd.structuredMaskedAttention": call(ssd.structuredMaskedAttention, { ...heads, resets }, {}),
  "ssd.structuredMaskedAttentionStep": call(ssd.structuredMaskedAttentionStep, { ...head, h: some(1, 2, 3, 3) }),
  "ssd.ssd": call(ssd.ssd, ssds, {}),
  "ssd.ssdStep": call(ssd.ssdStep, { ...steps, h: some(1, 2, 3, 3) }, {}),
  "ssd.ssdStepSizes": call(ssd.ssdStepSizes, some(1, 2), undefined, {}),
  "tasks.whiteSignal": call(tasks.whiteSignal, tasks.hostRandom(key), { length: 8, dt: 0.01, frequency: 20, rms: 1 }),
  "tasks.characterLanguageModel": call(tasks.characterLanguageModel, "abcdefgh".repeat(40), { length: 8 }),
  "tasks.forecasting": call(
    tasks.forecasting,
    { id: "test", season: 2, values: [new Float64Array(40).fill(1)] },
    { lag: 4, horizon: 2, testLength: 8, validationLength: 8 },
  ),
  "tasks.passkeyPrompt": call(tasks.passkeyPrompt, { repetitions: 2, depth: 1, passkey: "12345" }),
  "tensor.cumsum": call(T.cumsum, some(3), 0, {}),
  "tensor.complexLinearScan": call(T.complexLinearScan, { a: pair(3), b: pair(3), axis: 0 }),
  "tensor.linearScan": call(T.linearScan, { a: some(3), b: some(3), axis: 0 }),
  "tensor.sequentialScan": call(T.sequentialScan<T.Tensor, T.Tensor, T.Tensor, T.Tensor>, {
    step: (state: T.Tensor, input: T.Tensor) => [T.add(state, input), state],
    initial: some(2),
    inputs: some(4, 2),
    constants: some(2),
  }),
  "tensor.realize": call(T.realize<T.Tensor>, some(2), {}),
  "tensor.explain": call(T.explain, some(2), {}),
  "tensor.compile": call(T.compile<[T.Tensor], T.Tensor>, (x) => x, {}),
  "tensor.cpu": call((options?: T.CpuOptions) => T.cpu(options), { threads: 1 }),
  "tensor.max": call(T.max, some(3), 0, {}),
  "tensor.sum": call(T.sum, some(3), 0, {}),
  "tensor.mean": call(T.mean, some(3), 0, {}),
  "tensor.variance": call(T.variance, some(3), 0, {}),
  "tensor.logSumExp": call(T.logSumExp, some(3), 0, {}),
  "tensor.min": call(T.min, some(3), 0, {}),
  "tensor.prod": call(T.prod, some(3), 0, {}),
  "tensor.any": call(T.any, T.full([3], 1, "bool"), 0, {}),
  "tensor.all": call(T.all, T.full([3], 1, "bool"), 0, {}),
  "tensor.sort": call(T.sort, some(3), 0, {}),
  "tensor.argsort": call(T.argsort, some(3), 0, {}),
  "testing.assertClose": call(testing.assertClose, "law", [1], [1], {}),
  "testing.maxError": call(testing.maxError, [1], [1], {}),
  "testing.checkDerivatives": call(testing.checkDerivatives, { law: "law", loss: () => some(), inputs: [], names: [] }),
  "testing.evaluate": call(testing.evaluate, T.cpu(), () => [], {}),
  "testing.checkKernel": call(
    testing.checkKernel<discretize.InverseInputs, discretize.InverseOutputs, undefined>,
    discretize.inverseKernel,
    T.cpu(),
    { lengths: [] },
  ),
  "testing.checkMixer": call(
    testing.checkMixer<rnn.MinimalConfig, never, never>,
    rnn.minGru as never,
    { ...rnn.minGru.config, ...Object.values(rnn.minGru.samples!)[0] },
    T.cpu(),
    { batch: 1, length: 2 },
  ),
};
