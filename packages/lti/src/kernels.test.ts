import { diagonalizeLegs, hippoDiagonal, hippoNormal } from "@seqmix/hippo";
import { checkKernel } from "@seqmix/testing";
import {
  add,
  complexMap,
  concat,
  cpu,
  expandDims,
  foldIn,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  square,
  sum,
  tensor,
  type Complex,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  cauchyKernel,
  companionKernel,
  completeOutput,
  denseStateSpace,
  diagonalKernel,
  diagonalStateSpace,
  discreteDenseSystem,
  doubleTruncation,
  dplrKernel,
  dplrStateSpace,
  dplrSystem,
  dssKernel,
  powerSumsKernel,
  recur,
  stepsAtRate,
  truncateOutput,
  type DiagonalSystem,
  type DplrLti,
  type StateSpace,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 9): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const complexNormal = (seed: number, shape: readonly number[]): Complex => ({
  re: normal(key(seed), shape),
  im: normal(key(seed + 1), shape),
});
const numbers = ({ re, im }: { re: Float64Array; im: Float64Array }, shape: readonly number[]): Complex => ({
  re: tensor(re, shape),
  im: tensor(im, shape),
});

/** HiPPO of order N for two step sizes, with a random readout. */
function hippoSystem(measure: "legs" | "legt" | "fourier", N: number, rank: number, M = 1): DplrLti {
  const { lambda, P, B } = hippoDiagonal(measure, N, { rank });
  const both = (x: Complex): Complex => complexMap(x, (part) => mul(tensor([[1], [1]]), part));
  return {
    dt: tensor([[0.05], [0.2]]),
    // As in the S4 code: away from 0, where "fourier" has a mode.
    A: both(
      numbers({ re: lambda.re.map((x) => Math.min(x, -1e-4)), im: lambda.im.map((x) => Math.min(x, -1e-4)) }, [N / 2]),
    ),
    B: both(numbers(B, [N / 2])),
    P: complexMap(numbers(P, [rank, 1, N / 2]), (part) => mul(tensor([[1], [1]]), part)),
    C: complexNormal(1, [M, 2, N / 2]),
  };
}

describe("the kernel of S4", () => {
  test.each([
    ["legs", 1, 16],
    ["legs", 1, 13],
    ["legs", 3, 16],
    ["legt", 2, 16],
    ["fourier", 1, 12],
  ] as const)("%s of rank %i, length %i, is the recurrence's", async (measure, rank, L) => {
    const system = hippoSystem(measure, 8, rank, 2);
    const impulse = tensor(
      [new Array<number>(L).fill(0), new Array<number>(L).fill(0)].map((row) => [1, ...row.slice(1)]),
    );
    const { y } = recur(dplrSystem(system), expandDims(impulse, 0));
    close(
      await values(dplrKernel({ ...system, C: truncateOutput(system, L) }, L).K),
      await values(reshape(y, [2, 2, L])),
      8,
    );
  });

  test("at w = -1 the spectrum is finite in single precision: the kernel of an even length keeps its digits", async () => {
    const make = (): Tensor => {
      const system = hippoSystem("legs", 16, 1);
      return dplrKernel({ ...system, C: truncateOutput(system, 256) }, 256).K;
    };
    const exact = await values(make());
    const single = await values(make(), cpu());
    const size = Math.max(...exact.map(Math.abs));
    single.forEach((value, k) => expect(Math.abs(value - exact[k]!) / size).toBeLessThan(2e-4));
  });

  test("C-tilde doubling: C (1 - A^L)(1 + A^L) = C (1 - A^2L), and back", async () => {
    const system = hippoSystem("legs", 8, 1);
    const once = { ...system, C: truncateOutput(system, 8) };
    const twice = truncateOutput(system, 16);
    close(await values(doubleTruncation(once, 8).im), await values(twice.im));
    close(await values(completeOutput(once, 8).re), await values(system.C.re));
    const K = dplrKernel({ ...system, C: twice }, 16).K;
    close(await values(sliceAxis(K, 2, 0, 8)), await values(dplrKernel(once, 8).K));
    expect(() => dplrKernel(once, 9, { truncation: 8 })).toThrow("at most 8 values");
  });

  test("a state's share of the outputs, from C-tilde, is the recurrence's", async () => {
    const system = hippoSystem("legs", 8, 1, 2);
    const h = complexNormal(5, [3, 2, 4]);
    const { KState } = dplrKernel({ ...system, C: truncateOutput(system, 10) }, 7, { truncation: 10, state: h });
    close(await values(KState!), await values(dplrSystem(system).response(h, 7)));
  });

  test("at half the sampling rate the kernel sees the same time in half the samples", async () => {
    const system = hippoSystem("legs", 8, 1);
    const slow = { ...system, dt: mul(system.dt, 2) };
    // C truncated at 32 steps stands for as much time as at 16 steps of twice the length, but for the discretization.
    const C = truncateOutput(slow, 16);
    const rated = dplrKernel({ ...system, C }, 16, { truncation: 32, rate: 2 }).K;
    close(await values(rated), await values(dplrKernel({ ...slow, C }, 16).K));
  });

  test("Cauchy sums keep the laws of a kernel", async () => {
    await checkKernel(cauchyKernel, cpu(), { relative: 1e-4, gradientRelative: 1e-3 });
  });

  test("sums of powers keep the laws of a kernel", async () => {
    await checkKernel(powerSumsKernel, cpu(), { relative: 1e-4, gradientRelative: 1e-3 });
  });
});

