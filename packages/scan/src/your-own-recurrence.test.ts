import { readFileSync } from "node:fs";
import {
  exp,
  expandDims,
  explain,
  grad,
  key,
  mul,
  neg,
  normal,
  realize,
  reference,
  sigmoid,
  softplus,
  sum,
  tensor,
  uniform,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { linearScan } from "./index.js";

// The example of docs/your-own-recurrence.md, letter by letter.
/** x, dt and gate [B L D], rate [D N], B and C [B L N] -> y [B L D]. */
export function gatedRecurrence(x: Tensor, dt: Tensor, gate: Tensor, rate: Tensor, B: Tensor, C: Tensor): Tensor {
  const step = expandDims(softplus(dt), 3); // [B L D 1]
  const a = exp(neg(mul(step, rate))); // [B L D N]
  const b = mul(mul(step, expandDims(x, 3)), expandDims(B, 2));
  const h = linearScan({ a, b, axis: 1 });
  return mul(sum(mul(h, expandDims(C, 2)), 3), sigmoid(gate));
}
// End of the example.

const [B, L, D, N] = [2, 64, 8, 4];
const inputs = async (): Promise<[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]> => {
  const drawn = [
    normal(key(1), [B, L, D]),
    normal(key(2), [B, L, D]),
    normal(key(3), [B, L, D]),
    uniform(key(4), [D, N], 0.1, 2),
    normal(key(5), [B, L, N]),
    normal(key(6), [B, L, N]),
  ];
  await realize(drawn);
  return drawn as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
};
const gradients = (given: Tensor[]): Tensor[] =>
  grad((x: Tensor[]) => sum(gatedRecurrence(...(x as Parameters<typeof gatedRecurrence>))))(given);

test("the page shows what runs here", () => {
  const page = readFileSync(new URL("../../../docs/your-own-recurrence.md", import.meta.url), "utf8");
  const own = readFileSync(new URL(import.meta.url), "utf8");
  const example = /\/\/ The example[^\n]*\n(.*?)\/\/ End/s.exec(own)![1]!;
  expect(page).toContain(example.trim());
  // And the line of explain.
  expect(page).toContain("sums over axes [3]: fused scan [2,64,8,4] along 1, 1 output");
});

test("it is one kernel, and two or three with all gradients; none stores [B L D N]", async () => {
  const given = await inputs();
  const forward = await explain(gatedRecurrence(...given));
  expect(forward.split("\n")).toHaveLength(1);
  expect(forward).toMatch(/^scan \[2,64,8,4\] along 1: recurrence, 6 inputs, sums over axes \[3\]: fused scan/);
  const backward = (await explain(gradients(given))).split("\n");
  expect(backward.some((line) => line.startsWith("scan [2,64,8,4] along 1: gradient, states computed again"))).toBe(
    true,
  );
  // A stored array of that size would be the output of a loop over all four axes.
  expect(backward.filter((line) => /loop \[2,64,8,4\]/.test(line))).toEqual([]);
});

test("it computes what a plain loop does, and the gradients of the reference", async () => {
  const given = await inputs();
  const y = await (await realize(gatedRecurrence(...given))).data();
  const [x, dt, gate, rate, Bt, Ct] = (await Promise.all(given.map((each) => each.data()))) as unknown as [
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
  ];
  for (let i = 0; i < B; i++)
    for (let d = 0; d < D; d++) {
      const h = new Float64Array(N);
      for (let t = 0; t < L; t++) {
        const at = (i * L + t) * D + d;
        const step = Math.log1p(Math.exp(dt[at]!));
        let read = 0;
        for (let n = 0; n < N; n++) {
          h[n] = Math.exp(-step * rate[d * N + n]!) * h[n]! + step * x[at]! * Bt[(i * L + t) * N + n]!;
          read += h[n]! * Ct[(i * L + t) * N + n]!;
        }
        expect(y[at]).toBeCloseTo(read / (1 + Math.exp(-gate[at]!)), 4);
      }
    }
  const host = await Promise.all(given.map(async (each) => tensor(await each.data(), each.shape)));
  const expected = await realize(gradients(host), { device: reference() });
  const found = await realize(gradients(given));
  for (const [k, g] of found.entries()) {
    const [actual, exact] = [await g.data(), await expected[k]!.data()];
    const scale = Math.max(...Array.from(exact, Math.abs));
    Array.from(actual).forEach((value, at) => expect(Math.abs(value - exact[at]!)).toBeLessThanOrEqual(1e-5 * scale));
  }
});
