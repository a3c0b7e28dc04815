/**
 * Transcendental functions of f32x4 vectors, emitted inline.
 *
 * Each function takes several vectors and computes them side by side, one operation of all of them after
 * the other, so that their latencies overlap. No table, no call, no fused multiply-add. Largest errors
 * found (`vector-math.test.ts`; in units in the last place of the float32 result):
 *
 *     exp 1.3   log 0.9   expm1 1.6   log1p 1.4   tanh 2.5   sigmoid 2.3   erf 1.2
 *     atan 2.0
 *     sin, cos 1.5, or 1e-9 absolute where that is larger, for |x| <= 1000
 *
 * NaN gives NaN. exp flushes results below the smallest normal number (1.18e-38) to zero; log takes denormal
 * arguments for zero. sin and cos switch to a reduction in float64 when any |x| > 8192, good to 3e-7 up to
 * 1e9, and stay within [-1, 1] beyond.
 */
import { f32x4, f64x2, i32x4, shuffle32, v128, when, type Code, type Local } from "./emitter.js";
import { multiplyAdd } from "./multiply-add.js";
import type { Scratch, Vectors } from "./scratch.js";

/** Name of an intrinsic that has code here. */
export type VectorFunction = keyof typeof functions;

/** Appends results[k] = name(x[k]) to the statements. */
export function emitVectorFunction(s: Scratch, name: string, x: Vectors, results: readonly Local[]): void {
  const used = s.used;
  const emit = (functions as Readonly<Record<string, (s: Scratch, x: Vectors) => Vectors>>)[name];
  if (!emit)
    throw new TypeError(
      `cpu: expected WebAssembly for the intrinsic ${name}, got none; write it in packages/tensor/src/devices/cpu/wasm/vector-math.ts (one instruction: in devices/cpu/loops/intrinsics.ts)`,
    );
  const values = emit(s, x);
  results.forEach((result, k) => s.body.push(result.set(values[k] as Code)));
  s.used = used;
}

/** Keeps compute(a[k], b[k], ...) of every vector k in a temporary local. */
function each<Args extends readonly Vectors[]>(
  s: Scratch,
  compute: (...parts: { [K in keyof Args]: Code }) => Code,
  ...args: Args
): Vectors {
  return (args[0] as Vectors).map((_, k) => {
    const local = s.temporaries[s.used] ?? s.local("v128");
    s.temporaries[s.used++] = local;
    s.body.push(local.set(compute(...(args.map((arg) => arg[k]) as { [K in keyof Args]: Code }))));
    return local.get;
  });
}

/** coefficients[0] x^n + ... + coefficients[n], by Horner's rule. */
function polynomial(
  s: Scratch,
  x: Vectors,
  coefficients: readonly number[],
  step: (x: Code, y: Code, z: Code) => Code = multiplyAdd,
): Vectors {
  const [first, second, ...rest] = coefficients.map((c) => f32x4.const(c)) as [Code, Code, ...Code[]];
  let sum = each(s, (x) => step(x, first, second), x);
  for (const c of rest) sum = each(s, (p, x) => step(p, x, c), sum, x);
  return sum;
}

const { add, sub, mul, div } = f32x4;
const one = f32x4.const(1);
const LOG2E = f32x4.const(Math.LOG2E);
// ln 2 = HI + LO; HI has 12 bits, so that an exponent times HI is exact.
const LN2_HI = f32x4.const(0.693359375);
const LN2_LO = f32x4.const(-2.1219444e-4);
/** 1.5 * 2^23 + 127: its sum with an integer n has n + 127 in its lowest bits, which shifted left by 23 give 2^n. */
const EXPONENT_MAGIC = f32x4.const(12582912 + 127);
/** pmin and pmax with the constant second keep a NaN. */
const clamp = (x: Code, lo: number, hi: number): Code => f32x4.pmin(f32x4.pmax(x, f32x4.const(lo)), f32x4.const(hi));
const powerOfTwo = (n: Code, magic = EXPONENT_MAGIC): Code => i32x4.shl(add(n, magic), [0x41, 23]);
/** x - n ln 2. */
const reduceLn2 = (x: Code, n: Code): Code => sub(sub(x, mul(n, LN2_HI)), mul(n, LN2_LO));

