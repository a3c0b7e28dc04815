// Whatever stands in the place of parameters, inputs and settings that mean nothing is an error of one sentence.
import { full, key, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  accuracy,
  causalConv1d,
  causalConv1dStep,
  crossEntropy,
  dropout,
  embedding,
  gatedMlp,
  gatedRmsNorm,
  glu,
  groupNorm,
  initCausalConv1d,
  initEmbedding,
  initGatedMlp,
  initLinear,
  initMlp,
  layerNorm,
  linear,
  linearChannelsFirst,
  linearChannelsLast,
  linearCrossEntropy,
  meanSquaredError,
  mlp,
  normalInit,
  rmsNorm,
  rotaryEmbedding,
  uniformInit,
} from "./index.js";

const some = (...shape: number[]): Tensor => full(shape, 0.5);
const ones = (...shape: number[]): Tensor => full(shape, 1, "i32");
const weights = { weight: some(4, 3), bias: some(4) };
const taps = { weight: some(3, 4), bias: some(3) };
const scale = { weight: some(4), bias: some(4) };

/** A call that is right: of what it is given the first `needed` are tensors or parameters, `settings` are those behind. */
interface Call {
  readonly f: unknown;
  readonly given: readonly unknown[];
  readonly settings?: object;
}
const calls: Readonly<Record<string, Call>> = {
  linear: { f: linear, given: [weights, some(2, 3)] },
  linearChannelsFirst: { f: linearChannelsFirst, given: [weights, some(2, 5, 3)] },
  linearChannelsLast: { f: linearChannelsLast, given: [weights, some(2, 3, 5)] },
  embedding: { f: embedding, given: [{ weight: some(5, 3) }, ones(2, 2)], settings: { paddingIndex: 0 } },
  rmsNorm: { f: rmsNorm, given: [{ weight: some(4) }, some(2, 4)], settings: { eps: 1e-5 } },
  layerNorm: { f: layerNorm, given: [scale, some(2, 4)], settings: { eps: 1e-5 } },
  groupNorm: { f: groupNorm, given: [scale, some(2, 4)], settings: { groups: 2, eps: 1e-5 } },
  gatedRmsNorm: { f: gatedRmsNorm, given: [scale, some(2, 4), some(2, 4)], settings: { groups: 2, eps: 1e-5 } },
  causalConv1d: {
    f: causalConv1d,
    given: [taps, some(2, 5, 3), some(2, 3, 3)],
    settings: { activation: "silu", resets: ones(2, 5) },
  },
  causalConv1dStep: {
    f: causalConv1dStep,
    given: [taps, some(2, 3), some(2, 3, 3)],
    settings: { activation: "silu" },
  },
  dropout: { f: dropout, given: [some(3)], settings: { rate: 0.5 } },
  glu: { f: glu, given: [some(2, 4), some(4)] },
  rotaryEmbedding: { f: rotaryEmbedding, given: [some(2, 3, 4)], settings: { base: 10_000 } },
  mlp: { f: mlp, given: [initMlp(key(0), 3, 4), some(2, 3)] },
  gatedMlp: { f: gatedMlp, given: [initGatedMlp(key(0), 3, 4), some(2, 3)] },
  crossEntropy: {
    f: crossEntropy,
    given: [some(2, 3), ones(2), some(2)],
    settings: { ignoreIndex: 0, labelSmoothing: 0.1, reduction: "sum" },
  },
  linearCrossEntropy: {
    f: linearCrossEntropy,
    given: [weights, some(2, 3), ones(2), some(2)],
    settings: { ignoreIndex: 0, labelSmoothing: 0.1, reduction: "sum", pieces: 1 },
  },
  accuracy: { f: accuracy, given: [some(2, 3), ones(2), some(2)] },
  meanSquaredError: { f: meanSquaredError, given: [some(2, 3), some(2, 3), some(2, 3)] },
};
const wrong: readonly unknown[] = [null, "x", -1, 1.5, Infinity, [1, 2], {}, true, () => 1, Promise.resolve(1)];

test.each(Object.entries(calls))("%s", (name, { f, given, settings }) => {
  const call = (args: readonly unknown[]): unknown => (f as (...all: readonly unknown[]) => unknown)(...args);
  const all = settings ? [...given, settings] : given;
  call(all);
  given.forEach((right, k) => {
    for (const value of wrong) {
      // Norms without a scale and a shift are norms.
      if (
        name.endsWith("Norm") &&
        k === 0 &&
        value !== null &&
        typeof value === "object" &&
        Object.keys(value).length === 0
      )
        continue;
      expect(() => call(all.with(k, value)), `${String(value)} in place ${k}`).toThrow(/expected/);
    }
    if (Object.hasOwn(right as object, "weight"))
      for (const value of wrong)
        expect(() => call(all.with(k, { ...(right as object), weight: value })), "weight").toThrow(/expected/);
  });
  if (!settings) return;
  const k = given.length;
  expect(() => call(all.with(k, { ...settings, misspelt: 1 })), "misspelt").toThrow(/got misspelt/);
  for (const value of [null, 3, "x"]) expect(() => call(all.with(k, value)), "settings").toThrow(/expected/);
  for (const setting in settings)
    for (const value of ["x", NaN, -1.5, {}])
      expect(() => call(all.with(k, { ...settings, [setting]: value })), `${setting} ${String(value)}`).toThrow(
        /expected/,
      );
});

test("a scale that is no parameter tree, or has another name, is not ignored", () => {
  expect(() => rmsNorm(some(4) as never, some(2, 4))).toThrow(
    /^rmsNorm: expected an object with weight, bias, got a Tensor/,
  );
  expect(() => layerNorm({ gamma: some(4) } as never, some(2, 4))).toThrow(/got gamma/);
});

test("settings of fresh parameters", () => {
  const options = { biass: true } as never;
  for (const f of [initLinear, initMlp, initGatedMlp, initCausalConv1d])
    expect(() => f(key(0), 3, 4, options)).toThrow(/got biass/);
  expect(() => initEmbedding(key(0), 3, 4, options)).toThrow(/got biass/);
  for (const init of [uniformInit, normalInit])
    for (const value of [undefined, NaN, -1, "1"])
      expect(() => init(value as never)(key(0), [2])).toThrow(/expected the (bound|deviation), a number of at least 0/);
});
