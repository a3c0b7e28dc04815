import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { cosine, realSignal } from "./fourier.js";
import { hostRandom } from "./host-random.js";
import { whiteSignal } from "./white-signal.js";

test("the cosine is the cosine", () => {
  for (let k = -40; k <= 40; k++) expect(cosine(k / 17)).toBeCloseTo(Math.cos((2 * Math.PI * k) / 17), 14);
});

test.each([2, 6, 10, 16, 30, 44])("a real signal of %d values is the sum of its waves", (n) => {
  const half = n / 2;
  const re = Float64Array.from({ length: half + 1 }, (_, k) => Math.sin(3 * k + 1));
  const im = Float64Array.from({ length: half + 1 }, (_, k) => (k % half === 0 ? 0 : Math.cos(5 * k)));
  const signal = realSignal(re, im);
  for (let t = 0; t < n; t++) {
    let sum = 0;
    for (let k = 0; k <= half; k++) {
      const angle = (2 * Math.PI * k * t) / n;
      sum += (k % half === 0 ? 1 : 2) * (re[k]! * Math.cos(angle) - im[k]! * Math.sin(angle));
    }
    expect(signal[t]).toBeCloseTo(sum / n, 12);
  }
});

test("noise starts at 0, has the power asked for, and no frequency above the limit", () => {
  const [length, dt, frequency] = [200, 0.01, 10];
  let power = 0;
  for (let seed = 0; seed < 200; seed++) {
    const signal = whiteSignal(hostRandom(key(seed)), { length, dt, frequency, rms: 0.5 });
    expect(signal[0]).toBe(0);
    const mean = signal.reduce((total, x) => total + x, 0) / length;
    power += signal.reduce((total, x) => total + (x - mean) ** 2, 0) / length;
    if (seed > 2) continue;
    for (let k = 21; k <= length / 2; k++) {
      let [re, im] = [0, 0];
      signal.forEach((x, t) => {
        re += x * Math.cos((2 * Math.PI * k * t) / length);
        im += x * Math.sin((2 * Math.PI * k * t) / length);
      });
      expect(Math.hypot(re, im)).toBeLessThan(1e-9);
    }
  }
  // 20 of 100 coefficients carry the power of all: 0.25, of which the correction for those cut off (with the constant one) misses a twentieth.
  expect(Math.abs(power / 200 - 0.25)).toBeLessThan(0.025);
  expect(() => whiteSignal(hostRandom(key(0)), { length, dt, frequency: 51, rms: 0.5 })).toThrow("Nyquist");
  expect(() => whiteSignal(hostRandom(key(0)), { length, dt, frequency: 0.4, rms: 0.5 })).toThrow("one period");
});
