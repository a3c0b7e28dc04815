import { expect, test } from "vitest";
import { autoregressive, mackeyGlass } from "./index.js";
import { draw } from "./testing/examples.js";

test("Mackey-Glass: targets are the inputs ahead, and the series follows its equation and its range", async () => {
  for (const { inputs, targets } of await draw(mackeyGlass({ L: 400, ahead: 15 }), 6)) {
    expect(targets.slice(0, 385)).toEqual(inputs.slice(15));
    const x = inputs.map((value) => Math.atanh(value) + 1);
    expect(Math.min(...x)).toBeGreaterThan(0.2);
    expect(Math.max(...x)).toBeLessThan(1.45);
    expect(Math.max(...x) - Math.min(...x)).toBeGreaterThan(0.5);
    // Over one unit of time the change is the mean slope, to the error of so coarse a look at it.
    for (let t = 30; t < 380; t++) {
      const slope = (at: number): number => (0.2 * x[at - 17]!) / (1 + x[at - 17]! ** 10) - 0.1 * x[at]!;
      expect(Math.abs(x[t + 1]! - x[t]! - (slope(t) + slope(t + 1)) / 2)).toBeLessThan(0.012);
    }
  }
});

/** Least squares of x_t on the p values before, by the normal equations. */
function fit(series: readonly number[], p: number): number[] {
  const rows = Array.from({ length: p }, () => new Array<number>(p + 1).fill(0));
  for (let t = p; t < series.length; t++)
    for (let i = 0; i < p; i++) {
      for (let j = 0; j < p; j++) rows[i]![j]! += series[t - 1 - i]! * series[t - 1 - j]!;
      rows[i]![p]! += series[t - 1 - i]! * series[t]!;
    }
  for (let i = 0; i < p; i++)
    for (let k = 0; k < p; k++) {
      if (k === i) continue;
      const factor = rows[k]![i]! / rows[i]![i]!;
      for (let j = i; j <= p; j++) rows[k]![j]! -= factor * rows[i]![j]!;
    }
  return rows.map((row, i) => row[p]! / row[i]!);
}

test.each([2, 3, 4])(
  "AR(%d): least squares finds the same coefficients in all series, or fresh ones",
  async (order) => {
    const series = await draw(autoregressive({ order, L: 3000, radius: 0.8 }), 3);
    const [first, second] = series.map(({ inputs, targets }) => {
      expect(targets.slice(0, -1)).toEqual(inputs.slice(1));
      return fit(inputs, order);
    });
    first!.forEach((a, k) => expect(Math.abs(a - second![k]!)).toBeLessThan(0.12));
    const fresh = await draw(autoregressive({ order, L: 3000, radius: 0.8, fresh: true }), 2);
    const [one, other] = fresh.map(({ inputs }) => fit(inputs, order));
    expect(Math.max(...one!.map((a, k) => Math.abs(a - other![k]!)))).toBeGreaterThan(0.2);
  },
);
