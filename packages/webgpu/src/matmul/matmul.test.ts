import {
  add,
  explain,
  gather,
  gelu,
  key,
  leavesOf,
  less,
  matmul,
  mul,
  normal,
  realize,
  reshape,
  sliceAxis,
  sum,
  tensor,
  transpose,
  where,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { matmulProgram } from "./program.js";
import { runProgram } from "../testing/run-program.js";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, k) => (((k + seed) * 7919) % 1009) / 504.5 - 1);

/** How an operand [batch, rows, columns] lies in memory. */
type Form = "plain" | "transposed" | "offset by one" | "every other column" | "one batch";

/** The operand as a view, and its elements. */
function operand(
  form: Form,
  [batch, rows, columns]: readonly [number, number, number],
  seed: number,
): { view: Tensor; at(b: number, i: number, j: number): number } {
  if (form === "transposed") {
    const data = values(batch * rows * columns, seed);
    return {
      view: transpose(tensor(data, [batch, columns, rows])),
      at: (b, i, j) => data[(b * columns + j) * rows + i]!,
    };
  }
  if (form === "offset by one") {
    const data = values(batch * rows * (columns + 1), seed);
    return {
      view: sliceAxis(tensor(data, [batch, rows, columns + 1]), 2, 1, columns + 1),
      at: (b, i, j) => data[(b * rows + i) * (columns + 1) + j + 1]!,
    };
  }
  if (form === "every other column") {
    const data = values(batch * rows * columns * 2, seed);
    return {
      view: reshape(sliceAxis(tensor(data, [batch, rows, columns, 2]), 3, 1, 2), [batch, rows, columns]),
      at: (b, i, j) => data[((b * rows + i) * columns + j) * 2 + 1]!,
    };
  }
  const data = values((form === "plain" ? batch : 1) * rows * columns, seed);
  return form === "plain"
    ? { view: tensor(data, [batch, rows, columns]), at: (b, i, j) => data[(b * rows + i) * columns + j]! }
    : { view: tensor(data, [rows, columns]), at: (_, i, j) => data[i * columns + j]! };
}

describe("products of views are those of float64 loops", () => {
  // Ends beside the edges of tiles (64) and of slices of k (16); vectors of four and none; k in parts.
  const cases: readonly (readonly [batch: number, m: number, n: number, k: number, a: Form, b: Form])[] = [
    [1, 1, 1, 1, "plain", "plain"],
    [2, 63, 65, 17, "plain", "plain"],
    [2, 64, 64, 16, "plain", "transposed"],
    [3, 68, 132, 20, "transposed", "plain"],
    [2, 65, 60, 33, "transposed", "transposed"],
    [2, 36, 67, 52, "offset by one", "every other column"],
    [2, 129, 4, 24, "every other column", "offset by one"],
    [3, 5, 66, 32, "one batch", "plain"],
    [3, 66, 8, 12, "plain", "one batch"],
    [1, 3, 12, 520, "plain", "plain"],
    // Large tiles.
    [1, 1672, 1640, 20, "transposed", "plain"],
    [1, 1672, 1641, 8, "plain", "transposed"],
  ];
  test.each(cases)("[%i] %i x %i x %i, %s and %s", async (batch, m, n, k, formA, formB) => {
    const a = operand(formA, [batch, m, k], 1);
    const b = operand(formB, [batch, k, n], 500);
    const c = await realize(matmul(a.view, b.view), { device });
    expect(c.shape.slice(-2)).toEqual([m, n]);
    const actual = await c.data();
    let worst = 0;
    for (let z = 0; z < batch; z++)
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let q = 0; q < k; q++) sum += a.at(z, i, q) * b.at(z, q, j);
          worst = Math.max(worst, Math.abs(actual[(z * m + i) * n + j]! - sum));
        }
    expect(worst).toBeLessThanOrEqual(k * 2 ** -23);
  });
});

