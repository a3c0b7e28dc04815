import {
  embedding,
  gatedMlp,
  initLinear,
  linear,
  rmsNorm,
  type GatedMlpParameters,
  type LinearParameters,
} from "@seqmix/nn";
import {
  add,
  broadcastTo,
  concat,
  cpu,
  cumsum,
  div,
  expandDims,
  key,
  leavesOf,
  linearScan,
  mean,
  mul,
  namedLeaves,
  normal,
  realize,
  reference,
  reshape,
  sigmoid,
  sliceAxis,
  tensor,
  uniform,
  valueAndGrad,
  zeros,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  configure,
  defineMixer,
  forwardLanguageModel,
  generate,
  initLanguageModel,
  initLanguageModelState,
  initResidualBlock,
  languageModelLoss,
  layersOf,
  modesOf,
  parameterCount,
  residualBlock,
  residualBlockStep,
  runMixer,
  stateBytes,
  stepLanguageModel,
  treeBytes,
  type AnyMixer,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LayerParameters,
} from "./index.js";

const oracle = reference();

async function values(x: Tensor): Promise<number[]> {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
}

async function expectEqual(actual: Tensor, expected: Tensor): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [await values(actual), await values(expected)];
  b.forEach((value, k) => expect(a[k], `element ${k}`).toBeCloseTo(value, 10));
}

type AverageParameters = { readonly decay: Tensor; readonly in_proj: LinearParameters };

/** h_t = a h_(t-1) + W x_t, y = h: the smallest mixer with a state. */
const movingAverage = defineMixer({
  id: "moving-average",
  config: { dModel: 4, gain: 1, rank: "auto" },
  state: "constant",
  init: ({ dModel }, k: Key): AverageParameters => ({
    decay: uniform(k, [dModel], -1, 1),
    in_proj: initLinear(k, dModel, dModel),
  }),
  initState: ({ dModel }, batch): { h: Tensor } => ({ h: zeros([batch, dModel]) }),
  step({ gain }, { decay, in_proj }, x, { h }) {
    const next = add(mul(h, sigmoid(decay)), mul(linear(in_proj, x), gain));
    return [next, { h: next }];
  },
  modes: {
    parallel({ gain }, { decay, in_proj }, x, state) {
      const [B, L, D] = x.shape as [number, number, number];
      const h = linearScan({
        a: broadcastTo(sigmoid(decay), x.shape),
        b: mul(linear(in_proj, x), gain),
        h0: state?.h,
        axis: 1,
      });
      return [h, { h: L === 0 ? (state?.h ?? zeros([B, D])) : reshape(sliceAxis(h, 1, L - 1, L), [B, D]) }];
    },
  },
});

/** y_t = mean of x_0 .. x_t; the state keeps all inputs. */
const history = defineMixer({
  id: "history",
  config: { dModel: 4 },
  state: "grows",
  init: (): { none: readonly Tensor[] } => ({ none: [] }),
  initState: ({ dModel }, batch): { inputs: Tensor } => ({ inputs: zeros([batch, 0, dModel]) }),
  step(_, __, x, { inputs }) {
    const all = concat([inputs, expandDims(x, 1)], 1);
    return [mean(all, 1), { inputs: all }];
  },
  modes: {
    parallel(_, __, x, state) {
      const all = state ? concat([state.inputs, x], 1) : x;
      const [T, L] = [all.shape[1]!, x.shape[1]!];
      const counts = tensor(Array.from({ length: T }, (___, t) => [t + 1]));
      return [sliceAxis(div(cumsum(all, 1), counts), 1, T - L, T), { inputs: all }];
    },
  },
});

const model: LanguageModelConfig = {
  mixer: movingAverage,
  mixerConfig: { gain: 0.5 },
  dModel: 6,
  nLayers: 2,
  vocabSize: 11,
};
const tokens = tensor(
  [
    [1, 5, 2, 9, 0],
    [3, 3, 10, 7, 4],
  ],
  undefined,
  "i32",
);

