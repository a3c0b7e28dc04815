import {
  assertClose,
  checkDerivatives,
  evaluate,
  randomValues,
  toleranceOfScale,
  toTensor,
  type HostValues,
} from "@seqmix/testing";
import {
  add,
  cast,
  concat,
  cpu,
  div,
  equal,
  grad,
  iota,
  key,
  matmul,
  mul,
  ones,
  reference,
  reshape,
  sliceAxis,
  sqrt,
  square,
  sum,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { inverseOfUnitLower } from "./chunks.js";
import { deltaRule, deltaRuleStep, type DeltaRuleArguments, type DeltaRuleOptions } from "./index.js";

const oracle = reference();
const [B, H, K, V] = [2, 2, 4, 3];
type Inputs = Readonly<Record<string, HostValues>>;

const inputsOf = (L: number, gated: boolean): Inputs => ({
  q: randomValues(key(1), [B, L, H, K]),
  k: randomValues(key(2), [B, L, H, K]),
  v: randomValues(key(3), [B, L, H, V]),
  beta: randomValues(key(4), [B, L, H], "f32", 0, 1),
  h0: randomValues(key(5), [B, H, K, V]),
  ...(gated && { logDecay: randomValues(key(6), [B, L, H], "f32", -2, 0) }),
});
/** Keys of length 1, so that a memory does not grow. */
const argumentsOf = (given: Inputs): DeltaRuleArguments => {
  const all = Object.fromEntries(
    Object.entries(given).map(([name, x]) => [name, toTensor(x)]),
  ) as unknown as DeltaRuleArguments;
  return { ...all, k: div(all.k, sqrt(sum(square(all.k), 3, { keepDims: true }))) };
};

/** Outputs, final state and gradients. */
const all = (given: Inputs, options: DeltaRuleOptions, device: Device = oracle): Promise<HostValues[]> =>
  evaluate(device, () => {
    const loss = (inputs: DeltaRuleArguments): Tensor => {
      const { y, hT } = deltaRule(inputs, options);
      return add(
        sum(mul(y, toTensor(randomValues(key(7), y.shape)))),
        sum(mul(hT, toTensor(randomValues(key(8), hT.shape)))),
      );
    };
    const { y, hT } = deltaRule(argumentsOf(given), options);
    const gradients = grad(loss as never)(argumentsOf(given) as never) as Readonly<Record<string, Tensor>>;
    return [y, hT, ...Object.values(gradients)].map((x) => mul(x, 1));
  });
const expectSame = (actual: readonly HostValues[], expected: readonly HostValues[], relative: number): void =>
  expected.forEach(
    ({ data, shape }, k) =>
      void assertClose(`value ${k}`, actual[k]!.data, data, toleranceOfScale(data, relative), shape),
  );

describe("the delta rule", () => {
  test.each([
    [1, 4],
    [9, 4],
    [8, 8],
    [12, 5],
    [7, 64],
  ])("chunked = recurrent, %i positions in chunks of %i", async (L, chunkSize) => {
    for (const gated of [false, true]) {
      const given = inputsOf(L, gated);
      expectSame(await all(given, { chunkSize }), await all(given, { algorithm: "recurrent" }), 1e-11);
    }
  });

  test("a key that comes again replaces what it wrote", async () => {
    const given = inputsOf(2, false);
    const [found, value] = await evaluate(oracle, () => {
      const { q, k, v } = argumentsOf(given);
      const first = sliceAxis(k, 1, 0, 1);
      const twice = concat([first, first], 1);
      const { y } = deltaRule({ q: concat([sliceAxis(q, 1, 0, 1), first], 1), k: twice, v, beta: ones([B, 2, H]) });
      return [mul(sliceAxis(y, 1, 1, 2), 1), mul(sliceAxis(v, 1, 1, 2), 1)];
    });
    expectSame([found!], [value!], 1e-12);
  });

  test("strong decays and repeated keys are as exact as single precision", async () => {
    const device = cpu();
    const given = inputsOf(40, true);
    const same = { ...given, k: { ...given["k"]!, data: given["k"]!.data.map((_, n) => given["k"]!.data[n % K]!) } };
    const strong = {
      ...same,
      logDecay: { ...given["logDecay"]!, data: given["logDecay"]!.data.map((x, n) => (n % 7 === 3 ? -200 : x / 20)) },
    };
    for (const inputs of [same, strong])
      expectSame(await all(inputs, { chunkSize: 16 }, device), await all(inputs, { algorithm: "recurrent" }), 2e-5);
    await device.close();
  });

  test("packed sequences are each alone", async () => {
    const given = inputsOf(11, true);
    const resets = toTensor({
      dtype: "f32",
      shape: [B, 11],
      data: Float64Array.from({ length: B * 11 }, (_, n) => Number([0, 3, 8].includes(n % 11))),
    });
    for (const algorithm of ["chunked", "recurrent"] as const) {
      const [packed, last] = await evaluate(oracle, () => {
        const { y, hT } = deltaRule({ ...argumentsOf(given), resets }, { algorithm, chunkSize: 4 });
        return [mul(y, 1), mul(hT, 1)];
      });
      const alone = await evaluate(oracle, () => {
        const { h0: _, ...inputs } = argumentsOf(given);
        const parts = [0, 3, 8].map((start, n) =>
          deltaRule(
            Object.fromEntries(
              Object.entries(inputs).map(([name, x]) => [name, sliceAxis(x!, 1, start, [3, 8, 11][n]!)]),
            ) as unknown as DeltaRuleArguments,
          ),
        );
        return [
          concat(
            parts.map(({ y }) => y),
            1,
          ),
          mul(parts[2]!.hT, 1),
        ];
      });
      expectSame([packed!, last!], alone, 1e-11);
    }
  });

  test("gradients are finite differences", async () => {
    const given = inputsOf(5, true);
    await checkDerivatives({
      law: "chunked",
      names: Object.keys(given),
      inputs: Object.values(given),
      loss: (values) => {
        const { y, hT } = deltaRule(
          Object.fromEntries(Object.keys(given).map((name, n) => [name, values[n]!])) as unknown as DeltaRuleArguments,
          { chunkSize: 2 },
        );
        return add(sum(square(y)), sum(square(hT)));
      },
    });
  });

  test.each([1, 2, 5, 8, 13])("(1 + A) times its inverse is 1, %i positions", async (Q) => {
    const A = randomValues(key(9), [2, Q, Q]);
    const lower = { ...A, data: A.data.map((x, n) => (n % Q < Math.floor((n % (Q * Q)) / Q) ? x : 0)) };
    const [product] = await evaluate(oracle, () => {
      const one = cast(equal(iota([Q, Q], 0), iota([Q, Q], 1)), "f32");
      return [matmul(add(toTensor(lower), one), inverseOfUnitLower(toTensor(lower)))];
    });
    product!.data.forEach((value: number, n: number) =>
      expect(value).toBeCloseTo(Number((n % (Q * Q)) % (Q + 1) === 0), 8),
    );
  });

  test("nothing, and what does not fit", () => {
    const empty = deltaRule(argumentsOf(inputsOf(0, true)));
    expect(empty.y.shape).toEqual([B, 0, H, V]);
    const given = argumentsOf(inputsOf(3, true));
    expect(() => deltaRule({ ...given, beta: given.q })).toThrow(
      "expected beta [B L H], here [2,3,2], got shape [2,3,2,4]",
    );
    expect(() => deltaRule(given, { chunkSize: 0 })).toThrow("chunkSize of at least 1, got 0");
    expect(() => deltaRule(given, { chunk: 4 } as never)).toThrow("deltaRule: expected");
    expect(() => deltaRule(given, { algorithm: "quadratic" as never })).toThrow(
      'deltaRule: expected algorithm "chunked" or "recurrent", got "quadratic"; choose one of them',
    );
    expect(() => deltaRule({ ...given, v: 1 as never })).toThrow(
      "deltaRule: expected a tensor for v, got the number 1",
    );
    const one = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, 0, 1), [B, ...x.shape.slice(2)]);
    const step = { q: one(given.q), k: one(given.k), v: one(given.v), beta: one(given.beta), h: given.h0! };
    expect(deltaRuleStep(step)[0].shape).toEqual([B, H, V]);
    expect(() => deltaRuleStep({ ...step, beta: sliceAxis(step.beta, 1, 0, 1) })).toThrow(
      "deltaRuleStep: expected beta [B H], here [2,2], got shape [2,1]",
    );
    expect(() => deltaRuleStep({ ...step, h: undefined as never })).toThrow("deltaRuleStep: expected a tensor for h");
  });
});
