/**
 * Passes of the complex transform modulo x^N - i, for four channels at once: element n is 32 bytes, [re x4, im x4].
 *
 * A block holds a polynomial modulo x^n - w. A radix-4 pass splits it into the four polynomials modulo
 * x^(n/4) - i^m v with v^4 = w: each value is a0 + (i^m v) a1 + (i^m v)^2 a2 + (i^m v)^3 a3, with the same v in
 * all of the block. At n = 1 the values are those at the N roots of x^N = i; nothing was reordered or padded.
 */
import {
  brIf,
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  loop,
  memory,
  transposed,
  v128,
  when,
  type Code,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";

/** Bytes of an element: four channels' real and imaginary parts. */
export const ELEMENT = 32;
/** Bytes of a block's twiddles: v, v^2, v^3. */
export const TWIDDLES = 24;

type Complex = readonly [Local, Local];
type Make = () => Local;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const advance = (local: Local, bytes: number): Code => local.set(i32.add(local.get, i32.const(bytes)));
const add = (x: Local, y: Local): Code => f32x4.add(x.get, y.get);
const sub = (x: Local, y: Local): Code => f32x4.sub(x.get, y.get);
const times = (x: Local, y: Local | number): Code => f32x4.mul(x.get, typeof y === "number" ? f32x4.const(y) : y.get);

/** to = x * w, or x * conj(w). */
const multiply = (to: Complex, x: Complex, w: Complex, conjugate: boolean): Code => [
  to[0].set((conjugate ? f32x4.add : f32x4.sub)(times(x[0], w[0]), times(x[1], w[1]))),
  to[1].set((conjugate ? f32x4.sub : f32x4.add)(times(x[1], w[0]), times(x[0], w[1]))),
];

/** The sums that turn a0, v a1, v^2 a2, v^3 a3 into the four residues, handed to `write` one by one. */
function butterfly(
  a: readonly Complex[],
  temporary: readonly Complex[],
  write: (m: number, re: Code, im: Code) => Code,
): Code {
  const [a0, b1, b2, b3] = a as readonly [Complex, Complex, Complex, Complex];
  const [s0, d0, s1, d1] = temporary as readonly [Complex, Complex, Complex, Complex];
  return [
    range(2).map((p) => [
      (s0[p] as Local).set(add(a0[p] as Local, b2[p] as Local)),
      (d0[p] as Local).set(sub(a0[p] as Local, b2[p] as Local)),
      (s1[p] as Local).set(add(b1[p] as Local, b3[p] as Local)),
      (d1[p] as Local).set(sub(b1[p] as Local, b3[p] as Local)),
    ]),
    write(0, add(s0[0], s1[0]), add(s0[1], s1[1])),
    write(1, sub(d0[0], d1[1]), add(d0[1], d1[0])),
    write(2, sub(s0[0], s1[0]), sub(s0[1], s1[1])),
    write(3, add(d0[0], d1[1]), sub(d0[1], d1[0])),
  ];
}

/** From the residues: 4 a0, 4 v a1, 4 v^2 a2, 4 v^3 a3. */
function inverseButterfly(r: readonly Complex[], temporary: readonly Complex[], b: readonly Complex[]): Code {
  const [r0, r1, r2, r3] = r as readonly [Complex, Complex, Complex, Complex];
  const [s0, d0, s1, d1] = temporary as readonly [Complex, Complex, Complex, Complex];
  const [b0, b1, b2, b3] = b as readonly [Complex, Complex, Complex, Complex];
  return [
    range(2).map((p) => [
      (s0[p] as Local).set(add(r0[p] as Local, r2[p] as Local)),
      (s1[p] as Local).set(sub(r0[p] as Local, r2[p] as Local)),
      (d0[p] as Local).set(add(r1[p] as Local, r3[p] as Local)),
      (d1[p] as Local).set(sub(r1[p] as Local, r3[p] as Local)),
    ]),
    b0[0].set(add(s0[0], d0[0])),
    b0[1].set(add(s0[1], d0[1])),
    b2[0].set(sub(s0[0], d0[0])),
    b2[1].set(sub(s0[1], d0[1])),
    b1[0].set(add(s1[0], d1[1])),
    b1[1].set(sub(s1[1], d1[0])),
    b3[0].set(sub(s1[0], d1[1])),
    b3[1].set(add(s1[1], d1[0])),
  ];
}

const complexes = (make: Make, count: number): Complex[] => range(count).map(() => [make(), make()] as const);

/** (at, twiddles, blocks): a radix-4 pass, or its inverse times 4, over blocks of `size` elements, in place. */
export function passFunction(name: string, size: number, inverse: boolean): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [at, twiddles, blocks] = f.params;
  const make: Make = () => f.local("v128");
  const [a, t, w] = [complexes(make, 4), complexes(make, 4), complexes(make, 3)];
  const left = f.local("i32");
  const offset = (q: number): number => (q * size * ELEMENT) / 4;
  const read = a.map(([re, im], q) => [
    re.set(v128.load(at.get, offset(q))),
    im.set(v128.load(at.get, offset(q) + 16)),
  ]);
  const write = (q: number, re: Code, im: Code): Code => [
    v128.store(at.get, re, offset(q)),
    v128.store(at.get, im, offset(q) + 16),
  ];
  const one: Code = inverse
    ? [
        read,
        inverseButterfly(a, t, a),
        w.map((v, q) => multiply(t[q] as Complex, a[q + 1] as Complex, v, true)),
        write(0, (a[0] as Complex)[0].get, (a[0] as Complex)[1].get),
        range(3).map((q) => write(q + 1, (t[q] as Complex)[0].get, (t[q] as Complex)[1].get)),
      ]
    : [
        read,
        w.map((v, q) => multiply(t[q] as Complex, a[q + 1] as Complex, v, false)),
        butterfly(
          [a[0] as Complex, t[0] as Complex, t[1] as Complex, t[2] as Complex],
          [a[1] as Complex, a[2] as Complex, a[3] as Complex, t[3] as Complex],
          write,
        ),
      ];
  const steps = size / 4;
  return f.finish(
    name,
    loop([
      w.map(([re, im], q) => [
        re.set(v128.load32Splat(twiddles.get, 8 * q)),
        im.set(v128.load32Splat(twiddles.get, 8 * q + 4)),
      ]),
      steps === 1
        ? one
        : [
            left.set(i32.const(steps)),
            loop([one, advance(at, ELEMENT), brIf(0, left.tee(i32.sub(left.get, i32.const(1))))]),
          ],
      advance(at, steps === 1 ? size * ELEMENT : (size - steps) * ELEMENT),
      advance(twiddles, TWIDDLES),
      brIf(0, blocks.tee(i32.sub(blocks.get, i32.const(1)))),
    ]),
  );
}