describe("running a mixer", () => {
  test("the folded step is the parallel mode, and a split is the whole", async () => {
    const params = movingAverage.init(movingAverage.config, key(1));
    const x = normal(key(2), [2, 5, 4]);
    const [y, end] = runMixer(movingAverage, movingAverage.config, params, x);
    const [folded, last] = runMixer(movingAverage, movingAverage.config, params, x, undefined, "recurrent");
    await expectEqual(folded, y);
    await expectEqual((last as { h: Tensor }).h, (end as { h: Tensor }).h);
    const [first, carried] = runMixer(
      movingAverage,
      movingAverage.config,
      params,
      sliceAxis(x, 1, 0, 2),
      undefined,
      "recurrent",
    );
    const [second] = runMixer(movingAverage, movingAverage.config, params, sliceAxis(x, 1, 2, 5), carried);
    await expectEqual(concat([first, second], 1), y);
  });

  test("an empty sequence changes nothing", async () => {
    const params = movingAverage.init(movingAverage.config, key(1));
    const state = { h: normal(key(3), [2, 4]) };
    for (const mode of modesOf(movingAverage)) {
      const [y, after] = runMixer(movingAverage, movingAverage.config, params, zeros([2, 0, 4]), state, mode);
      expect(y.shape).toEqual([2, 0, 4]);
      await expectEqual((after as typeof state).h, state.h);
    }
  });

  test("wrong settings, modes and shapes are named", () => {
    expect(configure(movingAverage, { gain: 2, rank: 3 })).toEqual({ dModel: 4, gain: 2, rank: 3 });
    expect(() => configure(movingAverage, { gian: 2 })).toThrow(/out of dModel, gain, rank, got gian=2/);
    expect(() => configure(movingAverage, { gain: "2" })).toThrow(/expected a number for gain, got "2"/);
    expect(modesOf(movingAverage)).toEqual(["parallel", "recurrent"]);
    expect(() => runMixer(movingAverage, movingAverage.config, {}, zeros([1, 2, 4]), undefined, "chunked")).toThrow(
      /out of parallel, recurrent, got chunked/,
    );
    expect(() => runMixer(movingAverage, movingAverage.config, {}, zeros([1, 2, 3]))).toThrow(
      /expected x \[B L 4\], got shape \[1,2,3\]/,
    );
  });
});

test("the residual block is x + mixer(rmsnorm(x))", async () => {
  const params = initResidualBlock(history, history.config, key(1));
  const x = tensor([
    [
      [3, 4, 0, 0],
      [0, 0, 0, 2],
    ],
  ]);
  const [y] = residualBlock(history, history.config, params, x);
  const [p, q] = [1 / Math.sqrt(25 / 4 + 1e-5), 1 / Math.sqrt(1 + 1e-5)];
  await expectEqual(
    y,
    tensor([
      [
        [3 + 3 * p, 4 + 4 * p, 0, 0],
        [1.5 * p, 2 * p, 0, 2 + q],
      ],
    ]),
  );
  const [first, state] = residualBlockStep(
    history,
    history.config,
    params,
    tensor([[3, 4, 0, 0]]),
    history.initState(history.config, 1),
  );
  await expectEqual(first, reshape(sliceAxis(y, 1, 0, 1), [1, 4]));
  expect((state as { inputs: Tensor }).inputs.shape).toEqual([1, 1, 4]);
});

