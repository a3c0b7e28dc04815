// Configs, parameters, states and settings that mean nothing are errors of one sentence.
import {
  add,
  expandDims,
  full,
  key,
  linearScan,
  mul,
  sliceAxis,
  squeeze,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  alignToEnd,
  configure,
  defineMixer,
  forwardLanguageModel,
  forwardPaddedLanguageModel,
  forwardSequenceModel,
  generate,
  initLanguageModel,
  initLanguageModelState,
  initSequenceModel,
  languageModelLoss,
  limitNorm,
  nextTokenLoss,
  reduceRetention,
  residualBlock,
  resetsOfMask,
  runMixer,
  runPadded,
  sampleTokens,
  stepLanguageModel,
  type LanguageModelConfig,
  type SequenceModelConfig,
} from "./index.js";

/** h_t = w h_(t-1) + x_t, y = h. */
const sums = defineMixer({
  id: "sums",
  config: { dModel: 2, gain: 1 },
  state: "constant",
  resets: true,
  init: ({ dModel }): { w: Tensor } => ({ w: full([dModel], 0.5) }),
  initState: ({ dModel }, batch): { h: Tensor } => ({ h: zeros([batch, dModel]) }),
  step(_, { w }, x, { h }) {
    const next = add(mul(h, w), x);
    return [next, { h: next }];
  },
  modes: {
    parallel(_, { w }, x, state, resets) {
      const kept = mul(full(x.shape, 1), w);
      const a = resets ? where(expandDims(resets, 2), 0, kept) : kept;
      const h = linearScan({ a, b: x, h0: state?.h, axis: 1 });
      return [h, { h: squeeze(sliceAxis(h, 1, x.shape[1]! - 1, x.shape[1]!), 1) }];
    },
  },
});
const config = configure(sums, { dModel: 2 });
const params = sums.init(config, key(0));
const state = sums.initState(config, 1);
const [x, mask] = [full([1, 3, 2], 1), full([1, 3], 1, "bool")];

const model: LanguageModelConfig = { mixer: sums, dModel: 2, nLayers: 1, vocabSize: 5 };
const weights = initLanguageModel(model, key(0));
const tokens = full([1, 3], 1, "i32");
const classifier: SequenceModelConfig = {
  mixer: sums,
  dModel: 2,
  nLayers: 1,
  input: { vocabSize: 5 },
  outputs: 2,
  pooling: "mean",
};
const own = initSequenceModel(classifier, key(0));

/** Calls of anything with anything. */
const calls = {
  runMixer,
  runPadded,
  resetsOfMask,
  alignToEnd,
  configure,
  initLanguageModel,
  initLanguageModelState,
  forwardLanguageModel,
  forwardPaddedLanguageModel,
  languageModelLoss,
  nextTokenLoss,
  stepLanguageModel,
  sampleTokens,
  initSequenceModel,
  forwardSequenceModel,
} as unknown as Readonly<Record<string, (...args: readonly unknown[]) => unknown>>;
const right: Readonly<Record<string, readonly unknown[]>> = {
  runMixer: [sums, config, params, x, state, "parallel", mask],
  runPadded: [sums, config, params, x, mask, { mode: "parallel" }],
  resetsOfMask: [mask],
  alignToEnd: [mask],
  configure: [sums, { gain: 2 }],
  initLanguageModel: [model, key(0)],
  initLanguageModelState: [model, 1],
  forwardLanguageModel: [model, weights, tokens, [state], "parallel", mask],
  forwardPaddedLanguageModel: [model, weights, tokens, mask, "parallel"],
  languageModelLoss: [model, weights, { tokens, labels: tokens, mask }, { pieces: 1 }],
  nextTokenLoss: [model, weights, tokens, { mask, mode: "parallel" }],
  stepLanguageModel: [model, weights, full([1], 1, "i32"), [state]],
  sampleTokens: [full([1, 5], 1), { topK: 2 }],
  initSequenceModel: [classifier, key(0)],
  forwardSequenceModel: [classifier, own, tokens, { mask }],
};

