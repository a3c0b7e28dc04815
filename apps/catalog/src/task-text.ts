/** An example as rows of text. */
import type { Task, TaskEntry } from "@seqmix/tasks";

/** One sequence of a batch and its answers, as arrays. */
export interface Example {
  readonly inputs: readonly number[];
  readonly targets: readonly number[];
  readonly mask: readonly number[];
}

/** Characters of a row. */
const WIDTH = 96;

/** The inputs, and under them what is due where it counts; answers of the whole sequence behind. */
export function drawTokens(
  { symbols, defaults, scales }: TaskEntry,
  task: Task,
  { inputs, targets, mask }: Example,
): string {
  const small = { ...defaults, ...scales?.smoke };
  const names = symbols?.(small) ?? [];
  const word = (value: number, isClass: boolean): string =>
    isClass ? (names[value] ?? String(value)) : String(Number(value.toFixed(2)));
  const isToken = "vocabSize" in task.input;
  const width = "channels" in task.input ? task.input.channels : 1;
  // A class is named as the token it is, where the classes are the tokens.
  const named = isToken && "classes" in task.output && task.output.classes === names.length;
  const due = (k: number): string => (named ? word(targets[k]!, true) : String(Number(targets[k]!.toFixed(2))));
  const inputRows = Array.from({ length: width }, (_, channel) =>
    Array.from({ length: task.length }, (__, t) => word(inputs[t * width + channel]!, isToken)),
  );
  if (task.answers !== "positions")
    return [...aligned([...label("inputs", inputRows)]), `answer    ${targets.map((_, k) => due(k)).join(" ")}`].join(
      "\n",
    );
  const dueRow = Array.from({ length: task.length }, (_, t) => (mask[t] === 1 ? due(t) : ""));
  const rows = [...label("inputs", inputRows), { name: "targets", cells: dueRow }];
  return aligned(isToken ? rows.map((row) => withoutPadding(row, paddingOf(inputRows[0]!))) : rows).join("\n");
}

/** How many times the first token is repeated, if that is more than a few. */
function paddingOf(tokens: readonly string[]): number {
  const end = tokens.findIndex((token) => token !== tokens[0]);
  return end > 10 ? end - 1 : 0;
}

const withoutPadding = ({ name, cells }: Row, count: number): Row =>
  count === 0 ? { name, cells } : { name, cells: [name === "inputs" ? "…" : "", ...cells.slice(count)] };

interface Row {
  readonly name: string;
  readonly cells: readonly string[];
}

const label = (name: string, rows: readonly string[][]): Row[] =>
  rows.map((cells, k) => ({ name: k === 0 ? name : "", cells }));

/** Rows whose columns stand under each other, broken where they get too long. */
function aligned(rows: readonly Row[]): string[] {
  const count = rows[0]!.cells.length;
  const widths = Array.from({ length: count }, (_, k) => Math.max(1, ...rows.map(({ cells }) => cells[k]!.length)));
  const lines: string[] = [];
  for (let first = 0; first < count;) {
    let end = first;
    for (let used = 10; end < count && used + widths[end]! + 1 <= WIDTH; end++) used += widths[end]! + 1;
    end = Math.max(end, first + 1);
    if (first > 0) lines.push("");
    for (const { name, cells } of rows)
      lines.push(
        `${name.padEnd(10)}${cells
          .slice(first, end)
          .map((cell, k) => cell.padStart(widths[first + k]!))
          .join(" ")}`.trimEnd(),
      );
    first = end;
  }
  return lines;
}