/** x in [-87.5, 89] or NaN. n = floor(x / ln 2), so that 2^n is infinite just where exp overflows and 0 where it underflows. */
function exponential(s: Scratch, x: Vectors): Vectors {
  const n = each(s, (x) => f32x4.floor(mul(x, LOG2E)), x);
  const r = each(s, reduceLn2, x, n);
  const q = polynomial(
    s,
    r,
    [0.0019126614788547158, 0.007868134416639805, 0.04185515642166138, 0.16663187742233276, 0.5000022649765015],
    // The coefficients were found for steps that round twice.
    (x, y, z) => add(mul(x, y), z),
  );
  const p = each(s, (q, r) => add(add(mul(mul(q, r), r), r), one), q, r);
  return each(s, (p, n) => mul(p, powerOfTwo(n)), p, n);
}

function exp(s: Scratch, x: Vectors): Vectors {
  return exponential(
    s,
    each(s, (x) => clamp(x, -87.5, 89), x),
  );
}

function sigmoid(s: Scratch, x: Vectors): Vectors {
  const e = exponential(
    s,
    each(s, (x) => clamp(f32x4.neg(x), -87.5, 89), x),
  );
  return each(s, (e) => div(one, add(one, e)), e);
}

/** n = round(x / ln 2) and e^(x - n ln 2) - 1. */
function reducedExpm1(s: Scratch, x: Vectors): { n: Vectors; q: Vectors } {
  const n = each(s, (x) => f32x4.nearest(mul(x, LOG2E)), x);
  const r = each(s, reduceLn2, x, n);
  const p = polynomial(
    s,
    r,
    [0.0013882486382499337, 0.008366705849766731, 0.04166720435023308, 0.16666541993618011, 0.4999999701976776],
  );
  return { n, q: each(s, (p, r) => add(mul(mul(p, r), r), r), p, r) };
}

function expm1(s: Scratch, x: Vectors): Vectors {
  const { n, q } = reducedExpm1(
    s,
    each(s, (x) => clamp(x, -25, 89), x),
  );
  // 2^(n-1), as 2^128 is infinite: 2 (2^(n-1) q + (2^(n-1) - 1/2)).
  const half = each(s, (n) => powerOfTwo(n, f32x4.const(12582912 + 126)), n);
  const t = each(s, (h, q) => add(mul(h, q), sub(h, f32x4.const(0.5))), half, q);
  return each(s, (t) => add(t, t), t);
}

/** e^2x - 1 over e^2x + 1. */
function tanh(s: Scratch, x: Vectors): Vectors {
  const { n, q } = reducedExpm1(
    s,
    each(s, (x) => clamp(add(x, x), -20, 20), x),
  );
  const scale = each(s, (n) => powerOfTwo(n), n);
  const t = each(s, (p, q) => add(mul(p, q), sub(p, one)), scale, q);
  return each(s, (t) => div(t, add(t, f32x4.const(2))), t);
}

/** The exponent e of x = 2^e m with m in [sqrt(1/2), sqrt(2)), as integers. */
const exponentOf = (x: Code): Code => i32x4.shrS(i32x4.sub(x, i32x4.const(0x3f3504f3)), [0x41, 23]);

/** e ln 2 + log(1 + f). */
function logOfParts(s: Scratch, e: Vectors, f: Vectors): Vectors {
  const p = polynomial(
    s,
    f,
    [
      -0.07635654509067535, 0.12763327360153198, -0.1316058188676834, 0.14201553165912628, -0.16623298823833466,
      0.20001234114170074, -0.250008225440979, 0.3333333134651184,
    ],
  );
  const z = each(s, (f) => mul(f, f), f);
  const ef = each(s, (e) => f32x4.convertI32x4(e), e);
  const y = each(s, (p, f, z, e) => add(mul(mul(f, z), p), mul(e, LN2_LO)), p, f, z, ef);
  const t = each(s, (y, z) => sub(y, mul(z, f32x4.const(0.5))), y, z);
  return each(s, (t, f, e) => add(add(f, t), mul(e, LN2_HI)), t, f, ef);
}

