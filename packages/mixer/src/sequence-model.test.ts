import {
  add,
  broadcastTo,
  concat,
  cumsum,
  expandDims,
  grad,
  key,
  linearScan,
  mean,
  mul,
  namedLeaves,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  defineMixer,
  forwardSequenceModel,
  initSequenceModel,
  limitNorm,
  reduceRetention,
  runMixer,
  runWithHook,
  stateStatistics,
  type AnyMixer,
  type SequenceModelConfig,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
};
const expectClose = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value, `element ${i}`).toBeCloseTo(expected[i]!, 10));
};

/** h_t = h_(t-1) + x_t in two heads of one entry each; y = h. */
const sums = defineMixer({
  id: "sums",
  config: { dModel: 2 },
  state: "constant",
  init: (): { none: readonly Tensor[] } => ({ none: [] }),
  initState: ({ dModel }, batch): { h: Tensor } => ({ h: zeros([batch, dModel, 1]) }),
  modes: {
    parallel(_, __, x, state) {
      const [B, L, D] = x.shape as [number, number, number];
      const before = state?.h ?? zeros([B, D, 1]);
      const h = add(cumsum(x, 1), reshape(before, [B, 1, D]));
      return [h, { h: reshape(sliceAxis(h, 1, L - 1, L), [B, D, 1]) }];
    },
  },
}) as unknown as AnyMixer;

/** Every output is the mean of all inputs. */
const bothWays = defineMixer({
  id: "bothWays",
  config: { dModel: 2 },
  state: "none",
  causal: () => false,
  init: (): { none: readonly Tensor[] } => ({ none: [] }),
  initState: (): { none: readonly Tensor[] } => ({ none: [] }),
  modes: { parallel: (_, __, x) => [broadcastTo(mean(x, 1, { keepDims: true }), x.shape), { none: [] }] },
}) as unknown as AnyMixer;

const base: SequenceModelConfig = {
  mixer: sums,
  dModel: 2,
  nLayers: 1,
  input: { channels: 3 },
  outputs: 4,
  pooling: "last",
};

describe("a sequence model", () => {
  const x = normal(key(1), [2, 5, 3]);

  test("has an encoder, layers, a norm and a head, and cls a vector", () => {
    const names = Object.keys(namedLeaves(initSequenceModel({ ...base, pooling: "cls" }, key(1))));
    expect(names).toEqual([
      "encoder.weight",
      "encoder.bias",
      "cls",
      "layers.0.norm.weight",
      "norm_f.weight",
      "head.weight",
      "head.bias",
    ]);
    const tokens = tensor([[1, 2]], undefined, "i32");
    const config: SequenceModelConfig = { ...base, input: { vocabSize: 7 } };
    expect(forwardSequenceModel(config, initSequenceModel(config, key(1)), tokens).shape).toEqual([1, 4]);
  });

  test("'last' is the answer at the last position, 'mean' of all, 'none' has one at each", async () => {
    const params = initSequenceModel(base, key(2));
    const all = forwardSequenceModel({ ...base, pooling: "none" }, params, x);
    expect(all.shape).toEqual([2, 5, 4]);
    const last = forwardSequenceModel(base, params, x);
    expectClose(await values(last), await values(reshape(sliceAxis(all, 1, 4, 5), [2, 4])));
  });

  test.each(["mean", "last"] as const)(
    "a causal model's '%s' does not see padding behind the mask",
    async (pooling) => {
      const config = { ...base, pooling };
      const params = initSequenceModel(config, key(3));
      const padded = concat([x, normal(key(4), [2, 3, 3], 0, 1e3)], 1);
      const mask = tensor(
        Uint8Array.from({ length: 16 }, (_, i) => (i % 8 < 5 ? 1 : 0)),
        [2, 8],
      );
      expectClose(
        await values(forwardSequenceModel(config, params, padded, { mask })),
        await values(forwardSequenceModel(config, params, x)),
      );
    },
  );

  test("several answers come each from the same vector and what is due", async () => {
    const config: SequenceModelConfig = { ...base, answers: 3 };
    const params = initSequenceModel(config, key(6));
    expect(Object.keys(namedLeaves(params)).filter((name) => name.startsWith("decoder"))).toHaveLength(6);
    const answers = forwardSequenceModel(config, params, x);
    expect(answers.shape).toEqual([2, 3, 4]);
    const [first, second] = (await values(sliceAxis(answers, 0, 0, 1))).flatMap((_, k, all) =>
      k % 4 === 0 ? [all.slice(k, k + 4)] : [],
    );
    expect(first).not.toEqual(second);
    // One answer is the plain head's, with an axis for it.
    const one = forwardSequenceModel({ ...base, answers: 1 }, initSequenceModel(base, key(2)), x);
    expect(one.shape).toEqual([2, 1, 4]);
    expectClose(await values(one), await values(forwardSequenceModel(base, initSequenceModel(base, key(2)), x)));
  });

  test("resets reach the mixer, and one that does not honour them is refused", async () => {
    const seen: Tensor[] = [];
    const listening = {
      ...sums,
      resets: true,
      modes: {
        parallel: (...given: Parameters<AnyMixer["modes"]["parallel"]>) => {
          seen.push(given[4]!);
          return sums.modes.parallel(...given);
        },
      },
    } as AnyMixer;
    const resets = tensor([[1, 0, 0, 1, 0]], undefined, "i32");
    const flags = broadcastTo(resets, [2, 5]);
    forwardSequenceModel({ ...base, mixer: listening }, initSequenceModel(base, key(2)), x, { resets: flags });
    expect(await values(sliceAxis(seen[0]!, 0, 0, 1))).toEqual([1, 0, 0, 1, 0]);
    expect(() => forwardSequenceModel(base, initSequenceModel(base, key(2)), x, { resets: flags })).toThrow(/resets/);
  });

  test.each([sums, bothWays])("'cls' of a mixer has seen every element: $id", async (mixer) => {
    const config: SequenceModelConfig = { ...base, mixer, pooling: "cls" };
    const slopes = grad((given: Tensor) => sum(forwardSequenceModel(config, initSequenceModel(config, key(5)), given)))(
      x,
    );
    const perElement = await values(sum(mul(slopes, slopes), 2));
    expect(perElement.every((value) => value > 0)).toBe(true);
    const mask = tensor(new Uint8Array(10).fill(1), [2, 5]);
    expect(() => forwardSequenceModel(config, initSequenceModel(config, key(5)), x, { mask })).toThrow(
      /no mask with pooling cls/,
    );
  });
});

