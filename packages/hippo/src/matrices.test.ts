import { create, eigsDependencies, expmDependencies } from "mathjs";
import { key } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  diagonalizeLegs,
  diagonalizeSkew,
  hippo,
  hippoBasis,
  hippoDiagonal,
  hippoKernel,
  hippoLegs,
  hippoMeasures,
  hippoNormal,
  otherEndpoint,
  type HippoMeasureName,
} from "./index.js";

const mathjs = create({ ...expmDependencies!, ...eigsDependencies! }) as unknown as {
  expm(M: number[][]): { toArray(): number[][] };
  eigs(M: number[][]): { values: number[]; eigenvectors: { value: number; vector: number[] }[] };
};
const rowsOf = (flat: ArrayLike<number>, N: number): number[][] =>
  Array.from({ length: N }, (_, n) => Array.from({ length: N }, (_u, k) => flat[n * N + k]!));
const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  Array.from(actual).forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};

/** Largest |entry| of V^H V - 1 and of K V - V diag(i im). */
function defects(K: Float64Array, { im, V }: ReturnType<typeof diagonalizeSkew>): { unitary: number; eigen: number } {
  const N = im.length;
  let [unitary, eigen] = [0, 0];
  for (let a = 0; a < N; a++)
    for (let b = 0; b < N; b++) {
      let [x, y, p, q] = [a === b ? -1 : 0, 0, 0, 0];
      for (let n = 0; n < N; n++) {
        const [u, w, r, s] = [V.re[n * N + a]!, V.im[n * N + a]!, V.re[n * N + b]!, V.im[n * N + b]!];
        [x, y] = [x + u * r + w * s, y + u * s - w * r];
        [p, q] = [p + K[a * N + n]! * r, q + K[a * N + n]! * s];
      }
      const [r, s] = [V.re[a * N + b]!, V.im[a * N + b]!];
      unitary = Math.max(unitary, Math.hypot(x, y));
      eigen = Math.max(eigen, Math.hypot(p + im[b]! * s, q - im[b]! * r));
    }
  return { unitary, eigen };
}
const skewOf = (S: Float64Array, N: number): Float64Array => S.map((value, i) => (i % (N + 1) === 0 ? 0 : value));

describe("matrices", () => {
  test("LegS of order 3, by hand", () => {
    const [r3, r5] = [Math.sqrt(3), Math.sqrt(5)];
    close(hippoLegs(3).A, [-1, 0, 0, -r3, -2, 0, -r5, -Math.sqrt(15), -3]);
    close(hippoLegs(3).B, [1, r3, r5]);
  });

  test("a window of 1 is the HiPPO paper's, of 2 the S4 code's", () => {
    close(
      hippo("legt", 4, { window: 1 }).A,
      hippo("legt", 4).A.map((value) => 2 * value),
    );
    close(
      hippo("fourier2", 6).A,
      hippo("fourier", 6).A.map((value) => 2 * value),
    );
    close(
      hippo("fourier2", 6).B,
      hippo("fout", 6).B.map((value) => 2 * value),
    );
  });

  test("lmu is legt in other units: x_n = (-1)^n sqrt(2n+1) times that of legt", () => {
    const [N, lmu, legt] = [5, hippo("lmu", 5), hippo("legt", 5, { window: 1 })];
    const unit = (n: number): number => (n % 2 === 0 ? 1 : -1) * Math.sqrt(2 * n + 1);
    close(
      lmu.A,
      legt.A.map((value, i) => (value * unit(Math.floor(i / N))) / unit(i % N)),
    );
    close(
      lmu.B,
      legt.B.map((value, n) => value * unit(n)),
    );
  });

  test("random measures need a key and are the same for the same key", () => {
    expect(() => hippo("random", 3)).toThrow("expected a key");
    expect(hippo("random", 3, { key: key(1) })).toEqual(hippo("random", 3, { key: key(1) }));
    const { A } = hippo("diagonal", 3, { key: key(1) });
    A.forEach((value, i) => expect(i % 4 === 0 ? value < 0 : value === 0).toBe(true));
    const many = hippo("random", 100, { key: key(2) });
    expect(many.B.reduce((total, x) => total + x * x, 0) / 100).toBeCloseTo(1, 0);
  });

  test("impossible settings are refused", () => {
    expect(() => hippo("legs", 0)).toThrow("at least 1, got 0");
    expect(() => hippoLegs(2.5)).toThrow("got 2.5");
    expect(() => hippo("chebt" as "legs", 4)).toThrow('got "chebt"');
    expect(() => hippo("glagt", 4, { alpha: 1 })).toThrow("alpha, a number above -1 and below 1, got 1");
    expect(() => hippo("legt", 4, { window: 0 })).toThrow("expected window, a number above 0, got 0");
    expect(() => hippoNormal("lmu", 4)).toThrow("normal plus low rank");
    expect(() => hippoNormal("legt", 4, { rank: 1 })).toThrow("at least 2");
    expect(() => hippoDiagonal("legs", 5)).toThrow("even order");
    expect(() => hippoBasis("foud", 4, 1)).toThrow("orthonormal basis");
  });

  test("the other end of a window has the signs of (-1)^n", () => {
    close(otherEndpoint("legt", 3), [1, -Math.sqrt(3), Math.sqrt(5)]);
    close(otherEndpoint("legs", 3), [0, 0, 0]);
  });
});

