import { expect, test } from "vitest";
import type { Row } from "./results.js";
import { summaryTable, verdictOf } from "./summary.js";
import { formatTable } from "../report/table.js";

const row = (task: string, mixer: string, value: number | undefined): Row => {
  const metric = task === "moby-dick" ? "bitsPerChar" : "accuracy";
  return {
    trial: `${task}:${mixer}:dModel=64;L=40;seed=0`,
    task,
    mixer,
    device: "cpu",
    deviceDescription: "",
    seed: 0,
    status: value === undefined ? "diverged" : "done",
    metric,
    metrics: {
      ...(value === undefined ? {} : { [metric]: value }),
      ...(metric === "accuracy" ? { chance: 1 / 14 } : { chance: 6.375, trigram: 2.9 }),
    },
    validation: value === undefined ? {} : { [metric]: value },
    parameters: 67_000,
    stateBytes: mixer === "attention" ? 40_960 : 512,
    tokensPerSecond: 30_123,
    wallSeconds: 65,
    curve: [],
    commit: "",
    versions: {},
    machine: "",
    config: {},
    finished: "",
  };
};
const rows = (copying: readonly (number | undefined)[], text: readonly (number | undefined)[]): Row[] =>
  ["mamba", "s4d", "attention"].flatMap((mixer, k) => [
    row("selective-copying", mixer, copying[k]),
    row("moby-dick", mixer, text[k]),
  ]);

test("the verdict says what was expected when it was found", () => {
  expect(verdictOf(rows([0.977, 0.3, 0.9], [2.4, 2.6, 2.5]))).toBe(
    "Selective copying: the selective state-space model (mamba) reaches 97.7 %, the linear time-invariant one, whose dynamics do not depend on the input (s4d), 30.0 % from the same budget: selection makes the difference. " +
      "Moby Dick: all 3 beat the interpolated trigram (2.900 bits per character): mamba 2.400, s4d 2.600, attention 2.500.",
  );
});

test("the verdict names the dynamics of the LTI model", () => {
  const [mamba, lti] = [
    row("selective-copying", "mamba", 0.98),
    { ...row("selective-copying", "s4d", 0.57), config: { dState: 16, init: "real", lr: 0.005 } },
  ];
  expect(verdictOf([mamba, lti])).toContain("(s4d dState=16 init=real), 57.0 %");
});

test("the verdict says plainly what was not found", () => {
  const verdict = verdictOf(rows([0.94, 0.8, 0.9], [2.4, 2.95, undefined]));
  expect(verdict).toContain(
    "NOT as expected, 95 % was expected of mamba, and s4d was expected at least 25 points lower and is 14.0.",
  );
  expect(verdict).toContain(
    "NOT beating the interpolated trigram (2.900 bits per character): s4d 2.950, attention diverged; beating it: mamba 2.400.",
  );
  expect(verdictOf(rows([0.97, undefined, 0.9], [2.4, 2.5, 2.6]))).toContain(
    "no comparison, since not both models finished",
  );
});

test("the table has a cell for every column, and aligns numbers at the right", () => {
  const { columns, cells } = summaryTable(rows([0.977, undefined, 0.9], [2.4, 2.6, 2.5]));
  expect(columns.map(({ title }) => title)).not.toContain("settings");
  expect(cells[0]).toEqual([
    "selective-copying",
    "mamba",
    "97.7 %",
    "97.7 %",
    "7.1 %",
    "-",
    "67,000",
    "512 B",
    "30,123",
    "1:05",
  ]);
  expect(cells[2]![2]).toBe("diverged");
  const twice = summaryTable([
    row("moby-dick", "mamba", 2.4),
    { ...row("moby-dick", "mamba", 2.5), trial: "moby-dick:mamba:dModel=64;L=256;lr=0.1;seed=0" },
  ]);
  expect(twice.cells.map((each) => each.slice(2, 4))).toEqual([
    ["dModel=64;L=40;seed=0", "2.400 bits"],
    ["dModel=64;L=256;lr=0.1;seed=0", "2.500 bits"],
  ]);
  expect(
    formatTable(
      [{ title: "name" }, { title: "n", number: true }],
      [
        ["a", "1"],
        ["long name", "1,000"],
      ],
    ),
  ).toBe("name           n\n─────────  ─────\na              1\nlong name  1,000");
});