const diagonal = (M = 1): DiagonalSystem => ({
  dt: tensor([[0.1], [0.3]]),
  A: { re: mul(-1, add(0.2, square(normal(key(1), [2, 3])))), im: mul(3, normal(key(2), [2, 3])) },
  B: complexNormal(3, [2, 3]),
  C: complexNormal(5, [M, 2, 3]),
});

describe("continuous = recurrent = convolutional", () => {
  const spaces: Record<string, () => StateSpace<Tree>> = {
    diagonal: () => diagonalStateSpace(diagonal(2)) as unknown as StateSpace<Tree>,
    "diagonal, no pairs": () =>
      diagonalStateSpace(diagonal(2), { conjugatePairs: false }) as unknown as StateSpace<Tree>,
    dense: () => {
      const { A } = hippoNormal("legs", 4);
      return denseStateSpace({
        dt: tensor([0.1, 0.3]),
        A: tensor(A, [4, 4]),
        B: normal(key(2), [2, 4]),
        C: normal(key(3), [2, 2, 4]),
      }) as unknown as StateSpace<Tree>;
    },
    "diagonal plus low rank": () => dplrStateSpace(hippoSystem("legs", 6, 1, 2)) as unknown as StateSpace<Tree>,
    "rank 2": () => dplrStateSpace(hippoSystem("legt", 6, 2, 2)) as unknown as StateSpace<Tree>,
  };

  test.each(Object.keys(spaces))(
    "%s: the bilinear kernel's transform is 2/(1+w) times the transfer function at 2/dt (1-w)/(1+w)",
    async (name) => {
      const space = spaces[name]!();
      const L = 1500;
      const [angle, radius] = [0.7, 0.99];
      const K = await values(space.discretize({ rule: "bilinear" }).kernel(L));
      const dts = [0.1, 0.3];
      const steps = name.includes("rank") ? [0.05, 0.2] : dts;
      for (const h of [0, 1])
        for (const m of [0, 1]) {
          const row = K.slice((m * 2 + h) * L, (m * 2 + h + 1) * L);
          const w = { re: radius * Math.cos(angle), im: -radius * Math.sin(angle) };
          let [x, y, p, q] = [0, 0, 1, 0];
          for (const value of row) {
            [x, y] = [x + value * p, y + value * q];
            [p, q] = [p * w.re - q * w.im, p * w.im + q * w.re];
          }
          // 2/dt (1-w)/(1+w)
          const size = (1 + w.re) ** 2 + w.im ** 2;
          const s = { re: (1 - w.re ** 2 - w.im ** 2) / size, im: (-2 * w.im) / size };
          const transfer = space.transfer({
            re: tensor([(2 / steps[h]!) * s.re]),
            im: tensor([(2 / steps[h]!) * s.im]),
          });
          const [a, b] = [(await values(transfer.re))[m * 2 + h]!, (await values(transfer.im))[m * 2 + h]!];
          const [c, d] = [(2 * (1 + w.re)) / size, (-2 * w.im) / size];
          const expected = [a * c - b * d, a * d + b * c];
          close([x, y], expected, 6);
        }
    },
  );

  test("zero-order hold is the integral of the impulse response over each step", async () => {
    const space = diagonalStateSpace(diagonal());
    const held = await values(space.discretize({ rule: "zoh" }).kernel(6));
    const fine = 20;
    const samples = await values(
      space
        .atRate(1 / fine)
        .discretize({ rule: "dirac" })
        .kernel(6 * fine + 1),
    );
    for (const h of [0, 1])
      for (let l = 0; l < 6; l++) {
        // Simpson's rule.
        let total = 0;
        for (let k = 0; k <= fine; k++)
          total += samples[h * (6 * fine + 1) + l * fine + k]! * (k === 0 || k === fine ? 1 : k % 2 === 1 ? 4 : 2);
        expect(held[h * 6 + l]).toBeCloseTo((total * [0.1, 0.3][h]!) / (3 * fine), 6);
      }
  });
});

