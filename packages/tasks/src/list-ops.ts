import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";

/** Settings of {@link listOps}. */
export type ListOpsConfig = {
  /** Longest expression; shorter ones are padded. */
  readonly L: number;
  /** Shortest expression, at most L. */
  readonly minLength: number;
  /** Deepest nesting; at least 1. */
  readonly maxDepth: number;
  /** Most arguments of an operator; at least 2. */
  readonly maxArguments: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

const OPERATORS = ["MIN", "MAX", "MED", "SM"] as const;
/** Tokens: 0 pads, 1 .. 10 are the digits, then the operators with their bracket, then the closing bracket. */
const [DIGIT, OPERATOR, CLOSE] = [1, 11, 15];
/** Chance that a node is an operator. */
const NESTED = 0.25;

interface Tree {
  readonly tokens: readonly number[];
  readonly value: number;
}

/**
 * ListOps: the value of a nested expression of minimum, maximum, median and sum modulo 10.
 *
 *     [MAX 2 9 [MIN 4 7 ] 0 ]   is 9
 *
 * A node is an operator with probability 1/4 (never below the greatest depth), of 2 to `maxArguments` arguments, else a
 * uniform digit; expressions outside the lengths are thrown away. The median of an even number is cut to a whole one.
 *
 * Source: `lra_benchmarks/data/listops.py` of Long Range Arena, after Nangia and Bowman, 2018. Tokens are those of the S4 code
 * base: its brackets and operators, without the binary parentheses.
 */
export const listOps = defineTask<ListOpsConfig>({
  id: "list-ops",
  family: "classification",
  summary: "the value, one of ten, of a nested expression of minimum, maximum, median and sum modulo 10",
  defaults: {
    L: 128,
    minLength: 20,
    maxDepth: 5,
    maxArguments: 5,
    trainSequences: 0,
    evaluationSequences: 500,
  },
  limits: { L: { least: 4 }, minLength: { least: 3 }, maxArguments: { least: 2 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, steps: 3000, lr: 3e-3 },
  network: { pooling: "mean" },
  scales: {
    smoke: { L: 24, minLength: 5, maxDepth: 3, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: {
      L: 1999,
      minLength: 501,
      maxDepth: 10,
      maxArguments: 10,
      trainSequences: 96_000,
      evaluationSequences: 2000,
      dModel: 256,
      nLayers: 6,
      steps: 120_000,
      lr: 1e-2,
      weightDecay: 0.05,
    },
  },
  make(config) {
    const { L, minLength, maxDepth, maxArguments } = config;
    if (minLength > L)
      throw new RangeError(`list-ops: expected minLength of at most L=${L}, got ${minLength}; lower it`);
    if (maxDepth < 2) throw new RangeError(`list-ops: expected maxDepth of at least 2, got ${maxDepth}; raise it`);
    return generatedTask({
      id: "list-ops",
      config,
      input: { vocabSize: 16 },
      output: { classes: 10 },
      answers: 1,
      length: L,
      metric: "accuracy",
      chance: 1 / 10,
      padded: true,
      example(random, { inputs, targets, mask, present }) {
        const { tokens, value } = treeWithin(random, minLength, L, maxDepth, maxArguments);
        inputs.set(tokens);
        present.fill(1, 0, tokens.length);
        targets[0] = value;
        mask[0] = 1;
      },
    });
  },
  definition:
    "A nested expression in prefix form, of the operators MIN, MAX, MED (the median, cut to a whole number) and SM (the sum modulo 10) over digits and further expressions; its value, one of ten, is due. The classes are not equally frequent.",
  tests:
    "Hierarchy: the value depends on brackets that match over long distances. The first task of Long Range Arena, of which published models answer about six in ten.",
  source:
    "Tay et al., Long Range Arena (2020), `listops.py`: depth up to 10, up to 10 arguments, lengths between 500 and 2,000, 96,000 training and 2,000 test expressions; Nangia and Bowman, ListOps (2018). There whole trees are drawn and those of other lengths thrown away; here a tree is given up as soon as it is too long, which is the same.",
  published: [
    ["Transformer", "36.4 %", "S4 paper, Table 4"],
    ["Linear Transformer", "16.1 %", "S4 paper, Table 4"],
    ["S4", "59.6 %", "Gu, Goel and Ré, S4 (2022), Table 4"],
    ["DSS", "60.6 %", "README of the DSS code base"],
    ["S4D-LegS", "60.5 %", "Orvieto et al., LRU (2023), Table 3"],
    ["LRU", "60.2 %", "Orvieto et al., LRU (2023), Table 3"],
    ["S5", "62.2 %", "Smith et al., S5 (2023)"],
  ].map(([model, value, source]) => ({ model: model!, value: value!, source: source! })),
  symbols: () => [" ", ...Array.from({ length: 10 }, (_, k) => String(k)), ...OPERATORS.map((name) => `[${name}`), "]"],
});

/** A tree of a length in the range. */
function treeWithin(random: HostRandom, least: number, most: number, maxDepth: number, maxArguments: number): Tree {
  for (let tries = 0; tries < 1_000_000; tries++) {
    const tree = treeOf(random, 1, most, maxDepth, maxArguments);
    if (tree && tree.tokens.length >= least) return tree;
  }
  throw new RangeError(
    `list-ops: expected settings under which expressions have ${least} to ${most} tokens, got maxDepth=${maxDepth} and maxArguments=${maxArguments}; raise one`,
  );
}

/** A tree, or undefined once it is longer than `most`. */
function treeOf(
  random: HostRandom,
  depth: number,
  most: number,
  maxDepth: number,
  maxArguments: number,
): Tree | undefined {
  if (depth >= maxDepth || random.uniform() > NESTED) {
    const value = random.integer(10);
    return { tokens: [DIGIT + value], value };
  }
  const count = 2 + random.integer(maxArguments - 1);
  const operator = random.integer(OPERATORS.length);
  const tokens = [OPERATOR + operator];
  const values: number[] = [];
  for (let k = 0; k < count; k++) {
    const argument = treeOf(random, depth + 1, most - tokens.length - 1, maxDepth, maxArguments);
    if (!argument) return undefined;
    tokens.push(...argument.tokens);
    values.push(argument.value);
  }
  tokens.push(CLOSE);
  return tokens.length > most ? undefined : { tokens, value: apply(OPERATORS[operator]!, values) };
}

function apply(operator: (typeof OPERATORS)[number], values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  switch (operator) {
    case "MIN":
      return sorted[0]!;
    case "MAX":
      return sorted.at(-1)!;
    case "MED":
      return sorted.length % 2 === 1 ? sorted[middle]! : Math.floor((sorted[middle - 1]! + sorted[middle]!) / 2);
    case "SM":
      return values.reduce((sum, value) => sum + value, 0) % 10;
  }
}
