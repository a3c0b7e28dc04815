import { configure, parameterCount, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import { structuredMaskedAttention } from "@seqmix/ssd";
import {
  cast,
  cpu,
  exp,
  expandDims,
  iota,
  key,
  namedLeaves,
  normal,
  realize,
  reference,
  reshape,
  stack,
  sliceAxis,
  tensor,
  type Tensor,
  zeros,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  retentionAngles,
  retentionLogDecay,
  retentionPositions,
  retnet,
  rotate,
  torchscaleLanguageModel,
  torchscaleRetention,
  xpos,
  xposLogDecay,
  type RetnetConfig,
} from "./index.js";

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

describe("retnet", () => {
  test.each(Object.keys(retnet.samples!))(
    "keeps the laws of a mixer, %s",
    async (name) => {
      const report = await checkMixer(retnet, configure(retnet, retnet.samples![name] as never), cpu(), { length: 7 });
      expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    },
    120_000,
  );

  test("parameters have the published names and shapes, the state has the positions", () => {
    const params = retnet.init({ ...retnet.config, dModel: 8, nHeads: 2, norm: "group" }, key(1));
    expect(Object.fromEntries(Object.entries(namedLeaves(params)).map(([path, x]) => [path, x.shape]))).toEqual({
      "q_proj.weight": [8, 8],
      "k_proj.weight": [8, 8],
      "v_proj.weight": [16, 8],
      "g_proj.weight": [16, 8],
      "group_norm.weight": [16],
      "group_norm.bias": [16],
      "out_proj.weight": [8, 16],
    });
    expect(parameterCount(params)).toBe(2 * 64 + 3 * 128 + 32);
    expect(stateBytes(retnet, { ...retnet.config, dModel: 8, nHeads: 2 }, 100)).toBe(4 * (2 * 4 * 8 + 1));
    expect(() => retnet.init({ ...retnet.config, dModel: 6, nHeads: 2 }, key(1))).toThrow("into even parts");
    expect(() => configure(retnet, { positions: "alibi" })).toThrow("expected positions out of torchscale, xpos");
  });

  test("checkpoint constants take the place of computed ones", async () => {
    const config: RetnetConfig = { ...retnet.config, dModel: 4, nHeads: 1, positions: "xpos" };
    const params = retnet.init(config, key(1));
    const x = normal(key(2), [1, 5, 4]);
    const stored = { ...params, gammas: tensor([1 - 2 ** -5]), xpos: { scale: tensor([1.6 / 5.6, 3.6 / 5.6]) } };
    await expectClose(retnet.modes.parallel(config, stored, x)[0], retnet.modes.parallel(config, params, x)[0], 6);
    const other = { ...params, gammas: tensor([0.1]) };
    expect(await values(retnet.modes.parallel(config, other, x)[0])).not.toEqual(
      await values(retnet.modes.parallel(config, params, x)[0]),
    );
  });
});

describe("positions and decays", () => {
  test("decays are 1 - 2^(-5-h), or 1/32 to 1/512 from one", async () => {
    const powers = await values(exp(retentionLogDecay("powers-of-two", 3)));
    [1 / 32, 1 / 64, 1 / 128].forEach((rate, h) => expect(powers[h]).toBeCloseTo(1 - rate, 14));
    const range = await values(exp(retentionLogDecay("log-range", 3)));
    [1 / 32, 1 / 128, 1 / 512].forEach((rate, h) => expect(range[h]).toBeCloseTo(1 - rate, 14));
    expect((await values(exp(retentionLogDecay("log-range", 1))))[0]).toBeCloseTo(31 / 32, 14);
  });

  test("the conventions turn by their own angles", async () => {
    const [spread, standard] = [
      await values(retentionAngles("torchscale", 6)),
      await values(retentionAngles("xpos", 6)),
    ];
    [1, 1e-2, 1e-4].forEach((angle, i) => expect(spread[i]).toBeCloseTo(angle, 14));
    [1, 10 ** (-4 / 3), 10 ** (-8 / 3)].forEach((angle, i) => expect(standard[i]).toBeCloseTo(angle, 14));
    expect(() => xpos(zeros([1, 2, 4]), { scalebase: 256 } as never)).toThrow("xpos: expected settings out of offset");
    expect(() => retentionAngles("rotary", 5)).toThrow("even number of entries of a key, got 5");
    // Position 1 turns (1, 0) by 1 radian; the partner is the next entry, or the one half of them further.
    const x = tensor([1, 0, 0, 0], [1, 1, 4]);
    const turned = (positions: "xpos" | "rotary" | "none"): Promise<number[]> =>
      values(rotate(positions, x, tensor([1])));
    expect(await turned("xpos")).toEqual([Math.cos(1), Math.sin(1), 0, 0]);
    expect(await turned("rotary")).toEqual([Math.cos(1), 0, Math.sin(1), 0]);
    expect(await turned("none")).toEqual([1, 0, 0, 0]);
  });

  test.each(retentionPositions)("products depend on distances alone, %s", async (positions) => {
    const [q, k] = [normal(key(1), [1, 1, 4]), normal(key(2), [1, 1, 4])];
    const product = async (t: number, s: number): Promise<number> => {
      const [a, b] = [await values(rotate(positions, q, tensor([t]))), await values(rotate(positions, k, tensor([s])))];
      return a.reduce((total, value, n) => total + value * b[n]!, 0);
    };
    expect(await product(7, 4)).toBeCloseTo(await product(103, 100), 10);
  });

  test("xPos as published is a decay of each key", async () => {
    const [B, L, K] = [2, 7, 4];
    const [q, k, v] = [1, 2, 3].map((n) => normal(key(n), [B, L, K])) as [Tensor, Tensor, Tensor];
    const head = (x: Tensor): Tensor => expandDims(x, 2);
    const logDecay = retentionLogDecay("powers-of-two", 1);
    const position = cast(iota([B, L], 1), "f32");
    const published = structuredMaskedAttention({
      q: head(xpos(q)),
      k: head(xpos(k, { downscale: true })),
      v: head(v),
      logDecay,
    });
    const decaying = structuredMaskedAttention({
      q: rotate("xpos", head(q), position),
      k: rotate("xpos", head(k), position),
      v: head(v),
      logDecay: xposLogDecay(logDecay, K),
    });
    await expectClose(decaying.y, published.y, 11);
  });
});

describe("torchscale", () => {
  const [B, L, D] = [2, 10, 8];
  const config: RetnetConfig = { ...retnet.config, dModel: D, nHeads: 2, normEps: 1e-30 };
  const params = retnet.init(config, key(1));
  const x = normal(key(2), [B, L, D]);

  test.each(["parallel", "recurrent", "chunk"] as const)(
    "the %s form is the mixer: its scales are gone behind a norm without eps",
    async (form) => {
      const { y } = torchscaleRetention(params, x, { nHeads: 2, form, chunkSize: 4, eps: 1e-30 });
      await expectClose(y, retnet.modes.parallel(config, params, x)[0], 10);
    },
  );

  test("options of the language model change what they name", async () => {
    const linear = (k: number, outputs: number, inputs: number): { weight: Tensor } => ({
      weight: normal(key(k), [outputs, inputs]),
    });
    const norm = { weight: normal(key(9), [D]) };
    const model = {
      embed_tokens: linear(3, 5, D),
      layers: [
        {
          retention: params,
          retention_layer_norm: norm,
          ffn: { fc1: linear(4, 6, D), fc2: linear(5, D, 6), gate: linear(6, 6, D) },
          final_layer_norm: norm,
        },
      ],
    };
    const tokens = tensor([[1, 2, 4, 0]], undefined, "i32");
    const logits = async (options: object, tree = {}): Promise<string> =>
      (await values(torchscaleLanguageModel({ ...model, ...tree }, tokens, { nHeads: 2, ...options }).logits))
        .map((v) => v.toPrecision(6))
        .join();
    const plain = await logits({});
    const variants = [
      await logits({ scaleEmbedding: true }),
      await logits({ normalizeBefore: false }),
      await logits({ residualScale: 2 }),
      await logits({ activation: "relu" }),
      await logits({ activation: "swish" }),
      await logits({}, { layer_norm: norm }),
      await logits({}, { layernorm_embedding: norm }),
      await logits({}, { output_projection: linear(7, 5, D) }),
    ];
    expect(new Set([plain, ...variants]).size).toBe(variants.length + 1);
    const { hiddenStates } = torchscaleLanguageModel(model, tokens, { nHeads: 2 });
    expect(hiddenStates.map(({ shape }) => shape)).toEqual([
      [1, 4, D],
      [1, 4, D],
    ]);
    await expectClose(
      stack([sliceAxis(hiddenStates[0]!, 1, 0, 1)]),
      reshape(sliceAxis(model.embed_tokens.weight, 0, 1, 2), [1, 1, 1, D]),
    );
  });
});
