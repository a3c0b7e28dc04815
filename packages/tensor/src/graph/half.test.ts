import { describe, expect, test } from "vitest";
import { halfBits, halfFromBits, roundToHalf } from "./half.js";
import {
  add,
  broadcastTo,
  cast,
  cpu,
  cumsum,
  DTypeError,
  exp,
  grad,
  full,
  linearScan,
  matmul,
  mean,
  mul,
  normal,
  key,
  realize,
  reference,
  reshape,
  softplus,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  type Device,
  type Tensor,
} from "../index.js";

const devices: readonly (readonly [string, Device])[] = [
  ["reference", reference()],
  ["cpu", cpu()],
];

/** Every f16 number but NaN, by its bits, and the bits themselves. */
const all = Array.from({ length: 2 ** 16 }, (_, bits) => bits).filter((bits) => !Number.isNaN(halfFromBits(bits)));
const numbers = all.map(halfFromBits);

/** The nearest f16 number by its definition: no other is nearer, and of two equally near the last bit is 0. */
const positive = all.filter((bits) => bits < 0x7c00);
function nearest(x: number): number {
  const size = Math.abs(x);
  if (size >= 65520) return Math.sign(x) * Infinity;
  let [low, high] = [0, positive.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfFromBits(positive[middle]!) <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - halfFromBits(low), halfFromBits(high) - size];
  const bits = below < above || (below === above && low % 2 === 0) ? low : high;
  return x < 0 || Object.is(x, -0) ? -halfFromBits(bits) : halfFromBits(bits);
}

/** f32 numbers of all sizes, those half way between f16 numbers and their neighbours among them. */
const difficult = (): Float32Array => {
  const list: number[] = [
    0,
    -0,
    65504,
    65519.996,
    65520,
    65536,
    1e30,
    -1e30,
    Infinity,
    -Infinity,
    2 ** -24,
    2 ** -25,
    2 ** -26,
    1e-40,
  ];
  for (let bits = 0; bits < 0x7bff; bits += 7) {
    const middle = (halfFromBits(bits) + halfFromBits(bits + 1)) / 2;
    list.push(middle, -middle, middle * (1 + 2 ** -23), middle * (1 - 2 ** -23));
  }
  let seed = 1;
  for (let k = 0; k < 20000; k++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    list.push(new Float32Array(Uint32Array.of(seed).buffer)[0]!);
  }
  return Float32Array.from(list.filter((x) => !Number.isNaN(x)));
};

describe("on the host", () => {
  test("every number is its own nearest, and its bits are its own", () => {
    for (const [k, x] of numbers.entries()) {
      expect(Object.is(roundToHalf(x), x)).toBe(true);
      expect(halfBits(x)).toBe(all[k]);
    }
    expect(roundToHalf(NaN)).toBeNaN();
    expect(halfFromBits(halfBits(NaN))).toBeNaN();
  });
  test("other numbers go to the nearest", () => {
    for (const x of difficult()) expect(roundToHalf(x), String(x)).toBe(nearest(x));
  });
});

