import {
  add,
  broadcastTo,
  cast,
  concat,
  cpu,
  expandDims,
  explain,
  full,
  grad,
  key,
  keyTensor,
  leavesOf,
  matmul,
  mul,
  normal,
  realize,
  reference,
  reshape,
  setDebug,
  silu,
  sliceAxis,
  sum,
  tensor,
  transpose,
  valueAndGrad,
  variance,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  accuracy,
  bitsPerChar,
  causalConv1d,
  causalConv1dStep,
  constantInit,
  crossEntropy,
  dropout,
  embedding,
  gatedMlp,
  gatedRmsNorm,
  glu,
  groupNorm,
  initCausalConv1d,
  initCausalConv1dState,
  initEmbedding,
  initGatedMlp,
  initLayerNorm,
  initLinear,
  initMlp,
  initRmsNorm,
  layerNorm,
  linear,
  linearChannelsFirst,
  linearChannelsLast,
  linearCrossEntropy,
  meanSquaredError,
  mlp,
  orthogonalInit,
  rmsNorm,
  rotaryEmbedding,
} from "./index.js";

const oracle = reference();

/** Values in float64, computed by the oracle device. */
async function values(x: Tensor): Promise<number[]> {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
}

function expectClose(actual: readonly number[], expected: readonly number[], digits = 10): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, k) => expect(actual[k], `element ${k}`).toBeCloseTo(value, digits));
}

describe("linear", () => {
  test("is x W^T + b on any leading axes", async () => {
    const parameters = {
      weight: tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      bias: tensor([0.5, 0, -1]),
    };
    expectClose(await values(linear(parameters, tensor([[[1, 1]], [[0, 2]]]))), [3.5, 7, 10, 4.5, 8, 11]);
    const alone = {
      weight: tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    };
    expectClose(await values(linear(alone, tensor([1, -1]))), [-1, -1, -1]);
  });

  test("starts uniform in +-1/sqrt(inputs), the same from the same key", async () => {
    const parameters = initLinear(key(3), 64, 128);
    const again = initLinear(key(3), 64, 128);
    const weight = await values(parameters.weight);
    expect(weight).toEqual(await values(again.weight));
    expect(Math.max(...weight.map(Math.abs))).toBeLessThanOrEqual(1 / 8);
    // Variance of U(-a, a) is a^2 / 3; 8192 draws are within a few percent.
    expect(weight.reduce((total, w) => total + w * w, 0) / weight.length).toBeCloseTo(1 / 64 / 3, 3);
    expect(await values(parameters.bias!)).not.toEqual(weight.slice(0, 128));
    expect(leavesOf(initLinear(key(3), 4, 2, { bias: false }))).toHaveLength(1);
    expectClose(await values(initLinear(key(3), 2, 2, { weightInit: constantInit(2) }).weight), [2, 2, 2, 2]);
    // columns of length sqrt(O / I) where there are more rows, and rows of length 1 where there are fewer
    const [tall, wide] = [orthogonalInit()(key(4), [6, 2]), orthogonalInit()(key(4), [2, 6])];
    expectClose(await values(matmul(transpose(tall), tall)), [3, 0, 0, 3]);
    expectClose(await values(matmul(wide, transpose(wide))), [1, 0, 0, 1]);
  });

  test("names the channels that do not fit", () => {
    expect(() => linear(initLinear(key(0), 4, 2), tensor([[1, 2, 3]]))).toThrow(
      /expected x \[\.\. 4\].*got shape \[1,3\]/,
    );
  });

  // Longer and shorter than there are output channels: a product a sequence, and one for all.
  test.each([7, 2])("channels before positions are the same map, %i positions", async (L) => {
    const parameters = initLinear(key(1), 3, 5);
    const x = normal(key(2), [2, L, 3]);
    const expected = await values(linear(parameters, x));
    expectClose(await values(transpose(linearChannelsFirst(parameters, x))), expected);
    expectClose(await values(linearChannelsLast(parameters, transpose(x))), expected);
    expect(() => linearChannelsFirst(parameters, transpose(x))).toThrow("[B L I] with I = 3");
    expect(() => linearChannelsLast(parameters, x)).toThrow("[B I L] with I = 3");
  });
});

