import { create, expmDependencies } from "mathjs";
import { grad, key, mul, normal, realize, reference, sliceAxis, sum, tensor, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  hippo,
  hippoRecurrence,
  project,
  reconstruct,
  scaledLegsRecurrence,
  type HippoMeasureName,
  type HippoRule,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  Array.from(actual).forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const rules: readonly HippoRule[] = ["euler", "backward_euler", "bilinear", "zoh"];

/** The recurrence as it is written. */
function folded(
  signal: readonly number[],
  N: number,
  at: (t: number) => { Abar: Float64Array; Bbar: Float64Array },
): number[] {
  let x = new Array<number>(N).fill(0);
  return signal.flatMap((u, t) => {
    const { Abar, Bbar } = at(t + 1);
    x = x.map((_, n) => x.reduce((total, value, k) => total + Abar[n * N + k]! * value, Bbar[n]! * u));
    return x;
  });
}

describe("project", () => {
  test.each(rules)("is the recurrence, longer than a chunk, by %s", async (rule) => {
    const N = 4;
    const signal = await values(normal(key(1), [70]));
    const given = tensor(Float64Array.from(signal), [70]);
    close(
      await values(project(given, "legt", { order: N, dt: 0.05, rule })),
      folded(signal, N, () => hippoRecurrence("legt", N, 0.05, rule)),
    );
    // Explicit steps of the scaled memory explode at first, and keep fewer digits.
    const scaled = folded(signal, N, (t) => scaledLegsRecurrence(N, t, rule));
    close(await values(project(given, "legs", { order: N, dt: "scaled", rule })), scaled, 9);
  });

  test("signals of any rank, each by itself; none gives none", async () => {
    const signal = normal(key(1), [2, 3, 5]);
    const all = project(signal, "lagt", { order: 2, dt: 1 });
    expect(all.shape).toEqual([2, 3, 5, 2]);
    const one = sliceAxis(sliceAxis(signal, 0, 1, 2), 1, 2, 3);
    close(
      await values(project(one, "lagt", { order: 2, dt: 1 })),
      await values(sliceAxis(sliceAxis(all, 0, 1, 2), 1, 2, 3)),
    );
    expect(project(normal(key(1), [2, 0]), "legs", { order: 3, dt: 1 }).shape).toEqual([2, 0, 3]);
  });

  test("its gradient is the adjoint map", async () => {
    const [u, w] = [normal(key(1), [40]), normal(key(2), [40, 3])];
    const loss = (signal: Tensor): Tensor => sum(mul(w, project(signal, "legs", { order: 3, dt: "scaled" })));
    const [d, x] = [await values(grad(loss)(u)), await values(u)];
    const [total] = await values(loss(u));
    expect(d.reduce((sum_, value, t) => sum_ + value * x[t]!, 0)).toBeCloseTo(total!, 10);
  });

  test("what is not meant is refused", () => {
    expect(() => project(tensor([1]), "legt", { order: 2, dt: "scaled" })).toThrow('"legs" with dt "scaled"');
    expect(() => project(tensor([1]), "legs", { order: 2, dt: 1, rule: "gbt" as "zoh" })).toThrow('got "gbt"');
    expect(() => reconstruct(tensor([1, 2]), "random", { dt: 1, at: [0] })).toThrow("orthonormal basis");
  });
});

describe("recurrences of the scaled memory", () => {
  test("from t to t + 1 it is the exponential of A log((t+1)/t), at any order", () => {
    const { expm } = create(expmDependencies!) as unknown as { expm(M: number[][]): { toArray(): number[][] } };
    for (const [N, t] of [
      [6, 1],
      [12, 3],
      [12, 100],
    ] as const) {
      const { A } = hippo("legs", N);
      const rows = Array.from({ length: N }, (_, n) =>
        Array.from({ length: N }, (_u, k) => A[n * N + k]! * Math.log((t + 1) / t)),
      );
      close(scaledLegsRecurrence(N, t, "zoh").Abar, expm(rows).toArray().flat(), 9);
    }
    // Entries stay those of a projection, at most 1 in size, where an exponential of this norm would have lost all digits.
    const { Abar } = scaledLegsRecurrence(200, 1, "zoh");
    expect(Math.max(...Abar.map(Math.abs))).toBeLessThan(1 + 1e-10);
  });

  test("a constant past has the coefficients 1, 0, 0, ... at all times", () => {
    for (const rule of ["backward_euler", "bilinear", "zoh"] as const) {
      const { Abar, Bbar } = scaledLegsRecurrence(5, 7, rule);
      close(
        Bbar.map((value, n) => value + Abar[n * 5]!),
        [1, 0, 0, 0, 0],
      );
    }
  });
});

/** Root mean square of what is read back from the last time, over places that are not at the ends. */
async function error(
  signal: (time: number) => number,
  measure: HippoMeasureName,
  order: number,
  dt: number | "scaled",
  L: number,
): Promise<number> {
  const samples = tensor(Float64Array.from({ length: L }, (_, t) => signal((t + 0.5) / L)));
  const last = sliceAxis(
    project(samples, measure, { order, dt, rule: dt === "scaled" ? "zoh" : "bilinear" }),
    0,
    L - 1,
    L,
  );
  const shares = Array.from({ length: 21 }, (_, k) => 0.1 + 0.04 * k);
  const at = dt === "scaled" ? shares : shares.map((share) => share * L - 0.5);
  const back = await values(reconstruct(last, measure, { dt, at }));
  const truth = shares.map((share) => signal(dt === "scaled" ? share : 1 - share));
  return Math.sqrt(back.reduce((total, value, k) => total + (value - truth[k]!) ** 2, 0) / back.length);
}

describe("projection error falls as the theory says", () => {
  const smooth = (time: number): number => Math.exp(-3 * (time - 0.4) ** 2) * Math.cos(5 * time);
  const corner = (time: number): number => Math.abs(time - 0.5);

  test("of a smooth signal faster than any power of the order, scaled LegS", async () => {
    const errors = await Promise.all([2, 4, 8].map((order) => error(smooth, "legs", order, "scaled", 600)));
    expect(errors[1]! / errors[0]!).toBeLessThan(0.4);
    expect(errors[2]! / errors[1]!).toBeLessThan(0.05);
  });

  test("of a signal with a corner, whose derivative is bounded, at least as 1/sqrt(order) (HiPPO paper, proposition 6)", async () => {
    const errors = await Promise.all([2, 8, 32].map((order) => error(corner, "legs", order, "scaled", 400)));
    expect(errors[1]! / errors[0]!).toBeLessThan(0.5);
    expect(errors[2]! / errors[1]!).toBeLessThan(0.5);
  });

  test.each([
    ["legt", 2],
    ["lmu", 1],
    ["fourier2", 1],
    ["fourier", 2],
  ] as const)("a sliding window reads its own past: %s", async (measure, window) => {
    const L = 400;
    // Over exactly one window; a period, for the Fourier bases.
    const signal = (time: number): number => 1 + Math.sin(2 * Math.PI * time) - 0.5 * Math.cos(4 * Math.PI * time);
    const few = await error(signal, measure, 4, window / L, L);
    const many = await error(signal, measure, 32, window / L, L);
    expect(many).toBeLessThan(0.12);
    expect(few / many).toBeGreaterThan(4);
  });

  test("exponential measures read the recent past better than the distant", async () => {
    const L = 2000;
    const signal = (time: number): number => Math.sin(20 * time);
    const samples = tensor(Float64Array.from({ length: L }, (_, t) => signal(t / L)));
    for (const [measure, dt] of [
      ["legs", 0.01],
      ["tlagt", 0.01],
    ] as const) {
      const last = sliceAxis(project(samples, measure, { order: 16, dt, rule: "bilinear" }), 0, L - 1, L);
      const at = [20, 60, 100];
      const back = await values(reconstruct(last, measure, { dt, at }));
      at.forEach((ago, k) => expect(Math.abs(back[k]! - signal((L - 0.5 - ago) / L))).toBeLessThan(0.05));
    }
  });
});
