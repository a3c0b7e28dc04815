import {
  add,
  cpu,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sub,
  sum,
  tensor,
  uniform,
  where,
  cast,
  less,
  ShapeError,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { associativeScan, complexMul, composeLinear, linearScan, type Complex } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};

describe("linearScan", () => {
  test("a decay broadcasts over the batch", async () => {
    const h = linearScan({
      a: tensor([0.5, 0.25]),
      b: tensor([
        [
          [1, 1],
          [1, 1],
          [1, 1],
        ],
      ]),
      axis: 1,
    });
    expect(await values(h)).toEqual([1, 1, 1.5, 1.25, 1.75, 1.3125]);
  });

  test.each([1, 2, 3, 7, 16, 33])("complex values agree with the plain recurrence, length %i", async (L) => {
    const draw = (name: number, shape: number[]): Tensor => normal(key(name), shape);
    const a: Complex = { re: draw(1, [L, 3]), im: draw(2, [L, 3]) };
    const b: Complex = { re: draw(3, [2, L, 3]), im: draw(4, [2, L, 3]) };
    const h0: Complex = { re: draw(5, [2, 3]), im: draw(6, [2, 3]) };
    for (const reverse of [false, true]) {
      const h = linearScan({ a, b, h0, axis: 1, reverse });
      const [re, im] = [await values(h.re), await values(h.im)];
      const [ar, ai, br, bi, hr, hi] = (await Promise.all([a.re, a.im, b.re, b.im, h0.re, h0.im].map(values))) as [
        number[],
        number[],
        number[],
        number[],
        number[],
        number[],
      ];
      const [expectedRe, expectedIm] = [new Array<number>(re.length), new Array<number>(im.length)];
      for (let batch = 0; batch < 2; batch++)
        for (let n = 0; n < 3; n++) {
          let [x, y] = [hr[batch * 3 + n]!, hi[batch * 3 + n]!];
          for (let s = 0; s < L; s++) {
            const t = reverse ? L - 1 - s : s;
            const [at, bt] = [t * 3 + n, (batch * L + t) * 3 + n];
            [x, y] = [ar[at]! * x - ai[at]! * y + br[bt]!, ar[at]! * y + ai[at]! * x + bi[bt]!];
            [expectedRe[bt], expectedIm[bt]] = [x, y];
          }
        }
      close(re, expectedRe, 6);
      close(im, expectedIm, 6);
    }
  });

  test("a complex scan of real values is the real scan, gradients too", async () => {
    const [a, b, h0] = [uniform(key(1), [9, 2]), normal(key(2), [9, 2]), normal(key(3), [2])] as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const zero = (x: Tensor): Tensor => mul(x, 0);
    const weight = normal(key(4), [9, 2]);
    const real = grad((x: Tensor[]) => sum(mul(weight, linearScan({ a: x[0]!, b: x[1]!, h0: x[2]!, axis: 0 }))))([
      a,
      b,
      h0,
    ]);
    const complex = grad((x: Tensor[]) => {
      const [p, q, r] = x.map((re) => ({ re, im: zero(re) })) as [Complex, Complex, Complex];
      return sum(mul(weight, linearScan({ a: p, b: q, h0: r, axis: 0 }).re));
    })([a, b, h0]);
    for (const k of [0, 1, 2]) close(await values(complex[k]!), await values(real[k]!));
  });

  /** h_t = a_t h_(t-1) + b_t for one line of complex numbers; a reset forgets what came before. */
  const plain = (
    a: readonly number[][],
    b: readonly number[][],
    [re, im]: readonly [number, number],
    resets: readonly number[],
    reverse: boolean,
  ): { after: number[][]; before: number[][] } => {
    const [after, before] = [[] as number[][], [] as number[][]];
    let [x, y] = [re, im];
    for (let s = 0; s < a.length; s++) {
      const t = reverse ? a.length - 1 - s : s;
      if (resets[t] === 1) [x, y] = [0, 0];
      before[t] = [x, y];
      [x, y] = [a[t]![0]! * x - a[t]![1]! * y + b[t]![0]!, a[t]![0]! * y + a[t]![1]! * x + b[t]![1]!];
      after[t] = [x, y];
    }
    return { after, before };
  };

  test.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])("resets forget, and exclusive states are those before, complex %s, reversed %s", async (complex, reverse) => {
    const L = 13;
    const draw = (name: number, shape: number[]): Tensor => normal(key(name), shape);
    const resets = tensor([0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0]);
    const [are, aim, bre, bim, hre, him] = [
      draw(1, [L]),
      draw(2, [L]),
      draw(3, [L]),
      draw(4, [L]),
      draw(5, []),
      draw(6, []),
    ] as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const numbers = await Promise.all([are, aim, bre, bim, hre, him, resets].map(values));
    const zip = (x: number[], y: number[]): number[][] => x.map((v, k) => [v, complex ? y[k]! : 0]);
    const expected = plain(
      zip(numbers[0]!, numbers[1]!),
      zip(numbers[2]!, numbers[3]!),
      [numbers[4]![0]!, complex ? numbers[5]![0]! : 0],
      numbers[6]!,
      reverse,
    );
    for (const exclusive of [false, true]) {
      const options = { axis: 0, reverse, exclusive, resets };
      const h = complex
        ? linearScan({ a: { re: are, im: aim }, b: { re: bre, im: bim }, h0: { re: hre, im: him }, ...options })
        : { re: linearScan({ a: are, b: bre, h0: hre, ...options }), im: mul(bre, 0) };
      const states = exclusive ? expected.before : expected.after;
      close(
        await values(h.re),
        states.map(([x]) => x!),
      );
      close(
        await values(h.im),
        states.map(([, y]) => y!),
      );
    }
  });

  test("gradients of complex scans with resets are finite differences", async () => {
    const shape = [2, 5];
    const names = [1, 2, 3, 4, 5, 6];
    const start = await Promise.all(names.map((name) => values(normal(key(name), name < 5 ? shape : [2]))));
    const resets = tensor([0, 0, 1, 0, 0]);
    const weights = [normal(key(7), shape), normal(key(8), shape)] as [Tensor, Tensor];
    const loss = ([ar, ai, br, bi, hr, hi]: Tensor[]): Tensor => {
      const h = linearScan({
        a: { re: ar!, im: ai! },
        b: { re: br!, im: bi! },
        h0: { re: hr!, im: hi! },
        axis: 1,
        resets,
      });
      return add(sum(mul(weights[0], mul(h.re, h.im))), sum(mul(weights[1], h.im)));
    };
    const inputs = (data: number[][]): Tensor[] =>
      data.map((x, k) => tensor(Float64Array.from(x), k < 4 ? shape : [2]));
    const gradients = await Promise.all(grad(loss)(inputs(start)).map(values));
    for (const [k, x] of start.entries())
      for (const i of x.keys()) {
        const at = async (by: number): Promise<number> =>
          (
            await values(loss(inputs(start.map((y, j) => (j === k ? y.map((v, m) => (m === i ? v + by : v)) : y)))))
          )[0]!;
        expect(gradients[k]![i]!).toBeCloseTo(((await at(1e-5)) - (await at(-1e-5))) / 2e-5, 6);
      }
  });

  test("no elements give no states", async () => {
    expect(
      await values(
        linearScan({ a: tensor(new Float64Array(0), [2, 0]), b: tensor(new Float64Array(0), [2, 0]), axis: 1 }),
      ),
    ).toEqual([]);
  });

  test("shapes that do not broadcast are named", () => {
    expect(() => linearScan({ a: tensor([1, 2]), b: tensor([1, 2, 3]), axis: 0 })).toThrow(ShapeError);
  });

  test("the default device agrees", async () => {
    const scan = (): Tensor => linearScan({ a: uniform(key(1), [3, 70]), b: normal(key(2), [2, 3, 70]), axis: -1 });
    const got = scan();
    await realize(got, { device: cpu() });
    close([...(await got.data())], await values(scan()), 4);
  });
});

