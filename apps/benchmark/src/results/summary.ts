/** What rows say: the cells of the table, and the verdict of the quickstart. */
import { formatBytes, formatCount, formatDuration, formatMetric } from "../report/format.js";
import type { Row } from "./results.js";
import type { Column, Table } from "../report/table.js";

/** The table of results. Settings have a column if they tell trials of one task and mixer apart. */
export function summaryTable(rows: readonly Row[]): Table {
  const several = new Set(rows.map(({ task, mixer }) => `${task}:${mixer}`)).size < rows.length;
  const columns: readonly (Column & {
    readonly cell: (row: Row) => string;
    readonly value?: (row: Row) => number | undefined;
  })[] = [
    { title: "task", cell: ({ task }) => task },
    { title: "mixer", cell: ({ mixer }) => mixer },
    ...(several ? [{ title: "settings", cell: ({ trial }: Row) => trial.split(":")[2] ?? "" }] : []),
    {
      title: "test",
      number: true,
      cell: ({ status, metric, metrics }) => (status === "done" ? formatMetric(metric, metrics[metric]) : status),
    },
    { title: "validation", number: true, cell: ({ metric, validation }) => formatMetric(metric, validation[metric]) },
    { title: "chance", number: true, cell: ({ metric, metrics }) => formatMetric(metric, metrics["chance"]) },
    ...(rows.some(({ metrics }) => "trigram" in metrics)
      ? [{ title: "trigram", number: true, cell: ({ metric, metrics }: Row) => formatMetric(metric, metrics["trigram"]) }]
      : []),
    { title: "parameters", number: true, cell: ({ parameters }) => formatCount(parameters) },
    {
      title: "state",
      number: true,
      value: ({ stateBytes }) => stateBytes ?? 0,
      cell: ({ stateBytes }) => (stateBytes === null ? "none" : formatBytes(stateBytes)),
    },
    {
      title: "tokens/s",
      number: true,
      cell: ({ tokensPerSecond }) => (tokensPerSecond > 0 ? formatCount(tokensPerSecond) : "-"),
    },
    { title: "time", number: true, value: ({ wallSeconds }) => wallSeconds, cell: ({ wallSeconds }) => formatDuration(wallSeconds) },
  ];
  return {
    columns: columns.map(({ title, number }) => ({
      title,
      ...(number && { number }),
      ...(WORDS[title] && { explanation: WORDS[title] }),
    })),
    cells: rows.map((row) => columns.map(({ cell }) => cell(row))),
    values: rows.map((row) => columns.map(({ value }) => value?.(row))),
  };
}

/** What the titles mean, for who meets them the first time. */
const WORDS: Readonly<Record<string, string>> = {
  mixer: "the part of a model that carries information from one position of a sequence to others",
  test: "result on sequences that were used for nothing else; validation: on those that choices are made by",
  chance: "result of guessing",
  trigram: "result of a table of which character follows which two",
  state: "memory that a model needs to go on after a sequence of this length",
};

/** One line for each word among the titles that needs it. */
export const wordsOf = (columns: readonly Column[]): string =>
  columns.flatMap(({ title, explanation }) => (explanation ? [`${title}: ${explanation}\n`] : [])).join("");

/** What the quickstart found, in one line that hides nothing. */
export function verdictOf(rows: readonly Row[]): string {
  const of = (task: string, mixer: string): Row | undefined =>
    rows.find((row) => row.task === task && row.mixer === mixer);
  return [
    copyingVerdict(of("selective-copying", "mamba"), of("selective-copying", "s4d")),
    textVerdict(rows.filter(({ task }) => task === "moby-dick")),
  ].join(" ");
}

function copyingVerdict(selective: Row | undefined, lti: Row | undefined): string {
  const [reached, left] = [selective?.metrics["accuracy"], lti?.metrics["accuracy"]];
  if (!lti || reached === undefined || left === undefined)
    return "Selective copying: no comparison, since not both models finished.";
  const gap = (reached - left) * 100;
  const found = `Selective copying: the selective state-space model (mamba) reaches ${(reached * 100).toFixed(1)} %, the linear time-invariant one, whose dynamics do not depend on the input (${withDynamics(lti)}), ${(left * 100).toFixed(1)} % from the same budget`;
  const missing = [
    ...(reached < 0.95 ? ["95 % was expected of mamba"] : []),
    ...(gap < 25 ? [`s4d was expected at least 25 points lower and is ${gap.toFixed(1)}`] : []),
  ];
  return missing.length === 0
    ? `${found}: selection makes the difference.`
    : `${found}: NOT as expected, ${missing.join(", and ")}.`;
}

/** Which S4D it was: real and complex eigenvalues differ by many points, so the verdict names them. */
const withDynamics = ({ mixer, config }: Row): string =>
  [mixer, ...["dState", "init"].flatMap((name) => (name in config ? [`${name}=${config[name]}`] : []))].join(" ");

function textVerdict(rows: readonly Row[]): string {
  const trigram = rows[0]?.metrics["trigram"];
  if (rows.length === 0 || trigram === undefined) return "Moby Dick: no result.";
  const name = ({ mixer, metrics, status }: Row): string =>
    `${mixer} ${status === "done" ? metrics["bitsPerChar"]!.toFixed(3) : status}`;
  const beaten = rows.filter(({ status, metrics }) => status === "done" && metrics["bitsPerChar"]! < trigram);
  const others = rows.filter((row) => !beaten.includes(row));
  const bar = `the interpolated trigram (${trigram.toFixed(3)} bits per character)`;
  if (others.length === 0) return `Moby Dick: all ${rows.length} beat ${bar}: ${rows.map(name).join(", ")}.`;
  return `Moby Dick: NOT beating ${bar}: ${others.map(name).join(", ")}${beaten.length > 0 ? `; beating it: ${beaten.map(name).join(", ")}` : ""}.`;
}
