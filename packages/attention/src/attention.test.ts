import { runMixer, stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  concat,
  cpu,
  key,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  sum,
  tensor,
  valueAndGrad,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { attention, type AttentionConfig, type AttentionParameters, type AttentionState } from "./index.js";

const oracle = reference();

async function values(x: Tensor, device: Device = oracle): Promise<number[]> {
  await realize({ x }, { device });
  return [...(await x.data())];
}

async function expectEqual(actual: Tensor, expected: readonly number[]): Promise<void> {
  const a = await values(actual);
  expect(a.length).toBe(expected.length);
  expected.forEach((value, k) => expect(a[k], `element ${k}`).toBeCloseTo(value, 10));
}

/** The definition as loops over float64 numbers. */
function loops(
  x: readonly number[],
  w: Readonly<Record<string, readonly number[]>>,
  { B, L, D, H, base }: { B: number; L: number; D: number; H: number; base: number },
): number[] {
  const P = D / H;
  const project = (name: string, row: number, rows: readonly number[]): number[] =>
    Array.from(
      { length: D },
      (_, o) =>
        (w[`${name}.bias`]?.[o] ?? 0) +
        Array.from({ length: D }, (__, i) => w[`${name}.weight`]![o * D + i]! * rows[row * D + i]!).reduce(
          (a, b) => a + b,
          0,
        ),
    );
  const turn = (head: readonly number[], t: number): number[] =>
    base === 0
      ? [...head]
      : head.map((v, i) => {
          const half = P / 2;
          const angle = t * base ** ((-2 * (i % half)) / P);
          return i < half
            ? v * Math.cos(angle) - head[i + half]! * Math.sin(angle)
            : v * Math.cos(angle) + head[i - half]! * Math.sin(angle);
        });
  const out: number[] = [];
  for (let b = 0; b < B; b++)
    for (let t = 0; t < L; t++) {
      const mixed: number[] = [];
      for (let h = 0; h < H; h++) {
        const head = (name: string, s: number): number[] => project(name, b * L + s, x).slice(h * P, h * P + P);
        const q = turn(head("q_proj", t), t);
        const scores = Array.from(
          { length: t + 1 },
          (_, s) => turn(head("k_proj", s), s).reduce((sum_, v, i) => sum_ + v * q[i]!, 0) / Math.sqrt(P),
        );
        const total = scores.reduce((sum_, s) => sum_ + Math.exp(s), 0);
        for (let i = 0; i < P; i++)
          mixed.push(scores.reduce((sum_, s, k) => sum_ + (Math.exp(s) / total) * head("v_proj", k)[i]!, 0));
      }
      out.push(...project("out_proj", 0, mixed));
    }
  return out;
}

const settings: readonly Partial<AttentionConfig>[] = [
  { dModel: 8, nHeads: 2 },
  { dModel: 6, nHeads: 1, rotaryBase: 100, bias: true },
  { dModel: 3, nHeads: 3, positionEncoding: "none", bias: true },
];

describe.each(settings)("attention %o", (given) => {
  const config = { ...attention.config, ...given };
  const [B, L] = [2, 5];
  const { dModel: D, nHeads: H } = config;
  const base = config.positionEncoding === "none" ? 0 : config.rotaryBase;
  const params = attention.init(config, key(1));
  const x = normal(key(2), [B, L, D]);

  test("is the definition", async () => {
    const w: Record<string, number[]> = {};
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"] as const) {
      w[`${name}.weight`] = await values(params[name].weight);
      if (params[name].bias) w[`${name}.bias`] = await values(params[name].bias);
    }
    await expectEqual(attention.modes.parallel(config, params, x)[0], loops(await values(x), w, { B, L, D, H, base }));
  });

  test("carried on from the cache, at once or step by step, it is the whole", async () => {
    const [whole, end] = attention.modes.parallel(config, params, x);
    const [first, cache] = attention.modes.parallel(config, params, sliceAxis(x, 1, 0, 2));
    expect(cache.k.shape).toEqual([B, H, 2, D / H]);
    for (const mode of ["parallel", "recurrent"] as const) {
      const [second, last] = runMixer(attention, config, params, sliceAxis(x, 1, 2, L), cache, mode);
      await expectEqual(concat([first, second], 1), await values(whole));
      await expectEqual((last as AttentionState).k, await values(end.k));
      await expectEqual((last as AttentionState).v, await values(end.v));
    }
    await expectEqual(
      runMixer(attention, config, params, x, attention.initState(config, B), "recurrent")[0],
      await values(whole),
    );
  });

  test("gradients on the default device are those of the oracle", async () => {
    const run = async (device: Device): Promise<number[]> => {
      const [, gradients] = valueAndGrad((p: AttentionParameters, input: Tensor) =>
        sum(attention.modes.parallel(config, p, input)[0]),
      )(attention.init(config, key(1)), normal(key(2), [B, L, D]));
      return values(
        concat(
          [gradients.q_proj, gradients.k_proj, gradients.v_proj, gradients.out_proj].map((g) =>
            reshape(g.weight, [D * D]),
          ),
          0,
        ),
        device,
      );
    };
    const [fast, exact] = [await run(cpu()), await run(oracle)];
    exact.forEach((value, k) => expect(fast[k], `element ${k}`).toBeCloseTo(value, 4));
  });
});

