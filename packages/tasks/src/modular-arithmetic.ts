import { defineTask, laptopBudget } from "./define-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import type { Task } from "./task.js";

/** Settings of {@link modularArithmetic}. */
export type ModularArithmeticConfig = {
  /** Longest expression with its "=". */
  readonly L: number;
  /** Shortest expression with its "="; from 2 to L. */
  readonly minLength: number;
  /** Whether expressions have brackets and signs. */
  readonly brackets: boolean;
  /** Whether there are products. */
  readonly products: boolean;
  /** Numbers are 0 .. modulus-1. */
  readonly modulus: number;
  /** A trained model is also asked at longer expressions up to this length; 0: only at L. */
  readonly longest: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

const symbols = ["_", "+", "-", "*", "=", "(", ")"] as const;
/** An expression: its symbols and numbers in order, and its value. */
interface Expression {
  readonly text: readonly (string | number)[];
  readonly value: number;
}

/**
 * Modular arithmetic: the value of an expression of numbers modulo m.
 *
 *     inputs   3 + 2 * 4 =          products before sums
 *     target             1          at the "="
 *
 * Without brackets, numbers and operators alternate, all uniform. With brackets an expression of n symbols is: for 1 a number;
 * for 2 a sign and a number; for 3 a number in brackets; for 4 both; else `( A op B )` with A of uniform length.
 *
 * Source: Grazzi et al., Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024 (its code, after
 * Delétang et al., Neural Networks and the Chomsky Hierarchy, 2022).
 */
export const modularArithmetic = defineTask<ModularArithmeticConfig>({
  id: "modular-arithmetic",
  family: "state tracking",
  summary: "the value of an expression modulo 5, with or without brackets",
  defaults: {
    L: 40,
    minLength: 4,
    brackets: false,
    products: true,
    modulus: 5,
    longest: 160,
    evaluationSequences: 1000,
  },
  limits: { minLength: { least: 2 }, modulus: { least: 2 }, longest: { least: 0 } },
  training: { ...laptopBudget, steps: 4000, batch: 64, lr: 3e-3 },
  scales: {
    smoke: { L: 8, longest: 16, modulus: 3, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { longest: 256, steps: 100_000, batch: 256, lr: 1e-3, warmup: 10_000, dModel: 128, weightDecay: 0.1 },
  },
  make: modularArithmeticTask,
  definition:
    "An expression of numbers modulo 5 and the operators +, - and *, ended by `=`, where its value is due. Without brackets products come before sums; with brackets every operation is in a pair of them.",
  tests:
    "Without brackets a finite automaton suffices: a sum and a product to carry. With brackets a stack is needed, which a state of fixed size has only up to a depth.",
  source:
    "Grazzi, Siems, Franke, Zela, Hutter and Pontil, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues (2024): lengths 3 to 40 in training, 40 to 256 in testing; Delétang et al., Neural Networks and the Chomsky Hierarchy (2022). The score there is scaled: (accuracy - 1/5) / (4/5).",
  symbols: ({ modulus, brackets }) => [
    ...symbols.slice(0, brackets ? 7 : 5),
    ...Array.from({ length: modulus }, (_, k) => String(k)),
  ],
});

function modularArithmeticTask(config: ModularArithmeticConfig): Task<ModularArithmeticConfig> {
  const { L, minLength, brackets, modulus } = config;
  if (minLength > L)
    throw new RangeError(
      `modular-arithmetic: expected minLength of at most L=${L}, got ${minLength}; lower minLength or raise L`,
    );
  const firstNumber = brackets ? 7 : 5;
  const tokenOf = (symbol: string | number): number =>
    typeof symbol === "number" ? firstNumber + symbol : symbols.indexOf(symbol as (typeof symbols)[number]);
  const beyond = doubledLengths(config, (longer) => modularArithmeticTask({ ...longer, minLength: L + 1 }));
  return {
    ...generatedTask({
      id: "modular-arithmetic",
      config,
      input: { vocabSize: firstNumber + modulus },
      output: { classes: firstNumber + modulus },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / modulus,
      example(random, { inputs, targets, mask }) {
        const length = minLength + random.integer(L - minLength + 1);
        const { text, value } = brackets ? nested(random, config, length - 1) : flat(random, config, length - 1);
        const tokens = [...text, "="].map(tokenOf);
        inputs.set(tokens);
        targets[tokens.length - 1] = tokenOf(value);
        mask[tokens.length - 1] = 1;
      },
    }),
    ...(beyond && { beyond }),
  };
}

const operatorsOf = ({ products }: ModularArithmeticConfig): readonly string[] =>
  products ? ["+", "-", "*"] : ["+", "-"];

/** Numbers and operators in turn, as many as fit into `length`. */
function flat(random: HostRandom, config: ModularArithmeticConfig, length: number): Expression {
  const { modulus } = config;
  const operators = operatorsOf(config);
  const text: (string | number)[] = [random.integer(modulus)];
  // The value is total + sign * product; a product ends where a sum goes on.
  let [total, sign, product] = [0, 1, text[0] as number];
  for (let t = 1; t + 1 < length; t += 2) {
    const operator = operators[random.integer(operators.length)]!;
    const number = random.integer(modulus);
    text.push(operator, number);
    if (operator === "*") product = (product * number) % modulus;
    else {
      total += sign * product;
      [sign, product] = [operator === "+" ? 1 : -1, number];
    }
  }
  return { text, value: remainder(total + sign * product, modulus) };
}

/** An expression of exactly `length` symbols. */
function nested(random: HostRandom, config: ModularArithmeticConfig, length: number): Expression {
  const { modulus } = config;
  if (length < 5) {
    const number = random.integer(modulus);
    const text = [[number], ["-", number], ["(", number, ")"], ["(", "-", number, ")"]][length - 1]!;
    return { text, value: length % 2 === 0 ? remainder(-number, modulus) : number };
  }
  const operators = operatorsOf(config);
  const left = 1 + random.integer(length - 4);
  const a = nested(random, config, left);
  const b = nested(random, config, length - 3 - left);
  const operator = operators[random.integer(operators.length)]!;
  const value = operator === "+" ? a.value + b.value : operator === "-" ? a.value - b.value : a.value * b.value;
  return { text: ["(", ...a.text, operator, ...b.text, ")"], value: remainder(value, modulus) };
}

const remainder = (value: number, modulus: number): number => ((value % modulus) + modulus) % modulus;