/** `result` where x is positive, normal and finite; else the logarithm of 0, infinity, a negative number or NaN. */
function logSpecial(s: Scratch, result: Vectors, x: Vectors): Vectors {
  // As integers, zeros, denormals, negative numbers and negative NaNs are below the smallest normal number.
  const low = each(
    s,
    (r, x) =>
      v128.bitselect(
        v128.or(f32x4.const(-Infinity), v128.not(f32x4.ge(x, f32x4.const(0)))),
        r,
        i32x4.ltS(x, i32x4.const(0x00800000)),
      ),
    result,
    x,
  );
  return each(s, (r, x) => v128.bitselect(x, r, i32x4.geS(x, i32x4.const(0x7f800000))), low, x);
}

function log(s: Scratch, x: Vectors): Vectors {
  const e = each(s, exponentOf, x);
  const f = each(s, (x, e) => sub(i32x4.sub(x, i32x4.shl(e, [0x41, 23])), one), x, e);
  return logSpecial(s, logOfParts(s, e, f), x);
}

/** log(u) for u = 1 + x, with the rounding error c of u added back to its mantissa. */
function log1p(s: Scratch, x: Vectors): Vectors {
  const u = each(s, (x) => add(x, one), x);
  const c = each(s, (x, u) => sub(x, sub(u, one)), x, u);
  const e = each(s, exponentOf, u);
  // 2^-e; where e = 128 it would not be finite, and c is 0.
  const scale = each(s, (e) => i32x4.shl(i32x4.sub(i32x4.const(127), i32x4.minS(e, i32x4.const(126))), [0x41, 23]), e);
  const f = each(
    s,
    (u, e, c, scale) => add(sub(i32x4.sub(u, i32x4.shl(e, [0x41, 23])), one), mul(c, scale)),
    u,
    e,
    c,
    scale,
  );
  return logSpecial(s, logOfParts(s, e, f), u);
}

// pi / 2 in parts of 8, 11 and 24 bits: n times either of the first two is exact for |n| <= 2^13.
const HALF_PI = [1.5703125, 4.837512969970703125e-4, 7.549789948768648e-8].map((p) => f32x4.const(p)) as [
  Code,
  Code,
  Code,
];
/** Beyond, the reduction needs float64. */
const FAST_ANGLE = 8192;

/** sin(x + quadrant pi / 2). */
function sine(s: Scratch, x: Vectors, quadrant: 0 | 1): Vectors {
  const n = each(s, (x) => f32x4.nearest(mul(x, f32x4.const(2 / Math.PI))), x);
  const r = each(s, (x, n) => sub(sub(sub(x, mul(n, HALF_PI[0])), mul(n, HALF_PI[1])), mul(n, HALF_PI[2])), x, n);
  // The quadrant, in the two lowest bits.
  const q = each(s, (n) => add(n, f32x4.const(12582912 + quadrant)), n);
  reduceLargeAngles(s, x, r, q, quadrant);
  const z = each(s, (r) => mul(r, r), r);
  const sp = polynomial(s, z, [-0.0001951463200384751, 0.008332155644893646, -0.16666655242443085]);
  const cp = polynomial(s, z, [2.443241282890085e-5, -0.0013887309469282627, 0.04166664555668831]);
  const sin = each(s, (p, z, r) => add(mul(mul(p, z), r), r), sp, z, r);
  const cos = each(s, (p, z) => add(sub(mul(mul(p, z), z), mul(z, f32x4.const(0.5))), one), cp, z);
  const odd = each(s, (q) => i32x4.shrS(i32x4.shl(q, [0x41, 31]), [0x41, 31]), q);
  const value = each(s, (sin, cos, odd) => v128.bitselect(cos, sin, odd), sin, cos, odd);
  return each(s, (v, q) => v128.xor(v, i32x4.shl(v128.and(q, i32x4.const(2)), [0x41, 30])), value, q);
}