describe("powers in two levels", () => {
  test("long kernels keep their phase in single precision", async () => {
    const L = 16384;
    // A number whose multiples need more digits than single precision has.
    const turn = Math.fround(Math.E);
    const make = (): DiagonalSystem => ({
      dt: tensor([[1]]),
      A: { re: tensor([[-1e-5]]), im: tensor([[turn]]) },
      B: { re: tensor([[1]]), im: tensor([[0]]) },
      C: { re: tensor([[[1]]]), im: tensor([[[0]]]) },
    });
    const single = await values(diagonalKernel(make(), L, { rule: "dirac" }), cpu());
    for (const l of [1, 1000, 12345, L - 1])
      expect(single[l]).toBeCloseTo(2 * Math.exp(-Math.fround(1e-5) * l) * Math.cos(turn * l), 4);
  });

  // Extra memory of value and gradients, in units of H N L floats, N the stored modes.
  test.each(["diagonal", "S4"])("nothing of the size H N L is stored, not for gradients either: %s", async (kind) => {
    const [H, N, L] = [8, 32, 2048];
    const device = cpu();
    const given = {
      A: { re: mul(-0.5, add(1, square(normal(key(1), [H, N])))), im: mul(3, normal(key(2), [H, N])) },
      B: complexNormal(3, [H, N]),
      C: complexNormal(5, [1, H, N]),
      P: complexNormal(7, [1, H, N]),
      dt: mul(0.01, add(1, square(normal(key(4), [H, 1])))),
    };
    await realize(given, { device });
    const loss = (system: DplrLti): Tensor =>
      sum(square(kind === "S4" ? dplrKernel(system, L).K : diagonalKernel(system, L)));
    const held = device.memory().bytes;
    const gradients = grad(loss as unknown as (system: Tree) => Tensor)(given);
    await realize(gradients, { device });
    const units = (device.memory().peakBytes - held) / (4 * H * N * L);
    await device.close();
    expect(units).toBeLessThan(0.7);
  });
});