describe("the language model", () => {
  const params = initLanguageModel(model, key(7));

  test("has the names and shapes of its parameters, and counts them", () => {
    expect(Object.keys(namedLeaves(params))).toEqual([
      "embedding.weight",
      ...[0, 1].flatMap((k) =>
        ["norm.weight", "mixer.decay", "mixer.in_proj.weight", "mixer.in_proj.bias"].map(
          (name) => `layers.${k}.${name}`,
        ),
      ),
      "norm_f.weight",
    ]);
    expect(parameterCount(params)).toBe(11 * 6 + 2 * (6 + 6 + 36 + 6) + 6);
    expect(treeBytes(params)).toBe(4 * parameterCount(params));
  });

  test("ties the head to the embedding", async () => {
    const empty = { ...params, layers: [] };
    const [logits] = forwardLanguageModel({ ...model, nLayers: 0 }, empty, tensor([[2]], undefined, "i32"));
    const rows = await values(params.embedding.weight);
    const row = rows.slice(12, 18);
    const scale = Math.sqrt(row.reduce((s, v) => s + v * v, 0) / 6 + 1e-5);
    await expectEqual(
      logits,
      tensor([[Array.from({ length: 11 }, (_, v) => row.reduce((s, e, k) => s + (e / scale) * rows[v * 6 + k]!, 0))]]),
    );
  });

  test("folded steps are the forward pass, also from a carried state", async () => {
    const [logits, end] = forwardLanguageModel(model, params, tokens);
    expect(logits.shape).toEqual([2, 5, 11]);
    const [, carried] = forwardLanguageModel(model, params, sliceAxis(tokens, 1, 0, 2));
    let state = initLanguageModelState(model, 2);
    for (let t = 0; t < 5; t++) {
      if (t === 2) state = carried;
      const [row, next] = stepLanguageModel(model, params, reshape(sliceAxis(tokens, 1, t, t + 1), [2]), state);
      await expectEqual(row, reshape(sliceAxis(logits, 1, t, t + 1), [2, 11]));
      state = next;
    }
    for (const [k, leaf] of leavesOf(state).entries()) await expectEqual(leaf, leavesOf(end)[k]!);
    await expectEqual(forwardLanguageModel(model, params, tokens, undefined, "recurrent")[0], logits);
  });

  test("layers start differently, and the same key gives the same model", async () => {
    const [a, b] = params.layers.map((layer) => (layer.mixer as AverageParameters).in_proj.weight);
    expect(await values(a!)).not.toEqual(await values(b!));
    expect(await values(initLanguageModel(model, key(7)).embedding.weight)).toEqual(
      await values(params.embedding.weight),
    );
  });

  test("refuses tokens of another type or rank", () => {
    expect(() => forwardLanguageModel(model, params, tensor([[0.5]]))).toThrow(
      /expected i32 tokens \[B L\], got f32 \[1,1\]/,
    );
    expect(() => stepLanguageModel(model, params, tokens, initLanguageModelState(model, 2))).toThrow(
      /expected tokens \[B\], got shape \[2,5\]/,
    );
  });
});

