import { configure, parameterCount, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cpu,
  grad,
  key,
  namedLeaves,
  normal,
  realize,
  reference,
  sliceAxis,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { hawk, type HawkConfig, type HawkParameters } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const small: HawkConfig = { ...hawk.config, dModel: 4, expand: 1.5, nHeads: 2, dConv: 3 };

test.each(Object.keys(hawk.samples!))(
  "keeps the laws of a mixer, %s",
  async (name) => {
    const report = await checkMixer(hawk, configure(hawk, hawk.samples![name] as never), cpu(), { length: 7 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
  },
  120_000,
);

test("is the paper's equations, element by element", async () => {
  const params = hawk.init(small, key(3));
  const [D, E, H, W, L] = [4, 6, 2, 3, 9];
  const p = Object.fromEntries(
    await Promise.all(Object.entries(namedLeaves(params)).map(async ([path, x]) => [path, await values(x)] as const)),
  ) as Record<string, number[]>;
  const x = await values(normal(key(4), [1, L, D]));
  const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
  const gelu = (v: number): number => (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
  const map = (name: string, v: readonly number[], outputs: number): number[] =>
    Array.from({ length: outputs }, (_, o) =>
      v.reduce((s, each, i) => s + p[`${name}.weight`]![o * v.length + i]! * each, p[`${name}.bias`]![o]!),
    );
  const blocks = (name: string, v: readonly number[]): number[] =>
    v.map((_, e) => {
      const [P, head] = [E / H, Math.floor(e / (E / H))];
      let s = p[`${name}.b`]![e]!;
      for (let i = 0; i < P; i++) s += v[head * P + i]! * p[`${name}.w`]![(head * P + i) * P + (e % P)]!;
      return sigmoid(s);
    });
  const before: number[][] = [];
  let h = new Array<number>(E).fill(0);
  const expected: number[] = [];
  for (let t = 0; t < L; t++) {
    const xt = x.slice(t * D, (t + 1) * D);
    before.push(map("linear_x", xt, E));
    const u = before[t]!.map((_, e) =>
      Array.from({ length: W }, (_, w) => (before[t - W + 1 + w]?.[e] ?? 0) * p["conv_1d.w"]![w * E + e]!).reduce(
        (a, b) => a + b,
        p["conv_1d.b"]![e]!,
      ),
    );
    const [r, i] = [blocks("rg_lru.a_gate", u), blocks("rg_lru.input_gate", u)];
    h = h.map((hidden, e) => {
      const a = Math.exp(-8 * r[e]! * Math.log1p(Math.exp(p["rg_lru.a_param"]![e]!)));
      return a * hidden + (t === 0 ? 1 : Math.sqrt(1 - a ** 2)) * i[e]! * u[e]!;
    });
    const gate = map("linear_y", xt, E).map(gelu);
    expected.push(
      ...map(
        "linear_out",
        h.map((hidden, e) => hidden * gate[e]!),
        D,
      ),
    );
  }
  const actual = await values(hawk.modes.parallel(small, params, tensor(Float64Array.from(x), [1, L, D]))[0]);
  actual.forEach((y, n) => expect(y).toBeCloseTo(expected[n]!, 12));
});

test("parameters have the published names, shapes and beginnings", async () => {
  const config = { ...hawk.config, dModel: 64, expand: 2, nHeads: 4 };
  const params = hawk.init(config, key(1));
  const shapes = Object.fromEntries(Object.entries(namedLeaves(params)).map(([path, x]) => [path, x.shape]));
  expect(shapes).toEqual({
    "linear_y.weight": [128, 64],
    "linear_y.bias": [128],
    "linear_x.weight": [128, 64],
    "linear_x.bias": [128],
    "conv_1d.w": [4, 128],
    "conv_1d.b": [128],
    "rg_lru.a_param": [128],
    "rg_lru.input_gate.w": [4, 32, 32],
    "rg_lru.input_gate.b": [4, 32],
    "rg_lru.a_gate.w": [4, 32, 32],
    "rg_lru.a_gate.b": [4, 32],
    "linear_out.weight": [64, 128],
    "linear_out.bias": [64],
  });
  const deviation = async (x: Tensor): Promise<number> =>
    Math.sqrt((await values(x)).reduce((s, v) => s + v * v, 0) / x.size);
  expect(await deviation(params.linear_x.weight)).toBeCloseTo(1 / 8, 2);
  expect(await deviation(params.rg_lru.a_gate.w)).toBeCloseTo(32 ** -0.5, 2);
  expect(await deviation(params.conv_1d.w)).toBeCloseTo(0.05, 2);
  expect(await deviation(params.linear_out.weight)).toBeCloseTo(128 ** -0.5, 2);
  // in a model of 8 layers with two branches each
  const deep = hawk.init(config, key(1), { index: 3, count: 8 });
  expect(await deviation(deep.linear_out.weight)).toBeCloseTo(0.5 * 128 ** -0.5, 2);
  const decays = (await values(params.rg_lru.a_param)).map((v) => Math.exp(-Math.log1p(Math.exp(v))));
  expect(Math.min(...decays)).toBeGreaterThan(0.9);
  expect(Math.max(...decays)).toBeLessThan(0.999);
  // uniform by area: half of them beyond the root of the mean square
  const beyond = decays.filter((a) => a > Math.sqrt((0.9 ** 2 + 0.999 ** 2) / 2)).length / 128;
  expect(Math.abs(beyond - 0.5)).toBeLessThan(0.12);
  expect(parameterCount(params)).toBe(3 * 128 * 64 + 2 * 128 + 64 + 4 * 128 + 128 + 128 + 2 * (4 * 32 * 32 + 128));
  expect(stateBytes(hawk, config, 100)).toBe(4 * (128 + 3 * 128 + 1));
});

test("the slope of a decay of 1 is bounded", async () => {
  const params = hawk.init(small, key(1));
  const still: HawkParameters = {
    ...params,
    rg_lru: { ...params.rg_lru, a_param: tensor(new Float32Array(6).fill(-200)) },
  };
  const x = normal(key(2), [1, 5, 4]);
  const y = await values(sliceAxis(hawk.modes.parallel(small, still, x)[0], 1, 1, 5));
  expect(y.every(Number.isFinite)).toBe(true);
  const slopes = grad((given: HawkParameters) => sum(hawk.modes.parallel(small, given, x)[0]))(still);
  for (const [path, slope] of Object.entries(namedLeaves(slopes)))
    expect((await values(slope)).every(Number.isFinite), path).toBe(true);
});

test("blocks that do not fit are refused", () => {
  expect(() => hawk.init({ ...hawk.config, dModel: 6 }, key(1))).toThrow(
    "hawk: expected nHeads that divide the 6 channels of the recurrence, got 4; change it, expand or dModel",
  );
});