/** w = e^(2 pi i / 16) for radix 4, e^(2 pi i / 8) for radix 2: the root of the first block's modulus i. */
const firstRoot = (radix: 2 | 4, power: number): readonly [number, number] => {
  const angle = (2 * Math.PI * power) / (4 * radix);
  return [Math.cos(angle), Math.sin(angle)];
};

/**
 * Steps the first and last pass move between rows and blocks at once: a cache line of each row. Rows and their quarters
 * often lie a power of 2 apart and would push each other out of the cache if all advanced together.
 */
const stepsAtOnce = (size: number, radix: number): number => Math.min(16, size / radix);
/** Bytes the first and last pass need for them. */
export const TEMPORARY = 4 * 16 * 16;

/** (row0, row1, row2, row3, to, temporary): the first pass, from four rows of `size` real numbers times `scale`. */
export function firstPassFunction(name: string, size: number, radix: 2 | 4, scale: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32"]);
  const rows = f.params.slice(0, 4);
  const [, , , , to, temporary] = f.params;
  const make: Make = () => f.local("v128");
  const [left, i, at] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const part = size / radix;
  const steps = stepsAtOnce(size, radix);
  const [loaded, pairs, x] = [range(4).map(make), range(4).map(make), range(radix).map(make)];
  const [b, t, zero] = [complexes(make, 3), complexes(make, 4), make()];
  const read = (vector: Code): Code => (scale === 1 ? vector : f32x4.mul(vector, f32x4.const(scale)));
  const gather = range(radix).map((q) => [
    i.set(i32.const(0)),
    forLoop(i, 4 * steps, 16, [
      loaded.map((vector, c) => vector.set(read(v128.load(i32.add((rows[c] as Local).get, i.get), 4 * q * part)))),
      at.set(i32.add(temporary.get, i32.shl(i.get, i32.const(2)))),
      transposed(loaded, pairs).map((column, s) => v128.store(at.get, column, 16 * (steps * q + s))),
    ]),
  ]);
  const write = (m: number, re: Code, im: Code): Code => [
    v128.store(to.get, re, m * part * ELEMENT),
    v128.store(to.get, im, m * part * ELEMENT + 16),
  ];
  const root = (value: Local, into: Complex, power: number): Code =>
    range(2).map((p) => (into[p] as Local).set(times(value, firstRoot(radix, power)[p] as number)));
  const [x0, x1] = x as [Local, Local];
  const [re, im] = b[0] as Complex;
  const split: Code =
    radix === 4
      ? [[1, 2, 3].map((q) => root(x[q] as Local, b[q - 1] as Complex, q)), butterfly([[x0, zero], ...b], t, write)]
      : [root(x1, [re, im], 1), write(0, add(x0, re), im.get), write(1, sub(x0, re), f32x4.neg(im.get))];
  return f.finish(name, [
    left.set(i32.const(part / steps)),
    loop([
      gather,
      i.set(i32.const(0)),
      forLoop(i, 16 * steps, 16, [
        at.set(i32.add(temporary.get, i.get)),
        x.map((value, q) => value.set(v128.load(at.get, 16 * steps * q))),
        split,
        advance(to, ELEMENT),
      ]),
      rows.map((row) => advance(row, 4 * steps)),
      brIf(0, left.tee(i32.sub(left.get, i32.const(1)))),
    ]),
  ]);
}