test("an embedding looks rows up and starts with deviation 0.02", async () => {
  expectClose(
    await values(
      embedding(
        {
          weight: tensor([
            [1, 2],
            [3, 4],
          ]),
        },
        tensor([[1, 0, 1]], undefined, "i32"),
      ),
    ),
    [3, 4, 1, 2, 3, 4],
  );
  const weight = await values(initEmbedding(key(1), 100, 64).weight);
  expect(Math.sqrt(weight.reduce((total, w) => total + w * w, 0) / weight.length)).toBeCloseTo(0.02, 3);
});

describe("norms", () => {
  const rows = [
    [1, -2, 3, 0.5],
    [0, 0, 0, 0],
  ];
  const weight = [2, 1, 0.5, -1];
  const bias = [0, 1, 2, 3];

  test("rmsNorm divides by the root of the mean square", async () => {
    const expected = rows.flatMap((row) =>
      row.map((x, k) => (x / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / 4 + 1e-5)) * weight[k]!),
    );
    expectClose(await values(rmsNorm({ weight: tensor(weight) }, tensor(rows))), expected);
    expectClose(await values(initRmsNorm(3).weight), [1, 1, 1]);
  });

  const standard = (row: readonly number[], eps: number): number[] => {
    const mean = row.reduce((s, v) => s + v, 0) / row.length;
    const variance = row.reduce((s, v) => s + (v - mean) ** 2, 0) / row.length;
    return row.map((v) => (v - mean) / Math.sqrt(variance + eps));
  };

  test("layerNorm takes the mean away and divides by the biased deviation", async () => {
    const expected = rows.flatMap((row) => standard(row, 1e-3).map((v, k) => v * weight[k]! + bias[k]!));
    expectClose(
      await values(layerNorm({ weight: tensor(weight), bias: tensor(bias) }, tensor(rows), { eps: 1e-3 })),
      expected,
    );
    expectClose(await values(layerNorm(initLayerNorm(4), tensor(rows))), await values(layerNorm({}, tensor(rows))));
  });

  test("groupNorm is layerNorm of each group of channels", async () => {
    const expected = rows.flatMap((row) =>
      [...standard(row.slice(0, 2), 1e-5), ...standard(row.slice(2), 1e-5)].map((v, k) => v * weight[k]!),
    );
    expectClose(await values(groupNorm({ weight: tensor(weight) }, tensor(rows), { groups: 2 })), expected);
    expect(() => groupNorm({}, tensor(rows), { groups: 3 })).toThrow(/got 3 groups for D = 4/);
  });

  test("gatedRmsNorm gates before the norm or after it, in groups", async () => {
    const [x, z] = [tensor(rows), tensor([3, -1, 0.5, 2])];
    const parameters = { weight: tensor(weight), bias: tensor(bias) };
    const gate = silu(z);
    const halves = (y: Tensor): Tensor => reshape(rmsNorm({}, reshape(y, [2, 2, 2])), [2, 4]);
    const affine = (y: Tensor): Tensor => add(mul(y, parameters.weight), parameters.bias);
    expectClose(
      await values(gatedRmsNorm(parameters, x, z, { groups: 2 })),
      await values(affine(halves(mul(x, gate)))),
    );
    expectClose(
      await values(gatedRmsNorm(parameters, x, z, { groups: 2, normBeforeGate: true })),
      await values(mul(affine(halves(x)), gate)),
    );
    expectClose(await values(gatedRmsNorm({}, x)), await values(rmsNorm({}, x)));
    expect(() => gatedRmsNorm({}, x, z, { groups: 3 })).toThrow(/got 3 groups for D = 4/);
  });
});

