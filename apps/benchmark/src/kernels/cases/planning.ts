/** What the host takes for graphs of many calls: building, planning, and programs that are there already. */
import { mamba } from "@seqmix/mamba";
import { configure, runMixer } from "@seqmix/mixer";
import { dispose, key, mul, normal, realize, reference, type Device, type Tensor } from "@seqmix/tensor";
import { relativeError } from "../compare.js";
import type { BenchmarkCase, OwnContestant } from "../contestant.js";
import type { Check } from "../row.js";

const config = configure(mamba, { dModel: 8, dState: 4 });

/** @param run Different in every run, so that no plan is found again. */
const outputs = (params: ReturnType<typeof mamba.init>, x: Tensor, run: number): Tensor =>
  runMixer(mamba, config, params, mul(x, 1 + run * 2 ** -20), undefined, "recurrent")[0];

async function open(length: number, device: Device): Promise<OwnContestant> {
  const params = await realize(mamba.init(config, key(1)), { device });
  const x = await realize(normal(key(2), [1, length, config.dModel]), { device });
  let count = 0;
  const run = async (): Promise<void> => {
    const y = await realize(outputs(params, x, count++), { device });
    dispose(y);
  };
  await run();
  return {
    variant: "element by element, planned anew",
    run,
    read: () => [],
    check: () => check(device),
    close: () => dispose([params, x]),
  };
}

async function check(device: Device): Promise<Check> {
  const oracle = reference();
  const length = 40;
  const values: ArrayLike<number>[] = [];
  for (const each of [device, oracle]) {
    const y = outputs(mamba.init(config, key(1)), normal(key(2), [1, length, config.dModel]), 1);
    await realize(y, { device: each });
    values.push(await y.data());
  }
  await oracle.close();
  const error = relativeError(values[0]!, values[1]!);
  const tolerance = 1e-4;
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: `outputs of ${length} elements`,
  };
}

/** Mamba's recurrent mode over a whole sequence in one graph: tokens/s that do not fall with the length show that planning is linear. */
const recurrentGraph = (length: number): BenchmarkCase => ({
  kernel: "recurrentGraph",
  shape: `mamba B1 L${length} D8 N4`,
  mode: "fwd",
  // Six for each weight and element, roughly.
  flops: 2 * length * 3 * 8 * 16 * 2,
  bytes: 4 * 2 * length * 8,
  rate: "tokens/s",
  tokens: length,
  bars: [],
  prepare: () => ({ open: (device) => open(length, device), loops: {}, peers: {} }),
});

export const planningCases: readonly BenchmarkCase[] = [
  recurrentGraph(250),
  recurrentGraph(1000),
  recurrentGraph(4000),
  recurrentGraph(10_000),
];
