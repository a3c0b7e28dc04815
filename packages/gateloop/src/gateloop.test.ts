import { parameterCount } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import { cpu, full, grad, key, mul, normal, realize, reference, sub, sum, zeros, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  gateLoop,
  gateLoopAttention,
  gateLoopChunked,
  gateLoopScan,
  simpleGateLoop,
  type GateLoopConfig,
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

  test("the simplified layer keeps them", async () => {
    expect(
      (
        await checkMixer(simpleGateLoop, { ...simpleGateLoop.config, dModel: 3, postLn: true, chunkSize: 2 }, cpu(), {
          length: 5,
        })
      ).modes,
    ).toEqual(["parallel", "chunked", "recurrent"]);
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

  test("counts its parameters, and refuses heads that do not fit", () => {
    expect(
      parameterCount(gateLoop.init({ ...gateLoop.config, dModel: 6, dInner: 8, nHeads: 2, subLn: true }, key(1))),
    ).toBe(3 * 48 + 4 * 7 + 48 + 16 + 48);
    expect(parameterCount(simpleGateLoop.init({ ...simpleGateLoop.config, dModel: 5 }, key(1)))).toBe(5 + 75);
    expect(() => gateLoop.init({ ...tiny, nHeads: 3 }, key(1))).toThrow("divide dInner");
    expect(() =>
      gateLoopScan({
        q: zeros([1, 2, 1, 2]),
        k: zeros([1, 2, 1, 2]),
        v: zeros([1, 2, 1, 2]),
        a: { re: zeros([1, 2]), im: zeros([1, 2]) },
      }),
    ).toThrow("one for each position and head");
  });
});