describe("causalConv1d", () => {
  const [B, L, D, W] = [2, 7, 3, 4];
  const parameters = { weight: normal(key(1), [D, W]), bias: normal(key(2), [D]) };
  const x = normal(key(3), [B, L, D]);

  test("is the sum over the last W inputs, written as loops", async () => {
    const [w, b, u, [y]] = [
      await values(parameters.weight),
      await values(parameters.bias),
      await values(x),
      causalConv1d(parameters, x, undefined, { activation: "silu" }),
    ];
    const expected: number[] = [];
    for (let n = 0; n < B; n++)
      for (let t = 0; t < L; t++)
        for (let d = 0; d < D; d++) {
          let total = b[d]!;
          for (let k = 0; k < W; k++)
            if (t - W + 1 + k >= 0) total += w[d * W + k]! * u[(n * L + t - W + 1 + k) * D + d]!;
          expected.push(total / (1 + Math.exp(-total)));
        }
    expectClose(await values(y), expected);
  });

  test.each([1, 2, 3, 5])("split after %i inputs and carried on is the whole", async (cut) => {
    const [whole, state] = causalConv1d(parameters, x);
    const [first, carried] = causalConv1d(parameters, sliceAxis(x, 1, 0, cut));
    const [second, end] = causalConv1d(parameters, sliceAxis(x, 1, cut, L), carried);
    expectClose(await values(concat([first, second], 1)), await values(whole));
    expectClose(await values(end), await values(state));
  });

  test("the folded step is the whole", async () => {
    const [whole, last] = causalConv1d(parameters, x);
    let state = initCausalConv1dState(B, D, W);
    for (let t = 0; t < L; t++) {
      const [y, next] = causalConv1dStep(parameters, await rowAt(x, t), state);
      expectClose(await values(y), await values(await rowAt(whole, t)));
      state = next;
    }
    expectClose(await values(state), await values(last));
  });

  test("width 1 has an empty state", async () => {
    const pointwise = initCausalConv1d(key(5), D, 1);
    const [y, state] = causalConv1d(pointwise, x);
    expect(state.shape).toEqual([B, D, 0]);
    expect(y.shape).toEqual([B, L, D]);
    const [again] = causalConv1dStep(pointwise, await rowAt(x, 2), initCausalConv1dState(B, D, 1));
    expectClose(await values(again), await values(await rowAt(y, 2)));
  });

  test.each([[[3]], [[0, 3]], [[1, 2, 6]], [[5, 6]]])(
    "packed sequences that begin at %j are each alone",
    async (starts) => {
      const flags = tensor(
        Array.from({ length: B }, () => Array.from({ length: L }, (_, t) => (starts.includes(t) ? 1 : 0))),
      );
      const carried = normal(key(4), [B, D, W - 1]);
      const [packed, end] = causalConv1d(parameters, x, carried, { resets: flags });
      const cuts = [...new Set([0, ...starts, L])];
      let last = carried;
      const parts = cuts.slice(0, -1).map((start, n) => {
        const before = starts.includes(start) ? undefined : carried;
        const [y, after] = causalConv1d(parameters, sliceAxis(x, 1, start, cuts[n + 1]!), before);
        last = after;
        return y;
      });
      expectClose(await values(packed), await values(concat(parts, 1)));
      expectClose(await values(end), await values(last));
      // A reset forgets: what is not a number before it stays there.
      const spoiled = causalConv1d(parameters, x, mul(carried, NaN), { resets: flags });
      const rows = (await values(spoiled[0])).slice(starts[0]! * D, L * D);
      expectClose(rows, (await values(packed)).slice(starts[0]! * D, L * D));
      expect(() => causalConv1d(parameters, x, undefined, { resets: tensor([1]) })).toThrow("expected resets [B L]");
    },
  );

  test("states of another shape are refused", () => {
    expect(() => causalConv1d(parameters, x, initCausalConv1dState(B, D, W + 1))).toThrow(
      /expected a state .* shape \[2,3,3\], got shape \[2,3,4\]/,
    );
  });
});

