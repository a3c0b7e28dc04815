/**
 * Mathematical functions in WGSL. The language lets a device compute its own exp, log, sin, tanh and so on with errors of
 * many units in the last place; these are the polynomials of the CPU device, with the same bounds (a few units), whatever the adapter.
 *
 * A device may assume that no value is NaN or infinite; no adapter met so far does so for these forms: NaN is told
 * by its bits, and bounds are applied by comparisons that a NaN fails, so that it passes through.
 */
const sources: Readonly<Record<string, { readonly uses?: readonly string[]; readonly text: string }>> = {
  isNan: { text: `fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }` },
  // const expressions may be neither infinite nor NaN; a let is no const expression
  fromBits: { text: `fn fromBits(bits: u32) -> f32 { let b = bits; return bitcast<f32>(b); }` },
  bounded: {
    text: `fn bounded(x: f32, lo: f32, hi: f32) -> f32 { return select(select(x, lo, x < lo), hi, x > hi); }`,
  },
  minimum: {
    uses: ["isNan"],
    text: `fn minimum(x: f32, y: f32) -> f32 { return select(select(y, x, x < y), x + y, isNan(x) | isNan(y)); }`,
  },
  maximum: {
    uses: ["isNan"],
    text: `fn maximum(x: f32, y: f32) -> f32 { return select(select(y, x, x > y), x + y, isNan(x) | isNan(y)); }`,
  },
  // Compilers make 0 of x * 0, 0 / x and x / infinity; these tell by the bits where that is NaN. The sign is that of x
  timesZero: {
    text: `fn timesZero(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return bitcast<f32>(select(bits & 0x80000000u, 0x7fc00000u, (bits & 0x7fffffffu) >= 0x7f800000u));
}`,
  },
  zeroOver: {
    text: `fn zeroOver(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  return bitcast<f32>(select(bits & 0x80000000u, 0x7fc00000u, (size == 0u) | (size > 0x7f800000u)));
}`,
  },
  // WGSL's own conversion ends at the largest f32 number below 2^31, and may make anything of NaN
  toInteger: {
    uses: ["isNan"],
    text: `fn toInteger(x: f32) -> i32 { return select(select(i32(x), 2147483647, x >= 2147483648.0), 0, isNan(x)); }`,
  },
  // WGSL leaves it to devices how they convert to f16, in packing too; this is to the nearest, of two the even one
  roundToHalf: {
    text: `fn roundToHalf(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  let small = bitcast<u32>(round(bitcast<f32>(size) * 16777216.0) * 5.9604644775390625e-8);
  let normal = (size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u;
  let nearest = select(select(normal, 0x7f800000u, normal >= 0x47800000u), small, size < 0x38800000u);
  return bitcast<f32>((bits & 0x80000000u) | select(nearest, size, size > 0x7f800000u));
}`,
  },
  powerOfTwo: { text: `fn powerOfTwo(n: f32) -> f32 { return bitcast<f32>((i32(n) + 127) << 23u); }` },
  // x - n ln 2 in two parts, the first exact
  withoutLn2: { text: `fn withoutLn2(x: f32, n: f32) -> f32 { return (x - n * 0.693359375) - n * -2.12194440e-4; }` },
  // n = floor(x / ln 2): 2^n is infinite just where exp overflows and 0 where it underflows
  exp_: {
    uses: ["bounded", "powerOfTwo", "withoutLn2"],
    text: `fn exp_(x: f32) -> f32 {
  let c = bounded(x, -87.5, 89.0);
  let n = floor(c * 1.44269504);
  let r = withoutLn2(c, n);
  let q = (((0.0019126614788547158 * r + 0.007868134416639805) * r + 0.04185515642166138) * r + 0.16663187742233276) * r + 0.5000022649765015;
  return (q * r * r + r + 1.0) * powerOfTwo(n);
}`,
  },
  sigmoid_: { uses: ["exp_"], text: `fn sigmoid_(x: f32) -> f32 { return 1.0 / (1.0 + exp_(-x)); }` },
  // e^(x - n ln 2) - 1 for n = round(x / ln 2)
  reducedExpm1: {
    uses: ["withoutLn2"],
    text: `fn reducedExpm1(x: f32, n: f32) -> f32 {
  let r = withoutLn2(x, n);
  let p = (((0.0013882486382499337 * r + 0.008366705849766731) * r + 0.04166720435023308) * r + 0.16666541993618011) * r + 0.4999999701976776;
  return p * r * r + r;
}`,
  },
  // 2^(n-1), as 2^128 is infinite: 2 (2^(n-1) q + (2^(n-1) - 1/2))
  expm1_: {
    uses: ["bounded", "powerOfTwo", "reducedExpm1"],
    text: `fn expm1_(x: f32) -> f32 {
  let c = bounded(x, -25.0, 89.0);
  let n = round(c * 1.44269504);
  let half = powerOfTwo(n - 1.0);
  let t = half * reducedExpm1(c, n) + (half - 0.5);
  return t + t;
}`,
  },
  // (e^2x - 1) / (e^2x + 1)
  tanh_: {
    uses: ["bounded", "powerOfTwo", "reducedExpm1"],
    text: `fn tanh_(x: f32) -> f32 {
  let c = bounded(x + x, -20.0, 20.0);
  let n = round(c * 1.44269504);
  let scale = powerOfTwo(n);
  let t = scale * reducedExpm1(c, n) + (scale - 1.0);
  return t / (t + 2.0);
}`,
  },
  // e of x = 2^e m with m in [sqrt(1/2), sqrt(2))
  exponentOf: { text: `fn exponentOf(x: f32) -> i32 { return (bitcast<i32>(x) - 0x3f3504f3) >> 23u; }` },
  // e ln 2 + log(1 + f)
  logOfParts: {
    text: `fn logOfParts(e: f32, f: f32) -> f32 {
  let p = ((((((-0.07635654509067535 * f + 0.12763327360153198) * f - 0.1316058188676834) * f + 0.14201553165912628) * f - 0.16623298823833466) * f + 0.20001234114170074) * f - 0.250008225440979) * f + 0.3333333134651184;
  let z = f * f;
  let y = f * z * p + e * -2.12194440e-4;
  return (f + (y - z * 0.5)) + e * 0.693359375;
}`,
  },
  // zeros and denormals give -infinity, negative numbers NaN, infinity and NaN themselves
  logSpecial: {
    uses: ["fromBits"],
    text: `fn logSpecial(result: f32, x: f32) -> f32 {
  let bits = bitcast<i32>(x);
  if (bits >= 0x7f800000) { return x; }
  if (bits >= 0x00800000) { return result; }
  return select(fromBits(0x7fc00000u), fromBits(0xff800000u), (bits & 0x7fffffff) < 0x00800000);
}`,
  },
  log_: {
    uses: ["exponentOf", "logOfParts", "logSpecial"],
    text: `fn log_(x: f32) -> f32 {
  let e = exponentOf(x);
  let f = bitcast<f32>(bitcast<i32>(x) - (e << 23u)) - 1.0;
  return logSpecial(logOfParts(f32(e), f), x);
}`,
  },
  // near 0, twice the series of atanh(x / (2 + x)): correcting the rounding error of 1 + x does not survive compilers, which
  // find (1 + x) - 1 to be x
  log1p_: {
    uses: ["log_"],
    text: `fn log1p_(x: f32) -> f32 {
  if (!(abs(x) < 0.4)) { return log_(1.0 + x); }
  let s = x / (2.0 + x);
  let z = s * s;
  let p = ((((0.0909090909 * z + 0.111111111) * z + 0.142857143) * z + 0.2) * z + 0.333333333) * z;
  return 2.0 * (s * p + s);
}`,
  },
  // max(x, 0) + log(1 + e), e = e^-|x|. Whole powers of two are split off so that the exponent's rounding does not matter;
  // log(1 + e) is e times a polynomial in e, fitted by Chebyshev interpolation. NaN would be lost in the minimum
  softplus_: {
    uses: ["isNan", "powerOfTwo", "withoutLn2"],
    text: `fn softplus_(x: f32) -> f32 {
  let t = -min(abs(x), 87.0);
  let n = floor(t * 1.44269504);
  let e = exp2(withoutLn2(t, n) * 1.44269504) * powerOfTwo(n);
  let y = max(x, 0.0) + e * (((((((((-0.00325637846 * e + 0.0199071616) * e - 0.0570642017) * e + 0.106142648) * e - 0.153118625) * e + 0.196781173) * e - 0.249545589) * e + 0.333300054) * e - 0.499999046) * e + 1.0);
  return select(y, x, isNan(x));
}`,
  },
  // the remainder of x by pi / 2 and the quadrant. Small angles: pi / 2 in three parts. Large ones: the product with the
  // bits of 2 / pi that matter, in integers (Payne and Hanek 1983)
  quarterTurns: {
    uses: ["fromBits"],
    text: `// bits of 2 / pi, 32 at a time, after 32 zeros
fn twoOverPi(word: u32) -> u32 {
  switch (word) {
    case 1u: { return 0xa2f9836eu; }
    case 2u: { return 0x4e441529u; }
    case 3u: { return 0xfc2757d1u; }
    case 4u: { return 0xf534ddc0u; }
    case 5u: { return 0xdb629599u; }
    case 6u: { return 0x3c439041u; }
    default: { return 0u; }
  }
}
struct Angle { rest: f32, quadrant: i32 }
fn quarterTurns(x: f32) -> Angle {
  if (abs(x) <= 8192.0) {
    let n = round(x * 0.636619772);
    return Angle(((x - n * 1.5703125) - n * 4.837512969970703125e-4) - n * 7.549789948768648e-8, i32(n));
  }
  let bits = bitcast<u32>(x);
  let exponent = i32((bits >> 23u) & 255u) - 150;
  if (exponent > 104) { return Angle(fromBits(0x7fc00000u), 0); }
  let m = (bits & 0x7fffffu) | 0x800000u;
  let first = u32(exponent + 30);
  let word = first >> 5u;
  let shift = first & 31u;
  let bits0 = twoOverPi(word);
  let bits1 = twoOverPi(word + 1u);
  let bits2 = twoOverPi(word + 2u);
  let high = (bits0 << shift) | ((bits1 >> 1u) >> (31u - shift));
  let low = (bits1 << shift) | ((bits2 >> 1u) >> (31u - shift));
  // m times high and low as one number of 64 bits: two for the quadrant, then the fraction
  let p00 = (m & 0xffffu) * (low & 0xffffu);
  let p01 = (m & 0xffffu) * (low >> 16u);
  let p10 = (m >> 16u) * (low & 0xffffu);
  let middle = (p00 >> 16u) + (p01 & 0xffffu) + (p10 & 0xffffu);
  let carried = (m >> 16u) * (low >> 16u) + (p01 >> 16u) + (p10 >> 16u) + (middle >> 16u);
  let top = m * high + carried;
  let quadrant = (top + 0x20000000u) >> 30u;
  let fraction = f32(bitcast<i32>(top - (quadrant << 30u))) + f32(m * low) * 2.3283064365386963e-10;
  let rest = fraction * 1.4629180792671596e-9;
  let negative = bits >> 31u != 0u;
  return Angle(select(rest, -rest, negative), select(i32(quadrant), -i32(quadrant), negative));
}`,
  },
  sineOf: {
    uses: ["quarterTurns"],
    text: `fn sineOf(x: f32, turned: i32) -> f32 {
  let angle = quarterTurns(x);
  let r = angle.rest;
  let quadrant = angle.quadrant + turned;
  let z = r * r;
  let sine = ((-0.0001951463200384751 * z + 0.008332155644893646) * z - 0.16666655242443085) * z * r + r;
  let cosine = (((2.443241282890085e-5 * z - 0.0013887309469282627) * z + 0.04166664555668831) * z * z - z * 0.5) + 1.0;
  let value = select(sine, cosine, (quadrant & 1) != 0);
  return select(value, -value, (quadrant & 2) != 0);
}`,
  },
  sin_: { uses: ["sineOf"], text: `fn sin_(x: f32) -> f32 { return sineOf(x, 0); }` },
  cos_: { uses: ["sineOf"], text: `fn cos_(x: f32) -> f32 { return sineOf(x, 1); }` },
  // x + x P(x^2) for |x| <= 0.92; beyond, 1 - e^P(|x|) with the sign of x
  erf_: {
    uses: ["exp_"],
    text: `fn erf_(x: f32) -> f32 {
  let a = abs(x);
  let t = select(a, 4.0, a > 4.0);
  let z = t * t;
  let small = ((((-5.96761703e-4 * z + 4.99119423e-3) * z - 2.67681349e-2) * z + 1.12819925e-1) * z - 3.76125336e-1) * z + 1.28379166e-1;
  let tail = (((((-1.7285347e-5 * t + 3.83197126e-4) * t - 3.88396438e-3) * t + 2.42546219e-2) * t - 1.06777877e-1) * t - 6.34846687e-1) * t - 1.28717512e-1;
  let large = 1.0 - exp_(tail * t - t);
  return select(small * x + x, select(large, -large, x < 0.0), t > 0.921875);
}`,
  },
  // angles of an eighth of a turn on either side: 0, pi/4 or pi/2 and the angle of what is left (Moshier, Cephes)
  atan_: {
    text: `fn atan_(x: f32) -> f32 {
  let a = abs(x);
  let steep = a > 2.414213562373095;
  let middle = a > 0.4142135623730951;
  let r = select(select(a, (a - 1.0) / (a + 1.0), middle), -1.0 / a, steep);
  let base = select(select(0.0, 0.7853981633974483, middle), 1.5707963267948966, steep);
  let z = r * r;
  let p = ((0.0805374449538 * z - 0.138776856032) * z + 0.199777106478) * z - 0.333329491539;
  let angle = base + (p * z * r + r);
  return bitcast<f32>(bitcast<u32>(angle) | (bitcast<u32>(x) & 0x80000000u));
}`,
  },
};

/** The name of the function of an intrinsic, or undefined if it has none here: operators and some others are in values.ts. */
export const functionOf = (intrinsic: string): string | undefined =>
  [`${intrinsic}_`, intrinsic].find((name) => Object.hasOwn(sources, name));

/** The text of the named functions and of those they call, each once, callees first. */
export function functionTexts(names: Iterable<string>): string {
  const done = new Set<string>();
  const visit = (name: string): void => {
    if (done.has(name)) return;
    sources[name]!.uses?.forEach(visit);
    done.add(name);
  };
  for (const name of names) visit(name);
  return [...done].map((name) => `${sources[name]!.text}\n`).join("");
}
