import { create, expmDependencies, invDependencies } from "mathjs";
import { checkDerivatives, checkKernel, randomValues } from "@seqmix/testing";
import {
  add,
  complexMap,
  concat,
  cpu,
  expandDims,
  grad,
  key,
  matmul,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  square,
  sub,
  sum,
  tensor,
  transpose,
  type Complex,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  discretizationRules,
  discretizeDense,
  discretizeDiagonal,
  discretizeDplr,
  discretizeDss,
  discretizeOutputs,
  dplrMatrix,
  expm1OverXKernel,
  identityMatrix,
  inverse,
  inverseKernel,
  matrixExponential,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const complexNormal = (seed: number, shape: readonly number[]): Complex => ({
  re: normal(key(seed), shape),
  im: normal(key(seed + 1), shape),
});
const alpha = 0.3;
const mathjs = create({ ...expmDependencies, ...invDependencies }) as unknown as {
  expm(M: number[][]): { toArray(): number[][] };
  inv(M: number[][]): number[][];
};
const firstColumn = async (M: Tensor): Promise<number[]> => values(sliceAxis(M, 1, 0, 1));
const rowsOf = (flat: readonly number[], n: number): number[][] =>
  Array.from({ length: flat.length / n }, (_, i) => flat.slice(i * n, (i + 1) * n));

describe("diagonal systems", () => {
  test.each(discretizationRules)("%s is that of the dense system, eigenvalue by eigenvalue", async (rule) => {
    const A = { re: tensor([-0.5, 0, -3]), im: tensor([2, 0, -1]) };
    const { Abar, weight } = discretizeDiagonal(A, 0.4, rule, { alpha });
    const real = discretizeDiagonal(A.re, 0.4, rule, { alpha });
    for (const k of [0, 1, 2]) {
      const [re, im] = [(await values(A.re))[k]!, (await values(A.im))[k]!];
      const one = {
        A: tensor([
          [re, -im],
          [im, re],
        ]),
        B: tensor([[1], [0]]),
      };
      const dense = discretizeDense(one, 0.4, rule, { alpha });
      close([(await values(Abar.re))[k]!, (await values(Abar.im))[k]!], await firstColumn(dense.Abar));
      close([(await values(weight.re))[k]!, (await values(weight.im))[k]!], await values(dense.Bbar));
      const scalar = discretizeDense({ A: tensor([[re]]), B: tensor([[1]]) }, 0.4, rule, { alpha });
      close(
        [(await values(real.Abar))[k]!, (await values(real.weight))[k]!],
        [...(await values(scalar.Abar)), ...(await values(scalar.Bbar))],
      );
    }
  });

  test("the weight of a held input keeps the laws of a kernel", async () => {
    await checkKernel(expm1OverXKernel, cpu(), { relative: 1e-5, gradientRelative: 1e-4 });
  });

  test.each(["zoh", "bilinear", "euler", "backward_euler", "gbt"] as const)(
    "%s at dt A = 0 is the sum of inputs, with a finite gradient",
    async (rule) => {
      const zero = { re: tensor([0]), im: tensor([0]) };
      const { Abar, weight } = discretizeDiagonal(zero, 0.5, rule, { alpha });
      expect(await values(Abar.re)).toEqual([1]);
      expect(await values(weight.re)).toEqual([0.5]);
      // d weight / d Re A = dt^2 times the weight of the derivative at the end of the step, 1/2 for a held input.
      const slope = { zoh: 0.5, bilinear: 0.5, euler: 0, backward_euler: 1, gbt: alpha }[rule] * 0.25;
      const d = grad((A: Complex) => sum(discretizeDiagonal(A, 0.5, rule, { alpha }).weight.re))(zero);
      close(await values(d.re), [slope]);
      const real = grad((A: Tensor) => sum(discretizeDiagonal(A, 0.5, rule, { alpha }).weight))(tensor([0]));
      close(await values(real), [slope]);
    },
  );

  test("a held input's weight and its gradient keep their digits where dt A is tiny, in single precision too", async () => {
    for (const z of [1e-12, 1e-6, 1e-3, 0.2, 0.26]) {
      const exact = Math.expm1(z) / z;
      const slope = z < 0.01 ? 0.5 + z / 3 + z ** 2 / 8 : (Math.exp(z) * (z - 1) + 1) / z ** 2;
      for (const [device, digits] of [
        [oracle, 13],
        [cpu(), 5],
      ] as const) {
        const at = { re: tensor([z]), im: tensor([0]) };
        close(await values(discretizeDiagonal(at, 1, "zoh").weight.re, device), [exact], digits);
        const d = grad((A: Complex) => sum(discretizeDiagonal(A, 1, "zoh").weight.re))(at);
        close(await values(d.re, device), [slope], digits === 13 ? 10 : 5);
      }
    }
  });

  test("the powers of dss sum to 1/A, growing ones too", async () => {
    const A = { re: tensor([-0.5, 0.4]), im: tensor([2, -1]) };
    const L = 6;
    const { z, weight, growing } = discretizeDss(A, 0.3, L, 0);
    const [re, im, grows, wr, wi] = await Promise.all(
      [z.re, z.im, growing, weight.re, weight.im].map((x) => values(x)),
    );
    for (const n of [0, 1]) {
      let [x, y] = [0, 0];
      for (let l = 0; l < L; l++) {
        const at = l - grows![n]! * (L - 1);
        const size = Math.exp(re![n]! * at);
        const [p, q] = [size * Math.cos(im![n]! * at), size * Math.sin(im![n]! * at)];
        [x, y] = [x + p * wr![n]! - q * wi![n]!, y + p * wi![n]! + q * wr![n]!];
      }
      const [a, b] = [(await values(A.re))[n]!, (await values(A.im))[n]!];
      close([x * a - y * b, x * b + y * a], [1, 0]);
    }
  });

  test("names that are no rules are refused", () => {
    expect(() => discretizeDiagonal(tensor([1]), 1, "tustin" as "zoh")).toThrow('got "tustin"');
    expect(() => discretizeDiagonal(tensor([1]), 1, "gbt")).toThrow("alpha between 0 and 1");
    expect(() => discretizeDense({ A: tensor([[1]]), B: tensor([[1]]) }, 1, "gbt", { alpha: 2 })).toThrow("got 2");
  });
});

describe("dense systems", () => {
  test("a double integrator, whose transition is singular, is held exactly", async () => {
    const dt = tensor([0.5, 2]);
    const { Abar, Bbar } = discretizeDense(
      {
        A: tensor([
          [0, 1],
          [0, 0],
        ]),
        B: tensor([[0], [1]]),
      },
      dt,
      "zoh",
    );
    close(await values(Abar), [1, 0.5, 0, 1, 1, 2, 0, 1]);
    close(await values(Bbar), [0.125, 0.5, 2, 2]);
    const impulse = discretizeOutputs(
      {
        A: tensor([
          [0, 1],
          [0, 0],
        ]),
        B: tensor([[0], [1]]),
        C: tensor([[1, 0]]),
      },
      0.5,
      "foh",
    );
    // A ramp from 0 to 1 over a step, integrated twice: dt^2/6.
    close(await values(impulse.Dbar), [0.25 / 6]);
  });

  test("matrix exponentials are those of mathjs, at any size", async () => {
    for (const [N, size] of [
      [3, 0.1],
      [5, 3],
      [4, 40],
    ] as const) {
      const M = mul(size / N, normal(key(N), [N, N]));
      const expected = mathjs
        .expm(rowsOf(await values(M), N))
        .toArray()
        .flat();
      const largest = Math.max(...expected.map(Math.abs));
      const got = await values(matrixExponential(M));
      close(
        got.map((x) => x / largest),
        expected.map((x) => x / largest),
        11,
      );
    }
  });

  test("inverses are those of mathjs, also with zeros on the diagonal", async () => {
    const M = await values(normal(key(1), [4, 4]));
    for (const k of [0, 5]) M[k] = 0;
    close(await values(inverse(tensor(M, [4, 4]))), mathjs.inv(rowsOf(M, 4)).flat());
    close(
      await values(
        inverse(
          tensor([
            [
              [0, 1],
              [1, 0],
            ],
            [
              [2, 0],
              [0, 4],
            ],
          ]),
        ),
      ),
      [0, 1, 1, 0, 0.5, 0, 0, 0.25],
    );
    expect(() => inverse(tensor([[1, 2]]))).toThrow("square");
  });

  test("the record of inverses keeps the laws of a kernel", async () => {
    await checkKernel(inverseKernel, cpu(), { relative: 1e-4, gradientRelative: 1e-3 });
  });

  test.each(discretizationRules)("gradients of %s are finite differences", async (rule) => {
    await checkDerivatives({
      law: `discretizeDense ${rule}`,
      inputs: [randomValues(key(1), [3, 3]), randomValues(key(2), [3, 2]), randomValues(key(3), [2], "f32", 0.2, 0.5)],
      names: ["A", "B", "dt"],
      device: oracle,
      loss([A, B, dt]) {
        const { Abar, Bbar } = discretizeDense({ A: A!, B: B! }, dt!, rule, { alpha });
        return add(sum(mul(normal(key(4), [2, 3, 3]), Abar)), sum(mul(normal(key(5), [2, 3, 2]), Bbar)));
      },
    });
  });
});

describe("diagonal plus low rank", () => {
  const system = (R: number) => {
    const [H, N] = [2, 3];
    return {
      A: { re: mul(-0.5, square(normal(key(1), [H, N]))), im: mul(2, normal(key(2), [H, N])) },
      P: complexNormal(3, [R, H, N]),
      Q: complexNormal(5, [R, H, N]),
      B: complexNormal(7, [H, N]),
    };
  };
  const dt = tensor([[0.2], [0.7]]);

  test.each(discretizationRules.flatMap((rule) => [1, 2].map((R) => [rule, R] as const)))(
    "%s, rank %i: the step is that of the dense system",
    async (rule, R) => {
      for (const conjugatePairs of [true, false]) {
        const given = system(R);
        const { advance, Bbar } = discretizeDplr(given, dt, rule, { alpha, conjugatePairs });
        const stacked = (x: Complex): Tensor => expandDims(concat([x.re, x.im], -1), -1);
        const dense = discretizeDense(
          { A: dplrMatrix(given, { conjugatePairs }), B: stacked(given.B) },
          reshape(dt, [2]),
          rule,
          { alpha },
        );
        const h = complexNormal(9, [2, 2, 3]);
        close(await values(stacked(Bbar)), await values(dense.Bbar), 9);
        close(await values(stacked(advance(h))), await values(matmul(dense.Abar, stacked(h))), 9);
      }
    },
  );

  test("with conjugate pairs the matrix is that of the real system: its trace is twice the real parts of A - P Q^H", async () => {
    const { A, P, Q } = system(1);
    const matrix = dplrMatrix({ A, P, Q });
    const trace = sum(sum(mul(matrix, identityMatrix(6)), -1), -1);
    const rank = sum(add(mul(P.re, Q.re), mul(P.im, Q.im)), [0, 2]);
    close(await values(trace), await values(mul(2, sub(sum(A.re, 1), rank))));
  });

  test("parts that do not fit are named", () => {
    const { A, P, B } = system(1);
    expect(() => discretizeDplr({ A, P: complexMap(P, (x) => transpose(x)), B }, dt, "bilinear")).toThrow(
      "P and Q [R H N]",
    );
  });
});
