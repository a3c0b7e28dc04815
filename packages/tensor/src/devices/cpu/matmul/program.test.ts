import { afterAll, describe, expect, it } from "vitest";
import type { MatmulOperand, MatmulSpec } from "../../../plan/matmul-spec.js";
import { matmulProgram } from "./program.js";
import { DeviceMemory } from "../memory/memory.js";
import { ThreadPool } from "../threads/pool.js";

const memory = new DeviceMemory();
const pools = [1, 2].map((threads) => new ThreadPool(memory, { threads }));
afterAll(() => pools.forEach((pool) => pool.close()));

function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
const random = generator(3);

/** Smallest and largest position an operand reaches, relative to its offset. */
function reach(strides: readonly number[], extents: readonly number[]): [number, number] {
  const ends = strides.map((stride, i) => stride * Math.max(0, (extents[i] ?? 1) - 1));
  return [ends.reduce((sum, x) => sum + Math.min(0, x), 0), ends.reduce((sum, x) => sum + Math.max(0, x), 0)];
}

function positions(batch: readonly number[], strides: readonly number[]): number[] {
  return batch.reduce<number[]>(
    (all, extent, axis) => all.flatMap((p) => Array.from({ length: extent }, (_, i) => p + i * (strides[axis] ?? 0))),
    [0],
  );
}

/** Runs on one and two threads, compares bit by bit, and with float64 loops. */
function check(batch: number[], m: number, n: number, k: number, a: MatmulOperand, b: MatmulOperand): void {
  const place = (operand: MatmulOperand, rows: number, columns: number) => {
    const [low, high] = reach([...operand.batch, operand.row, operand.column], [...batch, rows, columns]);
    const offset = (operand.offset ?? 0) - low;
    return { operand: { ...operand, offset }, size: offset + high + 1 };
  };
  const left = place(a, m, k);
  const right = place(b, k, n);
  const batches = batch.reduce((x, y) => x * y, 1);
  const spec: MatmulSpec = { batch, m, n, k, a: left.operand, b: right.operand };
  const addresses = [left.size, right.size, batches * m * n].map((size) => memory.allocate(4 * size));
  const view = (i: number, size: number) =>
    memory.f32.subarray((addresses[i] as number) / 4, (addresses[i] as number) / 4 + size);
  const [av, bv] = [view(0, left.size), view(1, right.size)];
  for (const v of [av, bv]) for (let i = 0; i < v.length; i++) v[i] = random() * 2 - 1;
  const program = matmulProgram(spec, memory);
  const label = `${program.name} ${JSON.stringify(spec)}`;
  const results = pools.map((pool) => {
    // Around it too: nothing outside may change.
    const c = view(2, batches * m * n).fill(NaN);
    const before = memory.f32[(addresses[2] as number) / 4 - 1];
    pool.run(pool.prepare(program), addresses);
    expect(memory.f32[(addresses[2] as number) / 4 - 1], label).toBe(before);
    return c.slice();
  });
  const [result, again] = results as [Float32Array, Float32Array];
  expect(Buffer.compare(Buffer.from(result.buffer), Buffer.from(again.buffer)), label).toBe(0);
  const ap = positions(batch, spec.a.batch);
  const bp = positions(batch, spec.b.batch);
  let worst = 0;
  let at = 0;
  for (let batchIndex = 0; batchIndex < batches; batchIndex++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++, at++) {
        let sum = 0;
        let size = 0;
        for (let x = 0; x < k; x++) {
          const product =
            (av[left.operand.offset + (ap[batchIndex] ?? 0) + i * a.row + x * a.column] ?? NaN) *
            (bv[right.operand.offset + (bp[batchIndex] ?? 0) + x * b.row + j * b.column] ?? NaN);
          sum += product;
          size += Math.abs(product);
        }
        const error = Math.abs((result[at] ?? NaN) - sum) / (size + 1e-30);
        worst = error <= worst ? worst : error;
      }
    }
  }
  expect(worst, label).toBeLessThan(2e-6);
  for (const address of addresses) memory.free(address);
}

const dense = (rows: number, columns: number, transposed = false, batch: readonly number[] = []): MatmulOperand => {
  const strides: number[] = [];
  let stride = rows * columns;
  for (const extent of [...batch].reverse()) {
    strides.unshift(stride);
    stride *= extent;
  }
  return { batch: strides, row: transposed ? 1 : columns, column: transposed ? rows : 1 };
};

const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 70];