describe("the laws of a mixer", () => {
  test.each(["grouped, rope", "both ways"])("attention, %s", async (name) => {
    const report = await checkMixer(attention, { ...attention.config, ...attention.samples![name] }, cpu(), {
      length: 4,
    });
    expect(report.modes).toEqual(name === "both ways" ? ["parallel"] : ["parallel", "chunked", "recurrent"]);
    expect(report.laws).toContain("packed sequences are each alone, in values, states and gradients");
  });
});

const small = { ...attention.config, dModel: 8, nHeads: 4, nKvHeads: 2 };

describe("a cache with room", () => {
  const [B, L] = [2, 6];
  const x = normal(key(2), [B, L, 8]);

  test.each(["rope", "xpos", "alibi", "absolute"] as const)(
    "gives what one without gives, with %s",
    async (positionEncoding) => {
      const config = { ...small, positionEncoding, window: positionEncoding === "alibi" ? 3 : 0 };
      const params = attention.init(config, key(1));
      const [whole] = attention.modes.parallel(config, params, x);
      const [first, cache] = attention.modes.parallel(config, params, sliceAxis(x, 1, 0, 2));
      const roomy = attention.reserve!(config, cache, 4);
      const [second] = runMixer(attention as never, config, params, sliceAxis(x, 1, 2, L), roomy, "recurrent");
      await expectEqual(concat([first, second], 1), await values(whole));
      const [together] = attention.modes.parallel(config, params, sliceAxis(x, 1, 2, L), roomy);
      await expectEqual(concat([first, together], 1), await values(whole));
    },
  );

  test("keeps its shapes, so that one plan serves all elements", () => {
    const params = attention.init(small, key(1));
    const roomy = attention.reserve!(small, attention.initState(small, B), 3);
    const [, next] = attention.step!(small, params, normal(key(3), [B, 8]), roomy);
    expect(next.k.shape).toEqual(roomy.k.shape);
    expect(next.k.shape).toEqual([B, 2, 3, 2]);
    expect(Object.keys(next).sort()).toEqual(Object.keys(roomy).sort());
  });
});

test("padding on the left is hidden by a reset", async () => {
  const params = attention.init(small, key(1));
  const x = normal(key(2), [1, 5, 8]);
  const padded = concat([normal(key(3), [1, 3, 8]), x], 1);
  const resets = tensor([[0, 0, 0, 1, 0, 0, 0, 0]], undefined, "bool");
  const [y] = attention.modes.parallel(small, params, padded, undefined, resets);
  await expectEqual(sliceAxis(y, 1, 3, 8), await values(attention.modes.parallel(small, params, x)[0]));
});

test("the cache grows by 2 G P numbers an element", () => {
  const bytes = (nKvHeads: number, length: number): number =>
    stateBytes(attention as never, { dModel: 16, nHeads: 4, nKvHeads }, length)! - 4;
  expect(bytes(4, 0)).toBe(0);
  expect(bytes(4, 10)).toBe(10 * 2 * 16 * 4);
  expect(bytes(1, 10)).toBe(10 * 2 * 4 * 4);
});

test("heads that do not fit are named", () => {
  expect(() => attention.init({ ...attention.config, dModel: 10 }, key(0))).toThrow(/nHeads=4 and dModel=10/);
  expect(() => attention.initState({ ...attention.config, dModel: 12 }, 1)).toThrow(
    /even number of channels a head for rotations, got 3/,
  );
  expect(() => attention.initState({ ...attention.config, nKvHeads: 3 }, 1)).toThrow(/nKvHeads=3 and nHeads=4/);
});
