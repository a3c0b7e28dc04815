import { initLinear, linear, type LinearParameters } from "@seqmix/nn";
import {
  add,
  broadcastTo,
  concat,
  cpu,
  expandDims,
  grad,
  key,
  leavesOf,
  linearScan,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sigmoid,
  sliceAxis,
  sum,
  tensor,
  uniform,
  where,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  alignToEnd,
  defineMixer,
  forwardLanguageModel,
  forwardPaddedLanguageModel,
  generate,
  initLanguageModel,
  nextTokenLoss,
  resetsOfMask,
  runPadded,
  type LanguageModelConfig,
  type LanguageModelParameters,
} from "./index.js";

const oracle = reference();
async function values(x: Tensor): Promise<number[]> {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
}

type Parameters = { readonly decay: Tensor; readonly in_proj: LinearParameters };

/** h_t = a h_(t-1) + W x_t, y = h. */
const average = defineMixer({
  id: "average",
  config: { dModel: 4 },
  resets: true,
  state: "constant",
  init: ({ dModel }, k: Key): Parameters => ({
    decay: uniform(k, [dModel], -1, 1),
    in_proj: initLinear(k, dModel, dModel),
  }),
  initState: ({ dModel }, batch): { h: Tensor } => ({ h: zeros([batch, dModel]) }),
  step(_, { decay, in_proj }, x, { h }) {
    const next = add(mul(h, sigmoid(decay)), linear(in_proj, x));
    return [next, { h: next }];
  },
  modes: {
    parallel(_, { decay, in_proj }, x, state, resets) {
      const [B, L, D] = x.shape as [number, number, number];
      const a = broadcastTo(sigmoid(decay), x.shape);
      const h = linearScan({
        a: resets ? where(expandDims(resets, 2), 0, a) : a,
        b: linear(in_proj, x),
        h0: state?.h,
        axis: 1,
      });
      return [h, { h: L === 0 ? (state?.h ?? zeros([B, D])) : reshape(sliceAxis(h, 1, L - 1, L), [B, D]) }];
    },
  },
});

const flags = (...rows: readonly (readonly number[])[]): Tensor =>
  tensor(Uint8Array.from(rows.flat()), [rows.length, rows[0]!.length]);