describe("matmulProgram", () => {
  it("multiplies ragged shapes in all four layouts", () => {
    for (const m of sizes)
      for (const n of sizes)
        for (const k of [1, 2, 5, 8, 11, 64]) {
          const ta = (m + n + k) % 2 === 0;
          const tb = (m + k) % 3 === 0;
          check([], m, n, k, dense(m, k, ta), dense(k, n, tb));
          if (m < 10 || n < 10) check([], m, n, k, dense(m, k, !ta), dense(k, n, !tb));
        }
  });

  it("multiplies larger matrices, packed and in blocks of k", () => {
    for (const [m, n, k] of [
      [130, 140, 150],
      [64, 64, 1000],
      [67, 259, 801],
      [33, 700, 90],
      [300, 9, 500],
      [5, 1000, 400],
      [1, 3000, 300],
      [2, 333, 1200],
      [3, 101, 999],
      [1000, 1, 999],
      [999, 3, 77],
      [1, 1, 1048576],
      [5, 7, 30720],
      [48, 40, 8192],
    ] as const) {
      for (const ta of [false, true])
        for (const tb of [false, true]) check([], m, n, k, dense(m, k, ta), dense(k, n, tb));
    }
  });

  it("multiplies a vector with a matrix larger than caches, line by line", () => {
    for (const k of [1040, 1044, 1041]) {
      check([], 1, 1031, k, dense(1, k), dense(k, 1031, true));
      check([], 1031, 1, k, dense(1031, k), dense(k, 1, true));
      check([2], 1, 1031, k, dense(1, k, false, [2]), dense(k, 1031, true, [2]));
    }
  });

  it("takes any strides", () => {
    check([], 20, 30, 40, { batch: [], row: 91, column: 2 }, { batch: [], row: 3, column: 130 });
    check([], 20, 30, 40, { batch: [], row: -41, column: 1, offset: 5 }, { batch: [], row: -30, column: 1, offset: 7 });
    check([], 70, 66, 40, { batch: [], row: -41, column: -1 }, { batch: [], row: 1, column: -50 });
    check([], 70, 66, 40, { batch: [], row: 0, column: 1 }, { batch: [], row: 0, column: 1 });
    check([], 3, 66, 40, { batch: [], row: -40, column: 1 }, { batch: [], row: 1, column: -40 });
    check([], 66, 3, 40, { batch: [], row: -40, column: 1 }, { batch: [], row: 1, column: -40 });
    check([], 66, 1, 40, { batch: [], row: 1, column: -66 }, { batch: [], row: 5, column: 1 });
    check([], 1, 66, 40, { batch: [], row: 7, column: 3 }, { batch: [], row: 5, column: 11 });
    check([], 66, 1, 40, { batch: [], row: 3, column: 200 }, { batch: [], row: 5, column: 11 });
  });

  it("runs batches with broadcast operands", () => {
    for (const [batch, m, n, k] of [
      [[3, 5], 7, 6, 9],
      [[2, 3, 2, 2], 4, 4, 4],
      [[40], 32, 32, 32],
      [[17], 5, 70, 33],
      [[2, 9], 10, 50, 30],
      [[3], 70, 40, 50],
      [[8], 1, 50, 20],
      [[5, 6], 1, 1, 30],
      [[3, 4], 9, 1, 30],
    ] as const) {
      for (const ta of [false, true])
        for (const tb of [false, true]) {
          const a = dense(m, k, ta, batch);
          const b = dense(k, n, tb, batch);
          const without = (operand: MatmulOperand, axis: number): MatmulOperand => ({
            ...operand,
            batch: operand.batch.map((s, i) => (i === axis ? 0 : s)),
          });
          check([...batch], m, n, k, a, b);
          for (let axis = 0; axis < batch.length; axis++) {
            check([...batch], m, n, k, without(a, axis), b);
            check([...batch], m, n, k, a, without(b, axis));
          }
          check([...batch], m, n, k, { ...a, batch: batch.map(() => 0) }, { ...b, batch: batch.map(() => 0) });
          check([...batch], m, n, k, a, { ...b, batch: batch.map(() => 0) });
        }
    }
  });

  it("permutes batch axes", () => {
    // [B, T, H, D] seen as [B, H, T, D], as in attention.
    const [B, T, H, D] = [2, 19, 12, 16];
    const q: MatmulOperand = { batch: [T * H * D, D], row: H * D, column: 1 };
    const kt: MatmulOperand = { batch: [T * H * D, D], row: 1, column: H * D };
    check([B, H], T, T, D, q, kt);
    check([B, H], D, D, T, { ...q, row: q.column, column: q.row }, q);
  });

  it("gives zeros for k = 0 and nothing for empty results", () => {
    check([], 5, 7, 0, dense(5, 0), dense(0, 7));
    check([], 300, 700, 0, dense(300, 0), dense(0, 700));
    check([], 0, 7, 3, dense(0, 3), dense(3, 7));
    check([0], 4, 7, 3, dense(4, 3, false, [0]), dense(3, 7, false, [0]));
  });

  it("keeps NaN and infinity where they belong", () => {
    const a = memory.allocate(4 * 5 * 9);
    const b = memory.allocate(4 * 9 * 9);
    const c = memory.allocate(4 * 5 * 9);
    memory.f32.fill(1, a / 4, a / 4 + 45);
    memory.f32.fill(1, b / 4, b / 4 + 81);
    memory.f32[a / 4 + 2 * 9] = NaN;
    memory.f32[b / 4 + 4] = Infinity;
    const pool = pools[0] as ThreadPool;
    pool.run(pool.prepare(matmulProgram({ batch: [], m: 5, n: 9, k: 9, a: dense(5, 9), b: dense(9, 9) }, memory)), [
      a,
      b,
      c,
    ]);
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 9; j++) expect(memory.f32[c / 4 + 9 * i + j]).toBe(i === 2 ? NaN : j === 4 ? Infinity : 9);
    for (const address of [a, b, c]) memory.free(address);
  });
});