/** Overwrites the locals behind `r` and `q` in float64 if any angle of these vectors is large (or infinite). */
function reduceLargeAngles(s: Scratch, x: Vectors, r: Vectors, q: Vectors, quadrant: number): void {
  const outside = x.map((x) => f32x4.gt(f32x4.abs(x), f32x4.const(FAST_ANGLE))).reduce((a, b) => v128.or(a, b));
  const assign = (local: Code, value: Code): Code => [value, 0x21, ...local.slice(1)]; // local.get -> local.set
  const before = s.body;
  const used = s.used;
  s.body = [];
  const halves = (
    [
      [0, 1],
      [2, 3],
    ] as const
  ).map(([a, b]) => {
    const wide = each(s, (x) => f64x2.promoteLowF32x4(shuffle32(x, x, a, b, a, b)), x);
    const n = each(s, (x) => f64x2.nearest(f64x2.mul(x, f64x2.const(2 / Math.PI))), wide);
    // pi / 2 in parts of 33 and 53 bits; the remainder of an angle too large even for them stays bounded.
    const rest = each(
      s,
      (x, n) =>
        f32x4.demoteF64x2Zero(
          f64x2.sub(
            f64x2.sub(x, f64x2.mul(n, f64x2.const(1.57079632673412561417))),
            f64x2.mul(n, f64x2.const(6.07710050650619224932e-11)),
          ),
        ),
      wide,
      n,
    );
    const bounded = each(s, (r) => clamp(r, -0.8, 0.8), rest);
    return { r: bounded, q: each(s, (n) => f64x2.add(n, f64x2.const(6755399441055744 + quadrant)), n) };
  }) as [{ r: Vectors; q: Vectors }, { r: Vectors; q: Vectors }];
  const slow = [
    ...s.body,
    ...r.map((local, k) => assign(local, shuffle32(halves[0].r[k] as Code, halves[1].r[k] as Code, 0, 1, 4, 5))),
    ...q.map((local, k) => assign(local, shuffle32(halves[0].q[k] as Code, halves[1].q[k] as Code, 0, 2, 4, 6))),
  ];
  s.body = before;
  s.used = used;
  s.body.push(when(v128.anyTrue(outside), slow));
}

/** x + x P(x^2) for |x| <= 0.92; beyond, 1 - e^P(|x|) with the sign of x. */
function erf(s: Scratch, x: Vectors): Vectors {
  const t = each(s, (x) => f32x4.pmin(f32x4.abs(x), f32x4.const(4)), x);
  const z = each(s, (x) => mul(x, x), x);
  const small = polynomial(
    s,
    z,
    [-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1],
  );
  const tail = polynomial(
    s,
    t,
    [-1.7285347e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1],
  );
  const e = exponential(
    s,
    each(s, (p, t) => sub(mul(p, t), t), tail, t),
  );
  const large = each(s, (e, x) => v128.or(sub(one, e), v128.and(x, i32x4.const(-0x80000000))), e, x);
  return each(
    s,
    (small, large, x, t) => v128.bitselect(large, add(mul(small, x), x), f32x4.gt(t, f32x4.const(0.921875))),
    small,
    large,
    x,
    t,
  );
}

// Angles of an eighth of a turn on either side: 0, pi/4 or pi/2 and the angle of what is left (Moshier, Cephes).
function atan(s: Scratch, x: Vectors): Vectors {
  const sign = i32x4.const(-0x80000000);
  const a = each(s, (x) => f32x4.abs(x), x);
  const steep = each(s, (a) => f32x4.gt(a, f32x4.const(2.414213562373095)), a);
  const middle = each(s, (a) => f32x4.gt(a, f32x4.const(0.4142135623730951)), a);
  const r = each(
    s,
    (a, steep, middle) =>
      v128.bitselect(div(f32x4.const(-1), a), v128.bitselect(div(sub(a, one), add(a, one)), a, middle), steep),
    a,
    steep,
    middle,
  );
  const base = each(
    s,
    (steep, middle) => v128.bitselect(f32x4.const(Math.PI / 2), v128.and(f32x4.const(Math.PI / 4), middle), steep),
    steep,
    middle,
  );
  const z = each(s, (r) => mul(r, r), r);
  const p = polynomial(s, z, [0.0805374449538, -0.138776856032, 0.199777106478, -0.333329491539]);
  const angle = each(s, (p, z, r, base) => add(base, add(mul(mul(p, z), r), r)), p, z, r, base);
  return each(s, (angle, x) => v128.or(angle, v128.and(x, sign)), angle, x);
}

const functions = {
  exp,
  log,
  expm1,
  log1p,
  tanh,
  sigmoid,
  erf,
  atan,
  sin: (s, x) => sine(s, x, 0),
  cos: (s, x) => sine(s, x, 1),
} satisfies Record<string, (s: Scratch, x: Vectors) => Vectors>;
