import { stateBytes } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import {
  cpu,
  key,
  mapTree,
  mul,
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
import {
  diagonalFinalState,
  diagonalKernel,
  diagonalPowers,
  diagonalStep,
  diagonalSystem,
  s4d,
  s4dParameterGroups,
  s4dSystem,
  type DiagonalSystem,
  type S4dConfig,
} from "./index.js";

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
  test.each(["zoh", "bilinear"] as const)("keeps the laws of a mixer, %s", async (disc) => {
    const report = await checkMixer(s4d, { ...tiny, dModel: 2, disc }, cpu(), { length: 7 });
    expect(report.modes).toEqual(["parallel", "recurrent"]);
  });

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

  test("a random start has positive frequencies; others are refused", async () => {
    const { A } = s4dSystem(s4d.init({ ...tiny, init: "rand" }, key(1)));
    expect(Math.min(...(await values(A.im)))).toBeGreaterThan(0);
    expect(() => s4d.init({ ...tiny, init: "legs" as "lin" }, key(1))).toThrow('got "legs"');
    expect(() => s4d.init({ ...tiny, dState: 3 }, key(1))).toThrow("even dState");
  });
});

describe("diagonal kernels", () => {
  const draw = (seed: number, H = 2, N = 3, M = 2): DiagonalSystem => ({
    dt: tensor([[0.1], [0.3]]),
    A: {
      re: mul(-0.5, mul(normal(key(seed), [H, N]), normal(key(seed), [H, N]))),
      im: mul(3, normal(key(seed + 1), [H, N])),
    },
    B: { re: normal(key(seed + 2), [H, N]), im: normal(key(seed + 3), [H, N]) },
    C: { re: normal(key(seed + 4), [M, H, N]), im: normal(key(seed + 5), [M, H, N]) },
  });

  test.each(["zoh", "bilinear"] as const)(
    "the kernel is the response of the recurrence to an impulse, %s",
    async (disc) => {
      const system = draw(1);
      const state = { re: normal(key(20), [1, 2, 3]), im: normal(key(21), [1, 2, 3]) };
      const { K, KState } = diagonalKernel(system, 6, { disc, state });
      let [h, free] = [{ re: zeros([1, 2, 3]), im: zeros([1, 2, 3]) }, state];
      for (let t = 0; t < 6; t++) {
        const step = diagonalStep(system, disc, t === 0 ? tensor([[1, 1]]) : tensor([[0, 0]]), h);
        const decay = diagonalStep(system, disc, tensor([[0, 0]]), free);
        [h, free] = [step.h, decay.h];
        close(await values(reshape(step.y, [4])), await values(reshape(sliceAxis(K, 2, t, t + 1), [4])));
        close(await values(reshape(decay.y, [4])), await values(reshape(sliceAxis(KState!, 3, t, t + 1), [4])));
      }
      const impulse = tensor([
        [
          [1, 0, 0, 0, 0, 0],
          [1, 0, 0, 0, 0, 0],
        ],
      ]);
      close(await values(diagonalFinalState(system, disc, impulse).im), await values(h.im));
      close(await values(diagonalFinalState(system, disc, zeros([1, 2, 6]), state).re), await values(free.re));
    },
  );

  test("the softmax kernel tends to half the zero-order hold as the sequence outlasts the decay", async () => {
    const system: DiagonalSystem = {
      ...draw(3),
      A: {
        re: tensor([
          [-1, -2, -3],
          [-1, -2, -3],
        ]),
        im: tensor([
          [1, 2, 3],
          [4, 5, 6],
        ]),
      },
    };
    // Its weights carry 1/(e^(dt A L) - 1), which tends to -1; the published eps of 1e-7 keeps a difference of that size.
    const { K } = diagonalKernel(system, 400, { disc: "dss" });
    const zoh = diagonalKernel(system, 400, { disc: "zoh" });
    close(await values(K), await values(mul(-0.5, zoh.K)), 5);
  });

  test("a growing mode overflows nothing in the softmax kernel", async () => {
    const system: DiagonalSystem = {
      ...draw(3),
      A: {
        re: tensor([
          [8, 8, 8],
          [8, 8, 8],
        ]),
        im: tensor([
          [1, 2, 3],
          [4, 5, 6],
        ]),
      },
    };
    for (const value of await values(diagonalKernel(system, 2000, { disc: "dss" }).K))
      expect(Number.isFinite(value)).toBe(true);
  });

  test("powers of no length are none, and doubling counts any length", async () => {
    const system = draw(5);
    for (const L of [0, 1, 5, 8]) expect(diagonalPowers(system, "bilinear", L).re.shape).toEqual([2, 3, L]);
  });

  test("trained tensors become a system: transforms, shared systems, rate and band limit", async () => {
    const system = diagonalSystem(
      {
        inv_dt: tensor([[0], [1], [2], [3]]),
        A_real: tensor([[-1], [2]]),
        A_imag: tensor([[1], [4]]),
        B: tensor([[[[1, 2]], [[3, 4]]]]),
        C: tensor([[[[1, 1]], [[1, 1]], [[1, 1]], [[1, 1]]]]),
      },
      { dtTransform: "none", realTransform: "relu", rate: 2, bandlimit: 1 },
    );
    close(await values(system.dt), [0, 2, 4, 6]);
    close(await values(system.A.re), [-1e-4, -2.0001, -1e-4, -2.0001]);
    close(await values(system.A.im), [-1, -4, -1, -4]);
    close(await values(system.B.im), [2, 4, 2, 4]);
    // Steps of 0, 4, 2, 12 radians at the trained rate: pi is the limit.
    close(await values(system.C.re), [1, 0, 1, 0]);
  });
});
