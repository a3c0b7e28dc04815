import { expect, test } from "vitest";
import { listOps } from "./list-ops.js";
import { draw } from "./testing/examples.js";

const words = listOps.entry.symbols!(listOps.entry.defaults);

/** Reads an expression from the front with a stack, and says its value and its depth. */
function solve(tokens: readonly string[]): { value: number; depth: number } {
  const stack: { operator: string; values: number[] }[] = [{ operator: "", values: [] }];
  let depth = 0;
  for (const token of tokens) {
    if (token.startsWith("[")) {
      stack.push({ operator: token.slice(1), values: [] });
      depth = Math.max(depth, stack.length);
    } else if (token === "]") {
      const { operator, values } = stack.pop()!;
      const sorted = [...values].sort((a, b) => a - b);
      const half = (sorted.length - 1) / 2;
      const results: Record<string, number> = {
        MIN: Math.min(...values),
        MAX: Math.max(...values),
        MED: Math.trunc((sorted[Math.floor(half)]! + sorted[Math.ceil(half)]!) / 2),
        SM: values.reduce((a, b) => a + b) % 10,
      };
      stack.at(-1)!.values.push(results[operator]!);
    } else stack.at(-1)!.values.push(Number(token));
  }
  expect(stack).toHaveLength(1);
  expect(stack[0]!.values).toHaveLength(1);
  return { value: stack[0]!.values[0]!, depth };
}

test("a stack machine says the same values, and expressions keep to lengths, depths and arguments", async () => {
  const operators = new Set<string>();
  const depths = new Set<number>();
  for (const { inputs, targets, present } of await draw(listOps({ L: 60, minLength: 6, maxDepth: 4 }), 300)) {
    const length = present!.filter((there) => there === 1).length;
    expect(length).toBeGreaterThanOrEqual(6);
    expect(inputs.slice(length).every((token) => token === 0)).toBe(true);
    const tokens = inputs.slice(0, length).map((token) => words[token]!);
    tokens.forEach((token) => operators.add(token));
    const { value, depth } = solve(tokens);
    depths.add(depth);
    expect(targets).toEqual([value]);
  }
  // Digits, four operators and the closing bracket.
  expect(operators.size).toBe(15);
  expect(Math.max(...depths)).toBe(4);
});

test("the example of the paper", () => {
  expect(solve("[MAX 2 9 [MIN 4 7 ] 0 ]".split(" ")).value).toBe(9);
});

test("lengths that no expression has are refused", () => {
  expect(() => listOps({ L: 10, minLength: 20 })).toThrow("minLength of at most L=10, got 20");
  expect(() => listOps({ maxDepth: 1 })).toThrow("maxDepth of at least 2");
  const impossible = listOps({ L: 60, minLength: 50, maxDepth: 2, maxArguments: 3 });
  expect(() => impossible.evaluation("test", 1)[Symbol.iterator]().next()).toThrow("50 to 60 tokens");
});
