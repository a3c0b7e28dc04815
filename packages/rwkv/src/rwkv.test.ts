import { residualBlock } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  add,
  concat,
  cpu,
  foldIn,
  full,
  grad,
  key,
  leavesOf,
  matmul,
  mul,
  normal,
  realize,
  reference,
  replaceLeaves,
  reshape,
  sliceAxis,
  sum,
  tensor,
  transpose,
  uniform,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { orthogonalInit } from "@seqmix/nn";
import { describe, expect, test } from "vitest";
import { rwkv4, wkv, wkvStep, wkvStart, type WkvState } from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device: Device = oracle): Promise<number[]> => {
  await realize({ x }, { device });
  return [...(await x.data())];
};
const expectClose = (actual: readonly number[], expected: readonly number[], digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value, `element ${i}`).toBeCloseTo(expected[i]!, digits));
};

describe("wkv", () => {
  const [B, L, C] = [2, 9, 3];
  // new tensors at each call: a tensor belongs to the device that computes it
  const inputs = () => ({ w: uniform(key(1), [C], -2, -0.1), u: normal(key(2), [C]), v: normal(key(3), [B, L, C]) });
  const keys = (offset: number, deviation: number): Tensor => normal(key(4), [B, L, C], offset, deviation);

  /** The definition, sums of powers less their largest exponent, in float64. */
  async function sums(k: Tensor): Promise<number[]> {
    const given = inputs();
    const [w, u, ks, vs] = [await values(given.w), await values(given.u), await values(k), await values(given.v)];
    const out: number[] = [];
    for (let b = 0; b < B; b++)
      for (let t = 0; t < L; t++)
        for (let c = 0; c < C; c++) {
          const at = (i: number): number => (b * L + i) * C + c;
          const exponents = Array.from(
            { length: t + 1 },
            (_, i) => (i === t ? u[c]! : (t - 1 - i) * w[c]!) + ks[at(i)]!,
          );
          const weights = exponents.map((x) => Math.exp(x - Math.max(...exponents)));
          const total = weights.reduce((x, y) => x + y, 0);
          out.push(weights.reduce((sum_, weight, i) => sum_ + (weight / total) * vs[at(i)]!, 0));
        }
    return out;
  }

  test("is the quotient of sums", async () => {
    expectClose(await values(wkv({ ...inputs(), k: keys(0, 1) })[0]), await sums(keys(0, 1)));
  });

  test.each([300, -300, 3000])("holds where e^k is no f32 number, keys about %d", async (offset) => {
    const y = await values(wkv({ ...inputs(), k: keys(offset, 20) })[0], cpu());
    expectClose(y, await sums(keys(offset, 20)), 2);
    const g = grad((k: Tensor) => sum(wkv({ ...inputs(), k })[0]))(keys(offset, 20));
    expect((await values(g, cpu())).every(Number.isFinite)).toBe(true);
  });

  test("step by step it is the whole, from a carried state too", async () => {
    const [given, k] = [inputs(), keys(0, 5)];
    const [whole, end] = wkv({ ...given, k });
    let state: WkvState = wkvStart(B, C);
    const outputs: Tensor[] = [];
    for (let t = 0; t < L; t++) {
      const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [B, C]);
      const [y, next] = wkvStep({ w: given.w, u: given.u, k: at(k), v: at(given.v) }, state);
      outputs.push(reshape(y, [B, 1, C]));
      state = next;
    }
    expectClose(await values(concat(outputs, 1)), await values(whole));
    for (const part of ["aa", "bb", "pp"] as const) expectClose(await values(state[part]), await values(end[part]));
  });

  test("a position that sees itself alone gives its value", async () => {
    const v = normal(key(5), [1, 1, C]);
    expectClose(await values(wkv({ ...inputs(), k: full([1, 1, C], 50), v })[0]), await values(v));
  });
});