/** x[:, t]. */
async function rowAt(x: Tensor, t: number): Promise<Tensor> {
  const [B, L, D] = x.shape as [number, number, number];
  const all = await values(x);
  return tensor(
    Float64Array.from({ length: B * D }, (_, i) => all[(Math.floor(i / D) * L + t) * D + (i % D)]!),
    [B, D],
  );
}

test("feed-forward maps and glu", async () => {
  const one = (weight: number[][]): { weight: Tensor } => ({ weight: tensor(weight) });
  const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
  // gate = 2x, up = 3x, down sums both hidden channels.
  const gated = { gate_proj: one([[2], [-1]]), up_proj: one([[3], [1]]), down_proj: one([[1, 1]]) };
  expectClose(await values(gatedMlp(gated, tensor([[0.7]]))), [1.4 * sigmoid(1.4) * 2.1 + -0.7 * sigmoid(-0.7) * 0.7]);
  expectClose(await values(glu(tensor([[1, 2, 0.5, -1]]))), [sigmoid(0.5), 2 * sigmoid(-1)]);
  expect(() => glu(tensor([1, 2, 3]))).toThrow(/even number/);
  expect(mlp(initMlp(key(0), 4, 16), normal(key(1), [2, 3, 4])).shape).toEqual([2, 3, 4]);
  expect(leavesOf(initGatedMlp(key(0), 4, 16))).toHaveLength(3);
  // gelu(1) = Phi(1) = 0.8413447460685429
  expectClose(await values(mlp({ fc1: one([[1]]), fc2: one([[1]]) }, tensor([[1]]))), [0.8413447460685429]);
});

describe("rotaryEmbedding", () => {
  test("turns pair i at position t by t base^(-2i/P)", async () => {
    const y = await values(
      rotaryEmbedding(
        tensor([
          [1, 2, 3, 4],
          [1, 2, 3, 4],
        ]),
        { offset: 5, base: 100 },
      ),
    );
    const expected = [5, 6].flatMap((t) => {
      const [p, q] = [t, t / 10];
      return [
        Math.cos(p) - 3 * Math.sin(p),
        2 * Math.cos(q) - 4 * Math.sin(q),
        3 * Math.cos(p) + Math.sin(p),
        4 * Math.cos(q) + 2 * Math.sin(q),
      ];
    });
    expectClose(y, expected);
    expect(() => rotaryEmbedding(tensor([[1, 2]]), { start: 5 } as never)).toThrow("got start; leave it out");
  });

  test("inner products depend on distances only", async () => {
    const [q, k] = [normal(key(1), [1, 8]), normal(key(2), [1, 8])];
    const dot = async (a: number, b: number): Promise<number> =>
      (await values(sum(mulRows(rotaryEmbedding(q, { offset: a }), rotaryEmbedding(k, { offset: b })))))[0]!;
    expect(await dot(3, 1)).toBeCloseTo(await dot(103, 101), 9);
    expect(await dot(3, 1)).not.toBeCloseTo(await dot(3, 2), 3);
  });
});

const mulRows = (a: Tensor, b: Tensor): Tensor => linear({ weight: b }, a);