describe("associativeScan", () => {
  const product = (earlier: Tensor, later: Tensor): Tensor => mul(earlier, later);

  test.each([0, 1, 2, 5, 8, 13])("products of %i elements, either way", async (L) => {
    const x = Array.from({ length: L }, (_, k) => k + 2);
    const forward = x.map((_, t) => x.slice(0, t + 1).reduce((a, b) => a * b, 1));
    const backward = x.map((_, t) => x.slice(t).reduce((a, b) => a * b, 1));
    const elements = tensor(Float64Array.from(x));
    expect(await values(associativeScan(product, elements, 0))).toEqual(forward);
    expect(await values(associativeScan(product, elements, 0, { reverse: true }))).toEqual(backward);
  });

  test("exclusive results start with the initial element and end before the last", async () => {
    const elements = tensor([2, 3, 4]);
    const initial = tensor([10]);
    expect(await values(associativeScan(product, elements, 0, { initial }))).toEqual([20, 60, 240]);
    expect(await values(associativeScan(product, elements, 0, { initial, exclusive: true }))).toEqual([10, 20, 60]);
    expect(await values(associativeScan(product, elements, 0, { initial, exclusive: true, reverse: true }))).toEqual([
      120, 40, 10,
    ]);
    expect(() => associativeScan(product, elements, 0, { exclusive: true })).toThrow("initial");
    expect(() => associativeScan(product, elements, 0, { reversed: true } as never)).toThrow(
      "got reversed; leave it out",
    );
  });

  test("an operator that does not commute keeps the order", async () => {
    // 2x2 matrices [[a, b], [0, 1]] multiply like linear elements.
    const elements = { a: normal(key(1), [11]), b: normal(key(2), [11]) };
    close(
      await values(associativeScan(composeLinear, elements, 0).b),
      await values(linearScan({ a: elements.a, b: elements.b, axis: 0 })),
    );
  });

  test("resets are an operator: what lies before a reset is forgotten (Lu et al., 2023)", async () => {
    type Element = { a: Tensor; b: Tensor; reset: Tensor };
    const keep = (later: Element, x: Tensor, instead: Tensor): Tensor => where(less(0, later.reset), instead, x);
    const compose = (earlier: Element, later: Element): Element => ({
      a: keep(later, mul(later.a, earlier.a), later.a),
      b: keep(later, add(mul(later.a, earlier.b), later.b), later.b),
      reset: sub(add(earlier.reset, later.reset), mul(earlier.reset, later.reset)),
    });
    const reset = cast(less(uniform(key(3), [20]), 0.3), "f32");
    const [a, b] = [uniform(key(1), [20]), normal(key(2), [20])] as [Tensor, Tensor];
    const h = associativeScan(compose, { a, b, reset }, 0).b;
    close(await values(h), await values(linearScan({ a: mul(a, sub(1, reset)), b, axis: 0 })));
  });

  test("tensors of different extents are refused", () => {
    expect(() =>
      associativeScan((x: { p: Tensor; q: Tensor }) => x, { p: tensor([1, 2]), q: tensor([1, 2, 3]) }, 0),
    ).toThrow(ShapeError);
  });
});

test("complex products follow i^2 = -1", async () => {
  const i = { re: tensor([0]), im: tensor([1]) };
  const square = complexMul(i, i);
  expect([await values(square.re), await values(square.im)]).toEqual([[-1], [0]]);
});
