import { checkMixer } from "@seqmix/testing";
import {
  add,
  complexMap,
  cpu,
  key,
  leavesOf,
  mapTree,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  stack,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { configure, runMixer, type AnyMixer } from "@seqmix/mixer";
import { beforeTransform, completeOutput, positive, positiveTransforms } from "@seqmix/lti";
import { describe, expect, test } from "vitest";
import {
  activated,
  activations,
  dss,
  dssKernelOf,
  dssLayer,
  dssSystem,
  dssVersions,
  initKernel,
  kernelInits,
  kernelSystem,
  lssl,
  s4,
  s4Block,
  s4System,
  type InitialKernel,
  type S4Config,
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

describe.each([
  ["s4", s4],
  ["dss", dss],
  ["lssl", lssl],
] as const)("%s", (_, mixer) => {
  test.each(Object.keys(mixer.samples!))(
    "keeps the laws of a mixer, %s",
    async (name) => {
      const sample = mixer.samples![name as keyof typeof mixer.samples] as object;
      await checkMixer(mixer as typeof s4, configure(mixer as typeof s4, sample as Record<string, number>), cpu(), {
        length: 6,
      });
    },
    120_000,
  );
});

const tiny: S4Config = { ...s4.config, dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5 };

describe("the S4 block", () => {
  test("C-tilde and the true C give one map", async () => {
    const config = { ...tiny, kernelLength: 8 };
    const params = s4.init(config, key(1));
    const x = normal(key(2), [1, 20, 2]);
    const [y, h] = s4.modes.parallel(config, params, x);
    const system = kernelSystem(params.layer.kernel);
    const C = completeOutput({ ...system, P: system.P! }, 8);
    const kernel = { ...params.layer.kernel, C: stack([C.re, C.im], 3) };
    const [same, state] = s4.modes.parallel(tiny, { ...params, layer: { ...params.layer, kernel } }, x);
    close(await values(y), await values(same));
    close(await values(h.re), await values(state.re));
  });

  test("twice the step size sees half the samples: a rate of 2 is a kernel of steps twice as long", async () => {
    for (const mode of ["diag", "dplr"] as const) {
      const config = { ...tiny, mode, init: mode === "diag" ? ("diag-lin" as const) : ("legs" as const) };
      const params = s4.init(config, key(1));
      const { kernel } = params.layer;
      const slow = { ...kernel, inv_dt: mapTree((x) => mul(x, 1), tensor([[Math.log(2)], [Math.log(2)]])) };
      const rated = s4System(config, kernel, 2).kernel(6);
      const longer = s4System(config, { ...slow, inv_dt: add(kernel.inv_dt, slow.inv_dt) }).kernel(6);
      close(await values(rated), await values(longer));
    }
  });

  test("a second kernel sees strictly later inputs", async () => {
    const config: S4Config = { ...tiny, mode: "diag", init: "diag-lin", bidirectional: true };
    const params = s4.init(config, key(1));
    const x = normal(key(2), [1, 7, 2]);
    const [both] = s4Block(config, params, x);
    expect(both.shape).toEqual([1, 7, 2]);
    expect(() => s4Block(config, params, x, { state: s4.initState(config, 1) })).toThrow(
      "no state with both directions",
    );
  });

  test("a kernel shorter than the sequence forgets what is further back", async () => {
    const params = s4.init(tiny, key(1));
    const x = normal(key(2), [1, 9, 2]);
    const far = mul(x, tensor([[2, 1, 1, 1, 1, 1, 1, 1, 1].map((factor) => [factor, factor])]));
    const last = (input: Tensor): Tensor => sliceAxis(s4Block(tiny, params, input, { longest: 4 })[0], 1, 8, 9);
    close(await values(last(x)), await values(last(far)));
  });

  test("parameters have the published names and forms", () => {
    const names = (config: S4Config): Record<string, readonly number[]> => {
      const shapes: Record<string, readonly number[]> = {};
      mapTree(
        (x, path) => {
          shapes[path] = x.shape;
          return x;
        },
        s4.init(config, key(1)),
      );
      return shapes;
    };
    expect(names({ ...tiny, dModel: 4, dState: 8, rank: 2, init: "legt", nSsm: 2, bidirectional: true })).toEqual({
      "layer.D": [1, 4],
      "layer.kernel.inv_dt": [4, 1],
      "layer.kernel.A_real": [2, 4],
      "layer.kernel.A_imag": [2, 4],
      "layer.kernel.B": [1, 2, 4, 2],
      "layer.kernel.C": [2, 4, 4, 2],
      "layer.kernel.P": [2, 2, 4, 2],
      "output_linear.0.weight": [8, 4],
      "output_linear.0.bias": [8],
    });
    expect(names({ ...tiny, mode: "diag", init: "diag-real", isReal: true, dtTie: false, finalAct: "gelu" })).toEqual({
      "layer.D": [1, 2],
      "layer.kernel.inv_dt": [2, 4],
      "layer.kernel.A_real": [2, 4],
      "layer.kernel.B": [1, 2, 4],
      "layer.kernel.C": [1, 2, 4],
      "output_linear.0.weight": [2, 2],
      "output_linear.0.bias": [2],
    });
    const [group] = s4.parameterGroups!(0.004);
    expect(group).toMatchObject({ weightDecay: 0, learningRateScale: 0.25 });
    expect(Object.keys(names(tiny)).filter((path) => group!.match.test(path))).toEqual(
      ["inv_dt", "A_real", "A_imag", "B", "P"].map((name) => `layer.kernel.${name}`),
    );
  });
});

describe("starts of kernels", () => {
  const settings: InitialKernel = {
    channels: 4,
    outputs: 1,
    dState: 8,
    systems: 4,
    rank: 2,
    init: "legs",
    inputInit: "constant",
    realScale: 1,
    imagScale: 1,
    dtMin: 0.01,
    dtMax: 0.1,
    dtTie: true,
    deterministic: false,
    isReal: false,
    dtTransform: "exp",
    dtFast: false,
    realTransform: "exp",
    imagTransform: "none",
  };

  test.each(kernelInits)("%s decays and turns one way", async (init) => {
    const { A, B, P } = kernelSystem(initKernel({ ...settings, init }, key(1)));
    expect(Math.max(...(await values(A.re)))).toBeLessThan(0);
    expect(Math.max(...(await values(A.im)))).toBeLessThanOrEqual(-1e-4 * (1 - 1e-6));
    expect(A.re.shape).toEqual([4, 4]);
    expect(B.re.shape).toEqual([4, 4]);
    expect(P!.re.shape).toEqual([2, 4, 4]);
  });

  test.each(positiveTransforms)("whatever the transform %s, the system is the same", async (transform) => {
    // 0.3, so that the sigmoid reaches it.
    const real = { ...settings, init: "diag-lin" as const, realScale: 0.6, imagScale: 0.01, dtTransform: transform };
    const { A, dt } = kernelSystem(
      initKernel({ ...real, realTransform: transform, imagTransform: transform }, key(1)),
      { realTransform: transform, imagTransform: transform, dtTransform: transform },
    );
    const extra = transform === "relu" ? 1e-4 : 0;
    close(await values(sliceAxis(A.re, 0, 0, 1)), new Array(4).fill(-0.3 - extra));
    close(
      await values(sliceAxis(A.im, 0, 0, 1)),
      [0, 1, 2, 3].map((n) => -Math.max(1e-4, 0.01 * Math.PI * n) - extra),
    );
    const plain = await values(kernelSystem(initKernel({ ...real, dtTransform: "exp" }, key(1))).dt);
    close(
      await values(dt),
      plain.map((x) => x + extra),
      6,
    );
    expect((await values(positive(tensor([beforeTransform(0.25, transform)]), transform)))[0]).toBeCloseTo(
      0.25 + extra,
    );
  });

  test("sinh of what it is stored as", async () => {
    const { dt } = kernelSystem(initKernel({ ...settings, dtFast: true }, key(1)), { dtFast: true });
    close(await values(dt), await values(kernelSystem(initKernel(settings, key(1))).dt), 6);
  });

  test("deterministic kernels step evenly and read the first coefficient", async () => {
    const system = kernelSystem(initKernel({ ...settings, deterministic: true, systems: 2 }, key(1)));
    close(await values(system.dt), [0.01, 0.01 * 10 ** (1 / 3), 0.01 * 10 ** (2 / 3), 0.1], 6);
    // C is V^H e_0, a unit vector, of which half is stored.
    const size = (await values(system.C.re)).map((x) => x * x).concat((await values(system.C.im)).map((x) => x * x));
    expect(size.reduce((a, b) => a + b, 0)).toBeCloseTo(4 * 0.5, 6);
  });

  test("what does not fit is refused", () => {
    expect(() => initKernel({ ...settings, init: "hippo", systems: 1 }, key(1))).toThrow("multiple of 2 systems");
    expect(() => initKernel({ ...settings, isReal: true }, key(1))).toThrow('"diag-real"');
    expect(() => initKernel({ ...settings, systems: 3 }, key(1))).toThrow("divides 4 channels");
    expect(() => initKernel({ ...settings, dState: 3 }, key(1))).toThrow("even dState");
    expect(() => activated("swish" as "silu", tensor([1]))).toThrow('got "swish"');
  });

  test("trained tensors become a system: transforms, shared systems, rate and band limit", async () => {
    const system = kernelSystem(
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

describe("DSS", () => {
  test.each(dssVersions.filter((version) => version !== "softmax"))("%s: convolution = recurrence", async (version) => {
    const config = { ...dss.config, dModel: 2, dState: 3, dtMin: 0.05, dtMax: 0.5, version };
    const { kernel } = dss.init(config, key(1));
    const system = dssSystem(kernel, { version });
    let h = system.restState(1);
    const impulse: number[] = [];
    for (let t = 0; t < 5; t++) {
      const [y, next] = system.step(tensor([t === 0 ? [1, 1] : [0, 0]]), h);
      impulse.push(...(await values(y)));
      h = complexMap(next, (part) => part);
    }
    const K = await values(dssKernelOf(kernel, 5, { version }));
    close(
      K,
      [0, 1].flatMap((channel) => [0, 1, 2, 3, 4].map((t) => impulse[2 * t + channel]!)),
    );
    expect(leavesOf(h).length).toBe(2);
  });

  test("versions ask for their parameters; softmax has no recurrence", () => {
    const { kernel } = dss.init({ ...dss.config, dModel: 2, dState: 3 }, key(1));
    expect(() => dssSystem(kernel, { version: "softmax" })).toThrow("dssKernelOf");
    expect(() => dssKernelOf(kernel, 3, { version: "exp" })).toThrow("Lambda_log_neg_re");
    const config = { ...dss.config, dModel: 2, dState: 3 };
    const resets = tensor(Uint8Array.of(1, 0, 1), [1, 3]);
    const x = normal(key(2), [1, 3, 2]);
    expect(() => dssLayer(config, dss.init(config, key(1)), x, resets)).toThrow(
      "depends on the length of each sequence",
    );
    const any = dss as unknown as AnyMixer;
    expect(() => runMixer(any, config, dss.init(config, key(1)), x, undefined, "parallel", resets)).toThrow(
      "dss: expected no resets, which this mixer does not honour with these settings",
    );
  });
});

test("pointwise functions are what they are called", async () => {
  const x = (): Tensor => tensor([-1, 2]);
  const expected: Record<string, readonly number[]> = {
    none: [-1, 2],
    tanh: [Math.tanh(-1), Math.tanh(2)],
    relu: [0, 2],
    gelu: [-0.15865525393145707, 1.9544997361036416],
    elu: [Math.expm1(-1), 2],
    silu: [-1 / (1 + Math.E), 2 / (1 + Math.exp(-2))],
    sigmoid: [1 / (1 + Math.E), 1 / (1 + Math.exp(-2))],
    softplus: [Math.log1p(Math.exp(-1)), Math.log1p(Math.exp(2))],
    glu: [-1 / (1 + Math.exp(-2))],
  };
  for (const name of activations) close(await values(activated(name, x())), expected[name]!, 8);
});
