import {
  add,
  concat,
  cpu,
  explain,
  grad,
  key,
  matmul,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sequentialScan,
  sigmoid,
  sliceAxis,
  sum,
  tanh,
  tensor,
  transpose,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { evaluate } from "./host-values.js";

type Cell = { readonly h: Tensor; readonly c: Tensor };
type Weights = { readonly w: Tensor; readonly gain: Tensor };

/** A step with two states, one of which is put out, and a constant that nothing else reads. */
const step = ({ h, c }: Cell, x: Tensor, { w, gain }: Weights): readonly [Cell, { y: Tensor; twice: Tensor }] => {
  const z = add(x, matmul(h, transpose(w)));
  const next = add(mul(sigmoid(z), c), mul(gain, tanh(z)));
  return [
    { h: tanh(next), c: next },
    { y: tanh(next), twice: mul(next, 2) },
  ];
};

const inputs = (L: number) => ({
  x: normal(key(1), [L, 2, 3]),
  h: normal(key(2), [2, 3]),
  c: normal(key(3), [2, 3]),
  w: normal(key(4), [3, 3], 0, 0.5),
  gain: normal(key(5), [3]),
});
type Inputs = ReturnType<typeof inputs>;

/** All results side by side. */
function scanned({ x, h, c, w, gain }: Inputs, reverse: boolean, chunkSize?: number): Tensor {
  const { state, outputs } = sequentialScan({
    step,
    initial: { h, c },
    inputs: x,
    constants: { w, gain },
    reverse,
    ...(chunkSize && { chunkSize }),
  });
  return joined([outputs.y, outputs.twice, reshape(state.h, [1, 2, 3]), reshape(state.c, [1, 2, 3])]);
}

/** The same as nodes of the graph. */
function unrolled({ x, h, c, w, gain }: Inputs, reverse: boolean): Tensor {
  const L = x.shape[0]!;
  let state: Cell = { h, c };
  const [ys, twices] = [new Array<Tensor>(L), new Array<Tensor>(L)];
  for (let n = 0; n < L; n++) {
    const t = reverse ? L - 1 - n : n;
    const [next, { y, twice }] = step(state, reshape(sliceAxis(x, 0, t, t + 1), [2, 3]), { w, gain });
    state = next;
    [ys[t], twices[t]] = [reshape(y, [1, 2, 3]), reshape(twice, [1, 2, 3])];
  }
  return joined([...ys, ...twices, reshape(state.h, [1, 2, 3]), reshape(state.c, [1, 2, 3])]);
}

const joined = (parts: readonly Tensor[]): Tensor => concat(parts, 0);
const weightsOf = (y: Tensor): Tensor => normal(key(6), y.shape);

async function both(device: Device, run: (given: Inputs) => Tensor, L: number): Promise<number[]> {
  const leaves = await evaluate(device, () => {
    const given = inputs(L);
    const slopes = grad((all: Inputs) => {
      const y = run(all);
      return sum(mul(y, weightsOf(y)));
    })(given);
    return [mul(run(inputs(L)), 1), ...Object.values(slopes).map((g) => mul(g, 1))];
  });
  return leaves.flatMap(({ data }) => [...data]);
}

describe.each([
  ["reference", reference(), 10],
  ["cpu", cpu(), 4],
] as const)("sequentialScan on %s", (_, device, digits) => {
  test.each([
    [1, false],
    [2, true],
    [7, false],
    [7, true],
  ])("of %d steps (reverse %s) is the unrolled graph, in values and gradients", async (L, reverse) => {
    const expected = await both(reference(), (given) => unrolled(given, reverse), L);
    const actual = await both(device, (given) => scanned(given, reverse), L);
    const chunked = await both(device, (given) => scanned(given, reverse, 3), L);
    for (const values of [actual, chunked]) {
      expect(values.length).toBe(expected.length);
      values.forEach((value, i) => expect(value, `element ${i}`).toBeCloseTo(expected[i]!, digits));
    }
  });

  test("a state that a step leaves alone, and a result that is an input", async () => {
    const [result] = await evaluate(device, () => {
      const { state, outputs } = sequentialScan({
        step: ({ kept }: { kept: Tensor }, x: Tensor, none: Tensor) => [{ kept }, { x, same: none, kept }] as const,
        initial: { kept: tensor([7]) },
        inputs: tensor([[1], [2]]),
        constants: tensor([5]),
      });
      return [concat([reshape(state.kept, [1, 1]), outputs.x, outputs.same, outputs.kept], 0)];
    });
    expect([...result!.data]).toEqual([7, 1, 2, 5, 5, 7, 7]);
  });
});

test("the cpu device runs the same plan for every step", async () => {
  const lines = async (L: number): Promise<number> =>
    (await explain(scanned(inputs(L), false), { device: cpu() })).split("\n").length;
  expect(await lines(500)).toBe(await lines(5));
});

test("gives its memory back", async () => {
  const device = cpu({ threads: 1 });
  await both(device, (given) => scanned(given, false), 9);
  expect(device.memory().buffers).toBe(0);
  await device.close();
});

test("the sums of a weight's gradient are not kept for every step", async () => {
  const [L, D] = [64, 48];
  const peak = async (length: number): Promise<number> => {
    const device = cpu({ threads: 1 });
    const [x, w] = [normal(key(1), [length, 1, D]), normal(key(2), [D, D])];
    const last = (weight: Tensor): Tensor =>
      sum(
        sequentialScan({
          step: (h: Tensor, now: Tensor, fixed: Tensor) => [tanh(add(now, matmul(h, fixed))), {}] as const,
          initial: normal(key(3), [1, D]),
          inputs: x,
          constants: weight,
        }).state,
      );
    await realize(grad(last)(w), { device });
    const { peakBytes } = device.memory();
    await device.close();
    return peakBytes;
  };
  // More steps keep more states of D numbers, not more sums of D D numbers.
  expect((await peak(2 * L)) - (await peak(L))).toBeLessThan(L * D * D * 4);
});

test("a step that reads another tensor, or changes its state's form, is refused", async () => {
  const outside = await realize(tensor([1, 2]));
  const run = (next: (h: Tensor) => Tensor): unknown =>
    sequentialScan({
      step: (h: Tensor) => [next(h), h] as const,
      initial: tensor([1, 2]),
      inputs: tensor([[0], [0]]),
      constants: [],
    });
  expect(() => run((h) => add(h, outside))).toThrow(/reads its arguments alone.*pass it in constants/);
  expect(() => run((h) => reshape(h, [2, 1]))).toThrow(/keeps the form of its state/);
  expect(() =>
    sequentialScan({ step: (h: Tensor) => [h, h] as const, initial: tensor([1]), inputs: [], constants: [] }),
  ).toThrow(/share a first axis, got none/);
});
