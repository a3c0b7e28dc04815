import { configure, parameterCount, runMixer, stateBytes, type AnyMixer } from "@seqmix/mixer";
import { ssd } from "@seqmix/ssd";
import { checkMixer } from "@seqmix/testing";
import {
  add,
  concat,
  cpu,
  exp,
  key,
  mul,
  namedLeaves,
  neg,
  normal,
  realize,
  reference,
  sliceAxis,
  softplus,
  tensor,
  transpose,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { mamba2, mamba2ConfigOf, mamba2LanguageModel, mamba2ParameterGroups, type Mamba2Config } from "./index.js";
import { readLearnedStart, remainsOfStart } from "./learned-start.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const expectClose = async (actual: Tensor, expected: Tensor, digits = 12): Promise<void> => {
  const [a, e] = [await values(actual), await values(expected)];
  expect(actual.shape).toEqual(expected.shape);
  e.forEach((value, k) => expect(a[k]).toBeCloseTo(value, digits));
};
const sample = (name: string): Mamba2Config => configure(mamba2, mamba2.samples![name] as never);

describe("mamba2", () => {
  test.each(Object.keys(mamba2.samples!))(
    "keeps the laws of a mixer, %s",
    async (name) => {
      const report = await checkMixer(mamba2, sample(name), cpu(), { length: 7 });
      expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    },
    120_000,
  );

  test("parameters have the published names and shapes", () => {
    const shapes = (config: Partial<Mamba2Config>): Record<string, readonly number[]> =>
      Object.fromEntries(
        Object.entries(namedLeaves(mamba2.init({ ...mamba2.config, dModel: 128, ...config }, key(1)))).map(
          ([path, x]) => [path, x.shape],
        ),
      );
    expect(shapes({})).toEqual({
      "in_proj.weight": [512 + 256 + 4, 128],
      "conv1d.weight": [512, 1, 4],
      "conv1d.bias": [512],
      dt_bias: [4],
      A_log: [4],
      D: [4],
      "norm.weight": [256],
      "out_proj.weight": [128, 256],
    });
    const other = shapes({
      dSsm: 128,
      dPerChannel: true,
      norm: false,
      learnableInitStates: true,
      bias: true,
      nGroups: 2,
    });
    expect(other).toMatchObject({
      "in_proj.weight": [2 * 128 + 2 * 128 + 4 * 128 + 2, 128],
      "conv1d.weight": [128 + 4 * 128, 1, 4],
      D: [128],
      init_states: [2, 64, 128],
      "out_proj.bias": [128],
    });
    expect(Object.keys(other)).not.toContain("norm.weight");
    const free = Object.keys(other).filter((path) => mamba2ParameterGroups[0]!.match.test(path));
    expect(free.sort()).toEqual(["A_log", "D", "dt_bias", "init_states"]);
  });

  test("the config can be read off parameters", () => {
    for (const name of Object.keys(mamba2.samples!)) {
      const config = sample(name);
      const params = mamba2.init(config, key(1));
      const read = mamba2ConfigOf(params, { headDim: config.headDim, nGroups: config.nGroups });
      for (const field of [
        "dModel",
        "dState",
        "dConv",
        "expand",
        "headDim",
        "nGroups",
        "dSsm",
        "dPerChannel",
        "norm",
        "convBias",
        "bias",
        "learnableInitStates",
      ] as const)
        expect(read[field], field).toBe(config[field]);
    }
  });

  test("step sizes start in their range, A between its limits, the state has fixed size", async () => {
    const params = mamba2.init({ ...mamba2.config, dModel: 400, headDim: 2 }, key(2));
    const steps = await values(softplus(params.dt_bias));
    expect(Math.min(...steps)).toBeGreaterThan(0.00099);
    expect(Math.max(...steps)).toBeLessThan(0.1001);
    const rates = await values(exp(params.A_log));
    expect(Math.min(...rates)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...rates)).toBeLessThanOrEqual(16);
    expect(stateBytes(mamba2, { ...mamba2.config, dModel: 64 }, 100)).toBe(4 * ((128 + 256) * 3 + 2 * 128 * 64));
    const [drawn] = [await values(mamba2.init({ ...mamba2.config, convInit: 0.01 }, key(1)).conv1d.weight)];
    expect(Math.max(...drawn.map(Math.abs))).toBeLessThanOrEqual(0.01);
    expect(() => mamba2.init({ ...mamba2.config, headDim: 48 }, key(1))).toThrow(
      "expected headDim that divides 128 of 128 channels",
    );
    expect(() => mamba2.init({ ...mamba2.config, nGroups: 3 }, key(1))).toThrow("got 64 and 3");
  });

  test("norms before and behind the gate, of groups and of all, differ; no gate is left out", async () => {
    const config = sample("groups and limits");
    const params = mamba2.init(config, key(1));
    const x = normal(key(2), [1, 4, 4]);
    const variants = await Promise.all(
      [{}, { normBeforeGate: false }, { normOf: "group" as const }, { dtLimitLow: 0.2 }, { dtLimitHigh: 0.15 }].map(
        (changes) => values(mamba2.modes.parallel({ ...config, ...changes }, params, x)[0]),
      ),
    );
    expect(new Set(variants.map((y) => y.map((v) => v.toPrecision(6)).join())).size).toBe(variants.length);
  });
});

