import { stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cpu,
  explain,
  key,
  mapTree,
  mul,
  normal,
  realize,
  reference,
  sum,
  valueAndGrad,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { s4d, s4dParameterGroups, s4dSystem, type S4dConfig } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 9): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const tiny: S4dConfig = { ...s4d.config, dModel: 3, dState: 4, dtMin: 0.05, dtMax: 0.5 };

describe("s4d", () => {
  test.each(["zoh", "bilinear"] as const)(
    "keeps the laws of a mixer, %s",
    async (disc) => {
      const report = await checkMixer(s4d, { ...tiny, dModel: 2, disc, chunkSize: 4 }, cpu(), { length: 7 });
      expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    },
    120_000,
  );

  test("parameters and state have the published forms", () => {
    const params = s4d.init({ ...tiny, dModel: 6, dState: 8 }, key(1));
    const shapes: Record<string, readonly number[]> = {};
    mapTree((x, path) => {
      shapes[path] = x.shape;
      return x;
    }, params);
    expect(shapes).toEqual({
      D: [6],
      "kernel.C": [6, 4, 2],
      "kernel.log_dt": [6],
      "kernel.log_A_real": [6, 4],
      "kernel.A_imag": [6, 4],
      "output_linear.0.weight": [12, 6, 1],
      "output_linear.0.bias": [12],
    });
    expect(stateBytes(s4d, { ...tiny, dModel: 6, dState: 8 }, 10)).toBe(4 * 6 * 8);
    const group = s4dParameterGroups[0]!;
    expect(Object.keys(shapes).filter((path) => group.match.test(path))).toEqual([
      "kernel.log_dt",
      "kernel.log_A_real",
      "kernel.A_imag",
    ]);
  });

  test("step sizes start log-uniform in their range, and C with variance one", async () => {
    const { kernel } = s4d.init({ ...s4d.config, dModel: 400 }, key(2));
    const steps = (await values(kernel.log_dt)).map(Math.exp);
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(0.001);
    expect(Math.max(...steps)).toBeLessThanOrEqual(0.1);
    expect(steps.filter((dt) => dt < 0.01).length / steps.length).toBeCloseTo(0.5, 1);
    const power = (await values(mul(kernel.C, kernel.C))).reduce((a, b) => a + b, 0) / (400 * 32);
    expect(power).toBeCloseTo(1, 1);
  });

  // Eigenvalues for N = 4, by hand.
  test.each([
    ["lin", [0.5, 0.5], [0, Math.PI]],
    ["inv", [0.5, 0.5], [12 / Math.PI, 4 / (3 * Math.PI)]],
    ["inv2", [0.5, 0.5], [12 / Math.PI, 4 / Math.PI]],
    ["quad", [0.5, 0.5], [1 / Math.PI, 9 / Math.PI]],
    ["real", [1, 2], [0, 0]],
  ] as const)("init %s", async (init, decay, frequency) => {
    const { A } = s4dSystem(s4d.init({ ...tiny, dModel: 1, init }, key(1)));
    close(
      await values(A.re),
      decay.map((x) => -x),
      6,
    );
    close(await values(A.im), frequency, 6);
  });

  test("legs starts at the normal part of HiPPO, and random starts differ from channel to channel", async () => {
    const { A } = s4dSystem(s4d.init({ ...tiny, dModel: 1, init: "legs" }, key(1)));
    // Eigenvalues of the skew part of order 4: the squares add up to half the sum of (2n+1)(2k+1) / 2 over n < k.
    const squares = (await values(A.im)).reduce((total, x) => total + x * x, 0);
    expect(squares).toBeCloseTo((1 * 3 + 1 * 5 + 1 * 7 + 3 * 5 + 3 * 7 + 5 * 7) / 4, 4);
    const random = await values(s4d.init({ ...tiny, dModel: 2, init: "rand" }, key(1)).kernel.A_imag);
    expect(new Set(random).size).toBe(4);
  });

  test("a random start has positive frequencies; others are refused", async () => {
    const { A } = s4dSystem(s4d.init({ ...tiny, init: "rand" }, key(1)));
    expect(Math.min(...(await values(A.im)))).toBeGreaterThan(0);
    expect(() => s4d.init({ ...tiny, init: "cheb" as "lin" }, key(1))).toThrow('got "cheb"');
    expect(() => s4d.init({ ...tiny, dState: 3 }, key(1))).toThrow("even dState");
  });
});

test("a layer with all gradients is at most 40 kernels", async () => {
  const device = cpu();
  const config = { ...s4d.config, dModel: 64, dState: 64 };
  const params = mapTree((x) => x, s4d.init(config, key(1))) as Tree;
  const x = normal(key(2), [2, 1024, 64]);
  await realize([params, x] as Tree, { device });
  const loss = ({ params: p, x: input }: { params: Tree; x: Tensor }): Tensor => {
    const [y] = s4d.modes.parallel(config, p as unknown as ReturnType<typeof s4d.init>, input);
    return sum(mul(y, y));
  };
  const text = await explain(valueAndGrad(loss as (tree: Tree) => Tensor)({ params, x } as Tree) as unknown as Tree, {
    device,
  });
  const kernels = text.split("\n").filter((line) => line.includes(": "));
  expect(kernels.filter((line) => !line.startsWith("#")).length).toBeLessThanOrEqual(40);
  await device.close();
});
