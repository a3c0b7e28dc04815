/** What rows say: the cells of the table, and the verdict of the quickstart. */
import { formatBytes, formatCount, formatDuration, formatMetric } from "./format.js";
import type { Row } from "./results.js";
import type { Column } from "./table.js";

/** Columns of the table of results. */
export const summaryColumns: readonly Column[] = [
  { title: "task" },
  { title: "mixer" },
  { title: "settings" },
  { title: "test", number: true },
  { title: "validation", number: true },
  { title: "chance", number: true },
  { title: "trigram", number: true },
  { title: "parameters", number: true },
  { title: "state", number: true },
  { title: "tokens/s", number: true },
  { title: "time", number: true },
];

/** The cells of one row, in the order of {@link summaryColumns}. */
export function summaryCells(row: Row): string[] {
  const { metric } = row;
  return [
    row.task,
    row.mixer,
    row.trial.split(":")[2] ?? "",
    row.status === "done" ? formatMetric(metric, row.metrics[metric]) : row.status,
    formatMetric(metric, row.validation[metric]),
    formatMetric(metric, row.metrics["chance"]),
    formatMetric(metric, row.metrics["trigram"]),
    formatCount(row.parameters),
    row.stateBytes === null ? "none" : formatBytes(row.stateBytes),
    row.tokensPerSecond > 0 ? formatCount(row.tokensPerSecond) : "-",
    formatDuration(row.wallSeconds),
  ];
}

/** What the quickstart found, in one line that hides nothing. */
export function verdictOf(rows: readonly Row[]): string {
  const of = (task: string, mixer: string): Row | undefined => rows.find((row) => row.task === task && row.mixer === mixer);
  return [copyingVerdict(of("selective-copying", "mamba"), of("selective-copying", "s4d")), textVerdict(rows.filter(({ task }) => task === "moby-dick"))].join(" ");
}

function copyingVerdict(selective: Row | undefined, lti: Row | undefined): string {
  const [reached, left] = [selective?.metrics["accuracy"], lti?.metrics["accuracy"]];
  if (reached === undefined || left === undefined) return "Selective copying: no comparison, since not both models finished.";
  const gap = (reached - left) * 100;
  const found = `Selective copying: the selective SSM (mamba) reaches ${(reached * 100).toFixed(1)} %, the LTI SSM (s4d) ${(left * 100).toFixed(1)} % from the same budget`;
  const missing = [...(reached < 0.95 ? ["95 % was expected of mamba"] : []), ...(gap < 25 ? [`s4d was expected at least 25 points lower and is ${gap.toFixed(1)}`] : [])];
  return missing.length === 0 ? `${found}: selection makes the difference.` : `${found}: NOT as expected, ${missing.join(", and ")}.`;
}

function textVerdict(rows: readonly Row[]): string {
  const trigram = rows[0]?.metrics["trigram"];
  if (rows.length === 0 || trigram === undefined) return "Moby Dick: no result.";
  const name = ({ mixer, metrics, status }: Row): string => `${mixer} ${status === "done" ? metrics["bitsPerChar"]!.toFixed(3) : status}`;
  const beaten = rows.filter(({ status, metrics }) => status === "done" && metrics["bitsPerChar"]! < trigram);
  const others = rows.filter((row) => !beaten.includes(row));
  const bar = `the interpolated trigram (${trigram.toFixed(3)} bits per character)`;
  if (others.length === 0) return `Moby Dick: all ${rows.length} beat ${bar}: ${rows.map(name).join(", ")}.`;
  return `Moby Dick: NOT beating ${bar}: ${others.map(name).join(", ")}${beaten.length > 0 ? `; beating it: ${beaten.map(name).join(", ")}` : ""}.`;
}