test("a kernel compiled for its shape computes what the general one does", async () => {
  const [m, n, k] = [70, 66, 40];
  const inputs = [values(m * k, 1), values(k * n, 2)];
  for (const [a, b] of [
    [
      { row: k, column: 1 },
      { row: n, column: 1 },
    ],
    [
      { row: 1, column: m },
      { row: 1, column: k },
    ],
  ] as const) {
    const spec = { batch: [], m, n, k, a: { batch: [], ...a }, b: { batch: [], ...b } };
    const [general, own] = [matmulProgram(spec, 32768), matmulProgram(spec, 32768, undefined, 1)];
    expect(own.passes[0]!.parameters).toBeUndefined();
    const [expected, found] = await Promise.all(
      [general, own].map(async (program) => (await runProgram(device.gpu, program, inputs, [m * n]))[0]!),
    );
    expect(found).toEqual(expected);
  }
});

describe("work behind a product is done as it is stored", () => {
  const x = normal(key(1), [2, 9, 20]);
  const w = normal(key(2), [20, 36]);
  const bias = normal(key(3), [36]);
  const residual = normal(key(4), [2, 9, 36]);
  /** Graphs with the number of kernels that should remain. */
  const graphs: Record<string, readonly [kernels: number, build: () => Tree]> = {
    "bias, activation and residual": [1, () => add(gelu(add(matmul(x, w), bias)), residual)],
    "through a reshape": [1, () => mul(add(reshape(matmul(reshape(x, [18, 20]), w), [2, 9, 36]), bias), residual)],
    "rows of four that a reshape divides": [
      1,
      () => {
        const y = matmul(tensor(values(28, 1), [14, 2]), tensor(values(8, 9), [2, 4]));
        return mul(reshape(y, [14, 2, 2]), tensor(values(28, 3), [14, 2, 1]));
      },
    ],
    "the residual is an operand": [
      1,
      () => {
        const t = tensor(values(144, 3), [12, 12]);
        return add(matmul(t, t), mul(t, 2));
      },
    ],
    "a mask and no vectors of four": [
      1,
      () => {
        const y = matmul(tensor(values(35, 1), [7, 5]), tensor(values(35, 9), [5, 7]));
        return where(less(y, 0), 0.5, y);
      },
    ],
    "k in parts": [
      1,
      () =>
        add(
          mul(matmul(tensor(values(4 * 600, 1), [4, 600]), tensor(values(600 * 6, 9), [600, 6])), 0.5),
          tensor(values(6, 2)),
        ),
    ],
    "large tiles": [
      1,
      () =>
        gelu(
          add(
            matmul(tensor(values(1672 * 4, 1), [1672, 4]), tensor(values(4 * 1640, 9), [4, 1640])),
            tensor(values(1640, 2)),
          ),
        ),
    ],
    "one of two results, from which the other comes": [
      2,
      () => {
        const y = add(matmul(x, w), bias);
        return [y, gelu(y)];
      },
    ],
    "a product that is a result too stays": [
      2,
      () => {
        const y = matmul(tensor(values(36, 1), [6, 6]), tensor(values(36, 9), [6, 6]));
        return [y, add(y, 1)];
      },
    ],
    "a product used at other elements stays": [
      2,
      () => {
        const y = matmul(tensor(values(36, 1), [6, 6]), tensor(values(36, 9), [6, 6]));
        return add(y, transpose(y));
      },
    ],
    "a product behind a gather stays": [
      2,
      () =>
        mul(
          gather(
            matmul(tensor(values(36, 1), [6, 6]), tensor(values(36, 9), [6, 6])),
            tensor(Int32Array.of(5, 0, 3, 3, 1, 2)),
            0,
          ),
          2,
        ),
    ],
    "a sum stays": [2, () => sum(mul(matmul(tensor(values(36, 1), [6, 6]), tensor(values(36, 9), [6, 6])), 2), 1)],
  };
  test.each(Object.entries(graphs))("%s", async (name, [kernels, build]) => {
    await realize([x, w, bias, residual], { device });
    const lines = (await explain(build(), { device })).split("\n");
    expect(lines).toHaveLength(kernels);
    if (kernels === 1 || name.startsWith("one of two"))
      expect(lines[0]).toMatch(/^matmul>\w+: .*, then \d+ operations?/);
    const fused = leavesOf(await realize(build(), { device }));
    const unfused = leavesOf(await realize(build(), { device, fuse: false }));
    for (const [k, y] of fused.entries()) {
      const [actual, expected] = [await y.data(), await unfused[k]!.data()];
      let worst = 0;
      for (let i = 0; i < expected.length; i++)
        worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!)));
      expect(worst).toBeLessThanOrEqual(1e-5);
    }
  });
});