/** (from, row0, row1, row2, row3, temporary): the inverse of the first pass; its real or imaginary part to four rows. */
export function lastPassFunction(name: string, size: number, radix: 2 | 4, part: "real" | "imaginary"): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32"]);
  const from = f.params[0];
  const rows = f.params.slice(1, 5);
  const temporary = f.params[5];
  const make: Make = () => f.local("v128");
  const [left, i, at] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const span = size / radix;
  const steps = stepsAtOnce(size, radix);
  const [values, pairs] = [range(4).map(make), range(4).map(make)];
  const [r, t] = [complexes(make, 4), complexes(make, 4)];
  const [r0, r1] = r as [Complex, Complex];
  const difference = t[0] as Complex;
  const read = range(radix).map((m) =>
    range(2).map((p) => ((r[m] as Complex)[p] as Local).set(v128.load(from.get, m * span * ELEMENT + 16 * p))),
  );
  const write = (q: number, value: Code): Code => v128.store(at.get, value, 16 * steps * q);
  const p = part === "real" ? 0 : 1;
  /** The part of b * conj(root^power). */
  const unrooted = (b: Complex, power: number): Code => {
    const [re, im] = firstRoot(radix, power);
    return part === "real" ? f32x4.add(times(b[0], re), times(b[1], im)) : f32x4.sub(times(b[1], re), times(b[0], im));
  };
  const join: Code =
    radix === 4
      ? [
          read,
          inverseButterfly(r, t, r),
          write(0, r0[p].get),
          [1, 2, 3].map((q) => write(q, unrooted(r[q] as Complex, q))),
        ]
      : [
          read,
          write(0, add(r0[p], r1[p])),
          range(2).map((q) => (difference[q] as Local).set(sub(r0[q] as Local, r1[q] as Local))),
          write(1, unrooted(difference, 1)),
        ];
  const scatter = range(radix).map((q) => [
    i.set(i32.const(0)),
    forLoop(i, 4 * steps, 16, [
      at.set(i32.add(temporary.get, i32.shl(i.get, i32.const(2)))),
      values.map((value, s) => value.set(v128.load(at.get, 16 * (steps * q + s)))),
      transposed(values, pairs).map((column, c) =>
        v128.store(i32.add((rows[c] as Local).get, i.get), column, 4 * q * span),
      ),
    ]),
  ]);
  return f.finish(name, [
    left.set(i32.const(span / steps)),
    loop([
      i.set(i32.const(0)),
      forLoop(i, 16 * steps, 16, [at.set(i32.add(temporary.get, i.get)), join, advance(from, ELEMENT)]),
      scatter,
      rows.map((row) => advance(row, 4 * steps)),
      brIf(0, left.tee(i32.sub(left.get, i32.const(1)))),
    ]),
  ]);
}

