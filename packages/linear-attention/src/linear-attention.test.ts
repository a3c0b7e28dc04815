import { configure, modesOf, parameterCount, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cpu,
  div,
  exp,
  key,
  matmul,
  mul,
  normal,
  realize,
  reference,
  sum,
  tensor,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  applyFeatureMap,
  bidirectionalLinearAttention,
  featureMaps,
  featuresOf,
  linearAttention,
  linearAttentionMixer,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};

describe("linear attention", () => {
  test.each(Object.keys(linearAttentionMixer.samples!))(
    "keeps the laws of a mixer, %s",
    async (name) => {
      const config = configure(linearAttentionMixer, linearAttentionMixer.samples![name]!);
      const report = await checkMixer(linearAttentionMixer, config, cpu(), { length: 7 });
      expect(report.modes).toEqual(config.causal ? ["parallel", "chunked", "recurrent"] : ["parallel"]);
    },
    120_000,
  );

  test("is attention with weights phi(q) phi(k) in place of the exponentials", async () => {
    const [B, L, H, K, V] = [2, 6, 2, 3, 4];
    const [q, k] = [1, 2].map((n) => applyFeatureMap("elu+1", normal(key(n), [B, L, H, K]))) as [Tensor, Tensor];
    const v = normal(key(3), [B, L, H, V]);
    const heads = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
    const scores = matmul(heads(q), transpose(heads(k)));
    const causal = tensor(Array.from({ length: L }, (_, t) => Array.from({ length: L }, (__, s) => (s <= t ? 1 : 0))));
    for (const [weights, y] of [
      [mul(scores, causal), linearAttention({ q, k, v }, { normalize: true, eps: 0 })[0]],
      [scores, bidirectionalLinearAttention({ q, k, v }, { normalize: true, eps: 0 })],
    ] as const) {
      const attended = heads(matmul(div(weights, sum(weights, 3, { keepDims: true })), heads(v)));
      const [found, expected] = [await values(y), await values(attended)];
      expected.forEach((value, at) => expect(found[at]).toBeCloseTo(value, 12));
    }
  });

  test("parameters and state", () => {
    expect(
      parameterCount(
        linearAttentionMixer.init({ ...linearAttentionMixer.config, dModel: 8, nHeads: 2, dKey: 3 }, key(1)),
      ),
    ).toBe(2 * 6 * 8 + 2 * 64);
    expect(stateBytes(linearAttentionMixer, { ...linearAttentionMixer.config, dModel: 8, nHeads: 2 }, 100)).toBe(
      4 * (2 * 16 + 8),
    );
    expect(modesOf(linearAttentionMixer as never, { ...linearAttentionMixer.config, causal: false } as never)).toEqual([
      "parallel",
    ]);
    expect(() => linearAttentionMixer.init({ ...linearAttentionMixer.config, nHeads: 7 }, key(1))).toThrow(
      "nHeads that divide dModel",
    );
    expect(() => configure(linearAttentionMixer, { featureMap: "cosine" })).toThrow("expected featureMap out of elu+1");
  });
});

describe("feature maps", () => {
  test("taylor's products are 1 + s + s^2/2 with s = q k / sqrt(K)", async () => {
    const [q, k] = [normal(key(1), [5, 4]), normal(key(2), [5, 4])];
    const products = await values(sum(mul(applyFeatureMap("taylor", q), applyFeatureMap("taylor", k)), 1));
    (await values(mul(sum(mul(q, k), 1), 0.5))).forEach((s, n) =>
      expect(products[n]).toBeCloseTo(1 + s + s ** 2 / 2, 12),
    );
  });

  test("elu+1 is positive and finite on both sides, and so is its gradient", async () => {
    const found = await values(applyFeatureMap("elu+1", tensor([-1000, -1, 0, 2, 1000])));
    expect(found).toEqual([0, Math.exp(-1), 1, 3, 1001]);
  });

  test("each has as many entries as it says", async () => {
    for (const map of featureMaps)
      expect(applyFeatureMap(map, normal(key(1), [2, 3])).shape).toEqual([2, featuresOf(map, 3)]);
    expect(await values(applyFeatureMap("exp", tensor([1])))).toEqual(await values(exp(tensor([1]))));
    expect(await values(applyFeatureMap("relu", tensor([-1, 2])))).toEqual([0, 2]);
  });
});
