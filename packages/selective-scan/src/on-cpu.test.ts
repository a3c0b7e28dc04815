import {
  add,
  concat,
  cpu,
  explain,
  full,
  grad,
  key,
  mul,
  neg,
  normal,
  reference,
  sliceAxis,
  sum,
  tensor,
  uniform,
  type AxisSpec,
  type Device,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";
import { assertClose, evaluate, poison, toleranceOfScale, type HostValues } from "@seqmix/testing";
import { afterAll, describe, expect, test } from "vitest";
import { selectiveScanKernel, type SelectiveScanOptions } from "./index.js";

const oracle = reference();
const one = cpu({ threads: 1 });
const two = cpu({ threads: 2 });
afterAll(async () => {
  await one.close();
  await two.close();
});

type Inputs = Readonly<Record<string, Tensor>>;

const gated = selectiveScanKernel as unknown as Kernel<AxisSpec, AxisSpec, SelectiveScanOptions>;

interface Extents {
  readonly B: number;
  readonly L: number;
  readonly D: number;
  readonly N: number;
}

const OPTIONAL = ["D", "z", "deltaBias", "h0"];

/** Inputs of a scan that neither dies out nor grows; `optional` says which of the optional ones there are. */
function draw({ B, L, D, N }: Extents, optional: readonly string[] = OPTIONAL): Inputs {
  const all: Inputs = {
    u: normal(key(1), [B, L, D]),
    delta: uniform(key(2), [B, L, D], 0.01, 0.6),
    A: uniform(key(3), [D, N], -3, -0.1),
    B: normal(key(4), [B, L, N]),
    C: normal(key(5), [B, L, N]),
    D: normal(key(6), [D]),
    z: normal(key(7), [B, L, D]),
    deltaBias: uniform(key(8), [D], 0, 0.2),
    h0: normal(key(9), [B, D, N]),
  };
  return Object.fromEntries(
    Object.entries(all).filter(([name]) => !OPTIONAL.includes(name) || optional.includes(name)),
  );
}

/** y, hT, then the gradients of the inputs of a weighted sum of the outputs in `through`. */
function valuesAndGradients(
  kernel: typeof gated,
  inputs: () => Inputs,
  options: SelectiveScanOptions,
  through: readonly string[] = ["y", "hT"],
): () => Tensor[] {
  return () => {
    const given = inputs();
    const loss = (x: Inputs): Tensor => {
      const outputs = kernel(x, options);
      return through
        .map((name, k) => sum(mul(outputs[name]!, normal(key(20 + k), outputs[name]!.shape))))
        .reduce((a, b) => add(a, b));
    };
    const { y, hT } = kernel(given, options);
    return [y!, hT!, ...Object.values(grad(loss)(given))].map((x) => mul(x, 1));
  };
}

async function compare(
  device: Device,
  build: () => readonly Tensor[],
  expected: readonly HostValues[],
  relative: number,
  label: string,
): Promise<readonly HostValues[]> {
  await poison(device);
  const actual = await evaluate(device, build);
  expected.forEach(({ data, shape }, k) =>
    assertClose(`${label}, result ${k}`, actual[k]!.data, data, toleranceOfScale(data, relative), shape),
  );
  return actual;
}

const bits = (values: readonly HostValues[]): Buffer[] =>
  values.map(({ data }) => Buffer.from((data as Float32Array).buffer));

describe("agrees with the composition in float64, whatever the number of threads", () => {
  const extents: Extents[] = [
    { B: 1, L: 1, D: 1, N: 1 },
    { B: 2, L: 33, D: 5, N: 3 },
    { B: 3, L: 64, D: 20, N: 16 },
    { B: 1, L: 65, D: 34, N: 6 },
    { B: 17, L: 2, D: 37, N: 5 },
    { B: 1, L: 35, D: 3, N: 40 },
  ];
  const subsets = [[], OPTIONAL, ["z"], ["D", "h0"], ["deltaBias"]];
  test.each(extents)("B $B L $L D $D N $N", async (dims) => {
    for (const [k, optional] of subsets.entries()) {
      const options = { deltaSoftplus: k % 2 === 1 };
      const through = [["y", "hT"], ["y"], ["hT"]][k % 3]!;
      const build = valuesAndGradients(gated, () => draw(dims, optional), options, through);
      const label = `with ${optional.join(", ")}, gradient through ${through.join(" and ")}`;
      const expected = await evaluate(oracle, build);
      const [single, both] = [
        await compare(one, build, expected, 4e-6, label),
        await compare(two, build, expected, 4e-6, label),
      ];
      expect(bits(both), label).toEqual(bits(single));
    }
  });

  test("256 positions to a few units in the last place, 2048 to 1e-5", async () => {
    for (const [L, relative] of [
      [256, 4e-6],
      [2048, 1e-5],
    ] as const) {
      const build = valuesAndGradients(gated, () => draw({ B: 1, L, D: 8, N: 4 }), { deltaSoftplus: true });
      await compare(two, build, await evaluate(oracle, build), relative, `length ${L}`);
    }
  });
});

test("the recurrence keeps some states for its gradient, which begins with them", async () => {
  const inputs = (): Inputs => draw({ B: 2, L: 70, D: 12, N: 8 });
  const plan = await explain(valuesAndGradients(gated, inputs, {})(), { device: two });
  expect(plan).toMatch(/fused scan \[2,70,12,8\] along 1, states kept every (\d+) steps/);
  expect(plan).toMatch(/fused scan \[2,70,12,8\] along 1 with adjoint, states given every (\d+) steps/);
});

test("a cut at any position changes nothing but rounding, in values and gradients", async () => {
  const cutAt = (cut: number): typeof gated =>
    Object.assign(
      (inputs: Parameters<typeof gated>[0], options: SelectiveScanOptions): ReturnType<typeof gated> => {
        const part = (start: number, end: number): Record<string, Tensor> =>
          Object.fromEntries(
            Object.entries(inputs as Inputs).map(([name, x]) => [
              name,
              gated.record.inputs[name]!.includes("L") ? sliceAxis(x, 1, start, end) : x,
            ]),
          );
        const first = gated(part(0, cut), options);
        const second = gated({ ...part(cut, 70), h0: first["hT"] }, options);
        return { y: concat([first["y"]!, second["y"]!], 1), hT: second["hT"]! };
      },
      { record: gated.record },
    );
  const inputs = (): Inputs => draw({ B: 2, L: 70, D: 6, N: 4 });
  const whole = await evaluate(oracle, valuesAndGradients(gated, inputs, {}));
  for (const cut of [1, 31, 32, 64, 65])
    await compare(two, valuesAndGradients(cutAt(cut), inputs, {}), whole, 4e-6, `cut at ${cut}`);
});

describe("extreme values", () => {
  const single = (values: Partial<Record<"u" | "delta" | "A" | "B" | "C" | "h0", number>>): Inputs => {
    const { u = 1, delta = 1, A = -1, B = 1, C = 1, h0 = 1 } = values;
    return {
      u: tensor([[[u]]]),
      delta: tensor([[[delta]]]),
      A: tensor([[A]]),
      B: tensor([[[B]]]),
      C: tensor([[[C]]]),
      h0: tensor([[[h0]]]),
    };
  };
  const run = async (inputs: () => Inputs, options: SelectiveScanOptions, device: Device): Promise<number[]> =>
    (await evaluate(device, valuesAndGradients(gated, inputs, options, ["y"]))).map(({ data }) => data[0]!);

  test.each([-80, -30, -15, -1, 0, 1, 15, 30, 80])(
    "softplus(%d) has no cancellation and lets large arguments pass",
    async (delta) => {
      // h = softplus(delta): the state before it is not there.
      const inputs = (): Inputs => single({ delta, h0: 0 });
      const [actual, expected] = [
        await run(inputs, { deltaSoftplus: true }, one),
        await run(inputs, { deltaSoftplus: true }, oracle),
      ];
      expect(actual[0]! / expected[0]!).toBeCloseTo(1, 5);
      const dDelta = 3;
      expect(actual[dDelta]! / expected[dDelta]!).toBeCloseTo(1, 5);
    },
  );

  test("a decay beyond the range of f32 forgets the state", async () => {
    const [y] = await run(() => single({ delta: 1000, A: -1, u: 0 }), {}, one);
    expect(y).toBeLessThan(1e-29);
    expect((await run(() => single({ delta: 1, A: -1e30 }), {}, one)).every(Number.isFinite)).toBe(true);
  });

  test("growth beyond the range of f32 is infinite", async () => {
    expect((await run(() => single({ delta: 100, A: 1 }), {}, one))[0]).toBe(Infinity);
    expect((await run(() => single({ delta: 80, A: 1, B: 0 }), {}, one))[0]! / Math.exp(80)).toBeCloseTo(1, 4);
  });

  test("NaN stays in its channel and goes forward in time only", async () => {
    const dims = { B: 2, L: 70, D: 5, N: 3 };
    const dirty = new Float32Array(2 * 70 * 5);
    dirty[40 * 5 + 2] = NaN; // batch element 0, position 40, channel 2
    const [clean, broken] = [
      await evaluate(two, () => [gated(draw(dims), {})["y"]!]),
      await evaluate(two, () => {
        const inputs = draw(dims);
        return [gated({ ...inputs, u: add(inputs["u"]!, tensor(dirty.slice(), [2, 70, 5])) }, {})["y"]!];
      }),
    ];
    broken[0]!.data.forEach((value, k) => {
      const [element, t, d] = [Math.floor(k / 350), Math.floor(k / 5) % 70, k % 5];
      if (element === 0 && t >= 40 && d === 2) expect(value).toBeNaN();
      else expect(value).toBe(clean[0]!.data[k]);
    });
  });

  test("what is not a number before a reset is forgotten, forwards and backwards", async () => {
    const dims = { B: 2, L: 70, D: 5, N: 3 };
    const flags = Uint8Array.from({ length: 2 * 70 }, (_, i) => Number([0, 33, 34].includes(i % 70)));
    const [before, after] = [33, 37];
    const build = (poisoned: boolean) => (): Tensor[] => {
      const inputs = draw(dims);
      const end = (x: Tensor): Tensor => sliceAxis(x, 1, before, 70);
      const bad = (shape: readonly number[], value: number): Tensor => full(shape, poisoned ? value : 0);
      const u = end(inputs["u"]!);
      const loss = (later: Tensor): Tensor => {
        const { y, hT } = gated(
          {
            ...inputs,
            u: concat([bad([2, before, 5], NaN), later], 1),
            h0: bad([2, 5, 3], Infinity),
            resets: tensor(flags.slice(), [2, 70]),
          },
          {},
        );
        return add(sum(sliceAxis(y!, 1, before, 70)), sum(hT!));
      };
      return [mul(loss(u), 1), mul(grad(loss)(u), 1)];
    };
    for (const device of [oracle, one]) {
      const clean = await evaluate(device, build(false));
      expect(clean[1]!.data.length).toBe(2 * after * 5);
      expect(clean[1]!.data.every(Number.isFinite)).toBe(true);
      expect(bits(await evaluate(device, build(true)))).toEqual(bits(clean));
    }
  });

  test("a state that dies out becomes 0", async () => {
    const build = (): Tensor[] => {
      const inputs = draw({ B: 1, L: 600, D: 4, N: 4 }, ["h0"]);
      return [
        gated({ ...inputs, u: mul(inputs["u"]!, 0), A: neg(tensor(new Float32Array(16).fill(2), [4, 4])) }, {})["hT"]!,
      ];
    };
    expect([...(await evaluate(one, build))[0]!.data]).toEqual(new Array(16).fill(0));
  });
});

test("over an empty sequence the state stays", async () => {
  const [h0, hT] = await evaluate(one, () => {
    const given = draw({ B: 1, L: 0, D: 2, N: 2 }, ["h0"]);
    return [mul(given["h0"]!, 1), mul(gated(given, {})["hT"]!, 1)];
  });
  expect([...hT!.data]).toEqual([...h0!.data]);
});
