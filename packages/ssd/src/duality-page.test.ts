// oxlint-disable no-console -- the page prints what it measures
import { readFileSync } from "node:fs";
import {
  exp,
  expandDims,
  explain,
  key,
  matmul,
  mul,
  neg,
  normal,
  realize,
  reshape,
  softplus,
  sum,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import { linearScan } from "@seqmix/scan";
import { expect, test } from "vitest";
import { decayMask, structuredMaskedAttention } from "./index.js";

// The example of docs/duality.md, letter by letter.
const [B, L, H, K, V] = [1, 1024, 2, 64, 64];
const [q, k] = [normal(key(1), [B, L, H, K]), normal(key(2), [B, L, H, K])];
const v = normal(key(3), [B, L, H, V]);
const logDecay = neg(softplus(normal(key(4), [B, L, H], -3))); // log a, at most 0
await realize([q, k, v, logDecay]);

/** S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t^T S_t: L steps on states [K V]. */
function recurrent(): Tensor {
  const a = exp(reshape(logDecay, [B, L, H, 1, 1]));
  const S = linearScan({ a, b: mul(expandDims(k, 4), expandDims(v, 3)), axis: 1 }); // [B L H K V]
  return sum(mul(S, expandDims(q, 4)), 3);
}

/** y = (q k^T o mask) v: all pairs of positions at once. */
function quadratic(): Tensor {
  const heads = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
  const mask = decayMask(transpose(logDecay, [0, 2, 1])); // [B H L L]
  return heads(matmul(mul(matmul(heads(q), transpose(heads(k))), mask), heads(v)));
}

/** Pairs inside chunks, states between them. */
const chunked = (): Tensor =>
  structuredMaskedAttention({ q, k, v, logDecay }, { algorithm: "chunked", chunkSize: 64 }).y;

/** The largest difference of two arrays. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let n = 0; n < a.length; n++) largest = Math.max(largest, Math.abs(a[n]! - b[n]!));
  return largest;
}

const expected = await recurrent().data();
for (const [name, run] of Object.entries({ recurrent, quadratic, chunked })) {
  await run().data(); // the first run compiles
  const start = performance.now();
  const found = await run().data();
  const time = performance.now() - start;
  const error = distance(found, expected);
  console.log(`${name}: ${time.toFixed(1)} ms, at most ${error.toExponential(0)} from the recurrence`);
}
// End of the example.

test("the page shows what runs here", () => {
  const page = readFileSync(new URL("../../../docs/duality.md", import.meta.url), "utf8");
  const own = readFileSync(new URL(import.meta.url), "utf8");
  const example = /\/\/ The example[^\n]*\n(.*?)\/\/ End/s.exec(own)![1]!;
  expect(page).toContain(example.trim());
});

test("the planner makes chunks of the page's recurrence, as the page says", async () => {
  const page = readFileSync(new URL("../../../docs/duality.md", import.meta.url), "utf8");
  const plan = await explain(recurrent());
  expect(plan).toMatch(/chunked scan .* scalar decay/);
  expect(page).toContain(plan);
});

test("the three of the page are one map", async () => {
  for (const run of [quadratic, chunked]) {
    const found = await run().data();
    const largest = distance(expected, new Float32Array(expected.length));
    expect(largest).toBeGreaterThan(10);
    expect(distance(found, expected)).toBeLessThanOrEqual(1e-5 * largest);
  }
});
