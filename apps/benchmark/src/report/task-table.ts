/** What each model of a sweep reaches on each of its tasks: the table that is cited. */
import type { CellSummary } from "../results/cells.js";
import { formatSpread } from "./format.js";
import type { Table } from "./table.js";

/** A row a model, a column a task; undefined where the sweep has one task alone, or models that are not on all of them. */
export function taskTable(cells: readonly CellSummary[]): Table | undefined {
  const tasks = [...new Set(cells.map(({ task }) => task))];
  const names = [...new Set(cells.map(({ name }) => name))];
  if (tasks.length < 2 || cells.length !== tasks.length * names.length) return undefined;
  const cellOf = (name: string, task: string): CellSummary =>
    cells.find((cell) => cell.name === name && cell.task === task)!;
  return {
    columns: [
      { title: "model" },
      ...tasks.map((title) => ({
        title,
        number: true,
        explanation: "mean over seeds on the test split, and its standard deviation",
      })),
    ],
    cells: names.map((name) => [
      name,
      ...tasks.map((task) => formatSpread(cellOf(name, task).metric, cellOf(name, task).test)),
    ]),
    values: names.map((name) => [name, ...tasks.map((task) => cellOf(name, task).test?.mean)]),
  };
}