describe("masks", () => {
  test("become resets at the borders of the padding", async () => {
    expect(await values(resetsOfMask(flags([0, 0, 1, 1, 0], [1, 1, 1, 1, 1])))).toEqual([1, 0, 1, 0, 1, 1, 0, 0, 0, 0]);
    expect(resetsOfMask(flags([], [])).shape).toEqual([2, 0]);
  });

  test("move rows to the end and back, whatever is in the padding", async () => {
    const { resets, empty, toEnd, back } = alignToEnd(flags([0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]));
    const x = tensor([
      [NaN, 1, 2, Infinity],
      [3, 4, 5, NaN],
      [NaN, NaN, NaN, NaN],
      [NaN, NaN, NaN, 6],
    ]);
    expect(await values(toEnd(x))).toEqual([0, 0, 1, 2, 0, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
    expect(await values(back(toEnd(x)))).toEqual([0, 1, 2, 0, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
    expect(await values(resets)).toEqual([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expect(await values(empty)).toEqual([0, 0, 1, 0]);
    const [slope] = leavesOf(grad((given: Tensor) => sum(mul(toEnd(given), toEnd(given))))(x));
    expect(await values(slope!)).toEqual([0, 2, 4, 0, 6, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
    expect(() => alignToEnd(zeros([2, 3]))).toThrow("expected a bool mask [B L], got f32 [2,3]");
  });
});

test("sequences packed into padded rows are each alone", async () => {
  const params = average.init(average.config, key(1));
  const x = normal(key(2), [2, 6, 4]);
  const mask = flags([1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]);
  const resets = flags([1, 0, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0]);
  const [y, state] = runPadded(average, average.config, params, x, mask, { resets });
  const part = (b: number, from: number, to: number): readonly [Tensor, { h: Tensor }] =>
    average.modes.parallel(average.config, params, sliceAxis(sliceAxis(x, 0, b, b + 1), 1, from, to));
  const expected = concat([part(0, 0, 3)[0], part(0, 3, 5)[0], zeros([1, 1, 4])], 1);
  const row = await values(expected);
  (await values(sliceAxis(y, 0, 0, 1))).forEach((value, k) => expect(value).toBeCloseTo(row[k]!, 10));
  const ends = concat([part(0, 3, 5)[1].h, part(1, 3, 6)[1].h], 0);
  const [actual, wanted] = [await values(leavesOf(state)[0]!), await values(ends)];
  actual.forEach((value, k) => expect(value).toBeCloseTo(wanted[k]!, 10));
});

describe("padded rows that go on from states", () => {
  const params = average.init(average.config, key(1));
  const x = normal(key(2), [5, 7, 4]);
  const before = { h: normal(key(3), [5, 4]) };
  const rows = [
    [0, 7],
    [2, 7],
    [0, 5],
    [3, 4],
    [0, 0],
  ] as const;
  const mask = flags(...rows.map(([from, to]) => Array.from({ length: 7 }, (_, t) => Number(t >= from && t < to))));
  const marks = flags(...rows.map((_, b) => Array.from({ length: 7 }, (_, t) => Number(t === 4 && b < 3))));
  const rowOf = (t: Tensor, b: number): Tensor => sliceAxis(t, 0, b, b + 1);

  test.each([
    ["each row alone", undefined],
    ["each row alone, with packed sequences", marks],
  ])("are %s, whatever is in the padding", async (_, resets) => {
    const padded = where(expandDims(mask, 2), x, NaN);
    const [y, state] = runPadded(average, average.config, params, padded, mask, { state: before, resets });
    for (const [b, [from, to]] of rows.entries()) {
      const [own, end] = average.modes.parallel(
        average.config,
        params,
        sliceAxis(rowOf(x, b), 1, from, to),
        { h: rowOf(before.h, b) },
        resets && sliceAxis(rowOf(resets, b), 1, from, to),
      );
      const expected = await values(concat([zeros([1, from, 4]), own, zeros([1, 7 - to, 4])], 1));
      (await values(rowOf(y, b))).forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 6));
      const wanted = await values(end.h);
      (await values(rowOf(leavesOf(state)[0]!, b))).forEach((value, k) => expect(value).toBeCloseTo(wanted[k]!, 6));
    }
  });

  test("of no elements keep them, and a mixer whose state grows says so", async () => {
    const [y, state] = runPadded(average, average.config, params, zeros([5, 0, 4]), flags([], [], [], [], []), {
      state: before,
    });
    expect(y.shape).toEqual([5, 0, 4]);
    expect(await values(leavesOf(state)[0]!)).toEqual(await values(before.h));
    const growing = { ...average, id: "growing", state: "grows" } as const;
    expect(() => runPadded(growing, average.config, params, x, mask, { state: before })).toThrow(
      "runPadded: expected no state for growing, whose state grows; go on from it with rows of one length",
    );
  });
});

describe("a language model", () => {
  const model: LanguageModelConfig = { mixer: average, dModel: 4, nLayers: 2, vocabSize: 9 };
  const fresh = (): LanguageModelParameters => initLanguageModel(model, key(3));
  const params = fresh();
  const prompts = [[1, 2, 3], [4, 5, 6, 7, 8], [2]];
  const alone = async (prompt: readonly number[]): Promise<number[]> => {
    const out: number[] = [];
    const tokens = tensor(Int32Array.from(prompt), [1, prompt.length]);
    for await (const [token] of generate(model, fresh(), tokens, { length: 4, device: oracle })) out.push(token!);
    return out;
  };

  test.each([
    ["left", (row: readonly number[], missing: readonly number[]) => [...missing, ...row]],
    ["right", (row: readonly number[], missing: readonly number[]) => [...row, ...missing]],
  ])("generates from prompts padded on the %s as from each alone, whatever the padding holds", async (_, fill) => {
    const missing = (row: readonly number[], value: number): number[] =>
      Array.from({ length: 5 - row.length }, () => value);
    const tokens = tensor(Int32Array.from(prompts.flatMap((row) => fill(row, missing(row, -77)))), [3, 5]);
    const ones = (row: readonly number[]): number[] => row.map(() => 1);
    const mask = flags(...prompts.map((row) => fill(ones(row), missing(row, 0))));
    for (const device of [oracle, cpu()]) {
      const made: number[][] = [[], [], []];
      for await (const chosen of generate(model, fresh(), tokens, { length: 4, mask, device }))
        chosen.forEach((token, b) => made[b]!.push(token));
      expect(made).toEqual(await Promise.all(prompts.map(alone)));
    }
    const [logits, state] = forwardPaddedLanguageModel(model, params, tokens, mask);
    const [own, after] = forwardLanguageModel(model, params, tensor(Int32Array.of(1, 2, 3), [1, 3]));
    const at = fill(ones([1, 2, 3]), [0, 0]).indexOf(1);
    const row = sliceAxis(sliceAxis(logits, 0, 0, 1), 1, at, at + 3);
    const pairs = [
      [row, own],
      ...leavesOf(state).map((leaf, k) => [sliceAxis(leaf, 0, 0, 1), leavesOf(after)[k]!] as const),
    ];
    for (const [actual, expected] of pairs) {
      const wanted = await values(expected!);
      (await values(actual!)).forEach((value, k) => expect(value).toBeCloseTo(wanted[k]!, 10));
    }
  });

  test("its loss is that of the sequences alone, however they are packed and padded", async () => {
    const sequences = [
      [1, 2, 3],
      [4, 5, 6, 7],
      [8, 0],
    ];
    const row = (tokens: readonly number[]): Tensor => tensor(Int32Array.from(tokens), [1, tokens.length]);
    const total = (given: LanguageModelParameters): Tensor =>
      sequences
        .map((tokens) => nextTokenLoss(model, given, row(tokens), { reduction: "sum" }))
        .reduce((a, b) => add(a, b));
    const together = (given: LanguageModelParameters): Tensor =>
      mul(
        6,
        nextTokenLoss(model, given, tensor(Int32Array.of(1, 2, 3, 4, 5, 6, 7, -1, -1, 8, 0, 99, 99, 99), [2, 7]), {
          resets: flags([1, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]),
          mask: flags([1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0]),
        }),
      );
    const [actual, expected] = [await values(together(params)), await values(total(params))];
    expect(actual[0]).toBeCloseTo(expected[0]!, 10);
    const [slopes, wanted] = [leavesOf(grad(together)(params)), leavesOf(grad(total)(params))];
    for (const [k, leaf] of slopes.entries()) {
      const right = await values(wanted[k]!);
      (await values(leaf)).forEach((value, i) => expect(value).toBeCloseTo(right[i]!, 10));
    }
    expect(() => nextTokenLoss(model, params, row([1]))).toThrow("at least two positions");
  });

  test("of a mixer without resets is refused by name", () => {
    const plain = { ...model, mixer: { ...average, resets: false } };
    expect(() => forwardPaddedLanguageModel(plain, params, tensor(Int32Array.of(1), [1, 1]), flags([1]))).toThrow(
      "average: expected no resets, which this mixer does not honour",
    );
  });
});