describe("a language model of several mixers", () => {
  const hybrid: LanguageModelConfig = {
    ...model,
    nLayers: 5,
    feedForward: { kind: "gated", dHidden: 9 },
    pattern: [
      {},
      { mixerConfig: { gain: 2 }, feedForward: "none" },
      { mixer: history },
      { mixer: "none", feedForward: { kind: "mlp", dHidden: 7, bias: true } },
    ],
  };
  const params = initLanguageModel(hybrid, key(3));

  test("has the pattern's layers, again from its beginning", () => {
    const layers = layersOf(hybrid);
    expect(layers.map(({ mixer }) => mixer?.id)).toEqual([
      "moving-average",
      "moving-average",
      "history",
      undefined,
      "moving-average",
    ]);
    expect(layers.map(({ mixerConfig }) => (mixerConfig as { gain?: number }).gain)).toEqual([
      0.5,
      2,
      undefined,
      undefined,
      0.5,
    ]);
    expect(layers.map(({ feedForward }) => feedForward?.kind)).toEqual(["gated", undefined, "gated", "mlp", "gated"]);
    const names = Object.keys(namedLeaves(params)).filter((name) => /^layers\.[234]/.test(name));
    expect(names).toEqual([
      "layers.2.norm.weight",
      ...["gate_proj", "up_proj", "down_proj"].reduce<string[]>(
        (all, map) => [...all, `layers.2.mlp.${map}.weight`],
        ["layers.2.norm2.weight"],
      ),
      ...["norm2.weight", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"].map(
        (name) => `layers.3.${name}`,
      ),
      ...["norm.weight", "mixer.decay", "mixer.in_proj.weight", "mixer.in_proj.bias", "norm2.weight"].map(
        (name) => `layers.4.${name}`,
      ),
      ...["gate_proj", "up_proj", "down_proj"].map((map) => `layers.4.mlp.${map}.weight`),
    ]);
  });

  test("a layer is x + mixer(norm(x)), and then x + mlp(norm2(x))", async () => {
    const one: LanguageModelConfig = { ...hybrid, nLayers: 1 };
    const [layer] = params.layers as [Required<LayerParameters>];
    const [logits] = forwardLanguageModel(one, { ...params, layers: [layer] }, tokens);
    const config = layersOf(one)[0]!.mixerConfig;
    const x = embedding(params.embedding, tokens);
    const mixed = residualBlock(movingAverage, config, layer, x)[0];
    const fed = add(mixed, gatedMlp(layer.mlp as GatedMlpParameters, rmsNorm(layer.norm2, mixed)));
    await expectEqual(logits, linear(params.embedding, rmsNorm(params.norm_f, fed)));
  });

  test("folded steps are the forward pass, in values and states, from a carried state too", async () => {
    const [logits, end] = forwardLanguageModel(hybrid, params, tokens);
    let state = initLanguageModelState(hybrid, 2);
    expect(leavesOf(state[3]!)).toEqual([]);
    for (let t = 0; t < 5; t++) {
      const [row, next] = stepLanguageModel(hybrid, params, reshape(sliceAxis(tokens, 1, t, t + 1), [2]), state);
      await expectEqual(row, reshape(sliceAxis(logits, 1, t, t + 1), [2, 11]));
      state = next;
    }
    for (const [k, leaf] of leavesOf(state).entries()) await expectEqual(leaf, leavesOf(end)[k]!);
    const [first, carried] = forwardLanguageModel(hybrid, params, sliceAxis(tokens, 1, 0, 2));
    const [second] = forwardLanguageModel(hybrid, params, sliceAxis(tokens, 1, 2, 5), carried, "recurrent");
    await expectEqual(concat([first, second], 1), logits);
  });

  test("mixers without a mode run in parallel beside those that have it, and not alone", async () => {
    const inPieces: AnyMixer = {
      ...movingAverage,
      id: "pieces",
      modes: { ...movingAverage.modes, chunked: movingAverage.modes.parallel },
    };
    const mixed: LanguageModelConfig = { ...hybrid, pattern: [{ mixer: inPieces }, { mixer: history }] };
    const own = initLanguageModel(mixed, key(3));
    await expectEqual(
      forwardLanguageModel(mixed, own, tokens, undefined, "chunked")[0],
      forwardLanguageModel(mixed, own, tokens)[0],
    );
    expect(() => forwardLanguageModel(hybrid, params, tokens, undefined, "chunked")).toThrow(
      /out of parallel, recurrent, got chunked/,
    );
  });

  test("generates, and refuses what is no layer or has no recurrent form", async () => {
    const made: number[] = [];
    for await (const chosen of generate(hybrid, params, tokens, { length: 3, device: reference() }))
      made.push(chosen[0]!);
    expect(made).toHaveLength(3);
    expect(() => layersOf({ ...hybrid, pattern: [] })).toThrow("expected a pattern of at least one layer");
    expect(() => layersOf({ ...model, pattern: [{}, { mixer: "none" }] })).toThrow(
      "in layer 1 of the pattern, got neither",
    );
    expect(() => layersOf({ ...model, pattern: [{ mixer: history, mixerConfig: { gain: 1 } }] })).toThrow(
      /history: expected a setting out of dModel/,
    );
    const { step: _, ...stepless } = movingAverage;
    const wholeOnly = { ...hybrid, pattern: [{}, { mixer: stepless as unknown as AnyMixer }] };
    const run = generate(wholeOnly, params, tokens, { length: 1 }).next();
    await expect(run).rejects.toThrow("expected a mixer with a recurrent form, got moving-average without one");
  });
});

