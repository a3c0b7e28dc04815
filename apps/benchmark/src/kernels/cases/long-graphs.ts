/** Graphs of very many calls, planned anew in every run: what is not linear in their number shows as minutes. */
import {
  add,
  concat,
  dispose,
  leavesOf,
  mul,
  realize,
  tensor,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { relativeError } from "../compare.js";
import type { BenchmarkCase, OwnContestant } from "../contestant.js";

/** A graph of one input, and its values of the input's numbers. */
interface LongGraph {
  readonly shape: string;
  readonly calls: number;
  build(x: Tensor): Tree;
  expected(x: readonly number[]): number[];
}

const repeated = <T>(times: number, first: T, f: (value: T, k: number) => T): T => {
  let value = first;
  for (let k = 0; k < times; k++) value = f(value, k);
  return value;
};

const GRAPHS: readonly LongGraph[] = [
  {
    shape: "a chain of 100,000 calls",
    calls: 100_000,
    build: (x) => repeated(100_000, x, (y, k) => (k % 2 ? mul(y, 0.5) : add(y, 1))),
    expected: (x) => x.map((first) => repeated(100_000, first, (y, k) => (k % 2 ? y / 2 : y + 1))),
  },
  {
    shape: "10,000 tensors put together",
    calls: 10_001,
    build: (x) =>
      concat(
        Array.from({ length: 10_000 }, (_, k) => mul(x, k)),
        0,
      ),
    expected: (x) => Array.from({ length: 10_000 }, (_, k) => x.map((value) => value * k)).flat(),
  },
  {
    shape: "5,000 results of one input",
    calls: 10_000,
    build: (x) => Array.from({ length: 5000 }, (_, k) => add(mul(x, k), 1)),
    expected: (x) => Array.from({ length: 5000 }, (_, k) => x.map((value) => value * k + 1)).flat(),
  },
];

const INPUT = [0.5, -1, 0.25, 2];

async function open({ build, expected }: LongGraph, device: Device): Promise<OwnContestant> {
  const x = await realize(tensor(INPUT), { device });
  let count = 1;
  // a number that differs in every run, so that no plan is found again
  const anew = (): { readonly factor: number; readonly tree: Tree } => {
    const factor = 1 + count++ * 2 ** -20;
    return { factor, tree: build(mul(x, factor)) };
  };
  return {
    variant: "planned anew",
    async run() {
      dispose(await realize(anew().tree, { device }));
    },
    read: () => [],
    async check() {
      const { factor, tree } = anew();
      await realize(tree, { device });
      const values: number[] = [];
      for (const leaf of leavesOf(tree)) values.push(...(await leaf.data()));
      dispose(tree);
      const error = relativeError(values, expected(INPUT.map((value) => value * factor)));
      const tolerance = 1e-6;
      const check = error <= tolerance ? "green" : "red";
      return { check, error, tolerance, unit: "relative", coverage: "all outputs" };
    },
    close: () => dispose(x),
  };
}

export const longGraphCases: readonly BenchmarkCase[] = GRAPHS.map((graph) => ({
  kernel: "longGraph",
  shape: graph.shape,
  mode: "fwd",
  flops: INPUT.length * graph.calls,
  bytes: 4 * INPUT.length * graph.calls,
  rate: "GFLOP/s",
  bars: [],
  prepare: () => ({ open: (device) => open(graph, device), loops: {}, peers: {} }),
}));