const normalMeasures = ["legs", "legt", "lagt", "fourier", "fourier2", "fourier_decay", "foud", "legsd"] as const;

describe("normal plus low rank", () => {
  test.each(normalMeasures)("%s: S is a multiple of the identity plus a skew-symmetric matrix", (measure) => {
    const N = 8;
    const { S } = hippoNormal(measure, N);
    for (let n = 0; n < N; n++)
      for (let k = 0; k < N; k++) expect(S[n * N + k]! + S[k * N + n]!).toBeCloseTo(n === k ? 2 * S[0]! : 0, 12);
  });

  test.each(normalMeasures.flatMap((measure) => [2, 6, 32].map((N) => [measure, N] as const)))(
    "NPLR reconstructs A: %s of order %i",
    (measure, N) => {
      const { A } = hippo(measure, N);
      const { P } = hippoNormal(measure, N, { rank: 3 });
      const { lambda, V } = hippoDiagonal(measure, N, { rank: 3 });
      const M = N / 2;
      for (let n = 0; n < N; n++)
        for (let k = 0; k < N; k++) {
          let value = 0;
          for (let m = 0; m < M; m++) {
            const [a, b, c, d] = [V.re[n * M + m]!, V.im[n * M + m]!, V.re[k * M + m]!, V.im[k * M + m]!];
            // 2 Re(V lambda conj(V)).
            value += 2 * (lambda.re[m]! * (a * c + b * d) - lambda.im[m]! * (b * c - a * d));
          }
          for (let r = 0; r < 3; r++) value -= P[r * N + n]! * P[r * N + k]!;
          expect(Math.abs(value - A[n * N + k]!)).toBeLessThan(1e-13 * N * N);
        }
    },
  );

  test("B is cut off where asked", () => {
    const whole = hippoDiagonal("legs", 32).B.im;
    const cut = hippoDiagonal("legs", 32, { clipB: 0.1 }).B.im;
    close(
      cut,
      whole.map((value) => Math.max(-0.1, Math.min(0.1, value))),
    );
    expect(Math.max(...whole.map(Math.abs))).toBeGreaterThan(0.1);
  });
});