describe("checkpoints of layers", () => {
  const config: LanguageModelConfig = { ...model, dModel: 16, nLayers: 6, feedForward: { kind: "gated", dHidden: 64 } };
  const rows = (shift: number): Tensor =>
    tensor(
      Int32Array.from({ length: 4 * 32 }, (_, k) => (7 * k + shift) % 11),
      [4, 32],
    );

  test("give the same loss and gradients, bit for bit, and take less memory", async () => {
    const run = async (checkpoint: boolean): Promise<{ numbers: number[]; bytes: number }> => {
      const device = cpu({ threads: 1 });
      const params = await realize(initLanguageModel(config, key(3)), { device });
      const before = device.memory().bytes;
      const results = valueAndGrad((p: LanguageModelParameters) =>
        languageModelLoss({ ...config, checkpoint }, p, { tokens: rows(0), labels: rows(3) }),
      )(params);
      await realize(results as Tree, { device });
      const bytes = device.memory().peakBytes - before;
      const numbers = (await Promise.all(leavesOf(results as Tree).map((x) => x.data()))).flatMap((x) => [...x]);
      await device.close();
      return { numbers, bytes };
    };
    const [kept, again] = [await run(false), await run(true)];
    expect(again.numbers).toEqual(kept.numbers);
    expect(again.bytes).toBeLessThan(0.7 * kept.bytes);
  });

  test("go with states and tokens one by one", async () => {
    const params = initLanguageModel(model, key(7));
    const row = tensor(Int32Array.from([1, 5, 2, 9]), [1, 4]);
    const [plain, saving] = [false, true].map((checkpoint) => ({ ...model, checkpoint }));
    const state = initLanguageModelState(model, 1);
    const device = reference();
    const both = [plain!, saving!].map((each) => [
      forwardLanguageModel(each, params, row, state),
      stepLanguageModel(each, params, tensor(Int32Array.from([3])), state),
    ]);
    await realize(both as unknown as Tree, { device });
    const [first, second] = await Promise.all(
      both.map((each) => Promise.all(leavesOf(each as unknown as Tree).map((x) => x.data()))),
    );
    expect(second).toEqual(first);
  });
});