/** (to, x, y, count, accumulate): to = x * y elementwise, or x * conj(y); to += that if `accumulate` is not 0. */
export function productFunction(name: string, conjugate: boolean): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32"]);
  const [to, x, y, count, accumulate] = f.params;
  const make: Make = () => f.local("v128");
  const [a, b, c] = complexes(make, 3) as [Complex, Complex, Complex];
  const read = (into: Complex, from: Local): Code => into.map((part, p) => part.set(v128.load(from.get, 16 * p)));
  const run = (more: boolean): Code =>
    loop([
      read(a, x),
      read(b, y),
      multiply(c, a, b, conjugate),
      c.map((part, p) => v128.store(to.get, more ? f32x4.add(part.get, v128.load(to.get, 16 * p)) : part.get, 16 * p)),
      [to, x, y].map((p) => advance(p, ELEMENT)),
      brIf(0, count.tee(i32.sub(count.get, i32.const(1)))),
    ]);
  return f.finish(name, when(accumulate.get, run(true), run(false)));
}

/** (to, from, count): to += conj(from). */
export function addConjugateFunction(name: string): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, count] = f.params;
  return f.finish(
    name,
    loop([
      v128.store(to.get, f32x4.add(v128.load(to.get), v128.load(from.get))),
      v128.store(to.get, f32x4.sub(v128.load(to.get, 16), v128.load(from.get, 16)), 16),
      advance(to, ELEMENT),
      advance(from, ELEMENT),
      brIf(0, count.tee(i32.sub(count.get, i32.const(1)))),
    ]),
  );
}

/** (to, from, count): adds the four numbers at `from`, times `scale`, to the real parts. */
export function addRealFunction(name: string, scale: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, count] = f.params;
  const value = f.local("v128");
  return f.finish(name, [
    value.set(f32x4.mul(v128.load(from.get), f32x4.const(scale))),
    loop([
      v128.store(to.get, f32x4.add(v128.load(to.get), value.get)),
      advance(to, ELEMENT),
      brIf(0, count.tee(i32.sub(count.get, i32.const(1)))),
    ]),
  ]);
}

/** (to, from): to *= from, `length` numbers each. */
export function gateFunction(name: string, length: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [to, from] = f.params;
  const at = f.local("i32");
  const whole = length - (length % 4);
  const vectors = [
    at.set(i32.const(0)),
    forLoop(at, 4 * whole, 16, [
      v128.store(
        i32.add(to.get, at.get),
        f32x4.mul(v128.load(i32.add(to.get, at.get)), v128.load(i32.add(from.get, at.get))),
      ),
    ]),
  ];
  const rest = range(length - whole).map((k) => {
    const offset = 4 * (whole + k);
    return f32.store(to.get, f32.mul(f32.load(to.get, offset), f32.load(from.get, offset)), offset);
  });
  return f.finish(name, [whole > 0 ? vectors : [], rest]);
}

/** (from, to): copies `length` numbers, then zeros up to `padded`. */
export function stageInFunction(name: string, length: number, padded: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [from, to] = f.params;
  return f.finish(name, [
    memory.copy(to.get, from.get, i32.const(4 * length)),
    memory.fill(i32.add(to.get, i32.const(4 * length)), i32.const(0), i32.const(4 * (padded - length))),
  ]);
}

/** (from, to): copies the first `count` numbers. */
export function stageOutFunction(name: string, count: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [from, to] = f.params;
  return f.finish(name, memory.copy(to.get, from.get, i32.const(4 * count)));
}