describe("rwkv4", () => {
  test("keeps the laws of a mixer", async () => {
    const config = { ...rwkv4.config, ...rwkv4.samples!["published"] };
    // The published beginning has zeros that hide most of the layer: laws are shown on other parameters.
    const drawn = { ...rwkv4, init: (...args: Parameters<typeof rwkv4.init>) => shaken(rwkv4.init(...args)) };
    const report = await checkMixer(drawn, config, cpu(), { length: 5 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    expect(report.laws).toContain("packed sequences are each alone, in values, states and gradients");
  });

  test("begins as the identity, but for the first norm", async () => {
    const config = { ...rwkv4.config, dModel: 6 };
    const x = normal(key(1), [2, 4, 6]);
    const params = rwkv4.init(config, key(2), { index: 1, count: 2 });
    expect(Object.keys(params)).toEqual(["ln1", "att", "ln2", "ffn"]);
    expectClose(await values(residualBlock(rwkv4 as never, config, { mixer: params }, x)[0]), await values(x));
  });

  test("decays, bonuses and shares are the published ones", async () => {
    const { att, ffn } = rwkv4.init({ ...rwkv4.config, dModel: 4 }, key(1), { index: 1, count: 3 });
    expectClose(
      await values(att.time_decay),
      [0, 1, 2, 3].map((i) => -5 + 8 * (i / 3) ** (0.7 + 1.3 * 0.5)),
      5,
    );
    expectClose(
      await values(att.time_first),
      [0, 0.5, -0.5, 0].map((x) => Math.log(0.3) + x),
      6,
    );
    expectClose(
      await values(att.time_mix_v),
      [0, 1, 2, 3].map((i) => (i / 4) ** (2 / 3) + 0.15),
      6,
    );
    expectClose(
      await values(ffn.time_mix_r),
      [0, 1, 2, 3].map((i) => (i / 4) ** (2 / 3)),
      6,
    );
  });
});

test("orthogonal matrices have orthonormal rows or columns, times the gain", async () => {
  for (const [O, I] of [
    [5, 5],
    [3, 7],
    [12, 4],
  ] as const) {
    const w = orthogonalInit()(key(O), [O, I]);
    const product = O <= I ? matmul(w, transpose(w)) : matmul(transpose(w), w);
    const size = Math.min(O, I);
    const square = Math.max(1, O / I);
    const expected = Array.from({ length: size * size }, (_, k) => (k % (size + 1) === 0 ? square : 0));
    expectClose(await values(product), expected, 6);
  }
});

/** The same tree with normal numbers added. */
function shaken(params: ReturnType<typeof rwkv4.init>): ReturnType<typeof rwkv4.init> {
  return replaceLeaves(
    params,
    leavesOf(params).map((x, k) => add(mul(x, 0.5), normal(foldIn(key(9), k), x.shape, 0, 0.5))),
  );
}

test.each([oracle, cpu({ threads: 1 })])("what is no number is forgotten at a reset, on %#", async (device) => {
  const [L, from] = [70, 40];
  const at = (x: Tensor, first: number): Tensor => sliceAxis(x, 1, first, L);
  const [w, u] = [tensor([-0.5, -2]), tensor([0.3, -0.1])];
  const spoiled = async (x: Tensor, value: number, place: number): Promise<Tensor> => {
    const list = Float64Array.from(await values(x));
    list[place] = value;
    return tensor(list, [1, L, 2]);
  };
  const k = await spoiled(normal(key(1), [1, L, 2]), NaN, 2 * 7);
  const v = await spoiled(normal(key(2), [1, L, 2]), Infinity, 2 * 9 + 1);
  const resets = tensor(
    Uint8Array.from({ length: L }, (_, t) => Number(t === from)),
    [1, L],
  );
  const state = { aa: tensor([[Infinity, 1]]), bb: tensor([[Infinity, NaN]]), pp: tensor([[NaN, Infinity]]) };
  const [y, last] = wkv({ w, u, k, v, state, resets });
  const [alone, end] = wkv({ w, u, k: at(k, from), v: at(v, from) });
  const [packed, apart] = [
    [at(y, from), last.aa, last.bb, last.pp],
    [alone, end.aa, end.bb, end.pp],
  ];
  for (const [n, x] of packed.entries()) expectClose(await values(x, device), await values(apart[n]!), 5);
  expect((await values(y, device)).some(Number.isNaN)).toBe(true);
});