describe("losses", () => {
  const logits = [
    [2, 1, -1],
    [0, 0, 0],
    [800, 0, -800],
  ];
  const labels = tensor([0, 2, 1], undefined, "i32");
  const nats = [-Math.log(Math.exp(2) / (Math.exp(2) + Math.E + Math.exp(-1))), Math.log(3), 800];

  test("crossEntropy is the mean of -log softmax at the label, large logits included", async () => {
    expectClose(await values(crossEntropy(tensor(logits), labels)), [(nats[0]! + nats[1]! + nats[2]!) / 3]);
  });

  test("a mask leaves positions out", async () => {
    const mask = tensor([1, 1, 0], undefined, "bool");
    expectClose(await values(crossEntropy(tensor(logits), labels, mask)), [(nats[0]! + nats[1]!) / 2]);
    expectClose(await values(crossEntropy(tensor(logits), labels, tensor([0, 0, 0], undefined, "bool"))), [0]);
    expectClose(await values(accuracy(tensor(logits), labels, mask)), [0.5]);
    expect(() => crossEntropy(tensor(logits), labels, tensor([1, 0]))).toThrow(/expected shape \[3\]/);
  });

  test("labels to ignore, smoothing and the reduction are PyTorch's", async () => {
    const some = tensor([0, -100, 1], undefined, "i32");
    const ignore = { ignoreIndex: -100 };
    expectClose(await values(crossEntropy(tensor(logits), some, undefined, ignore)), [(nats[0]! + nats[2]!) / 2]);
    expectClose(await values(crossEntropy(tensor(logits), some, undefined, { ...ignore, reduction: "none" })), [
      nats[0]!,
      0,
      nats[2]!,
    ]);
    const mask = tensor([1, 1, 0], undefined, "bool");
    expectClose(await values(crossEntropy(tensor(logits), some, mask, { ...ignore, reduction: "sum" })), [nats[0]!]);
    // the mean over all classes of -log softmax, in the share of the smoothing
    const even = nats[0]! + (2 * 2 - 1 + 1) / 3;
    expectClose(
      await values(
        crossEntropy(tensor([logits[0]!]), tensor([0], undefined, "i32"), undefined, { labelSmoothing: 0.25 }),
      ),
      [0.75 * nats[0]! + 0.25 * even],
    );
    expect(() => crossEntropy(tensor(logits), some, undefined, { labelSmoothing: 2 })).toThrow(/from 0 to 1, got 2/);
  });

  test("linearCrossEntropy in any number of pieces is crossEntropy of the logits, with its gradients", async () => {
    const [head, x] = [initLinear(key(1), 6, 9), normal(key(2), [2, 5, 6])];
    const chosen = tensor(
      [
        [0, 8, 3, -1, 2],
        [5, 5, 7, 1, 0],
      ],
      undefined,
      "i32",
    );
    const mask = tensor([
      [1, 1, 0.5, 0, 1],
      [0, 1, 1, 1, 2],
    ]);
    for (const options of [{ ignoreIndex: -1 }, { ignoreIndex: -1, labelSmoothing: 0.1, reduction: "sum" } as const])
      for (const weights of [undefined, mask]) {
        const whole = valueAndGrad((p: { head: typeof head; x: Tensor }) =>
          crossEntropy(linear(p.head, p.x), chosen, weights, options),
        )({ head, x });
        for (const pieces of [1, 3, 10, 50]) {
          const divided = valueAndGrad((p: { head: typeof head; x: Tensor }) =>
            linearCrossEntropy(p.head, p.x, chosen, weights, { ...options, pieces }),
          )({ head, x });
          for (const [k, leaf] of leavesOf(divided as never).entries())
            expectClose(await values(leaf), await values(leavesOf(whole as never)[k]!));
        }
      }
    const each = { ignoreIndex: -1, reduction: "none" } as const;
    expectClose(
      await values(linearCrossEntropy(head, x, chosen, mask, { ...each, pieces: 4 })),
      await values(crossEntropy(linear(head, x), chosen, mask, each)),
    );
    expect(() => linearCrossEntropy(head, x, chosen, undefined, { pieces: 0 })).toThrow(/pieces, a whole number/);
    expect(() => linearCrossEntropy(head, x, tensor([0], undefined, "i32"))).toThrow(/expected labels \[2,5\]/);
  });

  test("of the logits and their gradient no more than some pieces are in memory at a time", async () => {
    const device = cpu();
    const [N, D, V] = [64, 4, 1000];
    const given = await realize({ weight: normal(key(1), [V, D]), x: normal(key(2), [N, D]) }, { device });
    const labels = await realize(zeros([N], "i32"), { device });
    const temporaries = async (pieces: number): Promise<number> => {
      const step = valueAndGrad(({ weight, x }: typeof given) =>
        linearCrossEntropy({ weight }, x, labels, undefined, { pieces }),
      )(given);
      const [, size, unit] = /([\d.]+) (kB|MB) of temporaries/.exec(
        await explain(step as Tree, { device, memory: true }),
      )!;
      return Number(size) * (unit === "MB" ? 1e6 : 1e3);
    };
    const logits = 4 * N * V;
    expect(await temporaries(1)).toBeGreaterThanOrEqual(2 * logits);
    // Of each piece, the weight's gradient stays.
    expect(await temporaries(8)).toBeLessThan((2 / 8) * logits + 8 * 4 * V * D);
  });

  test("its gradient is (softmax - one hot) / n", async () => {
    const g = await values(
      grad((x: Tensor) => crossEntropy(x, tensor([0, 2], undefined, "i32")))(
        tensor([
          [2, 1, -1],
          [0, 0, 0],
        ]),
      ),
    );
    const total = Math.exp(2) + Math.E + Math.exp(-1);
    expectClose(g, [(Math.exp(2) / total - 1) / 2, Math.E / total / 2, Math.exp(-1) / total / 2, 1 / 6, 1 / 6, -1 / 3]);
  });

  test("accuracy, squared error and bits", async () => {
    expectClose(await values(accuracy(tensor(logits), labels)), [1 / 3]);
    expectClose(await values(meanSquaredError(tensor([[1, 2]]), tensor([[3, 5]]))), [6.5]);
    expect(bitsPerChar(Math.log(256))).toBeCloseTo(8, 12);
    expect(bitsPerChar(Math.log(256), 4)).toBeCloseTo(2, 12);
    expect(() => accuracy(tensor(logits), tensor([1], undefined, "i32"))).toThrow(/expected labels \[3\]/);
  });
});