describe("eigenvectors", () => {
  test.each([1, 2, 5, 8, 64])("LegS of order %i: unitary, ascending, in pairs", (N) => {
    const { S } = hippoNormal("legs", N);
    const found = diagonalizeLegs(N);
    const { unitary, eigen } = defects(skewOf(S, N), found);
    expect(unitary).toBeLessThan(1e-13);
    expect(eigen).toBeLessThan(1e-12 * N * N);
    expect([...found.im]).toEqual([...found.im].sort((a, b) => a - b));
    found.im.forEach((value, k) => expect(value + found.im[N - 1 - k]!).toBe(0));
  });

  test("frequencies that coincide, and two that are 0, are no harm", () => {
    const N = 8;
    // Two rotations by 1, one by 3 and a null space, in other coordinates.
    const rotations = [1, 3, 1, 0];
    const K = new Float64Array(N * N);
    rotations.forEach((w, p) => ([K[2 * p * N + 2 * p + 1], K[(2 * p + 1) * N + 2 * p]] = [-w, w]));
    const { V } = diagonalizeSkew(skewOf(hippoNormal("legs", N).S, N));
    const Q = Float64Array.from({ length: N * N }, (_, i) => {
      const [n, k] = [Math.floor(i / N), i % N];
      return Math.SQRT2 * (k < N / 2 ? V.re[n * N + k]! : V.im[n * N + k - N / 2]!);
    });
    const turned = Float64Array.from({ length: N * N }, (_, i) => {
      let total = 0;
      for (let a = 0; a < N; a++)
        for (let b = 0; b < N; b++) total += Q[Math.floor(i / N) * N + a]! * K[a * N + b]! * Q[(i % N) * N + b]!;
      return total;
    });
    const found = diagonalizeSkew(turned);
    close([...found.im].map(Math.abs).sort(), [0, 0, 1, 1, 1, 1, 3, 3]);
    const { unitary, eigen } = defects(turned, found);
    expect(unitary).toBeLessThan(1e-13);
    expect(eigen).toBeLessThan(1e-12);
  });

  test("why not by mathjs: as a real symmetric problem of twice the order it does not know which vectors belong together", () => {
    const N = 8;
    const K = rowsOf(skewOf(hippoNormal("fourier", N).S, N), N);
    // -i K as [[0, K], [-K, 0]]: every frequency twice, the two that are 0 four times.
    const twice = Array.from({ length: 2 * N }, (_, i) =>
      Array.from({ length: 2 * N }, (_u, j) =>
        i < N && j >= N ? K[i]![j - N]! : i >= N && j < N ? -K[i - N]![j]! : 0,
      ),
    );
    const { eigenvectors } = mathjs.eigs(twice);
    const every = [...eigenvectors].sort((a, b) => a.value - b.value).filter((_, k) => k % 2 === 0);
    const V = { re: new Float64Array(N * N), im: new Float64Array(N * N) };
    every.forEach(({ vector }, k) => {
      for (let n = 0; n < N; n++) [V.re[n * N + k], V.im[n * N + k]] = [vector[n]!, vector[N + n]!];
    });
    const flat = Float64Array.from(K.flat());
    const found = { im: Float64Array.from(every, ({ value }) => value), V };
    expect(defects(flat, found).unitary).toBeGreaterThan(0.1);
    expect(defects(flat, diagonalizeSkew(flat)).unitary).toBeLessThan(1e-14);
  });

  test("why not by mathjs: as the square, K^T K, it loses half the digits of small frequencies", () => {
    const N = 32;
    const K = rowsOf(skewOf(hippoNormal("legs", N).S, N), N);
    const squared = K.map((_, n) => K.map((_u, k) => K.reduce((total, row) => total + row[n]! * row[k]!, 0)));
    const smallest = Math.sqrt(Math.abs(mathjs.eigs(squared).values.sort((a, b) => a - b)[0]!));
    const own = Math.min(...diagonalizeLegs(N).im.map(Math.abs));
    expect(smallest).toBeCloseTo(own, 6);
    expect(Math.abs(smallest / own - 1)).toBeGreaterThan(1e-13);
  });
});

describe("HiPPO kernels equal their closed forms", () => {
  const response = (measure: HippoMeasureName, N: number, age: number, options: object = {}): number[] => {
    const { A, B } = hippo(measure, N, options);
    const power = mathjs
      .expm(
        rowsOf(
          A.map((value) => value * age),
          N,
        ),
      )
      .toArray();
    return power.map((row) => row.reduce((total, value, k) => total + value * B[k]!, 0));
  };

  test.each([
    ["legs", {}],
    ["lagt", {}],
    ["lagt", { beta: 0.7 }],
    ["tlagt", {}],
    ["tlagt", { beta: 0.5 }],
    ["glagt", {}],
    ["glagt", { alpha: 0.3, beta: 0.2 }],
  ] as const)("%s %o, exactly", (measure, options) => {
    for (const age of [0.1, 0.5, 1, 2.5])
      close(response(measure, 8, age, options), hippoKernel(measure, 8, age, options), 9);
  });

  test.each([
    ["legt", {}, 2],
    ["legt", { window: 1 }, 1],
    ["lmu", {}, 1],
    ["fourier", {}, 2],
    ["fourier", { window: 3 }, 3],
    ["fourier2", {}, 1],
  ] as const)("%s %o: a window of %d, up to the oscillations of a finite order", (measure, options, window) => {
    for (const share of [0.21, 0.47, 0.73]) {
      const [got, expected] = [
        response(measure, 64, share * window, options),
        hippoKernel(measure, 64, share * window, options),
      ];
      for (let n = 0; n < 4; n++) expect(Math.abs(got[n]! - expected[n]!)).toBeLessThan((0.1 * (2 * n + 1)) / window);
    }
    const after = response(measure, 64, 1.25 * window, options);
    expect([...hippoKernel(measure, 64, 1.25 * window, options)]).toEqual(new Array(64).fill(0));
    for (let n = 0; n < 4; n++) expect(Math.abs(after[n]!)).toBeLessThan(0.03 * (2 * n + 1));
  });

  test("every measure has a system, and those that are a projection a basis", () => {
    for (const measure of hippoMeasures) expect(hippo(measure, 4, { key: key(1) }).A.length).toBe(16);
    expect(hippoMeasures.filter((measure) => !refuses(() => hippoBasis(measure, 4, 1)))).toEqual([
      "legs",
      "legt",
      "lmu",
      "lagt",
      "tlagt",
      "glagt",
      "fourier",
      "fourier2",
    ]);
  });
});

function refuses(f: () => unknown): boolean {
  try {
    f();
    return false;
  } catch {
    return true;
  }
}
