// What a metric says of models whose answers are known.
import { adding, delay, parity, reconstruction, selectiveCopying, type Batch, type Task } from "@seqmix/tasks";
import { add, cast, equal, expandDims, mul, reference, sum, tensor, zeros, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { evaluation } from "./evaluate.js";
import { lossOf } from "./loss.js";
import type { Model } from "./model.js";

/** A model that looks at the whole batch, answers included. */
const knowing = (answers: (batch: Batch) => Tensor): Model => ({
  init: () => ({}),
  answers: (_, batch) => answers(batch as Batch),
});
const measure = (task: Task, answers: (batch: Batch) => Tensor, batchSize = 7): Promise<number> =>
  evaluation(task, knowing(answers), batchSize, reference())("test", {});
/** [B A] classes -> [B A V], 1 at each class. */
const oneHot = (classes: Tensor, V: number): Tensor =>
  cast(equal(expandDims(classes, 2), tensor(Int32Array.from({ length: V }, (_, k) => k))), "f32");

test.each([
  ["at each position", delay({ L: 40, lag: 10, evaluationSequences: 30 })],
  ["for the whole sequence", adding({ L: 10, evaluationSequences: 30 })],
  ["several numbers", reconstruction({ L: 40, memory: 10, evaluationSequences: 30 })],
])("nmse, %s: 0 for what is right, 1 for the mean, and e^2 / variance for what is off by e", async (_, task) => {
  expect(await measure(task, ({ targets }) => targets)).toBe(0);
  let [count, total, squares] = [0, 0, 0];
  for (const { targets, mask } of task.evaluation("test", 30)) {
    expect((await mask.data()).every((counts) => counts === 1)).toBe(true);
    for (const value of await targets.data()) {
      count++;
      total += value;
      squares += value ** 2;
    }
  }
  const mean = total / count;
  const variance = squares / count - mean ** 2;
  // Batches of 7 do not divide 30 sequences: what fills up the last one does not count.
  expect(await measure(task, ({ targets }) => add(mul(targets, 0), mean))).toBeCloseTo(1, 6);
  expect(await measure(task, ({ targets }) => add(targets, 0.5))).toBeCloseTo(0.25 / variance, 5);
});

test("accuracy counts the answers that the mask says, however often they stand in a batch", async () => {
  const task = selectiveCopying({ dataTokens: 3, positions: 6, vocabSize: 6, evaluationSequences: 10 });
  expect(await measure(task, ({ targets }) => oneHot(targets, 6))).toBe(1);
  expect(await measure(task, ({ targets }) => zeros([...targets.shape, 6]))).toBe(0);
  const always = await measure(parity({ L: 6, longest: 0, evaluationSequences: 40 }), ({ targets }) =>
    oneHot(add(mul(targets, 0), 1), 3),
  );
  let even = 0;
  for (const { targets, mask } of parity({ L: 6, longest: 0, evaluationSequences: 40 }).evaluation("test", 40))
    even = await sum(mul(cast(equal(targets, 1), "f32"), mask)).item();
  expect(always).toBeCloseTo(even / 40, 12);
});

test("the loss is that of the answers that count", async () => {
  const mask = tensor([[1, 0]]);
  const numbers = lossOf(
    { output: { numbers: 2 } },
    tensor([
      [
        [1, 2],
        [9, 9],
      ],
    ]),
    {
      targets: tensor([
        [
          [0, 0],
          [0, 0],
        ],
      ]),
      mask,
    },
  );
  expect(await numbers.item()).toBeCloseTo((1 + 4) / 2, 6);
  const classes = lossOf({ output: { classes: 4 } }, zeros([1, 2, 4]), {
    targets: tensor([[2, 0]], undefined, "i32"),
    mask,
  });
  expect(await classes.item()).toBeCloseTo(Math.log(4), 6);
});
