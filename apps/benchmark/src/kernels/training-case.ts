/** Cases that repeat a training step: parameters and optimizer state are carried along and written over. */
import { compile, dispose, leavesOf, realize, reference, type Device, type Tensor, type Tree } from "@seqmix/tensor";
import type { OptimizerState } from "@seqmix/optim";
import { relativeError } from "./compare.js";
import type { BenchmarkCase, OwnContestant, PreparedCase } from "./contestant.js";
import type { Check } from "./row.js";
import { idleOf } from "./gpu.js";
import { variantOf } from "./variant.js";

/** What a step carries on. */
export interface Learner {
  readonly params: Tree;
  readonly optimizer: OptimizerState;
}

/** How a model trains. Nothing runs in here: the values are realized together. */
export interface Training {
  start(): Learner;
  /** Data of a step, counted from 0. */
  batch(step: number): Tree;
  step(learner: Learner, batch: Tree): Learner & { readonly loss: Tensor };
  /** true: all steps take the same batch, which stays on the device. */
  readonly fixedBatch: boolean;
}

/** A training case. */
export interface TrainingCase extends Omit<BenchmarkCase, "prepare" | "mode"> {
  readonly tolerance: number;
  /** Where products of f32 are of tf32; as `tolerance` by default. */
  readonly tf32Tolerance?: number;
  readonly training: () => Training;
  /** The same model on less, for the reference. */
  readonly smaller: () => Training;
  /** How it is smaller. */
  readonly smallerSize: string;
  readonly peers?: () => PreparedCase["peers"];
}

/** Steps between two readings of the losses. */
const READ_EVERY = 8;

/** The case that a description stands for. */
export function trainingCase({
  training,
  smaller,
  smallerSize,
  tolerance,
  tf32Tolerance = tolerance,
  peers,
  ...facts
}: TrainingCase): BenchmarkCase {
  return {
    ...facts,
    mode: "step",
    prepare: () => ({
      open: (device, products) => {
        const allowed = products === "tf32" ? tf32Tolerance : tolerance;
        return open(training(), device, () => check(smaller(), smallerSize, allowed, device));
      },
      loops: {},
      peers: peers?.() ?? {},
    }),
  };
}

async function open(training: Training, device: Device, check: () => Promise<Check>): Promise<OwnContestant> {
  let learner = training.start();
  await realize([learner.params, learner.optimizer], { device });
  const fixed = training.fixedBatch ? await realize(training.batch(0), { device }) : undefined;
  const variant = await variantOf(rootsOf(training.step(learner, fixed ?? training.batch(0))), device);
  const step = compile(
    (params: Tree, optimizer: OptimizerState, batch: Tree): readonly [Tree, OptimizerState, Tensor] => {
      const next = training.step({ params, optimizer }, batch);
      return [next.params, next.optimizer, next.loss];
    },
    { device, donate: [0, 1] },
  );
  let count = 0;
  let unread: Tensor[] = [];
  const losses = async (): Promise<number[]> => {
    const values = await Promise.all(unread.map((loss) => loss.item()));
    dispose(unread);
    unread = [];
    return values;
  };
  const run = async (): Promise<void> => {
    const batch = fixed ?? training.batch(count);
    const [params, optimizer, loss] = await step(learner.params, learner.optimizer, batch);
    learner = { params, optimizer };
    if (!fixed) dispose(batch);
    unread.push(loss);
    count++;
    if (unread.length >= READ_EVERY) await losses();
  };
  await run();
  const first = Float32Array.from(await losses());
  return {
    variant,
    run,
    read: () => first,
    check,
    idle: () => idleOf(device, run),
    close() {
      dispose(unread);
      dispose([learner.params, learner.optimizer, ...(fixed ? [fixed] : [])]);
    },
  };
}

const rootsOf = ({ params, optimizer, loss }: Learner & { readonly loss: Tensor }): Tree => [params, optimizer, loss];

/** Loss and first moments (the gradients, but for a factor) after one step; the parameters move by Adam's sign-like rule, which magnifies rounding. */
async function check(training: Training, size: string, tolerance: number, device: Device): Promise<Check> {
  const oracle = reference();
  const results: ArrayLike<number>[][] = [];
  for (const each of [device, oracle]) {
    // Made anew on each device: random parameters are the same numbers everywhere.
    const start = training.start();
    const batch = training.batch(0);
    const next = training.step(start, batch);
    const roots = [next.loss, ...leavesOf(next.optimizer["firstMoment"]!)];
    await realize([...roots, ...leavesOf(next.params)], { device: each });
    results.push(await Promise.all(roots.map((x) => x.data())));
    dispose([...roots, next.params, start.params, start.optimizer, batch]);
  }
  await oracle.close();
  const [found, expected] = results as [ArrayLike<number>[], ArrayLike<number>[]];
  const error = expected.reduce((worst, values, k) => Math.max(worst, relativeError(found[k]!, values)), 0);
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: `loss and gradients of a smaller instance, ${size}`,
  };
}