describe("state collapse", () => {
  const x = tensor([
    [
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ],
  ]);

  test("statistics are those of each head at each position", async () => {
    const {
      mean: average,
      variance,
      largest,
    } = stateStatistics(sums, { dModel: 2 }, { none: [] }, concat([x, mul(x, 2)], 0), {
      every: 2,
    });
    expectClose(await values(average), [(4 + 8) / 2, (6 + 12) / 2, (16 + 32) / 2, (20 + 40) / 2]);
    expectClose(await values(variance), [4, 9, 64, 100]);
    expectClose(await values(largest), [8, 12, 32, 40]);
  });

  test("a hook that does nothing changes nothing", async () => {
    const [y, state] = runWithHook(sums, { dModel: 2 }, { none: [] }, x, { hook: (h) => h, every: 3 });
    const [expected, end] = runMixer(sums, { dModel: 2 }, { none: [] }, x);
    expectClose(await values(y), await values(expected));
    expectClose(await values((state as { h: Tensor }).h), await values((end as { h: Tensor }).h));
  });

  test("less retention is a decay: h_t = share h_(t-1) + x_t", async () => {
    const [y] = runWithHook(sums, { dModel: 2 }, { none: [] }, x, { hook: reduceRetention(0.5) });
    const decay = broadcastTo(expandDims(tensor([0.5]), 0), x.shape);
    expectClose(await values(y), await values(linearScan({ a: decay, b: x, axis: 1 })));
  });

  test("no head's norm passes the limit, and smaller states stay", async () => {
    const [, state] = runWithHook(sums, { dModel: 2 }, { none: [] }, x, { hook: limitNorm(5) });
    expectClose(await values((state as { h: Tensor }).h), [5, 5]);
    const [, small] = runWithHook(sums, { dModel: 2 }, { none: [] }, mul(x, 0.01), { hook: limitNorm(5) });
    expectClose(await values((small as { h: Tensor }).h), [0.16, 0.2]);
    const [, still] = runWithHook(sums, { dModel: 2 }, { none: [] }, zeros([1, 2, 2]), { hook: limitNorm(1) });
    expectClose(await values((still as { h: Tensor }).h), [0, 0]);
  });

  test("impossible settings are named", () => {
    expect(() => reduceRetention(2)).toThrow(/a share, a number of at least 0 and of at most 1, got 2/);
    expect(() => limitNorm(0)).toThrow(/above 0, got 0/);
  });
});
