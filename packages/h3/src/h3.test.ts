import { parameterCount, runMixer } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cast,
  concat,
  cpu,
  key,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  sub,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { h3, h3Layer, memoryModel, shiftModel, type H3Config } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits: number): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, digits));
};
const sample = (name: string): H3Config => ({ ...h3.config, ...h3.samples![name] });
const [one, two] = [sample("one channel a head"), sample("two channels a head")];

describe("h3", () => {
  test.each(Object.entries(h3.samples!))("keeps the laws of a mixer: %s", async (_, settings) => {
    const report = await checkMixer(h3, { ...h3.config, ...settings }, cpu(), { length: 7 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
  });

  test("packed sequences are each alone, also with fewer positions than taps and a carried state", async () => {
    for (const config of [
      { ...one, dState: 6 },
      { ...two, dModel: 4, dState: 4 },
    ]) {
      const params = h3.init(config, key(1));
      const x = normal(key(2), [1, 9, config.dModel]);
      const [, state] = h3.modes.parallel(config, params, normal(key(3), [1, 3, config.dModel]));
      const resets = cast(tensor([0, 0, 1, 0, 0, 0, 0, 1, 0], [1, 9]), "bool");
      const [packed, last] = h3.modes.parallel(config, params, x, state, resets);
      const part = (from: number, to: number): readonly [Tensor, typeof state] =>
        h3.modes.parallel(config, params, sliceAxis(x, 1, from, to), from === 0 ? state : undefined);
      const alone = [part(0, 2), part(2, 7), part(7, 9)];
      close(
        await values(packed),
        await values(
          concat(
            alone.map(([y]) => y),
            1,
          ),
        ),
        9,
      );
      close(await values(last.shift), await values(alone[2]![1].shift), 9);
      close(await values(last.diagonal.im), await values(alone[2]![1].diagonal.im), 9);
    }
  });

  test("the orders of output channels differ by a permutation that the output map can absorb", async () => {
    const wide = { ...two, dModel: 4 };
    const params = h3.init(wide, key(1));
    const x = normal(key(2), [1, 4, 4]);
    const weight = params.output_linear.weight;
    // Channel (h, p) of the one is channel (p, h) of the other: 0 2 1 3 for two heads of two.
    const column = (k: number): Tensor => sliceAxis(weight, 1, k, k + 1);
    const permuted = {
      ...params,
      output_linear: { ...params.output_linear, weight: concat([column(0), column(2), column(1), column(3)], 1) },
    };
    const [headMajor] = h3.modes.parallel(wide, params, x);
    const entryMajor = { ...wide, outputChannels: "entry-major" as const };
    close(await values(h3.modes.parallel(entryMajor, permuted, x)[0]), await values(headMajor), 9);
    const difference = await values(sub(h3.modes.parallel(entryMajor, params, x)[0], headMajor));
    expect(Math.max(...difference.map(Math.abs))).toBeGreaterThan(1e-3);
  });

  test("modes give the same through the runner", async () => {
    const params = h3.init(one, key(1));
    const x = normal(key(2), [2, 5, 2]);
    const [parallel, recurrent] = (["parallel", "recurrent"] as const).map(
      (mode) => runMixer(h3 as never, one, params, x, undefined, mode)[0],
    );
    close(await values(parallel!), await values(recurrent!), 9);
  });

  test.each([
    [{ headDim: 3 }, "divides dModel"],
    [{ dState: 3 }, "even dState"],
    [{ nSsm: 3 }, "divides the 4 heads"],
  ] as [Partial<H3Config>, string][])("refuses %o", (settings, message) => {
    expect(() => h3.init({ ...h3.config, dModel: 4, ...settings }, key(1))).toThrow(message);
  });

  test("counts its parameters", () => {
    const config = { ...h3.config, dModel: 6, dState: 8, headDim: 2, nSsm: 1 };
    expect(parameterCount(h3.init(config, key(1)))).toBe(4 * 42 + 2 * 48 + 6 + 3 * 8 + 3 + 8 + 4 + 4 + 3);
  });

  test("the shift model starts as a filter: its kernel is the output map, and its state the last keys", async () => {
    const config = { ...one, dState: 4 };
    const shift = shiftModel(h3.init(config, key(1)));
    const { C } = h3.init(config, key(1)).ssm_k_kernel.kernel;
    close(await values(shift.kernel(4)), await values(C), 9);
    const keys = tensor([1, 2, 3, 4, 5, 6], [1, 2, 3]);
    close(await values(shift.finalState(keys)), [3, 2, 1, 0, 6, 5, 4, 0], 9);
  });

  test("kernels cut off at a length see no earlier inputs, and are the layer's own where they are long enough", async () => {
    const params = h3.init(one, key(1));
    const [x, other] = [normal(key(2), [1, 8, 2]), normal(key(3), [1, 8, 2])];
    // Two kernels of three taps: the last output depends on the last five inputs, the query on the last one.
    const changed = concat([sliceAxis(other, 1, 0, 3), sliceAxis(x, 1, 3, 8)], 1);
    const last = async (u: Tensor): Promise<number[]> =>
      values(sliceAxis(h3Layer(one, params, u, { longest: 3 }), 1, 7, 8));
    close(await last(changed), await last(x), 9);
    expect(await last(other)).not.toEqual(await last(x));
    close(await values(h3Layer(one, params, x, { longest: 8 })), await values(h3.modes.parallel(one, params, x)[0]), 9);
  });

  test("the kernel of dss is normalized over the sequence", async () => {
    const params = h3.init({ ...one, realType: "exp" }, key(1));
    const length = 6;
    const kernel = await values(memoryModel({ ...one, disc: "dss" }, params).kernel(length));
    const zoh = await values(memoryModel({ ...one, disc: "zoh" }, params).kernel(length));
    expect(kernel).toHaveLength(zoh.length);
    const { kernel: k } = params.kernel;
    // One mode a head: weights e^(dt A l) / sum e^(dt A l) / A, so that both kernels are proportional to a complex factor.
    expect(k.A_imag.shape).toEqual([2, 1]);
    const ratio = kernel.map((value, i) => value / zoh[i]!);
    // Real eigenvalues (lin starts at frequency 0) make it one real factor, 1/(2 (1 - e^(dt A L))).
    const dt = (await values(k.log_dt)).map(Math.exp);
    const A = (await values(k.inv_A_real)).map((value) => -Math.exp(value));
    ratio.forEach((value, i) => {
      const h = Math.floor(i / length);
      expect(value).toBeCloseTo(0.5 / (Math.exp(dt[h]! * A[h]! * length) - 1), 5);
    });
  });

  test("bandlimit leaves out fast modes, forceReal what turns", async () => {
    const config = { ...one, dState: 4 };
    const params = h3.init(config, key(1));
    const kernelOf = (more: Partial<H3Config>): Promise<number[]> =>
      values(memoryModel({ ...config, ...more }, params).kernel(5));
    const { C, ...rest } = params.kernel.kernel;
    const still = { ...params, kernel: { kernel: { ...rest, C, A_imag: mul(0, rest.A_imag) } } };
    close(await kernelOf({ forceReal: true }), await values(memoryModel(config, still).kernel(5)), 12);
    // Of frequencies 0 and pi the second is left out.
    const first = mul(
      C,
      tensor([
        [1, 1],
        [0, 0],
      ]),
    );
    const slow = { ...params, kernel: { kernel: { ...rest, C: first } } };
    close(await kernelOf({ bandlimit: 1e-3 }), await values(memoryModel(config, slow).kernel(5)), 12);
  });
});
