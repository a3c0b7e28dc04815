import { basename, join, resolve } from "node:path";
import { writeFileAtomically } from "../results/atomic-file.js";
import type { Row } from "../results/results.js";
import { summaryTable } from "../results/summary.js";
import { tasks } from "../trials/tasks.js";
import { latexTable, markdownTable } from "./plain-text.js";
import { findings, publishedSources, sizesOf, sweepTable, verdictWord, type SweepReport } from "./sweep-section.js";
import { taskTable } from "./task-table.js";

/** Writes report.html, report.md and report.tex into the folder and returns the path of the page. */
export async function writeReport(
  folder: string,
  rows: readonly Row[],
  { verdict, sweep }: { readonly verdict?: string | undefined; readonly sweep?: SweepReport | undefined } = {},
): Promise<string> {
  // Drawing is loaded when it is needed: training starts sooner without it.
  const { reportPage } = await import("./page.js");
  const title = sweep ? `${sweep.name}, ${sweep.scale} scale` : `seqmix: ${basename(resolve(folder))}`;
  const path = join(folder, "report.html");
  const text = {
    title,
    tasks: Object.fromEntries(tasks.map(({ id, summary }) => [id, summary])),
    ...(verdict === undefined ? {} : { verdict }),
    ...(sweep && { sweep }),
  };
  writeFileAtomically(path, reportPage(rows, text));
  const byTask = sweep && taskTable(sweep.cells);
  const table = sweep ? sweepTable(sweep) : summaryTable(rows);
  writeFileAtomically(
    join(folder, "report.md"),
    `# ${title}\n\n${intro(sweep, verdict)}${byTask ? `${markdownTable(byTask)}\n\n` : ""}${markdownTable(table)}\n\n${sweep ? sizing(sweep) + publications(sweep) : ""}${origin(rows)}${sweep ? commandOf(sweep, rows) : ""}`,
  );
  writeFileAtomically(
    join(folder, "report.tex"),
    latexTable(byTask ?? table, captionOf(title, rows), sweep?.name ?? "results"),
  );
  return path;
}

/** What was asked and found, in Markdown. */
function intro(sweep: SweepReport | undefined, verdict: string | undefined): string {
  if (!sweep) return verdict ? `${verdict}\n\n` : "";
  const { question, expected } = sweep.sweep;
  const found = findings(sweep).map((statement) => `- **${verdictWord(statement)}**: ${statement.text}\n`);
  return [
    question ? `${question}\n\n` : "",
    expected ? `> ${expected.claim}\n>\n> ${expected.source}\n\n` : "",
    found.length > 0 ? `${found.join("")}\n` : "",
  ].join("");
}

/** How mixers were sized, in Markdown. */
function sizing(sweep: SweepReport): string {
  const sizes = sizesOf(sweep).map((text) => `- ${text}\n`);
  return sizes.length > 0 ? `Sizes:\n\n${sizes.join("")}\n` : "";
}

const publications = (sweep: SweepReport): string =>
  publishedSources(sweep)
    .map((source) => `- published: ${source}\n`)
    .join("");

const distinct = (values: readonly string[]): string => [...new Set(values)].join("; ");

/** Where rows come from: a line each for machines, devices and versions. */
function origin(rows: readonly Row[]): string {
  return [
    `machine: ${distinct(rows.map(({ machine }) => machine))}`,
    `device: ${distinct(rows.map(({ device, deviceDescription }) => `${device} (${deviceDescription})`))}`,
    `versions: ${distinct(rows.map(({ versions, commit }) => `seqmix ${versions["seqmix"] ?? "unknown"}, node ${versions["node"] ?? "unknown"}, commit ${commit}`))}`,
  ]
    .map((line) => `- ${line}\n`)
    .join("");
}

/** The command that makes such rows, on the device that all of them are of. */
function commandOf({ name, scale }: SweepReport, rows: readonly Row[]): string {
  const devices = [...new Set(rows.map(({ device }) => device))];
  const device = devices.length === 1 && devices[0] !== "cpu" ? ` --device ${devices[0]}` : "";
  return `- command: \`pnpm bench sweep ${name} --scale ${scale}${device}\`\n`;
}

const captionOf = (title: string, rows: readonly Row[]): string =>
  `${title}: ${rows.length} trials on ${distinct(rows.map(({ device }) => device))}, seqmix ${distinct(rows.map(({ versions }) => versions["seqmix"] ?? "unknown"))}.`;
