import { hippoRecurrence, scaledLegsRecurrence } from "@seqmix/hippo";
import { checkMixer } from "@seqmix/testing";
import {
  concat,
  cpu,
  expandDims,
  explain,
  full,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  gru,
  hippoRnn,
  lmu,
  lstm,
  minGru,
  minLstm,
  positive,
  rnn,
  recurrentNetwork,
  runCell,
  initCell,
  zeroState,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
};
const expectClose = (actual: readonly number[], expected: readonly number[], digits = 10): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value, `element ${i}`).toBeCloseTo(expected[i]!, digits));
};

const laws = [
  "packed sequences are each alone, in values, states and gradients",
  "a sequence split anywhere is the whole",
];

describe("the laws of a mixer", () => {
  test.each([
    ["gru", gru, { dModel: 3, bias: false, chunkSize: 4 }],
    ["lstm", lstm, lstm.samples!["own size of state"]],
  ] as const)("%s", async (_, mixer, sample) => {
    const report = await checkMixer(mixer, { ...mixer.config, ...sample }, cpu(), { length: 5 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    expect(report.laws).toEqual(expect.arrayContaining(laws));
  });

  test.each([
    ["minGru", minGru],
    ["minLstm", minLstm],
  ] as const)("%s", async (_, mixer) => {
    const report = await checkMixer(mixer, { ...mixer.config, ...mixer.samples!["expanded"] }, cpu(), { length: 5 });
    expect(report.laws).toEqual(expect.arrayContaining(laws));
  });
});

describe("memories of polynomials", () => {
  test.each([
    ["hippoRnn", hippoRnn],
    ["lmu", lmu],
  ] as const)("%s keeps the laws of a mixer", async (_, mixer) => {
    const report = await checkMixer(mixer, { ...mixer.config, ...mixer.samples!["tiny"] }, cpu(), { length: 5 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
    expect(report.laws).toEqual(expect.arrayContaining(laws));
  });

  test("the memory of an LMU is the recurrence of its measure", async () => {
    const config = { ...lmu.config, dModel: 1, memoryOrder: 3, dt: 0.1 };
    const { A, B } = lmu.init(config, key(0));
    const params = {
      A: A!,
      B: B!,
      memory_in: { weight: tensor([[1, 0]]) },
      hidden: { weight: tensor([[0, 0, 1, 2, 3]]) },
    };
    const signal = [0.5, -1, 2, 0.25];
    const [y, { m }] = lmu.modes.parallel(config, params, tensor([signal.map((u) => [u])]));
    const { Abar, Bbar } = hippoRecurrence("lmu", 3, 0.1, "zoh");
    let memory = [0, 0, 0];
    const expected = signal.map((u) => {
      memory = memory.map((_, n) => memory.reduce((sum_, x, k) => sum_ + Abar[n * 3 + k]! * x, Bbar[n]! * u));
      return Math.tanh(memory[0]! + 2 * memory[1]! + 3 * memory[2]!);
    });
    expectClose(await values(y), expected);
    expectClose(await values(m), memory);
  });

  test.each(["euler", "bilinear", "backward_euler"] as const)(
    "that of scaled LegS is the recurrence whose step is 1/t, by %s, and begins again at a reset",
    async (rule) => {
      const N = 5;
      const config = {
        ...hippoRnn.config,
        dModel: 1,
        memoryOrder: N,
        measure: "scaled-legs",
        rule,
        gated: false,
      } as const;
      const params = {
        memory_in: { weight: tensor([[1, 0]]) },
        hidden: { weight: tensor([[0, 0, 1, 2, 3, 4, 5]]) },
      };
      const signal = [0.5, -1, 2, 0.25, 1, -0.75];
      const memoryOf = (inputs: readonly number[]): number[] =>
        inputs.reduce<number[]>((memory, u, k) => {
          const { Abar, Bbar } = scaledLegsRecurrence(N, k + 1, rule);
          return memory.map((_, n) => memory.reduce((total, x, j) => total + Abar[n * N + j]! * x, Bbar[n]! * u));
        }, Array<number>(N).fill(0));
      const x = (): Tensor => tensor([signal.map((u) => [u])]);
      const [, { m, t }] = hippoRnn.modes.parallel(config, params, x());
      expectClose(await values(m), memoryOf(signal));
      expect(await values(t!)).toEqual([6]);
      const resets = tensor(Uint8Array.of(0, 0, 1, 0, 0, 0), [1, 6]);
      const [, packed] = hippoRnn.modes.parallel(config, params, x(), undefined, resets);
      expectClose(await values(packed.m), memoryOf(signal.slice(2)));
      expect(() => hippoRnn.init({ ...config, rule: "zoh" as const }, key(0))).toThrow('got "zoh"');
    },
  );

  test("scaled LegS keeps the laws of a mixer", async () => {
    const report = await checkMixer(hippoRnn, { ...hippoRnn.config, ...hippoRnn.samples!["scaled"] }, cpu(), {
      length: 5,
    });
    expect(report.laws).toEqual(expect.arrayContaining(laws));
  });

  test("of a constant signal scaled LegS remembers the constant, however long it lasts", async () => {
    const config = { ...hippoRnn.config, dModel: 1, memoryOrder: 8, measure: "scaled-legs", gated: false } as const;
    const params = { memory_in: { weight: tensor([[1, 0]]) }, hidden: { weight: tensor([Array<number>(10).fill(0)]) } };
    const [, { m }] = hippoRnn.modes.parallel(config, params, full([1, 300, 1], 0.7));
    // The first polynomial is 1; the others have no share in a constant.
    (await values(m)).forEach((value, n) => expect(value).toBeCloseTo(n === 0 ? 0.7 : 0, 2));
  });
});

test("Elman's network is tanh of both products and both biases", async () => {
  const config = { ...rnn.config, dModel: 2 };
  const params = {
    weight_ih: tensor([
      [1, 0],
      [0, 2],
    ]),
    weight_hh: tensor([
      [0, 1],
      [0.5, 0],
    ]),
    bias_ih: tensor([0.1, 0]),
    bias_hh: tensor([0.2, 0.3]),
  };
  const [y] = rnn.modes.parallel(
    config,
    params,
    tensor([
      [
        [1, -1],
        [0, 0.5],
      ],
    ]),
  );
  const [a, b] = [Math.tanh(1.3), Math.tanh(-1.7)];
  expectClose(await values(y), [a, b, Math.tanh(0.3 + b), Math.tanh(1.3 + 0.5 * a)]);
});

test("a long sequence in chunks has the gradients of the whole, and as many kernels as a short one", async () => {
  const params = initCell("gru", key(1), { inputs: 3, state: 4, bias: true });
  const run = (x: Tensor, chunkSize: number): Tensor =>
    runCell("gru", params, x, zeroState("gru", 2, 4), { chunkSize })[0];
  const x = normal(key(2), [2, 30, 3]);
  const slope = (chunkSize: number): Tensor =>
    grad((given: Tensor) => sum(mul(run(given, chunkSize), normal(key(3), [2, 30, 4]))))(x);
  expectClose(await values(slope(7)), await values(slope(Infinity)));
  const kernels = async (L: number): Promise<number> =>
    (await explain(run(normal(key(2), [2, L, 3]), Infinity), { device: cpu() })).split("\n").length;
  expect(await kernels(300)).toBe(await kernels(3));
});

test("stacked and in both directions, a layer is its cells one after another", async () => {
  const names = ["l0", "l0_reverse", "l1", "l1_reverse"];
  const cells = names.map((name, k) =>
    initCell("lstm", key(k), { inputs: name.startsWith("l0") ? 3 : 4, state: 2, bias: true }),
  );
  const params = Object.fromEntries(
    cells.flatMap((cell, k) => Object.entries(cell).map(([name, x]) => [`${name}_${names[k]}`, x as Tensor])),
  );
  const x = normal(key(9), [2, 4, 3]);
  const { y, h, c } = recurrentNetwork("lstm", params, x, { layers: 2, bidirectional: true, hiddenSize: 2 });
  const start = zeroState("lstm", 2, 2);
  const [there] = runCell("lstm", cells[0]!, x, start);
  const [back] = runCell("lstm", cells[1]!, x, start, { reverse: true });
  const between = concat([there, back], 2);
  const [up, last] = runCell("lstm", cells[2]!, between, start);
  const [down, first] = runCell("lstm", cells[3]!, between, start, { reverse: true });
  expectClose(await values(y), await values(concat([up, down], 2)));
  expectClose(await values(sliceAxis(h, 0, 2, 3)), await values(expandDims(last.h, 0)));
  expectClose(await values(sliceAxis(c!, 0, 3, 4)), await values(expandDims(first.c!, 0)));
  expectClose(
    await values(reshape(sliceAxis(y, 1, 0, 1), [2, 4])),
    await values(
      concat(
        [sliceAxis(up, 1, 0, 1), sliceAxis(down, 1, 0, 1)].map((z) => reshape(z, [2, 2])),
        1,
      ),
    ),
  );
  expect(() => recurrentNetwork("gru", {}, x, { layers: 1, bidirectional: false, hiddenSize: 2 })).toThrow(
    /expected weight_ih_l0 and weight_hh_l0/,
  );
});

test("minLSTM divides gates that are smaller than any number", async () => {
  const config = { ...minLstm.config, dModel: 1 };
  const gate = (bias: number) => ({ weight: tensor([0], [1, 1]), bias: tensor([bias]) });
  const at = async (f: number, i: number): Promise<number> => {
    const params = { ...minLstm.init(config, key(1)), linear_f: gate(f), linear_i: gate(i), linear_h: gate(1.5) };
    const [, { h }] = minLstm.modes.parallel(config, params, tensor([0], [1, 1, 1]));
    await realize({ h }, { device: cpu() });
    return (await h.data())[0]!;
  };
  // a state of 0.5 and a candidate of 2, in equal parts, and one of the two alone
  expect(await at(-200, -200)).toBeCloseTo((0.5 + 2) / 2, 6);
  expect(await at(-150, -250)).toBeCloseTo(0.5, 6);
  expect(await at(-250, -150)).toBeCloseTo(2, 6);
});

test.each([minGru, minLstm])("a reset forgets what is no number: $id", async (mixer) => {
  const config = { ...mixer.config, dModel: 2 };
  const params = mixer.init(config, key(1));
  const x = tensor([NaN, NaN, 1, 2, 3, 4], [1, 3, 2]);
  const [y] = mixer.modes.parallel(config, params, x, undefined, tensor([0, 1, 0], [1, 3]));
  const [alone] = mixer.modes.parallel(config, params, sliceAxis(x, 1, 1, 3));
  expectClose(await values(sliceAxis(y, 1, 1, 3)), await values(alone));
});

test("minGRU's states stay positive, and its candidate is smooth at 0", async () => {
  expectClose(await values(positive(tensor([-2, 0, 3]))), [1 / (1 + Math.exp(2)), 0.5, 3.5]);
  const config = { ...minGru.config, dModel: 3 };
  const [, { h }] = minGru.modes.parallel(config, minGru.init(config, key(1)), normal(key(2), [1, 50, 3], 0, 5));
  expect((await values(h)).every((value) => value > 0)).toBe(true);
});