describe("generation", () => {
  const make = async (options: Parameters<typeof generate>[3], device = reference()): Promise<number[][]> => {
    const params = initLanguageModel(model, key(7));
    const out: number[][] = [];
    for await (const chosen of generate(model, params, tokens, { device, ...options })) out.push([...chosen]);
    return out;
  };

  test("greedily takes the largest logit of the whole sequence so far", async () => {
    const params = initLanguageModel(model, key(7));
    const made = await make({ length: 4 });
    expect(made).toHaveLength(4);
    const rows = [
      [1, 5, 2, 9, 0],
      [3, 3, 10, 7, 4],
    ];
    for (const chosen of made) {
      const [logits] = forwardLanguageModel(model, params, tensor(rows, undefined, "i32"));
      const all = await values(logits);
      rows.forEach((row, b) => {
        const last = all.slice((b * row.length + row.length - 1) * 11, (b * row.length + row.length) * 11);
        expect(chosen[b]).toBe(last.indexOf(Math.max(...last)));
      });
      rows.forEach((row, b) => row.push(chosen[b]!));
    }
  });

  test("draws by the key, with the frequencies of the softmax", async () => {
    const options = { length: 6, temperature: 1 };
    expect(await make({ ...options, key: key(1) })).toEqual(await make({ ...options, key: key(1) }));
    expect(await make({ ...options, key: key(1) })).not.toEqual(await make({ ...options, key: key(2) }));
    expect(await make({ length: 6, temperature: 1e-9, key: key(1) })).toEqual(await make({ length: 6 }));
    // No layers and two tokens whose logits differ by log 3: the second is drawn three times as often.
    const coin: LanguageModelConfig = { mixer: movingAverage, dModel: 1, nLayers: 0, vocabSize: 2 };
    const params = { embedding: { weight: tensor([[0], [Math.log(3)]]) }, layers: [], norm_f: { weight: tensor([1]) } };
    const prompt = tensor(new Int32Array(1000).fill(1), [1000, 1]);
    const scale = Math.log(3) / Math.sqrt(Math.log(3) ** 2 + 1e-5);
    for await (const chosen of generate(coin, params, prompt, {
      length: 1,
      temperature: scale,
      key: key(5),
      device: reference(),
    })) {
      const share = chosen.reduce((a, b) => a + b, 0) / 1000;
      expect(Math.abs(share - 0.75)).toBeLessThan(0.05);
    }
  });

  test.each([{}, { temperature: 1, key: key(3), topK: 5 }])(
    "tokens made together are those made one by one, as many as asked for: %o",
    async (options) => {
      const alone = await make({ length: 7, ...options });
      expect(alone).toHaveLength(7);
      for (const together of [2, 3, 6, 8])
        for (const device of [reference(), cpu()])
          expect(await make({ length: 7, together, ...options }, device)).toEqual(alone);
    },
  );

  test("keeps no memory when it is done, nor when the reader stops early", async () => {
    // a device of its own: what others forgot may be given back meanwhile
    const device = cpu({ threads: 1 });
    const params = await realize(initLanguageModel(model, key(7)), { device });
    const prompt = await realize(tensor(Int32Array.from([1, 5]), [1, 2]), { device });
    const before = device.memory().buffers;
    for await (const chosen of generate(model, params, prompt, { length: 3 })) expect(chosen).toHaveLength(1);
    for await (const _ of generate(model, params, prompt, { length: 3 })) break;
    for await (const _ of generate(model, params, prompt, { length: 30, together: 4 })) break;
    expect(device.memory().buffers).toBe(before);
  });

  test("f16 weights choose nearly the same tokens, and are given back", async () => {
    const device = cpu({ threads: 1 });
    const params = await realize(initLanguageModel(model, key(7)), { device });
    const prompt = await realize(
      tensor(
        [
          [1, 5, 2],
          [3, 3, 10],
        ],
        undefined,
        "i32",
      ),
      { device },
    );
    const before = device.memory().buffers;
    const run = async (weights?: "f16"): Promise<number[]> => {
      const out: number[] = [];
      for await (const chosen of generate(model, params, prompt, { length: 6, ...(weights && { weights }) }))
        out.push(...chosen);
      return out;
    };
    const [half, single] = [await run("f16"), await run()];
    expect(half.filter((token, k) => token === single[k]).length).toBeGreaterThanOrEqual(10);
    expect(device.memory().buffers).toBe(before);
  });

  test("refuses what cannot work", async () => {
    await expect(make({ length: 1, temperature: 1 })).rejects.toThrow(/expected a key to draw at temperature 1/);
    await expect(make({ length: 1, together: 0 })).rejects.toThrow(/expected together, a whole number of at least 1/);
    await expect(make({ length: 1, temperature: -1 })).rejects.toThrow(/temperature of at least 0, got -1/);
  });
});

test("state bytes are read off the state", () => {
  expect(stateBytes(movingAverage, { dModel: 6 }, 100)).toBe(24);
  expect(stateBytes(history, { dModel: 6 }, 0)).toBe(0);
  expect(stateBytes(history, { dModel: 6 }, 100)).toBe(2400);
  expect(stateBytes({ ...movingAverage, state: "none" }, { dModel: 6 }, 100)).toBeNull();
});
