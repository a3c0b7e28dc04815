import { afterAll, expect, test } from "vitest";
import type { MatmulSpec } from "@seqmix/tensor/backend";
import { PORTABLE_LIMITS } from "@seqmix/tensor/wgsl";
import { runProgram } from "../testing/run-program.js";
import { testDevice } from "../testing/test-device.js";
import { fewRowsProgram } from "./few-rows.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, k) => (((k + seed) * 7919) % 1009) / 504.5 - 1);

const spec = (batch: number, m: number, n: number, k: number, turned: boolean, offset = 0): MatmulSpec => ({
  batch: batch > 1 ? [batch] : [],
  m,
  n,
  k,
  a: { offset, batch: batch > 1 ? [m * k] : [], row: k, column: 1 },
  b: { offset, batch: batch > 1 ? [0] : [], ...(turned ? { row: 1, column: k } : { row: n, column: 1 }) },
});

test.each([
  ["weights along k", spec(1, 1, 37, 256, true)],
  ["weights along k, eight rows, odd lengths", spec(2, 8, 13, 75, true)],
  ["weights along the columns", spec(1, 3, 136, 100, false)],
  ["weights along the columns, k in parts", spec(1, 2, 256, 4096, false)],
  ["weights along the columns, odd lengths", spec(3, 5, 41, 33, false)],
  ["weights along k, k in parts", spec(1, 2, 5, 4500, true)],
  ["an offset", spec(1, 2, 20, 64, true, 1)],
  ["one column", spec(1, 4, 1, 300, false)],
])("%s", async (_, s) => {
  const program = fewRowsProgram(s, PORTABLE_LIMITS)!;
  const batches = s.batch[0] ?? 1;
  const [a, b] = [values(batches * s.m * s.k + 1, 1), values(s.n * s.k + 1, 2)];
  const [found] = await runProgram(device.gpu, program, [a, b], [batches * s.m * s.n]);
  for (let q = 0; q < batches; q++)
    for (let i = 0; i < s.m; i++)
      for (let j = 0; j < s.n; j++) {
        let sum = 0;
        const offset = s.a.offset ?? 0;
        for (let k = 0; k < s.k; k++)
          sum += a[offset + (q * s.m + i) * s.k + k]! * b[offset + j * s.b.column + k * s.b.row]!;
        expect(Math.abs(found![(q * s.m + i) * s.n + j]! - sum)).toBeLessThan(1e-5 * Math.sqrt(s.k));
      }
});

test("many rows, and operands without neighbours, are left to tiles", () => {
  expect(fewRowsProgram(spec(1, 9, 64, 64, true), PORTABLE_LIMITS)).toBeUndefined();
  const apart = { ...spec(1, 1, 64, 64, true), b: { batch: [], row: 2, column: 128 } };
  expect(fewRowsProgram(apart, PORTABLE_LIMITS)).toBeUndefined();
});
