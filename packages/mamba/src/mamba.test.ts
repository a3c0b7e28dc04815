import { parameterCount, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  add,
  concat,
  cpu,
  flip,
  grad,
  key,
  mul,
  namedLeaves,
  normal,
  realize,
  reference,
  sliceAxis,
  softplus,
  sum as total,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  mamba,
  mambaConfigOf,
  mambaLanguageModel,
  mambaParameterGroups,
  type MambaConfig,
  type MambaDirection,
  type MambaParameters,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const tiny: MambaConfig = { ...mamba.config, dModel: 4, dState: 3, dtRank: 2, dtMin: 0.05, dtMax: 0.5, chunkSize: 2 };

describe("mamba", () => {
  test("keeps the laws of a mixer", async () => {
    const report = await checkMixer(mamba, tiny, cpu());
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
  });

  test("keeps them with biases, without a convolution bias, and with a width of one", async () => {
    expect(
      (
        await checkMixer(mamba, { ...tiny, bias: true, convBias: false, dConv: 1, dtRank: "auto" }, cpu(), {
          length: 7,
        })
      ).laws.length,
    ).toBeGreaterThan(5);
  });

  test.each([0, 1, 2, 3, 4, 5, 6])(
    "keeps them whatever depends on the input, choice %i of delta, B and C",
    async (bits) => {
      const config = {
        ...tiny,
        dModel: 2,
        expand: 1,
        dState: 2,
        dtRank: 1,
        selectiveDelta: (bits & 1) > 0,
        selectiveB: (bits & 2) > 0,
        selectiveC: (bits & 4) > 0,
      };
      await checkMixer(mamba, config, cpu(), { length: 4 });
      const [E, N] = [2, 2];
      const own = (bits & 1 ? E + E : 0) + (bits & 2 ? N * E : E * N) + (bits & 4 ? N * E : E * N);
      // in_proj, conv1d with bias, the step's bias, A_log, D, out_proj; then x_proj and dt_proj or constants.
      expect(parameterCount(mamba.init(config, key(1)))).toBe(2 * E * 2 + E * 5 + E + E * N + E + 2 * E + own);
    },
  );

  test("without selection there is no x_proj; parameters of another config are refused", () => {
    const config = { ...tiny, selectiveDelta: false, selectiveB: false, selectiveC: false };
    expect(Object.keys(namedLeaves(mamba.init(config, key(1))))).toEqual(
      expect.arrayContaining(["B", "C", "dt_proj.bias"]),
    );
    expect(
      Object.keys(namedLeaves(mamba.init(config, key(1)))).filter((path) => /x_proj|dt_proj.weight/.test(path)),
    ).toEqual([]);
    expect(() => mamba.modes.parallel(config, mamba.init(tiny, key(1)), zeros([1, 2, 4]))).toThrow(
      "expected an x_proj of 0 rows",
    );
  });

  test("parameters have the published names and shapes", () => {
    const shapes = (config: MambaConfig): Record<string, readonly number[]> =>
      Object.fromEntries(Object.entries(namedLeaves(mamba.init(config, key(1)))).map(([path, x]) => [path, x.shape]));
    expect(shapes({ ...mamba.config, dModel: 40 })).toEqual({
      "in_proj.weight": [160, 40],
      "conv1d.weight": [80, 1, 4],
      "conv1d.bias": [80],
      "x_proj.weight": [3 + 32, 80],
      "dt_proj.weight": [80, 3],
      "dt_proj.bias": [80],
      A_log: [80, 16],
      D: [80],
      "out_proj.weight": [40, 80],
    });
    const biased = Object.keys(shapes({ ...tiny, bias: true, convBias: false }));
    expect(biased).toContain("out_proj.bias");
    expect(biased).not.toContain("conv1d.bias");
    const group = mambaParameterGroups[0]!;
    expect(Object.keys(shapes(tiny)).filter((path) => group.match.test(path))).toEqual(["A_log", "D"]);
  });

  test("the state takes dInner (W - 1 + N) numbers whatever the length", () => {
    expect(stateBytes(mamba, { ...mamba.config, dModel: 64 }, 10)).toBe(4 * 128 * (3 + 16));
  });

  test("step sizes start log-uniform in their range, raised to the floor", async () => {
    const steps = async (config: Partial<MambaConfig>): Promise<number[]> =>
      values(softplus(mamba.init({ ...mamba.config, dModel: 300, ...config }, key(3)).dt_proj.bias));
    const plain = await steps({});
    expect(Math.min(...plain)).toBeGreaterThan(0.00099);
    expect(Math.max(...plain)).toBeLessThan(0.1001);
    expect(plain.filter((dt) => dt < 0.01).length / plain.length).toBeCloseTo(0.5, 1);
    expect(Math.min(...(await steps({ dtInitFloor: 0.02 })))).toBeCloseTo(0.02, 6);
  });

  test("A starts at -1 .. -N, D at 1, constant step weights at 1/sqrt(R)", async () => {
    const params = mamba.init({ ...tiny, dModel: 1, expand: 1, dtInit: "constant", dtRank: 4 }, key(1));
    (await values(params.A_log)).forEach((value, n) => expect(value).toBeCloseTo(Math.log(n + 1), 6));
    expect(await values(params.D)).toEqual([1]);
    expect(await values(params.dt_proj.weight!)).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  test("impossible sizes are refused", () => {
    expect(() => mamba.init({ ...tiny, expand: 0.3 }, key(1))).toThrow("expand * dModel");
    expect(() => mamba.init({ ...tiny, dtRank: 0 }, key(1))).toThrow("dtRank");
  });
});

describe("both ways", () => {
  const small: MambaConfig = { ...tiny, dModel: 2, expand: 1, dState: 2, dtRank: 1 };
  const causal = (config: MambaConfig, direction: MambaDirection, params: MambaParameters, x: Tensor): Tensor => {
    const { in_proj, out_proj } = params;
    return mamba.modes.parallel({ ...config, bidirectional: "none" }, { ...direction, in_proj, out_proj }, x)[0];
  };
  const x = normal(key(4), [2, 6, 2]);
  const expectSum = async (
    config: MambaConfig,
    secondOf: (params: MambaParameters) => MambaDirection,
  ): Promise<void> => {
    const fresh = mamba.init(config, key(3));
    // Both directions begin with the same A.
    const params = { ...fresh, A_b_log: add(fresh.A_b_log!, normal(key(5), fresh.A_log.shape)) };
    const forward = causal(config, params, params, x);
    const backward = flip(causal(config, secondOf(params), params, flip(x, 1)), 1);
    const share = config.divideOut ? 0.5 : 1;
    const [expected, actual] = [
      await values(mul(add(forward, backward), share)),
      await values(mamba.modes.parallel(config, params, x)[0]),
    ];
    actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 10));
    expect(actual).not.toEqual(await values(mul(forward, share)));
  };

  test.each([false, true])("v2 is a Mamba and another from the end, averaged: %s", (divideOut) =>
    expectSum({ ...small, bidirectional: "v2", divideOut }, (p) => ({
      conv1d: p.conv1d_b!,
      x_proj: p.x_proj_b!,
      dt_proj: p.dt_proj_b!,
      A_log: p.A_b_log!,
      D: p.D_b!,
    })),
  );

  test("v1 differs in A alone; its convolution looks back for both, which a width of one does not show", () =>
    expectSum({ ...small, bidirectional: "v1", dConv: 1 }, (p) => ({ ...p, A_log: p.A_b_log! })));

  test("v1's second scan reads what the convolution made of the past", async () => {
    const config: MambaConfig = { ...small, bidirectional: "v1", dConv: 3 };
    const params = mamba.init(config, key(3));
    const [whole] = mamba.modes.parallel(config, params, x);
    // The first position sees all others through the second scan, and they see it through both and the convolution.
    const slopes = await values(
      grad((given: Tensor) => total(sliceAxis(mamba.modes.parallel(config, params, given)[0], 1, 0, 1)))(x),
    );
    expect(slopes.every((slope) => slope !== 0)).toBe(true);
    expect(whole.shape).toEqual([2, 6, 2]);
  });

  test("parameters have the published names; the config can be read off them; others are refused", () => {
    const names = (bidirectional: MambaConfig["bidirectional"]): string[] =>
      Object.keys(namedLeaves(mamba.init({ ...small, bidirectional }, key(1)))).filter((name) =>
        /_b(_|\.|$)/.test(name),
      );
    expect(names("none")).toEqual([]);
    expect(names("v1")).toEqual(["A_b_log"]);
    expect(names("v2").sort()).toEqual([
      "A_b_log",
      "D_b",
      "conv1d_b.bias",
      "conv1d_b.weight",
      "dt_proj_b.bias",
      "dt_proj_b.weight",
      "x_proj_b.weight",
    ]);
    for (const bidirectional of ["none", "v1", "v2"] as const)
      expect(mambaConfigOf(mamba.init({ ...small, bidirectional }, key(1))).bidirectional).toBe(bidirectional);
    const causalOnly = mamba.init(small, key(1));
    expect(() => mamba.modes.parallel({ ...small, bidirectional: "v1" }, causalOnly, x)).toThrow(
      "expected A_b_log among",
    );
    expect(() => mamba.modes.parallel({ ...small, bidirectional: "v2" }, causalOnly, x)).toThrow(
      "expected A_b_log among",
    );
  });

  test.each(["v1", "v2"] as const)("%s keeps the laws of what is not causal", async (bidirectional) => {
    for (const settings of [{}, { selectiveB: false, selectiveDelta: false }, { selectiveC: false, convBias: false }]) {
      const report = await checkMixer(mamba, { ...small, ...settings, bidirectional }, cpu(), { length: 5 });
      expect(report.modes).toEqual(["parallel"]);
      expect(report.laws).toContain("padded sequences are each alone, in values, states and gradients");
    }
  });
});

test("a language model goes on from its state; sequences packed into one are each alone", async () => {
  const model = {
    backbone: {
      embeddings: { weight: normal(key(1), [7, 4]) },
      layers: [1, 2].map((k) => ({ norm: { weight: normal(key(k + 5), [4]) }, mixer: mamba.init(tiny, key(k)) })),
      norm_f: { weight: normal(key(9), [4]) },
    },
  };
  const tokens = tensor([[1, 2, 3, 4, 5, 6, 0]], undefined, "i32");
  const part = (from: number, to: number): Tensor => sliceAxis(tokens, 1, from, to);
  const whole = mambaLanguageModel(model, tokens);
  const first = mambaLanguageModel(model, part(0, 3));
  const rest = mambaLanguageModel(model, part(3, 7), { state: first.state });
  const close = async (x: Tensor, y: Tensor): Promise<void> => {
    const expected = await values(y);
    (await values(x)).forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 10));
  };
  await close(concat([first.logits, rest.logits], 1), whole.logits);
  const resets = tensor(Uint8Array.of(0, 0, 0, 1, 0, 0, 0), [1, 7]);
  await close(
    mambaLanguageModel(model, tokens, { resets }).logits,
    concat([first.logits, mambaLanguageModel(model, part(3, 7)).logits], 1),
  );
});
