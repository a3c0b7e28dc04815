import { causalConv1d, linear } from "@seqmix/nn";
import { parameterCount } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import { add, cpu, key, mul, normal, realize, reference, reshape, sliceAxis, sub, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { hyena, hyenaFilter, initHyenaFilter, type HyenaConfig } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits: number): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, digits));
};
const tiny: HyenaConfig = { ...hyena.config, ...hyena.samples!["order 2"] };

describe("hyena", () => {
  test.each(Object.entries(hyena.samples!))("keeps the laws of a mixer: %s", async (_, sample) => {
    const report = await checkMixer(hyena, { ...hyena.config, ...sample }, cpu(), { length: 7 });
    expect(report.modes).toEqual(["parallel"]);
  });

  test("the operator is a product of gates and Toeplitz matrices", async () => {
    const L = 6;
    const config = { ...tiny, dModel: 1 };
    const params = hyena.init(config, key(1));
    const x = normal(key(2), [1, L, 1]);
    const conv = { weight: reshape(params.short_filter.weight, [3, 3]), bias: params.short_filter.bias };
    const u = await values(causalConv1d(conv, linear(params.in_proj, x))[0]);
    const h = await values(hyenaFilter(config, params.filter_fn, L));
    const [bias] = await values(params.filter_fn.bias);
    const [gate, drive] = [0, 1].map((part) => Array.from({ length: L }, (_, t) => u[t * 3 + part]!));
    const v = drive!.map((value, t) => value * u[t * 3 + 2]!);
    const convolved = v.map((value, t) =>
      v.slice(0, t + 1).reduce((sum, past, s) => sum + h[t - s]! * past, bias! * value),
    );
    const [weight, shift] = [(await values(params.out_proj.weight))[0]!, (await values(params.out_proj.bias!))[0]!];
    close(
      await values(hyena.modes.parallel(config, params, x)[0]),
      convolved.map((value, t) => weight * gate![t]! * value + shift),
      6,
    );
  });

  test("windows fall to the target at the published shares of lMax", async () => {
    const config = { ...tiny, lMax: 151, dModel: 2, numInnerMlps: 0 };
    const { implicit_filter, ...rest } = initHyenaFilter(config, key(3));
    const flat = { ...rest, implicit_filter };
    const modulated = hyenaFilter(config, flat, 151);
    const plain = hyenaFilter({ ...config, modulate: false }, flat, 151);
    const at = async (x: Tensor, channel: number, t: number): Promise<number> => (await values(x))[channel * 151 + t]!;
    // The second channel is the fastest: 1 % at 0.3 of the length. The first at 1.5 of it, so 0.01^(1/1.5) at the end.
    expect((await at(modulated, 1, 45)) / (await at(plain, 1, 45))).toBeCloseTo(0.01, 6);
    expect((await at(modulated, 0, 150)) / (await at(plain, 0, 150))).toBeCloseTo(0.01 ** (1 / 1.5), 6);
    close(
      await values(sub(hyenaFilter({ ...config, shift: 0.5 }, flat, 151), add(modulated, mul(0.5, plain)))),
      Array.from({ length: 302 }, () => 0),
      9,
    );
  });

  test("a shorter kernel is a prefix of a longer one: positions are measured in lMax", async () => {
    const params = initHyenaFilter(tiny, key(4));
    close(
      await values(hyenaFilter(tiny, params, 5)),
      await values(sliceAxis(hyenaFilter(tiny, params, 16), 1, 0, 5)),
      9,
    );
    expect(() => hyenaFilter(tiny, params, 17)).toThrow("at most lMax = 16");
  });

  test("counts its parameters", () => {
    const config = { ...hyena.config, dModel: 5, lMax: 7, order: 3, filterOrder: 4, embDim: 5, dConv: 2 };
    const [projections, short] = [6 * 20 + 6 * 5, 20 * 3];
    const filter = 10 + 7 * 5 + 4 * 6 + 4 + 2 * 4 * 5 + 4 * 10;
    expect(parameterCount(hyena.init(config, key(1)))).toBe(projections + short + filter);
  });

  test("published learning rates are absolute", () => {
    const groups = hyena.parameterGroups!(1e-2);
    const scale = (path: string): number | undefined => groups.find(({ match }) => match.test(path))?.learningRateScale;
    expect(scale("layers.0.mixer.filter_fn.pos_emb.z")).toBeCloseTo(1e-3);
    expect(scale("layers.0.mixer.filter_fn.implicit_filter.1.freq")).toBeCloseTo(0.1);
    expect(scale("layers.0.mixer.in_proj.weight")).toBeUndefined();
  });

  test.each([
    [{ order: 1 }, "order, a whole number of at least 2, got 1"],
    [{ embDim: 4 }, "odd embDim"],
    [{ filterOrder: 0 }, "filterOrder, a whole number of at least 1, got 0"],
  ] as [Partial<HyenaConfig>, string][])("refuses %o", (settings, message) => {
    expect(() => hyena.init({ ...tiny, ...settings }, key(1))).toThrow(message);
  });
});