test.each(Object.entries(right))("%s", (name, args) => {
  calls[name]!(...args);
  for (let k = 0; k < args.length; k++)
    for (const value of [null, "x", -1.5, NaN, [1, 2], true, () => 1, { misspelt: 1 }])
      expect(() => calls[name]!(...args.with(k, value)), `${String(value)} in place ${k}`).toThrow(/expected/);
});

test.each<[string, object]>([
  ["got nlayers", { nlayers: 2 }],
  ["got tieEmbedding", { tieEmbedding: false }],
  ["nLayers, a whole number", { nLayers: 1.5 }],
  ["nLayers, a whole number", { nLayers: NaN }],
  ["vocabSize, a whole number", { vocabSize: "5" }],
  ["got hidden", { feedForward: { kind: "mlp", dHidden: 4, hidden: 4 } }],
  ['kind "mlp" or "gated"', { feedForward: { kind: "swiglu", dHidden: 4 } }],
  ["dHidden, a whole number", { feedForward: { kind: "mlp", dHidden: 0 } }],
  ["got mixr", { pattern: [{ mixr: sums }] }],
  ["got gian=1", { mixerConfig: { gian: 1 } }],
])("a language model's config: %s", (words, change) => {
  expect(() => initLanguageModel({ ...model, ...change } as never, key(0))).toThrow(words);
});

test.each<[string, object]>([
  ["got layers", { layers: 2 }],
  ['pooling "mean" or "last"', { pooling: "max" }],
  ["outputs, a whole number", { outputs: 0 }],
  ["got vocabulary", { input: { vocabulary: 5 } }],
])("a sequence model's config: %s", (words, change) => {
  expect(() => initSequenceModel({ ...classifier, ...change } as never, key(0))).toThrow(words);
});

test.each<[string, object]>([
  ["got topP", { length: 2, topP: 0.9 }],
  ["got maxTokens", { maxTokens: 2 }],
  ["length, a whole number", {}],
  ["length, a whole number", { length: 1.5 }],
])("generate: %s", async (words, options) => {
  await expect(generate(model, weights, tokens, options as never).next()).rejects.toThrow(words);
});

test("a config that was not made by configure, and a state of another mixer", () => {
  expect(() => runMixer(sums, { dModel: 2 }, params, x)).toThrow("sums: expected a config with gain, got none");
  expect(() => runMixer(sums, { ...config, gian: 1 } as never, params, x)).toThrow("got gian=1");
  expect(() => runMixer(sums, config, params, x, { c: zeros([1, 2]) })).toThrow("expected a state of h, got c");
  expect(() => forwardLanguageModel(model, weights, tokens, [])).toThrow("expected a state of 1 layers, got 0");
  expect(() => languageModelLoss(model, weights, { tokens, targets: tokens } as never)).toThrow("got targets");
});

test("numbers that mean nothing, beyond what runs without them", () => {
  const steps = { id: "steps", config: { dModel: 2, dtMin: 0.1, dtMax: 1 } };
  const cases: readonly [() => unknown, string][] = [
    [() => configure(steps, { dtMin: 0 }), "dtMin from 1e-30 to Infinity, got 0"],
    [() => configure(steps, { dtMax: -1 }), "dtMax from 1e-30 to Infinity, got -1"],
    [() => configure(steps, { dtMin: 2 }), "dtMin of at most dtMax, got 2 and 1"],
    [() => reduceRetention(true as never), "a share, a number of at least 0 and of at most 1, got the boolean true"],
    [() => limitNorm(0), "a limit, a number above 0, got 0"],
    [() => residualBlock(sums, config, { norm: null as never, mixer: params }, x), "got null"],
    [
      () => forwardSequenceModel({ ...classifier, input: { vocabSize: 0 } }, own, tokens),
      "sequence model, input: expected vocabSize, a whole number of at least 1, got 0",
    ],
  ];
  for (const [call, words] of cases) expect(call).toThrow(words);
  expect(() => limitNorm(Infinity)).not.toThrow();
});