test("parameters are trees, and the default device agrees with the oracle", async () => {
  const parameters = {
    conv: initCausalConv1d(key(1), 6, 4),
    norm: initLayerNorm(6),
    up: initGatedMlp(key(2), 6, 12),
  } satisfies Tree;
  const loss = (p: typeof parameters, x: Tensor): Tensor =>
    sum(gatedMlp(p.up, layerNorm(p.norm, causalConv1d(p.conv, x, undefined, { activation: "silu" })[0])));
  const run = async (device: ReturnType<typeof cpu>): Promise<number[][]> => {
    const gradients = leavesOf(await realize(grad(loss)(parameters, normal(key(3), [2, 9, 6])), { device }));
    return Promise.all(gradients.map(async (g) => [...(await g.data())]));
  };
  const [fast, exact] = [await run(cpu()), await run(oracle)];
  expect(fast).toHaveLength(7);
  fast.forEach((g, k) => expectClose(g, exact[k]!, 4));
});

describe("f16 numbers whose squares are beyond the largest", () => {
  const half = (rows: number[][]): Tensor => tensor(rows.flat(), [rows.length, rows[0]!.length], "f16");
  test.each([
    ["reference", oracle],
    ["cpu", cpu()],
  ] as const)("norms on %s", async (_, device) => {
    const on = async (x: Tensor): Promise<number[]> => [...(await (await realize(x, { device })).data())];
    expect(await on(rmsNorm({}, half([[300, 300]])))).toEqual([1, 1]);
    expect(await on(layerNorm({}, half([[-300, 300]])))).toEqual([-1, 1]);
    expect(await on(groupNorm({}, half([[-300, 300, 1, 3]]), { groups: 2 }))).toEqual([-1, 1, -1, 1]);
    expect(await on(rmsNorm({ weight: tensor([2, 3], [2], "f16") }, half([[60000, 60000]])))).toEqual([2, 3]);
    expect(await on(variance(half([[-250, 250]])))).toEqual([62496]);
    // the product with the gate is 90000
    expect(await on(gatedRmsNorm({}, half([[300, 300]]), half([[300, 300]])))).toEqual([1, 1]);
    const slopes = grad((x: Tensor) => sum(cast(gatedRmsNorm({}, x, x), "f32")))(half([[300, 200]]));
    expect((await on(slopes)).every(Number.isFinite)).toBe(true);
    expect(await on(meanSquaredError(half([[300, 0]]), half([[0, 0]])))).toEqual([45000]);
    const g = grad((x: Tensor) => sum(cast(mul(layerNorm({}, x), half([[1, 2, 4]])), "f32")))(half([[-300, 0, 300]]));
    const exact = grad((x: Tensor) => sum(mul(layerNorm({}, x), tensor([[1, 2, 4]]))))(tensor([[-300, 0, 300]]));
    const [got, expected] = [await on(g), await values(exact)];
    got.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 4));
  });
});

