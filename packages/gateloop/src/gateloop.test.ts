import { parameterCount } from "@seqmix/mixer";
import { initLinear } from "@seqmix/nn";
import { checkMixer } from "@seqmix/testing";
import {
  add,
  concat,
  cpu,
  full,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  sub,
  sum,
  tensor,
  zeros,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  gateLoop,
  gateLoopAttention,
  gateLoopChunked,
  gateLoopScan,
  gateLoopTransformer,
  simpleGateLoop,
  simpleGateLoopSequence,
  type GateLoopArguments,
  type GateLoopConfig,
  type GateLoopResult,
  type GateLoopTransformerParameters,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const tiny: GateLoopConfig = { ...gateLoop.config, dModel: 2, dInner: 4, nHeads: 2, chunkSize: 2 };

describe("gateloop", () => {
  test.each([
    ["scan", {}],
    ["attention, norm, no gate", { parallel: "attention", subLn: true, gated: false }],
  ] as [string, Partial<GateLoopConfig>][])("keeps the laws of a mixer: %s", async (_, settings) => {
    expect((await checkMixer(gateLoop, { ...tiny, ...settings }, cpu(), { length: 5 })).modes).toEqual([
      "parallel",
      "chunked",
      "recurrent",
    ]);
  });

  test.each([{ postLn: true }, { allowNegEigval: true }])("the simplified layer keeps them: %o", async (settings) => {
    const config = { ...simpleGateLoop.config, dModel: 3, chunkSize: 2, ...settings };
    expect((await checkMixer(simpleGateLoop, config, cpu(), { length: 5 })).modes).toEqual([
      "parallel",
      "chunked",
      "recurrent",
    ]);
  });

  test("decays from -1 to 1 keep the parity of any number of bits, decays from 0 to 1 do not", async () => {
    // Channels: one at the first position only, +1 for a bit of 1 and -1 for one of 0, always one.
    const L = 1000;
    const bits = Array.from({ length: L }, (_, t) => (t * t + (t >> 3)) % 2);
    const x = tensor(bits.flatMap((bit, t) => [t === 0 ? 1 : 0, 2 * bit - 1, 1]));
    // Of the first channel: q = 1, u = 1 at first, and a decay of -1 or 1 by the bit. Of the others: nothing.
    const row = (column: number, value: number): number[] => [0, 1, 2].map((k) => (k === column ? value : 0));
    const none = [0, 0, 0, 0, 0, 0];
    const weight = reshape(tensor([...row(2, 1), ...none, ...row(0, 1), ...none, ...row(1, -60), ...none]), [9, 3]);
    const states = async (allowNegEigval: boolean): Promise<number[]> =>
      (
        await values(simpleGateLoopSequence({ to_qkva: [{ weight }] }, reshape(x, [1, L, 3]), { allowNegEigval })[0])
      ).filter((_, k) => k % 3 === 0);
    let sign = 1;
    const parities = bits.map((bit, t) => (t === 0 ? 1 : (sign *= bit === 1 ? -1 : 1)));
    (await states(true)).forEach((y, t) => expect(y).toBeCloseTo(parities[t]!, 9));
    expect(Math.min(...(await states(false)))).toBeGreaterThanOrEqual(0);
  });

  test.each([0.9999, 1, 0.05])(
    "1000 transitions of magnitude %d: attention, chunks and scan agree in float32",
    async (size) => {
      const L = 1000;
      const a = { re: full([1, L, 1], size * Math.cos(0.3)), im: full([1, L, 1], size * Math.sin(0.3)) };
      const inputs = {
        q: normal(key(1), [1, L, 1, 2]),
        k: normal(key(2), [1, L, 1, 2]),
        v: normal(key(3), [1, L, 1, 2]),
        a,
      };
      const device = cpu();
      const expected = await values(gateLoopScan(inputs)[0]);
      const scale = Math.max(...expected.map(Math.abs));
      for (const y of [gateLoopAttention(inputs)[0], gateLoopChunked(inputs, 64)[0], gateLoopScan(inputs)[0]]) {
        const worst = Math.max(...(await values(y, device)).map((value, i) => Math.abs(value - expected[i]!)));
        expect(worst / scale).toBeLessThan(1e-4);
      }
      await device.close();
    },
  );

  test("the fraction scales the gradient of the transitions' map and nothing else", async () => {
    const x = normal(key(4), [1, 4, 2]);
    const params = gateLoop.init(tiny, key(1));
    const gradients = (fracGradientStateTransition: number): typeof params =>
      grad((p: typeof params) =>
        sum(mul(gateLoop.modes.parallel({ ...tiny, fracGradientStateTransition }, p, x)[0], 3)),
      )(params);
    const [whole, part] = [gradients(1), gradients(0.5)];
    (await values(sub(part.to_a[0].weight, mul(0.5, whole.to_a[0].weight)))).forEach((value) =>
      expect(value).toBeCloseTo(0, 9),
    );
    (await values(sub(part.to_out.weight, whole.to_out.weight))).forEach((value) => expect(value).toBeCloseTo(0, 9));
  });

  test.each(["scan", "attention"] as const)(
    "a reset in a sequence with an initial state forgets it from there on, as %s and in chunks",
    async (parallel) => {
      const config = { ...tiny, parallel };
      const params = gateLoop.init(config, key(1));
      const x = normal(key(5), [1, 7, 2]);
      const [, h0] = gateLoop.modes.parallel(config, params, normal(key(6), [1, 3, 2]));
      const [first] = gateLoop.modes.parallel(config, params, sliceAxis(x, 1, 0, 3), h0);
      const [second, last] = gateLoop.modes.parallel(config, params, sliceAxis(x, 1, 3, 7));
      const expected = [await values(concat([first, second], 1)), await values(last.re), await values(last.im)];
      const resets = tensor(Uint8Array.of(0, 0, 0, 1, 0, 0, 0), [1, 7]);
      for (const mode of ["parallel", "chunked"] as const) {
        const [y, h] = gateLoop.modes[mode]!(config, params, x, h0, resets);
        for (const [k, part] of [y, h.re, h.im].entries())
          (await values(part)).forEach((value, i) => expect(value).toBeCloseTo(expected[k]![i]!, 9));
      }
    },
  );

  test("a packed transformer's sequences are each alone", async () => {
    const gamma = normal(key(7), [2]);
    const params = {
      token_emb: { weight: normal(key(8), [5, 2]) },
      layers: [
        [
          { fn: gateLoop.init(tiny, key(9)), norm: { gamma } },
          { fn: [initLinear(key(10), 2, 4), initLinear(key(11), 4, 2)], norm: { gamma } },
        ],
      ],
      to_logits: [{ gamma }, initLinear(key(12), 2, 5)],
    } as unknown as GateLoopTransformerParameters;
    const tokens = tensor([[1, 2, 3, 4, 0]], undefined, "i32");
    const alone = gateLoopTransformer(params, sliceAxis(tokens, 1, 2, 5));
    const packed = gateLoopTransformer(params, tokens, {}, tensor(Uint8Array.of(1, 0, 1, 0, 0), [1, 5]));
    const expected = await values(alone);
    (await values(sliceAxis(packed, 1, 2, 5))).forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 9));
  });

  test("counts its parameters, and refuses heads that do not fit", () => {
    expect(
      parameterCount(gateLoop.init({ ...gateLoop.config, dModel: 6, dInner: 8, nHeads: 2, subLn: true }, key(1))),
    ).toBe(3 * 48 + 4 * 7 + 48 + 16 + 48);
    expect(parameterCount(simpleGateLoop.init({ ...simpleGateLoop.config, dModel: 5 }, key(1)))).toBe(5 + 75);
    expect(() => gateLoop.init({ ...tiny, nHeads: 3 }, key(1))).toThrow("divide dInner");
    const simple = simpleGateLoop.init({ ...simpleGateLoop.config, dModel: 2 }, key(1));
    expect(() => simpleGateLoopSequence(simple, zeros([1, 2, 2]), { reset: 1 } as never)).toThrow(
      "got reset; leave it out",
    );
    expect(() =>
      gateLoopScan({
        q: zeros([1, 2, 1, 2]),
        k: zeros([1, 2, 1, 2]),
        v: zeros([1, 2, 1, 2]),
        a: { re: zeros([1, 2]), im: zeros([1, 2]) },
      }),
    ).toThrow("one for each position and head");
  });

  describe("transitions of 0 end the memory", () => {
    const line = (...numbers: number[]): Tensor => tensor(numbers, [1, numbers.length, 1, 1]);
    const inputs = (re: number[], im: number[] = re.map(() => 0)): GateLoopArguments => ({
      q: line(...re.map(() => 1)),
      k: line(...re.map(() => 1)),
      v: line(...re.map((_, t) => 2 ** t)),
      a: { re: tensor(re, [1, re.length, 1]), im: tensor(im, [1, re.length, 1]) },
    });
    const forms: [string, (x: GateLoopArguments) => GateLoopResult][] = [
      ["attention", gateLoopAttention],
      ["chunks of 3", (x) => gateLoopChunked(x, 3)],
      ["chunks of 1", (x) => gateLoopChunked(x, 1)],
      ["chunks of 2", (x) => gateLoopChunked(x, 2)],
      ["scan", gateLoopScan],
    ];
    const cases: [string, GateLoopArguments, number[]][] = [
      ["one inside", inputs([1, 0, 1, 1]), [1, 2, 6, 14]],
      ["the first", inputs([0, 1, 1, 1]), [1, 3, 7, 15]],
      ["the last", inputs([1, 1, 1, 0]), [1, 3, 7, 8]],
      ["all", inputs([0, 0, 0, 0]), [1, 2, 4, 8]],
      ["so small that its square is 0", inputs([1, 1e-25, 1e20, 1e4]), [1, 2, 2e20, 2e24]],
      ["so large that its square overflows", inputs([1, 1e25, 1e-20, 1]), [1, 1e25, 100004, 100012]],
      ["products that overflow before one of 0", inputs([1e20, 1e20, 0, 1]), [1, 1e20, 4, 12]],
      ["a quarter turn", inputs([1, 0, 0, 1], [0, 1, 1, 0]), [1, 2, 3, 11]],
    ];
    test.each(forms.flatMap(([form, run]) => cases.map(([name, x, y]) => [form, name, run, x, y] as const)))(
      "%s, %s",
      async (_, __, run, given, expected) => {
        for (const device of [oracle, cpu()])
          (await values(run(given)[0], device)).forEach((y, t) => expect(y / expected[t]!).toBeCloseTo(1, 5));
      },
    );

    test("products of transitions that overflow times nothing are nothing", async () => {
      const given = { ...inputs([1e20, 1e20, 1e20, 1e20, 1e20]), v: line(0, 0, 0, 0, 7) };
      for (const [, run] of forms) {
        expect(await values(run(given)[0], cpu())).toEqual([0, 0, 0, 0, 7]);
        expect(await values(run({ ...given, k: line(0, 0, 0, 0, 1), v: line(1, 1, 1, 1, 7) })[0], cpu())).toEqual([
          0, 0, 0, 0, 7,
        ]);
      }
    });

    test("states of any size behind transitions of any size are those of the scan, also between pieces", async () => {
      const cases: [string, GateLoopArguments][] = [
        ["a tiny key before growth", { ...inputs([1, 1e20, 1e20, 1]), k: line(1e-30, 0, 0, 1), v: line(1, 1, 1, 1) }],
        ["a tiny value before growth", { ...inputs([1, 1e20, 1e20, 1]), v: line(1e-30, 0, 0, 1) }],
        ["growth that comes back", { ...inputs([1, 1e25, 1e25, 1e-25, 1e-25]), v: line(1e-20, 0, 0, 0, 0) }],
        ["what vanishes and comes back", { ...inputs([1, 1e-25, 1e-25, 1e25, 1e25]), v: line(1e20, 0, 0, 0, 0) }],
        [
          "nothing before growth",
          { ...inputs(Array.from({ length: 300 }, () => 2)), v: line(...Array(299).fill(0), 5) },
        ],
      ];
      for (const [name, given] of cases) {
        const h0 = { re: tensor([0], [1, 1, 1, 1]), im: tensor([0], [1, 1, 1, 1]) };
        for (const start of [{}, { h0 }]) {
          const [expected, last] = gateLoopScan({ ...given, ...start });
          const [y, h] = [await values(expected), await values(last.re)];
          for (const [form, run] of forms) {
            const [got, end] = run({ ...given, ...start });
            (await values(got, cpu())).forEach((value, t) =>
              expect(Math.abs(value - y[t]!), `${name}, ${form}, ${t}`).toBeLessThanOrEqual(1e-5 * Math.abs(y[t]!)),
            );
            const [state] = await values(end.re, cpu());
            expect(Math.abs(state! - h[0]!), `${name}, ${form}, state`).toBeLessThanOrEqual(1e-5 * Math.abs(h[0]!));
          }
        }
      }
    });

    test("gradients over decays to e^-300 are those of the scan", async () => {
      const L = 40;
      const given = inputs(
        Array.from({ length: L }, (_, t) => 5e-4 + 1e-4 * Math.sin(t)),
        Array.from({ length: L }, (_, t) => 2e-4 * Math.cos(t)),
      );
      const v = line(...Array.from({ length: L }, (_, t) => Math.sin(1 + t)));
      const gradients = async (run: (x: GateLoopArguments) => GateLoopResult, device: Device): Promise<number[][]> => {
        const of = grad(([q, k, w, re, im]: readonly Tensor[]) =>
          sum(mul(run({ q: q!, k: k!, v: w!, a: { re: re!, im: im! } })[0], v)),
        )([given.q, given.k, v, given.a.re, given.a.im]);
        return Promise.all(of.map((x) => values(x, device)));
      };
      const expected = await gradients(gateLoopScan, oracle);
      for (const [, run] of forms.slice(0, 4))
        for (const [k, got] of (await gradients(run, cpu())).entries())
          got.forEach((x, t) => expect(x).toBeCloseTo(expected[k]![t]!, 4));
    });

    test("what is no number before a reset is forgotten, in values and gradients", async () => {
      const L = 7;
      const random = (k: number): number[] => Array.from({ length: L }, (_, t) => Math.sin(1 + 3 * k + t));
      const numbers = [random(1), random(2), random(3), random(4), random(5)];
      const resets = tensor(Uint8Array.of(0, 0, 0, 1, 0, 1, 0), [1, L]);
      const run = (
        form: (x: GateLoopArguments) => GateLoopResult,
        [q, k, v, re, im]: readonly Tensor[],
        start: number,
      ) =>
        form({
          q: q!,
          k: k!,
          v: v!,
          a: { re: reshape(re!, [1, L, 1]), im: reshape(im!, [1, L, 1]) },
          h0: { re: tensor([start], [1, 1, 1, 1]), im: tensor([1], [1, 1, 1, 1]) },
          resets,
        });
      const weights = line(0, 0, 0, 1, 2, 3, 4);
      const gradients = (form: (x: GateLoopArguments) => GateLoopResult, given: readonly number[][], start: number) =>
        grad((x: readonly Tensor[]) => {
          const [y, h] = run(form, x, start);
          // what is before the reset is not asked for
          return add(sum(mul(sliceAxis(mul(y, 1), 1, 3, L), sliceAxis(weights, 1, 3, L))), sum(add(h.re, h.im)));
        })(given.map((x) => line(...x)));
      const expected = await Promise.all(gradients(gateLoopScan, numbers, 1).map((g) => values(g)));
      const right = await values(
        run(
          gateLoopScan,
          numbers.map((x) => line(...x)),
          1,
        )[0],
      );
      for (const bad of [NaN, Infinity])
        for (const which of [0, 1, 2, 3, 4])
          for (const [name, form] of forms) {
            const given = numbers.map((x, k) => x.map((value, t) => (k === which && t === 1 ? bad : value)));
            const y = await values(
              run(
                form,
                given.map((x) => line(...x)),
                bad,
              )[0],
            );
            expect(y.slice(0, 3).some(Number.isFinite), `${name} before`).toBe(false);
            y.slice(3).forEach((value, t) => expect(value, `${name}, ${which}`).toBeCloseTo(right[t + 3]!, 9));
            for (const [k, g] of gradients(form, given, bad).entries())
              (await values(g))
                .slice(3)
                .forEach((value, t) =>
                  expect(value, `${name}, ${which}, of ${k}`).toBeCloseTo(expected[k]![t + 3]!, 9),
                );
          }
    });

    test("numbers of 0 have the gradients of the scan", async () => {
      const given = [line(0, 1, 2), line(1, 0, 1), line(0, 2, 0)];
      const slopes = (form: (x: GateLoopArguments) => GateLoopResult): readonly Tensor[] =>
        grad(([q, k, v]: readonly Tensor[]) => sum(form({ ...inputs([0.5, 0.5, 0.5]), q: q!, k: k!, v: v! })[0]))(
          given,
        );
      const expected = await Promise.all(slopes(gateLoopScan).map((g) => values(g)));
      for (const [name, form] of forms)
        for (const [k, g] of slopes(form).entries())
          (await values(g)).forEach((value, t) => expect(value, `${name}, ${k}`).toBeCloseTo(expected[k]![t]!, 9));
    });

    test("an initial state passes where no transition is 0", async () => {
      for (const [, run] of forms) {
        const h0 = { re: tensor([10], [1, 1, 1, 1]), im: tensor([0], [1, 1, 1, 1]) };
        const [y, h] = run({ ...inputs([1, 2, 0, 1]), h0 });
        expect([await values(y), await values(h.re)]).toEqual([[11, 24, 4, 12], [12]]);
      }
    });

    test("their gradients are those of the scan", async () => {
      const slope = (run: (x: GateLoopArguments) => GateLoopResult): Promise<number[]> => {
        const { q, k, v } = inputs([1, 0, 1, 1]);
        const loss = (re: Tensor): Tensor => sum(run({ q, k, v, a: { re, im: tensor([0, 0, 0, 0], [1, 4, 1]) } })[0]);
        return values(grad(loss)(tensor([1, 0, 1, 1], [1, 4, 1])));
      };
      expect(await slope(gateLoopScan)).toEqual([0, 3, 4, 6]);
      for (const [, run] of forms) expect(await slope(run)).toEqual([0, 3, 4, 6]);
    });
  });
});
