// Language models of several architectures, in the proportions of published ones.
import { attention } from "@seqmix/attention";
import { mamba } from "@seqmix/mamba";
import { mamba2 } from "@seqmix/mamba2";
import {
  forwardLanguageModel,
  generate,
  initLanguageModel,
  layersOf,
  type AnyMixer,
  type LanguageModelConfig,
} from "@seqmix/mixer";
import {
  add,
  cpu,
  grad,
  key,
  leavesOf,
  mul,
  namedLeaves,
  realize,
  reference,
  sum,
  tensor,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { expect, test } from "vitest";

const any = (mixer: unknown): AnyMixer => mixer as AnyMixer;
const attend = { mixer: any(attention), mixerConfig: { nHeads: 2 } };

/** Attention in the fifth of eight layers, a feed-forward block in every one (Lieber et al., Jamba, 2024, without experts). */
const jamba: LanguageModelConfig = {
  mixer: any(mamba),
  mixerConfig: { dState: 2, dtRank: 1 },
  feedForward: { kind: "gated", dHidden: 6 },
  pattern: [{}, {}, {}, {}, attend, {}, {}, {}],
  dModel: 4,
  nLayers: 8,
  vocabSize: 7,
};

/** Mixers and feed-forward blocks in layers of their own (Waleffe et al., An Empirical Study of Mamba-based Language Models, 2024). */
const mamba2Hybrid: LanguageModelConfig = {
  mixer: any(mamba2),
  mixerConfig: { dState: 2, headDim: 4, chunkSize: 3 },
  pattern: [
    {},
    { mixer: "none", feedForward: { kind: "mlp", dHidden: 8 } },
    attend,
    { mixer: "none", feedForward: { kind: "mlp", dHidden: 8 } },
  ],
  dModel: 4,
  nLayers: 6,
  vocabSize: 7,
};

test.each([
  ["Jamba", jamba, "mamba mamba mamba mamba attention mamba mamba mamba"],
  ["Mamba-2 hybrid", mamba2Hybrid, "mamba2 - attention - mamba2 -"],
] as const)(
  "%s: whole, in pieces and folded are one model, and every parameter learns",
  async (_, config, expected) => {
    expect(
      layersOf(config)
        .map(({ mixer }) => mixer?.id ?? "-")
        .join(" "),
    ).toBe(expected);
    const device = reference();
    const params = await realize(initLanguageModel(config, key(1)), { device });
    const tokens = tensor([[1, 2, 3, 4, 5, 6, 0, 3]], undefined, "i32");
    await realize(tokens, { device });
    const logits = (mode: "parallel" | "chunked" | "recurrent", tree = params): Tensor =>
      forwardLanguageModel(config, tree, tokens, undefined, mode)[0];
    const whole = await logits("parallel").data();
    for (const mode of ["chunked", "recurrent"] as const) {
      const found = await logits(mode).data();
      whole.forEach((value: number, n: number) => expect(found[n], mode).toBeCloseTo(value, 10));
    }
    const gradients = grad((tree: Tree) =>
      sum(mul(logits("parallel", tree as typeof params), logits("parallel", tree as typeof params))),
    )(params as Tree);
    const own = leavesOf(gradients).map((x) => add(x, 0));
    await realize(own, { device });
    for (const [n, name] of Object.keys(namedLeaves(params)).entries())
      expect(Math.max(...Array.from(await own[n]!.data(), Math.abs)), name).toBeGreaterThan(0);
  },
);

test("Mamba-2 hybrid: packed sequences are each alone", async () => {
  const device = reference();
  const params = await realize(initLanguageModel(mamba2Hybrid, key(3)), { device });
  const run = async (tokens: readonly number[], resets?: readonly number[]): Promise<number[]> => {
    const flags = resets && tensor([[...resets]], undefined, "i32");
    const given = tensor([[...tokens]], undefined, "i32");
    return [...(await forwardLanguageModel(mamba2Hybrid, params, given, undefined, "chunked", flags)[0].data())];
  };
  const packed = await run([1, 2, 3, 4, 5, 6, 0], [1, 0, 0, 1, 0, 0, 0]);
  [...(await run([1, 2, 3])), ...(await run([4, 5, 6, 0]))].forEach((value, n) =>
    expect(packed[n]).toBeCloseTo(value, 10),
  );
});

test.each([
  ["Jamba", jamba],
  ["Mamba-2 hybrid", mamba2Hybrid],
] as const)(
  "%s generates what the whole sequence says is most probable",
  async (_, config) => {
    const device = cpu();
    const params = await realize(initLanguageModel(config, key(2)), { device });
    const sequence = [1, 5, 2];
    const made: number[] = [];
    for await (const [token] of generate(config, params, tensor([sequence], undefined, "i32"), { length: 3, device }))
      made.push(token!);
    for (const token of made) {
      const all = await forwardLanguageModel(config, params, tensor([sequence], undefined, "i32"))[0].data();
      const last = Array.from(all).slice(-config.vocabSize);
      expect(token).toBe(last.indexOf(Math.max(...last)));
      sequence.push(token);
    }
    await device.close();
  },
  120_000,
);
