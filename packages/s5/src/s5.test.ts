import { parameterCount } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cast,
  concat,
  cpu,
  exp,
  flip,
  key,
  namedLeaves,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { initS5Ssm, resettableS5, resettableS5Step, s5, s5Ssm, s5System, type S5Config } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 9): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const tiny: S5Config = { ...s5.config, dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, chunkSize: 2 };

describe("s5", () => {
  test.each([
    ["zoh", {}],
    ["bilinear, two blocks", { discretization: "bilinear", blocks: 2, activation: "half_glu2" }],
    ["without conjugate pairs", { conjSym: false, dState: 3, activation: "gelu", cInit: "complex_normal" }],
  ] as [string, Partial<S5Config>][])("keeps the laws of a mixer, %s", async (_, settings) => {
    expect((await checkMixer(s5, { ...tiny, ...settings }, cpu(), { length: 5 })).modes).toEqual([
      "parallel",
      "chunked",
      "recurrent",
    ]);
  });

  test("parameters have the published names and shapes", () => {
    const params = s5.init({ ...s5.config, dModel: 6, dState: 8, blocks: 2 }, key(1));
    expect(Object.fromEntries(Object.entries(namedLeaves(params)).map(([path, x]) => [path, x.shape]))).toEqual({
      "seq.Lambda_re": [4],
      "seq.Lambda_im": [4],
      "seq.B": [4, 6, 2],
      "seq.C": [6, 4, 2],
      "seq.D": [6],
      "seq.log_step": [4, 1],
      "out1.kernel": [6, 6],
      "out1.bias": [6],
      "out2.kernel": [6, 6],
      "out2.bias": [6],
    });
    expect(parameterCount(params)).toBe(4 * 3 + 2 * 4 * 6 * 2 + 6 + 2 * 42);
  });

  test("the input map is real in the original basis: its rows of conjugate states are conjugates", async () => {
    const params = initS5Ssm({ ...tiny, dState: 6, conjSym: false, cInit: "trunc_standard_normal" }, key(3));
    const part = (x: Tensor, k: number): Tensor => reshape(sliceAxis(x, 2, k, k + 1), x.shape.slice(0, 2));
    const B = { re: part(params.B, 0), im: part(params.B, 1) };
    // States k and 5 - k are a pair.
    const [re, im] = [await values(B.re), await values(B.im)];
    for (let k = 0; k < 3; k++)
      for (let d = 0; d < 2; d++) {
        expect(re[k * 2 + d]).toBeCloseTo(re[(5 - k) * 2 + d]!, 9);
        expect(im[k * 2 + d]).toBeCloseTo(-im[(5 - k) * 2 + d]!, 9);
      }
  });

  test("initial frequencies are those of HiPPO-N, block by block", async () => {
    const { Lambda_im, Lambda_re } = initS5Ssm({ ...tiny, dState: 8, blocks: 2 }, key(1));
    const im = await values(Lambda_im);
    // Eigenvalues of the skew part of order 4, computed by mathjs.
    close(im, [-4.603293007066846, -0.5565011150837427, -4.603293007066846, -0.5565011150837427], 6);
    close(await values(Lambda_re), [-0.5, -0.5, -0.5, -0.5]);
  });

  test("a reset begins a new sequence, and equals the folded step", async () => {
    const params = s5.init(tiny, key(2));
    const x = normal(key(5), [1, 7, 2]);
    const resets = tensor([0, 0, 1, 0, 0, 1, 0], [1, 7]);
    const state = { re: normal(key(6), [1, 2]), im: normal(key(7), [1, 2]) };
    const [y, hT] = resettableS5(tiny, params, x, cast(resets, "f32"), state);
    const piece = (start: number, end: number, h?: typeof state): readonly [Tensor, typeof state] =>
      s5.modes.parallel(tiny, params, sliceAxis(x, 1, start, end), h);
    const expected = concat([piece(0, 2, state)[0], piece(2, 5)[0], piece(5, 7)[0]], 1);
    close(await values(y), await values(expected));
    close(await values(hT.im), await values(piece(5, 7)[1].im));

    const steps: Tensor[] = [];
    let h = state;
    for (let t = 0; t < 7; t++) {
      const [out, next] = resettableS5Step(
        tiny,
        params,
        reshape(sliceAxis(x, 1, t, t + 1), [1, 2]),
        reshape(sliceAxis(resets, 1, t, t + 1), [1]),
        h,
      );
      steps.push(out);
      h = next;
    }
    close(await values(concat(steps, 0)), await values(y));
  });

  test("both directions: the backward run is the forward run of the reversed sequence", async () => {
    const params = initS5Ssm(tiny, key(4), { bidirectional: true });
    const u = normal(key(8), [1, 5, 2]);
    const [y] = s5Ssm(tiny, params, u);
    const one = (C: Tensor, input: Tensor): Tensor => {
      const { C1: _, C2: __, ...rest } = params;
      return s5Ssm(tiny, { ...rest, C, D: zeros([2]) }, input)[0];
    };
    const reversed = flip(u, 1);
    const [forward, backward, D, input] = [
      await values(one(params.C1!, u)),
      await values(one(params.C2!, reversed)),
      await values(params.D),
      await values(u),
    ];
    close(
      await values(y),
      forward.map((value, i) => value + backward[(4 - Math.floor(i / 2)) * 2 + (i % 2)]! + D[i % 2]! * input[i]!),
      6,
    );
    expect(() => s5Ssm(tiny, params, u, { resets: zeros([1, 5]) })).toThrow("both directions");
  });

  test("clipped eigenvalues never grow", async () => {
    const params = { ...initS5Ssm(tiny, key(1)), Lambda_re: tensor([0.5, -0.5]) };
    const size = async (clipEigs: boolean): Promise<number> => {
      const { a } = s5System({ ...tiny, clipEigs }, params);
      const [re, im] = [await values(a.re), await values(a.im)];
      return Math.hypot(re[0]!, im[0]!);
    };
    expect(await size(false)).toBeGreaterThan(1);
    const dt = (await values(exp(params.log_step)))[0]!;
    expect(await size(true)).toBeCloseTo(Math.exp(-1e-4 * dt), 9);
  });

  test("impossible sizes are refused", () => {
    expect(() => s5.init({ ...tiny, dState: 6, blocks: 4 }, key(1))).toThrow("got 6 / 4");
    expect(() => s5.init({ ...tiny, dState: 3 }, key(1))).toThrow("even with conjSym");
  });
});
