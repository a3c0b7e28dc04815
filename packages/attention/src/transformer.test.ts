import {
  generate,
  initLanguageModel,
  initResidualBlock,
  parameterCount,
  residualBlock,
  type LanguageModelConfig,
} from "@seqmix/mixer";
import { layerNorm, rmsNorm } from "@seqmix/nn";
import { checkMixer } from "@seqmix/testing";
import { add, cpu, key, normal, realize, reference, tensor, type Device, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { attention, transformer, type TransformerParameters } from "./index.js";

const config = { ...transformer.config, dModel: 8, nHeads: 2, dHidden: 6 };

async function values(x: Tensor, device: Device = reference()): Promise<number[]> {
  await realize({ x }, { device });
  return [...(await x.data())];
}

test("keeps the laws of a mixer", async () => {
  const sample = transformer.samples!["swiglu, rope"];
  const report = await checkMixer(transformer, { ...transformer.config, ...sample }, cpu(), { length: 3 });
  expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
});

test("attention and the feed-forward map are each added to the residual stream, once", async () => {
  const params = transformer.init(config, key(1));
  const x = normal(key(2), [1, 4, 8]);
  const silent = { ...params, mlp: { ...params.mlp, down_proj: { weight: tensor(new Float32Array(48), [8, 6]) } } };
  const [y] = residualBlock(transformer as never, config, { mixer: silent as never }, x);
  const [mixed] = attention.modes.parallel(config, params.attn, rmsNorm(params.ln_1, x));
  expect(await values(y)).toEqual(await values(add(x, mixed)));
});

test("a block with a residual connection of its own has no norm around it", () => {
  const model: LanguageModelConfig = { mixer: transformer as never, dModel: 8, nLayers: 2, vocabSize: 5 };
  const params = initLanguageModel(model, key(1));
  expect(params.layers.map((layer) => Object.keys(layer))).toEqual([["mixer"], ["mixer"]]);
});

test("is initialised as GPT-2: deviation 0.02, less into the residual stream of a deep model", async () => {
  const wide = { ...transformer.config, dModel: 64 };
  const deviation = async (x: Tensor): Promise<number> => {
    const all = await values(x);
    return Math.sqrt(all.reduce((s, v) => s + v * v, 0) / all.length);
  };
  const block = initResidualBlock(transformer as never, wide, key(1), { index: 0, count: 8 });
  const params = block.mixer as TransformerParameters;
  expect(await deviation(params.attn.q_proj.weight)).toBeCloseTo(0.02, 3);
  expect(await deviation(params.attn.out_proj.weight)).toBeCloseTo(0.02 / 4, 3);
  expect(parameterCount(params)).toBe(4 * 64 * 64 + 3 * 64 * Math.ceil((8 * 64) / 3) + 2 * 64);
});

test("layer norm and GELU stand where the config says", async () => {
  const gpt = { ...config, norm: "layer", feedForward: "gelu", positionEncoding: "none" } as const;
  const params = transformer.init(gpt, key(1));
  const x = normal(key(2), [1, 3, 8]);
  const still = { ...params, attn: { ...params.attn, out_proj: { weight: tensor(new Float32Array(64), [8, 8]) } } };
  const normed = layerNorm(params.ln_2, x);
  expect(Object.keys(params.mlp)).toEqual(["fc1", "fc2"]);
  expect(Object.keys(params.ln_1)).toEqual(["weight", "bias"]);
  const [y] = transformer.modes.parallel(gpt, still, x);
  expect((await values(y)).length).toBe((await values(normed)).length);
});

test("generation from a cache with room gives what it gives without", async () => {
  const device = cpu();
  const without = { ...transformer, reserve: undefined };
  const tokensOf = async (mixer: unknown): Promise<number[]> => {
    const model = { mixer, mixerConfig: { nHeads: 2 }, dModel: 8, nLayers: 1, vocabSize: 11 } as LanguageModelConfig;
    const out: number[] = [];
    for await (const chosen of generate(
      model,
      initLanguageModel(model, key(3)),
      tensor([[1, 2, 3]], undefined, "i32"),
      { length: 4, device },
    ))
      out.push(chosen[0]!);
    return out;
  };
  expect(await tokensOf(transformer)).toEqual(await tokensOf(without));
});