describe("a learned initial state", () => {
  test("enters as the state before the first position does, and again behind a reset", async () => {
    const [B, L, H, P, G, N] = [1, 5, 4, 3, 2, 2];
    const init = normal(key(1), [H, P, N]);
    const given = {
      x: normal(key(2), [B, L, H, P]),
      dt: softplus(normal(key(3), [B, L, H])),
      A: tensor([-0.5, -1, -2, -0.1]),
      B: normal(key(4), [B, L, G, N]),
      C: normal(key(5), [B, L, G, N]),
    };
    const h0 = transpose(tensor(await values(init), [B, H, P, N]));
    const part = (start: number, end: number): Tensor => {
      const cut = (x: Tensor): Tensor => sliceAxis(x, 1, start, end);
      return ssd({ x: cut(given.x), dt: cut(given.dt), A: given.A, B: cut(given.B), C: cut(given.C), h0 }).y;
    };
    const resets = tensor([[0, 0, 0, 1, 0]]);
    const { all, last } = remainsOfStart(mul(given.dt, given.A), undefined, resets);
    const y = add(ssd({ ...given, resets }).y, readLearnedStart(init, given.C, all));
    await expectClose(y, concat([part(0, 3), part(3, 5)], 1));
    const product = exp(mul(add(sliceAxis(given.dt, 1, 3, 4), sliceAxis(given.dt, 1, 4, 5)), given.A));
    expect((await values(last))[1]).toBeCloseTo((await values(product))[1]!, 12);
  });

  test("takes a number a head of the state, and all of it is left at the start", async () => {
    const config = sample("learned start");
    const state = mamba2.initState(config, 2);
    expect(state.left!.shape).toEqual([2, 2]);
    expect(await values(state.left!)).toEqual([1, 1, 1, 1]);
    const params = { ...mamba2.init(config, key(1)), init_states: normal(key(2), [2, 2, 2]) };
    const x = normal(key(3), [1, 3, 3]);
    const [y] = mamba2.modes.parallel(config, params, x);
    const [folded] = runMixer(mamba2 as unknown as AnyMixer, config, params as Tree, x, undefined, "recurrent");
    await expectClose(folded, y);
    const [without] = mamba2.modes.parallel(config, { ...params, init_states: neg(params.init_states) }, x);
    expect(await values(without)).not.toEqual(await values(y));
  });
});

test("a language model goes on from its state, in both modes", async () => {
  const config = sample("published");
  const model = {
    backbone: {
      embeddings: { weight: normal(key(1), [7, 4]) },
      layers: [1, 2].map((k) => ({ norm: { weight: normal(key(k + 5), [4]) }, mixer: mamba2.init(config, key(k)) })),
      norm_f: { weight: normal(key(9), [4]) },
    },
  };
  const tokens = tensor([[1, 2, 3, 4, 5, 6, 0]], undefined, "i32");
  const options = { headDim: 2, settings: { chunkSize: 2 } };
  const whole = mamba2LanguageModel(model, tokens, options);
  expect(whole.hiddenStates).toHaveLength(3);
  const first = mamba2LanguageModel(model, sliceAxis(tokens, 1, 0, 3), { ...options, mode: "chunked" });
  const rest = mamba2LanguageModel(model, sliceAxis(tokens, 1, 3, 7), {
    ...options,
    mode: "chunked",
    state: first.state,
  });
  await expectClose(concat([first.logits, rest.logits], 1), whole.logits, 10);
  const resets = tensor(Uint8Array.of(0, 0, 0, 1, 0, 0, 0), [1, 7]);
  const packed = mamba2LanguageModel(model, tokens, { ...options, resets });
  const alone = mamba2LanguageModel(model, sliceAxis(tokens, 1, 3, 7), options);
  await expectClose(packed.logits, concat([first.logits, alone.logits], 1), 10);
  expect(parameterCount(model)).toBeGreaterThan(0);
});