describe.each(devices)("on %s", (_, device) => {
  const read = async (x: Tensor): Promise<number[]> => [...(await (await realize(x, { device })).data())];

  test("every f16 number survives storage, a cast to f32 and the way back", async () => {
    expect(await read(mul(tensor(Float32Array.from(numbers), undefined, "f16"), 1))).toEqual(numbers);
    expect(await read(cast(cast(cast(tensor(Float32Array.from(numbers)), "f16"), "f32"), "f16"))).toEqual(numbers);
  });

  test("a cast rounds f32 numbers to the nearest, and keeps NaN", async () => {
    const x = difficult();
    expect(await read(cast(tensor(x), "f16"))).toEqual([...x].map(nearest));
    expect(await read(cast(tensor([NaN, 1]), "f16"))).toEqual([NaN, 1]);
  });

  test("an op on f16 is the f32 op, rounded, fused or not", async () => {
    const [x, y] = [normal(key(1), [7, 37]), normal(key(2), [7, 37])];
    const [a, b] = [cast(x, "f16"), cast(y, "f16")];
    const [fa, fb] = [cast(a, "f32"), cast(b, "f32")];
    const round = (z: Tensor): Tensor => cast(cast(z, "f16"), "f32");
    const half = (p: Tensor, q: Tensor): Tensor => sub(sqrt(add(mul(p, p), 0.1)), mul(q, 3));
    const single = sub(round(sqrt(round(add(round(mul(fa, fa)), roundToHalf(0.1))))), round(mul(fb, 3)));
    const expected = await read(round(single));
    for (const fuse of [true, false])
      expect([...(await (await realize(half(a, b), { device, fuse })).data())]).toEqual(expected);
    expect(half(a, b).dtype).toBe("f16");
  });

  test("a sum is rounded once, and a mean does not overflow on its way", async () => {
    expect(await read(sum(full([2048], 1.0009765625, "f16")))).toEqual([2050]);
    expect(await read(sum(full([4096], 40, "f16")))).toEqual([Infinity]);
    expect(await read(mean(full([4096], 40, "f16")))).toEqual([40]);
  });

  test("a matrix product of f16 adds up in f32", async () => {
    const [a, b] = [cast(normal(key(3), [33, 300]), "f16"), cast(normal(key(4), [300, 17]), "f16")];
    const c = matmul(a, b);
    expect(c.dtype).toBe("f32");
    const expected = await read(matmul(cast(a, "f32"), cast(b, "f32")));
    const found = await read(c);
    for (const [k, value] of found.entries()) expect(Math.abs(value - expected[k]!)).toBeLessThanOrEqual(1e-5);
    expect(await read(matmul(transpose(b), transpose(a)))).toHaveLength(33 * 17);
  });

  test("gradients have the type of what they belong to", async () => {
    const [x, w] = [cast(normal(key(5), [4, 6]), "f16"), normal(key(6), [6, 3])];
    const loss = ({ x: p, w: q }: { x: Tensor; w: Tensor }): Tensor => sum(exp(mul(matmul(p, cast(q, "f16")), 0.1)));
    const gradient = grad(loss)({ x, w });
    expect([gradient.x.dtype, gradient.w.dtype]).toEqual(["f16", "f32"]);
    const exact = grad(({ x: p, w: q }: { x: Tensor; w: Tensor }) => sum(exp(mul(matmul(p, q), 0.1))))({
      x: cast(x, "f32"),
      w: cast(cast(w, "f16"), "f32"),
    });
    for (const name of ["x", "w"] as const) {
      const expected = await read(exact[name]);
      for (const [k, value] of (await read(gradient[name])).entries())
        expect(Math.abs(value - expected[k]!)).toBeLessThanOrEqual(2 ** -10 * Math.max(1, Math.abs(expected[k]!)));
    }
  });
});

test("a fused recurrence reads and writes f16 as the reference does", async () => {
  const build = (): readonly [Tensor, Tensor] => {
    const u = cast(normal(key(7), [2, 30, 6]), "f16");
    const f = (x: Tensor): Tensor => {
      const a = exp(mul(normal(key(8), [6, 4]), 0.1));
      const drive = mul(reshape(cast(x, "f32"), [2, 30, 6, 1]), normal(key(9), [2, 30, 1, 4]));
      return cast(sum(linearScan({ a: broadcastTo(mul(a, 0.5), [2, 30, 6, 4]), b: drive, axis: 1 }), 3), "f16");
    };
    return [f(u), grad((x: Tensor) => sum(cast(f(x), "f32")))(u)];
  };
  const [found, exact] = [await realize(build(), { device: cpu() }), await realize(build(), { device: reference() })];
  for (const k of [0, 1] as const) {
    const expected = await exact[k].data();
    for (const [i, value] of (await found[k].data()).entries())
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2 ** -10 * Math.max(1, Math.abs(expected[i]!)));
  }
});

describe("types are not mixed silently", () => {
  const [x, y] = [
    tensor(
      [
        [1, 2],
        [3, 4],
      ],
      undefined,
      "f16",
    ),
    tensor([
      [1, 2],
      [3, 4],
    ]),
  ];
  test.each([
    [
      "elementwise",
      () => add(x, y),
      /^add: expected operands of one type, got f16 \[2,2\] and f32 \[2,2\]; convert one with cast/,
    ],
    [
      "matrices",
      () => matmul(x, y),
      /^matmul: expected f32 matrices or f16 matrices, got f16 and f32; convert one or both with cast/,
    ],
    ["running sums", () => cumsum(x, 0), /^cumsum: expected f32, got f16 \[2,2\]; convert it with cast/],
    [
      "recurrences",
      () => linearScan({ a: y, b: x, axis: 0 }),
      /^linearScan: expected f32, got f16 for b \[2,2\]; convert it with cast/,
    ],
    ["step sizes", () => softplus(x), /^softplus: expected f32, got f16 \[2,2\]; convert it with cast/],
    [
      "values to differentiate",
      () => grad((p: Tensor) => sum(p))(x),
      /^grad: expected an f32 value, got f16; convert it with cast/,
    ],
    [
      "integers from the host",
      () => tensor(Int32Array.of(1), [1], "f16"),
      /^tensor: expected i32 .* for a Int32Array, got f16/,
    ],
  ] as const)("%s", (_, run, words) => {
    expect(run).toThrow(DTypeError);
    expect(run).toThrow(words);
  });
});
