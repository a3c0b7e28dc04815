import { create, eigsDependencies } from "mathjs";
import { describe, expect, test } from "vitest";
import { diagonalizeLegs, hippoLegs, hippoLegsNormal } from "./index.js";

/** Largest |entry| of V^H V - 1 and of S V - V diag(lambda). */
function defects(N: number): { readonly unitary: number; readonly eigen: number } {
  const { re, im, V } = diagonalizeLegs(N);
  const { S } = hippoLegsNormal(N);
  const entry = (n: number, k: number): readonly [number, number] => [V.re[n * N + k]!, V.im[n * N + k]!];
  let [unitary, eigen] = [0, 0];
  for (let a = 0; a < N; a++) {
    for (let b = 0; b < N; b++) {
      const [product, image] = [[a === b ? -1 : 0, 0] as [number, number], [0, 0] as [number, number]];
      for (let n = 0; n < N; n++) {
        const [x, y] = entry(n, a);
        const [u, w] = entry(n, b);
        product[0] += x * u + y * w;
        product[1] += x * w - y * u;
        image[0] += S[a * N + n]! * u;
        image[1] += S[a * N + n]! * w;
      }
      const [u, w] = entry(a, b);
      unitary = Math.max(unitary, Math.hypot(...product));
      eigen = Math.max(eigen, Math.hypot(image[0] - (re * u - im[b]! * w), image[1] - (re * w + im[b]! * u)));
    }
  }
  return { unitary, eigen };
}

describe("HiPPO-LegS", () => {
  test("A is its normal part minus the rank-one part", () => {
    const N = 7;
    const { A } = hippoLegs(N);
    const { S, P } = hippoLegsNormal(N);
    A.forEach((value, i) => expect(S[i]! - P[Math.floor(i / N)]! * P[i % N]!).toBeCloseTo(value, 12));
  });

  test.each([1, 2, 5, 8, 64])("order %i: the eigenvectors are unitary and belong to their eigenvalues", (N) => {
    const { unitary, eigen } = defects(N);
    expect(unitary).toBeLessThan(1e-13);
    expect(eigen).toBeLessThan(1e-12 * N * N);
    const { im } = diagonalizeLegs(N);
    expect([...im]).toEqual([...im].sort((a, b) => a - b));
    im.forEach((value, k) => expect(value + im[N - 1 - k]!).toBe(0));
  });

  test("frequencies agree with mathjs", () => {
    const N = 12;
    const { S } = hippoLegsNormal(N);
    const skew = (n: number, k: number): number => (n === k ? 0 : S[n * N + k]!);
    const squared = Array.from({ length: N }, (_, n) =>
      Array.from({ length: N }, (_unused, k) =>
        Array.from({ length: N }, (_also, m) => skew(m, n) * skew(m, k)).reduce((a, b) => a + b, 0),
      ),
    );
    const { values } = create(eigsDependencies!).eigs(squared) as unknown as { values: number[] };
    const expected = values.map(Math.sqrt).sort((a, b) => a - b);
    const actual = [...diagonalizeLegs(N).im].map(Math.abs).sort((a, b) => a - b);
    actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 8));
  });

  test("an impossible order is refused", () => {
    expect(() => diagonalizeLegs(0)).toThrow("at least 1, got 0");
    expect(() => hippoLegs(2.5)).toThrow("got 2.5");
  });
});
