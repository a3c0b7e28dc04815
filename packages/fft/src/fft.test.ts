import {
  add,
  cpu,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { checkDerivatives, randomValues } from "@seqmix/testing";
import { describe, expect, test } from "vitest";
import { fft, fftConv, ifft, irfft, rfft } from "./index.js";
import { keptNumbers } from "./tables.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};

/** The definition, one sum a value. */
function dft(re: readonly number[], im: readonly number[]): [number[], number[]] {
  const n = re.length;
  const sums = re.map((_, k) =>
    re.reduce(
      ([x, y], _value, j) => {
        const angle = (-2 * Math.PI * ((j * k) % n)) / n;
        return [
          x + re[j]! * Math.cos(angle) - im[j]! * Math.sin(angle),
          y + re[j]! * Math.sin(angle) + im[j]! * Math.cos(angle),
        ] as const;
      },
      [0, 0] as readonly [number, number],
    ),
  );
  return [sums.map(([x]) => x), sums.map(([, y]) => y)];
}

describe("fft", () => {
  // Small, powers of 2, composite, prime, and composite with a large prime factor.
  test.each([1, 2, 3, 5, 16, 32, 33, 37, 64, 74, 100, 128, 210, 211, 512, 1000, 1024, 2048])(
    "length %i is the sum it stands for",
    async (n) => {
      const [re, im] = [await values(normal(key(n), [n])), await values(normal(key(n + 1), [n]))];
      const got = fft({ re: tensor(Float64Array.from(re)), im: tensor(Float64Array.from(im)) });
      const [expectedRe, expectedIm] = dft(re, im);
      close(await values(got.re), expectedRe, 9);
      close(await values(got.im), expectedIm, 9);
    },
  );

  test.each([7, 48, 97, 256])("ifft inverts it, every row by itself, length %i", async (n) => {
    const x = { re: normal(key(1), [2, 3, n]), im: normal(key(2), [2, 3, n]) };
    const back = ifft(fft(x));
    expect(back.re.shape).toEqual([2, 3, n]);
    close(await values(back.re), await values(x.re));
    close(await values(back.im), await values(x.im));
  });

  test.each([1, 2, 4, 6, 9, 64, 75, 134])("irfft inverts rfft, length %i", async (n) => {
    const x = normal(key(1), [2, n]);
    close(await values(irfft(rfft(x), n)), await values(x));
  });

  test.each([2, 7, 30, 64])("rfft is the first half of fft, length %i", async (n) => {
    const x = normal(key(n), [3, n]);
    const [whole, half] = [fft({ re: x }), rfft(x)];
    const first = Math.floor(n / 2) + 1;
    for (const part of ["re", "im"] as const)
      close(await values(half[part]), await values(sliceAxis(whole[part], 1, 0, first)));
  });

  test("gradients of real transforms are finite differences, even and odd lengths", async () => {
    for (const n of [6, 9]) {
      const [wRe, wIm] = [normal(key(5), [2, Math.floor(n / 2) + 1]), normal(key(6), [2, Math.floor(n / 2) + 1])];
      const loss = (x: Tensor): Tensor => {
        const { re, im } = rfft(x);
        return sum(add(mul(irfft({ re: mul(re, re), im: mul(im, re) }, n), x), sum(add(mul(wRe, re), mul(wIm, im)))));
      };
      await checkDerivatives({
        law: `rfft and irfft, length ${n}`,
        names: ["x"],
        inputs: [randomValues(key(7), [2, n], "f32", -1, 1)],
        device: oracle,
        loss: ([x]) => loss(x!),
      });
    }
  });

  test("tables are let go of: many lengths keep no more than a bounded number of values", async () => {
    for (let n = 2 ** 18; n < 2 ** 18 + 40; n++) fft({ re: zeros([1, n]) });
    expect(keptNumbers()).toBeLessThan(2 ** 22 + 2 ** 20);
    expect(keptNumbers()).toBeGreaterThan(0);
  });

  test("irfft ignores what a real signal cannot have", async () => {
    const spectrum = { re: tensor([1, 2, 3]), im: tensor([5, 1, 7]) };
    const clean = { re: tensor([1, 2, 3]), im: tensor([0, 1, 0]) };
    close(await values(irfft(spectrum)), await values(irfft(clean)));
    expect(() => irfft(spectrum, 7)).toThrow("floor(n/2)+1 = 4");
  });

  test("energy is kept up to the length (Parseval)", async () => {
    const x = normal(key(3), [300]);
    const { re, im } = fft({ re: x });
    const total = async (y: Tensor): Promise<number> => (await values(sum(mul(y, y))))[0]!;
    expect((await total(re)) + (await total(im))).toBeCloseTo(300 * (await total(x)), 6);
  });

  test("single precision loses about one part in a million", async () => {
    const x = (): Tensor => normal(key(4), [4096]);
    const got = await values(fft({ re: x() }).re, cpu());
    const expected = await values(fft({ re: tensor(await values(x(), cpu())) }).re);
    const size = Math.max(...expected.map(Math.abs));
    expect(Math.max(...got.map((value, k) => Math.abs(value - expected[k]!))) / size).toBeLessThan(2e-6);
  });

  test("an empty batch stays empty", async () => {
    expect(await values(fft({ re: tensor(new Float64Array(0), [0, 8]) }).re)).toEqual([]);
  });
});

/** The definition of fftConv. */
function convolve(
  u: readonly number[],
  k: readonly number[],
  kReverse: readonly number[],
  [B, D, L]: readonly [number, number, number],
): number[] {
  const [K, R] = [k.length / D, kReverse.length / D];
  const y = new Array<number>(B * D * L).fill(0);
  for (let row = 0; row < B * D; row++)
    for (let t = 0; t < L; t++) {
      for (let s = 0; s < K && s <= t; s++) y[row * L + t]! += k[(row % D) * K + s]! * u[row * L + t - s]!;
      for (let s = 0; s < R && t + s < L; s++) y[row * L + t]! += kReverse[(row % D) * R + s]! * u[row * L + t + s]!;
    }
  return y;
}

describe("fftConv", () => {
  test.each([
    [1, 1, 0],
    [2, 2, 0],
    [9, 9, 0],
    [65, 4, 0],
    [5, 40, 0],
    [13, 13, 13],
    [12, 3, 20],
    [100, 100, 7],
  ])("length %i, kernel %i, reverse kernel %i", async (L, K, R) => {
    const [u, k, kReverse] = [
      normal(key(1), [2, 3, L]),
      normal(key(2), [3, K]),
      R > 0 ? normal(key(3), [3, R]) : undefined,
    ];
    const y = fftConv({ u, k, kReverse });
    close(
      await values(y),
      convolve(await values(u), await values(k), kReverse ? await values(kReverse) : [], [2, 3, L]),
    );
  });

  test("gradients are correlations", async () => {
    const [u, k, w] = [normal(key(1), [2, 2, 6]), normal(key(2), [2, 4]), normal(key(3), [2, 2, 6])] as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const d = grad((x: { u: Tensor; k: Tensor }) => sum(mul(w, fftConv(x))))({ u, k });
    // du: the cotangent convolved the other way.
    const [uv, kv, wv] = [await values(u), await values(k), await values(w)];
    close(await values(d.u), convolve(wv, [0, 0], kv, [2, 2, 6]));
    const dk = [0, 1].flatMap((channel) =>
      [0, 1, 2, 3].map((s) =>
        [0, 1].reduce((total, b) => {
          for (let t = s; t < 6; t++) total += wv[(b * 2 + channel) * 6 + t]! * uv[(b * 2 + channel) * 6 + t - s]!;
          return total;
        }, 0),
      ),
    );
    close(await values(d.k), dk);
  });

  test("nothing in gives nothing out", async () => {
    expect(
      fftConv({ u: tensor(new Float64Array(0), [2, 3, 0]), k: tensor(new Float64Array(0), [3, 0]) }).shape,
    ).toEqual([2, 3, 0]);
    expect(await values(fftConv({ u: tensor([[[1, 2]]]), k: tensor(new Float64Array(0), [1, 0]) }))).toEqual([0, 0]);
  });

  test("channels that differ are named", () => {
    expect(() => fftConv({ u: tensor([[[1, 2]]]), k: tensor([[1], [2]]) })).toThrow(
      "axis D is 1 in u [B D L] but 2 in k [D K]",
    );
  });
});
