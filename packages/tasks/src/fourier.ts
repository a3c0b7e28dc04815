/** Fourier sums on the host by exact arithmetic alone, so that signals made with them are the same on every machine. */

/**
 * The real signal of n = 2 (length - 1) values whose Fourier coefficients 0 .. n/2 are given, scaled by 1/n (numpy's `irfft`).
 * @param im The imaginary parts of coefficients 0 and n/2 are not used.
 */
export function realSignal(re: Float64Array, im: Float64Array): Float64Array {
  const half = re.length - 1;
  const n = 2 * half;
  const whole = [new Float64Array(n), new Float64Array(n)] as const;
  for (let k = 0; k <= half; k++) {
    const twin = (n - k) % n;
    whole[0][k] = whole[0][twin] = re[k]!;
    // Conjugates, with the sign of a sum of exp(-2 pi i j k / n).
    if (k % half !== 0) [whole[1][k], whole[1][twin]] = [-im[k]!, im[k]!];
  }
  const [values] = transform(whole, rootsOfUnity(n), 1);
  return values.map((value) => value / n);
}

type Complex = readonly [re: Float64Array, im: Float64Array];

/** sum_j x_j exp(-2 pi i j k / n), by the smallest prime factor of n first (Cooley and Tukey, 1965). */
function transform([re, im]: Complex, roots: Complex, stride: number): Complex {
  const n = re.length;
  if (n === 1) return [re, im];
  const p = smallestFactor(n);
  const m = n / p;
  const parts = Array.from({ length: p }, (_, r) => transform([every(re, r, p), every(im, r, p)], roots, stride * p));
  const out: Complex = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++)
    for (let r = 0; r < p; r++) {
      const [x, y] = parts[r]!;
      const turn = ((r * k) % n) * stride;
      const [c, s] = [roots[0][turn]!, -roots[1][turn]!];
      out[0][k]! += c * x[k % m]! - s * y[k % m]!;
      out[1][k]! += c * y[k % m]! + s * x[k % m]!;
    }
  return out;
}

const every = (values: Float64Array, first: number, step: number): Float64Array =>
  Float64Array.from({ length: values.length / step }, (_, k) => values[first + k * step]!);

function smallestFactor(n: number): number {
  for (let p = 2; p * p <= n; p++) if (n % p === 0) return p;
  return n;
}

/** exp(2 pi i k / n) for k in 0 .. n-1. */
function rootsOfUnity(n: number): Complex {
  return [
    Float64Array.from({ length: n }, (_, k) => cosine(k / n)),
    Float64Array.from({ length: n }, (_, k) => cosine(k / n - 0.25)),
  ];
}

/** cos(2 pi turns) by its power series near 0: `Math.cos` may differ in its last bits between engines. */
export function cosine(turns: number): number {
  let rest = Math.abs(turns - Math.round(turns));
  if (rest > 0.25) return -cosine(0.5 - rest);
  if (rest > 0.125) {
    // cos(2x) = 2 cos(x)^2 - 1
    rest /= 2;
    const half = cosine(rest);
    return 2 * half * half - 1;
  }
  const square = (2 * Math.PI * rest) ** 2;
  let sum = 1;
  for (let k = 12; k > 0; k--) sum = 1 - (square / (2 * k * (2 * k - 1))) * sum;
  return sum;
}
