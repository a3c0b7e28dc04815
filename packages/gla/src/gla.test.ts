import { configure, parameterCount, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cpu,
  key,
  mul,
  namedLeaves,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { gla, type GlaConfig } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};

describe("gla", () => {
  test.each(Object.keys(gla.samples!))(
    "keeps the laws of a mixer, %s",
    async (name) => {
      const report = await checkMixer(gla, configure(gla, gla.samples![name] as never), cpu(), { length: 7 });
      expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    },
    120_000,
  );

  test("parameters have the published names and shapes", () => {
    const shapes = (config: Partial<GlaConfig>): Record<string, readonly number[]> =>
      Object.fromEntries(
        Object.entries(namedLeaves(gla.init({ ...gla.config, dModel: 32, ...config }, key(1)))).map(([path, x]) => [
          path,
          x.shape,
        ]),
      );
    expect(shapes({})).toEqual({
      "q_proj.weight": [16, 32],
      "k_proj.weight": [16, 32],
      "v_proj.weight": [32, 32],
      "g_proj.weight": [32, 32],
      "gk_proj.0.weight": [16, 32],
      "gk_proj.1.weight": [16, 16],
      "gk_proj.1.bias": [16],
      "g_norm_swish_gate.weight": [8],
      "o_proj.weight": [32, 32],
    });
    const shared = shapes({ nKvHeads: 2, outputGate: false });
    expect(shared["k_proj.weight"]).toEqual([8, 32]);
    expect(shared["gk_proj.1.bias"]).toEqual([8]);
    expect(Object.keys(shared)).toContain("g_norm.weight");
    expect(Object.keys(shared)).not.toContain("g_proj.weight");
  });

  test("a gate of zero decays by 2^(-1/16) a position, and clampMin holds it", async () => {
    const config: GlaConfig = { ...gla.config, dModel: 2, nHeads: 1, expandK: 0.5, gateRank: 1 };
    const params = gla.init(config, key(1));
    const still = { ...params, gk_proj: [params.gk_proj[0], { weight: tensor([[0]]), bias: tensor([0]) }] as const };
    const x = tensor([
      [
        [1, 2],
        [0, 0],
        [0, 0],
      ],
    ]);
    const after = async (settings: Partial<GlaConfig>, length: number): Promise<number[]> =>
      values(gla.modes.parallel({ ...config, ...settings }, still, sliceAxis(x, 1, 0, length))[1].S);
    const [first, last] = [await after({}, 1), await after({}, 3)];
    first.forEach((s, n) => expect(last[n]! / s).toBeCloseTo(2 ** (-2 / 16), 12));
    const clamped = await after({ clampMin: -0.01 }, 3);
    first.forEach((s, n) => expect(clamped[n]! / s).toBeCloseTo(Math.exp(-0.02), 12));
  });

  test("shared keys are the same keys for each of their heads", async () => {
    const config: GlaConfig = { ...gla.config, dModel: 8, nHeads: 4, nKvHeads: 2 };
    const params = gla.init(config, key(1));
    const repeat = (w: Tensor, extent: number): Tensor => {
      const inner = w.shape.slice(1);
      const [G, rows] = [2, w.shape[0]! / 2];
      const twice = mul(
        reshape(w, [G, 1, rows, ...inner]),
        tensor(new Float32Array(2).fill(1), [1, 2, 1, ...inner.map(() => 1)]),
      );
      return reshape(twice, [4 * extent, ...inner]);
    };
    const own = {
      ...params,
      k_proj: { weight: repeat(params.k_proj.weight, 1) },
      v_proj: { weight: repeat(params.v_proj.weight, 2) },
      gk_proj: [
        params.gk_proj[0],
        { weight: repeat(params.gk_proj[1].weight, 1), bias: repeat(params.gk_proj[1].bias!, 1) },
      ] as const,
    };
    const x = normal(key(2), [1, 5, 8]);
    const [a, b] = [
      await values(gla.modes.parallel(config, params, x)[0]),
      await values(gla.modes.parallel({ ...config, nKvHeads: "auto" }, own, x)[0]),
    ];
    a.forEach((value, n) => expect(value).toBeCloseTo(b[n]!, 12));
  });

  test("sizes, and impossible ones", () => {
    expect(parameterCount(gla.init({ ...gla.config, dModel: 32 }, key(1)))).toBe(
      16 * 32 * 3 + 32 * 32 * 3 + 16 * 16 + 16 + 8,
    );
    expect(stateBytes(gla, { ...gla.config, dModel: 32 }, 100)).toBe(4 * 4 * 4 * 8);
    expect(() => gla.init({ ...gla.config, nHeads: 3 }, key(1))).toThrow(
      "expected nHeads that divide 32 and 64 entries",
    );
    expect(() => gla.init({ ...gla.config, nKvHeads: 3 }, key(1))).toThrow("got 4 and 3");
  });
});