test("a loss of no positions is 0, and so is its gradient", async () => {
  const none = tensor(new Float32Array(0), [0, 3]);
  const loss = (x: Tensor): Tensor => crossEntropy(x, tensor(new Int32Array(0)));
  expect([...(await loss(none).data())]).toEqual([0]);
  expect([...(await meanSquaredError(none, none).data())]).toEqual([0]);
  expect((await grad(loss)(none).data()).length).toBe(0);
});

describe("what lies outside the mask has no gradient, infinite or not", () => {
  const { POSITIVE_INFINITY: inf } = Number;
  const mask = tensor([0, 1], undefined, "bool");
  test.each([
    ["crossEntropy", (x: Tensor) => crossEntropy(x, tensor([0, 1], undefined, "i32"), mask), [0, 0, 0.5, -0.5]],
    [
      "crossEntropy of weights",
      (x: Tensor) => crossEntropy(x, tensor([0, 1], undefined, "i32"), cast(mask, "f32")),
      [0, 0, 0.5, -0.5],
    ],
    [
      "meanSquaredError",
      (x: Tensor) =>
        meanSquaredError(
          x,
          tensor([
            [0, 0],
            [1, 3],
          ]),
          broadcastTo(expandDims(mask, 1), [2, 2]),
        ),
      [0, 0, -1, -3],
    ],
  ] as [string, (x: Tensor) => Tensor, number[]][])("%s", async (_, loss, expected) => {
    for (const first of [
      [inf, 0],
      [-inf, -inf],
      [NaN, 0],
      [inf, inf],
    ]) {
      const x = tensor([first, [0, 0]]);
      expectClose(await values(grad(loss)(x)), expected);
      expect(Number.isFinite((await values(loss(x)))[0])).toBe(true);
    }
  });
});

describe("dropout", () => {
  test("keeps the mean, is nothing without a key, and gradients follow what was kept", async () => {
    const x = full([4000], 2);
    const y = await values(dropout(x, { rate: 0.25, key: key(1) }));
    expect(new Set(y)).toEqual(new Set([0, 2 / 0.75]));
    expect(y.reduce((a, b) => a + b) / 4000).toBeCloseTo(2, 1);
    expect(dropout(x, { rate: 0.5 })).toBe(x);
    expect(await values(dropout(x, { rate: 0.25, key: keyTensor(key(1)) }))).toEqual(y);
    const g = await values(grad((z: Tensor) => sum(dropout(z, { rate: 0.25, key: key(1) })))(x));
    expect(g).toEqual(y.map((v) => v / 2));
    expect(() => dropout(x, { rate: 1 })).toThrow(/below 1, got 1/);
  });

  test("a key in a tensor: another draw is the same plan", async () => {
    const run = (k: number): Promise<string> => explain(dropout(tensor([1, 2]), { rate: 0.5, key: keyTensor(key(k)) }));
    expect(await run(1)).toBe(await run(2));
  });
});

