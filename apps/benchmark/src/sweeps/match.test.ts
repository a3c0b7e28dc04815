import { mixers } from "@seqmix/catalog";
import { expect, test } from "vitest";
import { tasks } from "../trials/tasks.js";
import { trialOf } from "../trials/trial.js";
import { prepare } from "./experiment.js";
import { WITHIN } from "./match.js";
import { cellsOf } from "./run-sweep.js";
import type { Match } from "./sweep.js";

const plan = (match: Match, others: readonly string[]) => ({
  task: "selective-copying",
  mixers: ["mamba", ...others],
  baseline: { dModel: 32, L: 16, dataTokens: 2 },
  match,
});
const sizeOf = (cell: ReturnType<typeof cellsOf>[number], match: Match): number =>
  prepare(trialOf(cell.task, cell.mixer, cell.settings, { tasks, mixers }))[match]!;

test.each([
  ["parameters", ["s4d", "transformer", "gru", "h3", "retnet"]],
  ["stateBytes", ["s4d", "gru", "lru"]],
  ["flops", ["s4d", "transformer"]],
] as const)("%s: every mixer comes within 2 % of the first, and says how", (match, others) => {
  const cells = cellsOf(plan(match, others));
  const target = sizeOf(cells[0]!, match);
  expect(cells[0]!.matched).toBeUndefined();
  for (const cell of cells.slice(1)) {
    expect(Math.abs(sizeOf(cell, match) / target - 1), `${cell.mixer}: ${cell.matched}`).toBeLessThanOrEqual(WITHIN);
    expect(cell.matched).toMatch(/^(as it is|.* [\d.]+): [\d,]+ .* mamba has [\d,]+ \([+-]\d\.\d %\)$/);
  }
});

test("a state that grows with the sequence is not matched, and says so", () => {
  const [, attention] = cellsOf(plan("stateBytes", ["attention"]));
  expect(attention!.matched).toBe("not matched in bytes of state: it has no finite number of them");
});

test("a mixer may keep its size, and says which it is", () => {
  const [mamba, wide, same] = cellsOf({
    ...plan("parameters", []),
    mixers: ["mamba", "s4d", { mixer: "s4d", name: "as wide", matched: false }],
  });
  expect(wide!.settings.dModel).toBeGreaterThan(32);
  expect(same!.settings.dModel).toBe(32);
  expect(same!.matched).toMatch(/^left as it is: [\d,]+ parameters$/);
  expect(sizeOf(same!, "parameters")).toBeLessThan(sizeOf(mamba!, "parameters"));
});