describe("companion and dss kernels", () => {
  test("the series of a companion matrix is that of the dense one, long and short", async () => {
    const N = 5;
    const [a, b, c] = [mul(0.2, normal(key(1), [2, N])), normal(key(2), [2, N]), normal(key(3), [2, 2, N])];
    const shift = tensor(
      Float64Array.from({ length: N * N }, (_, i) => (Math.floor(i / N) === (i % N) + 1 ? 1 : 0)),
      [N, N],
    );
    const last = tensor(
      Float64Array.from({ length: N }, (_, k) => (k === N - 1 ? 1 : 0)),
      [N],
    );
    const Abar = add(shift, mul(expandDims(a, 2), last));
    for (const L of [1, 3, 5, 64, 200])
      close(
        await values(companionKernel({ a, b, c }, L)),
        await values(discreteDenseSystem({ Abar, Bbar: b, C: c }).kernel(L)),
      );
  });

  test("the softmax kernel tends to half the zero-order hold as the sequence outlasts the decay", async () => {
    const system = {
      ...diagonal(),
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
    close(await values(dssKernel(system, 400).K), await values(mul(-0.5, diagonalKernel(system, 400))), 5);
  });

  test("a growing mode overflows nothing in the softmax kernel, in single precision either", async () => {
    const { im } = diagonalizeLegs(6);
    const system = {
      ...diagonal(),
      A: {
        re: tensor([
          [8, -1, 8],
          [8, 8, 8],
        ]),
        im: tensor([im.slice(3), im.slice(3)].map((row) => Array.from(row))),
      },
    };
    const exact = await values(dssKernel(system, 2000).K);
    const single = await values(dssKernel(system, 2000).K, cpu());
    const size = Math.max(...exact.map(Math.abs));
    exact.forEach((value, k) => expect(Math.abs(single[k]! - value) / size).toBeLessThan(1e-3));
  });

  // Of rank 2 and more, the rows' parts in the plane of that mode may span it, be parallel, or be none.
  test.each([
    [1, []],
    [2, [{ other: 0.2, same: 0 }]],
    [2, [{ other: 0, same: 0.5 }]],
    [2, [{ other: 0, same: 0 }]],
    [
      3,
      [
        { other: 0.2, same: 0.3 },
        { other: 0.1, same: 0 },
      ],
    ],
  ])(
    "rank %i: with a mode next to 0, S4's kernel and its gradients keep three digits in single precision, %j",
    async (R, more) => {
      // HiPPO-Fourier has such a mode; its eigenvalues are bounded away from 0 by 1e-4, as in the published code.
      const N = 8;
      const form = hippoDiagonal("fourier", N, { clipB: 2 });
      const bounded = (part: Float64Array): Float64Array => part.map((value) => Math.min(value, -1e-4));
      const given = {
        A: numbers({ re: bounded(form.lambda.re), im: bounded(form.lambda.im) }, [1, N / 2]),
        B: numbers(form.B, [1, N / 2]),
        C: complexNormal(5, [1, 1, N / 2]),
        P: complexMap(numbers(form.P, [1, 1, N / 2]), (part) => {
          const first = add(part, mul(0.2, normal(key(9), [1, 1, N / 2])));
          const rows = more.map(({ other, same }, r) =>
            add(mul(same, first), mul(other, normal(foldIn(key(10), r), [1, 1, N / 2]))),
          );
          return concat([first, ...rows], 0);
        }),
      };
      expect(given.P.re.shape[0]).toBe(R);
      const weights = normal(key(11), [1, 1, 12]);
      const both = async (device: Device): Promise<number[][]> => {
        // C~, as it is trained: in double precision on either device.
        const dt = tensor([[0.02]]);
        const C = await realize(truncateOutput({ dt, ...given }, 12), { device: oracle });
        const onHost = async (part: Tensor): Promise<Tensor> => tensor(await part.data(), part.shape);
        const known = { re: await onHost(C.re), im: await onHost(C.im) };
        const kernel = ({ A, B, P }: typeof given): Tensor => dplrKernel({ dt, A, B, P, C: known }, 12).K;
        const gradient = grad((x: typeof given) => sum(mul(weights, kernel(x))))(given);
        const all = [kernel(given), ...[gradient.A, gradient.B, gradient.P].flatMap(({ re, im }) => [re, im])];
        return Promise.all(all.map((x) => values(x, device)));
      };
      const [exact, single] = [await both(oracle), await both(cpu())];
      exact.forEach((expected, k) => {
        const size = Math.max(...expected.map(Math.abs));
        expected.forEach((value, n) => expect(Math.abs(single[k]![n]! - value) / size, `${k}`).toBeLessThan(1e-3));
      });
    },
  );

  test("lengths at another rate round halves to the even number", () => {
    expect([stepsAtRate(9, 2), stepsAtRate(7, 2), stepsAtRate(10, 4), stepsAtRate(11, 4), stepsAtRate(5, 0.5)]).toEqual(
      [4, 4, 2, 3, 10],
    );
  });
});