test("an embedding's padding token is zeros and has no gradient; tokens outside the table are named", async () => {
  const weight = tensor([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  const tokens = tensor([1, 0, 1], undefined, "i32");
  const look = (table: Tensor): Tensor => embedding({ weight: table }, tokens, { paddingIndex: 0 });
  expectClose(await values(look(weight)), [3, 4, 0, 0, 3, 4]);
  expectClose(await values(grad((w: Tensor) => sum(look(w)))(weight)), [0, 0, 2, 2, 0, 0]);
  expect(() => embedding({ weight }, tensor([3], undefined, "i32"))).toThrow(/^embedding: .* from 0 to 2, got 3/);
  expect(() => crossEntropy(tensor([[1, 2]]), tensor([2], undefined, "i32"))).toThrow(
    /^crossEntropy: .* from 0 to 1, got 2/,
  );
  expect(() => crossEntropy(tensor([[1, 2]]), tensor([-1], undefined, "i32"))).toThrow(/got -1/);
});

test("a label that is ignored may lie outside", () => {
  expect(
    crossEntropy(tensor([[1, 2]]), tensor([-100], undefined, "i32"), undefined, { ignoreIndex: -100 }).shape,
  ).toEqual([]);
});

describe("what means nothing is named", () => {
  const logits = (): Tensor =>
    tensor([
      [1, 2],
      [3, 4],
    ]);
  const labels = (...list: number[]): Tensor => tensor(Int32Array.from(list));
  const table = { weight: tensor([[1], [2]]) };
  test.each<[string, () => unknown, RegExp]>([
    [
      "a label that counts, beside one that does not",
      () => crossEntropy(logits(), labels(9, 0), tensor([1, 0])),
      /^crossEntropy: expected whole numbers from 0 to 1, got 9 at element 0; /,
    ],
    [
      "labels that are no integers",
      () => crossEntropy(logits(), tensor([1, 0])),
      /^crossEntropy: expected i32 labels, got /,
    ],
    [
      "a setting by another library's name",
      () => crossEntropy(logits(), labels(1, 0), undefined, { ignore_index: -100 } as never),
      /^crossEntropy: expected settings out of ignoreIndex, labelSmoothing, reduction, got ignore_index; /,
    ],
    [
      "a reduction that is none",
      () => crossEntropy(logits(), labels(1, 0), undefined, { reduction: "avg" as never }),
      /^crossEntropy: expected a reduction out of mean, sum, none, got avg/,
    ],
    [
      "settings in the place of the mask",
      () => crossEntropy(logits(), labels(1, 0), { ignoreIndex: 0 } as never),
      /^mask: expected a tensor or undefined, got something else; settings come after the mask/,
    ],
    [
      "a padding index beyond the table",
      () => embedding(table, labels(1), { paddingIndex: 7 }),
      /^embedding: expected paddingIndex, a whole number from 0 to 1, got 7; /,
    ],
    [
      "a share by another name",
      () => dropout(logits(), { p: 0.5 } as never),
      /^dropout: expected settings out of rate, key, got p; /,
    ],
    [
      "an eps by another name",
      () => rmsNorm({}, logits(), { epsilon: 1 } as never),
      /^rmsNorm: expected settings out of eps, got epsilon; /,
    ],
    [
      "an eps below 0",
      () => layerNorm({}, logits(), { eps: -1 }),
      /^layerNorm: expected eps, a number of at least 0, got -1; /,
    ],
    [
      "parameters behind the input",
      () => linear(logits() as never, table as never),
      /^linear: expected an object with weight, bias, got a Tensor; /,
    ],
  ])("%s", (_, run, words) => {
    expect(run).toThrow(words);
  });

  test("a label that does not count may be any, and one that is computed is checked in debug mode", async () => {
    expect(await values(crossEntropy(logits(), labels(1, 9), tensor([1, 0])))).toEqual([expect.closeTo(0.3133, 3)]);
    const before = setDebug(true);
    try {
      const loss = crossEntropy(logits(), add(labels(1, 0), 5), tensor([1, 0]));
      await expect(realize(loss, { device: oracle })).rejects.toThrow(
        /^crossEntropy: expected whole numbers from 0 to 1, got 6/,
      );
    } finally {
      setDebug(before);
    }
  });
});
