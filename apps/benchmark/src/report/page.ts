/** report.html: one file with everything in it, legible in light and dark, printed or on a phone. */
import { formatMetric } from "./format.js";
import { isBetter } from "../results/metrics.js";
import { summaryTable } from "../results/summary.js";
import type { Row } from "../results/results.js";
import { lossChart, stateChart, throughputChart, validationChart, type Drawing } from "./charts.js";
import { document, escape, figure, htmlTable, legend } from "./html.js";
import { meanRows } from "./mean-rows.js";
import { MOST_COLORS } from "./series.js";
import { sweepSection, type SweepReport } from "./sweep-section.js";

/** What stands above the figures. */
export interface ReportText {
  readonly title: string;
  /** One line that says what was found; left out if empty. */
  readonly verdict?: string;
  /** One line for each task, by id. */
  readonly tasks: Readonly<Record<string, string>>;
  /** The sweep that the rows are of. */
  readonly sweep?: SweepReport;
}

const drawn = (caption: string, { svg, data }: Drawing): string => figure(caption, svg, data);

/** The page for the rows of one folder. */
export function reportPage(rows: readonly Row[], { title, verdict, tasks, sweep }: ReportText): string {
  const means = sweep ? meanRows(sweep.cells) : [];
  const shown = means.length > 0 ? means : rows;
  const mixers = [...new Set(shown.map(({ mixer }) => mixer))];
  const taskIds = [...new Set(rows.map(({ task }) => task))];
  const sections = taskIds.map((task) => {
    const own = shown.filter((row) => row.task === task);
    const trained = own.filter(({ curve }) => curve.length > 0);
    const done = own.filter(({ status, stateBytes }) => status === "done" && stateBytes);
    const figures = [
      ...(trained.length > 0 && mixers.length <= MOST_COLORS
        ? [drawn("Training", lossChart(trained, mixers)), drawn("Validation", validationChart(trained, mixers))]
        : []),
      ...(done.length > 0 ? [drawn("Quality against memory", stateChart(done, mixers))] : []),
      ...(own.some(({ tokensPerSecond }) => tokensPerSecond > 0)
        ? [drawn("Throughput", throughputChart(own, mixers))]
        : []),
    ];
    return `<section><h2>${escape(task)}</h2><p>${escape(tasks[task] ?? "")}</p>${legend(mixers)}<div class="figures">${figures.join("")}</div></section>`;
  });
  const main = `<main>
${sweep ? sweepSection(sweep) : ""}<section><h2>${sweep ? "Trials" : "Results"}</h2><p>${escape(WHAT)}</p>${table(rows)}${seedTable(rows)}${failures(rows)}</section>
${sections.join("\n")}
${environment(rows)}
</main>`;
  return document(title, main, verdict);
}

const WHAT = "A trial is one training run. Press a title to sort by it; point at it to read what it means.";

const table = (rows: readonly Row[]): string => htmlTable(summaryTable(rows));

/** A table of means over seeds, if any setting was run with more than one; the best by validation among each mixer's settings is marked. */
function seedTable(rows: readonly Row[]): string {
  const cells = cellsOf(rows);
  if (cells.every(({ rows }) => rows.length === 1) && cells.length === new Set(cells.map(({ group }) => group)).size)
    return "";
  const best = new Map<string, (typeof cells)[number]>();
  for (const cell of cells) {
    const now = best.get(cell.group);
    if (cell.validation !== undefined && (!now || cell.better(cell.validation, now.validation!)))
      best.set(cell.group, cell);
  }
  const head = [
    { title: "task" },
    { title: "mixer" },
    { title: "settings" },
    { title: "seeds", number: true },
    { title: "validation, mean", number: true },
    { title: "test, mean", number: true },
    { title: "test, least to most", number: true },
    { title: "selected" },
  ];
  const body = cells.map((cell) => {
    const { task, mixer, metric } = cell.rows[0]!;
    const tests = cell.done.map((row) => row.metrics[metric]!);
    return [
      task,
      mixer,
      cell.settings,
      `${cell.done.length} of ${cell.rows.length}`,
      formatMetric(metric, cell.validation),
      formatMetric(metric, mean(tests)),
      tests.length > 0
        ? `${formatMetric(metric, Math.min(...tests))} to ${formatMetric(metric, Math.max(...tests))}`
        : "-",
      best.get(cell.group) === cell ? "by validation" : "",
    ];
  });
  return `<h3>Over seeds</h3>${htmlTable({ columns: head, cells: body })}`;
}

function cellsOf(rows: readonly Row[]) {
  const byCell = new Map<string, Row[]>();
  for (const row of rows) {
    const cell = row.trial.replace(/;?seed=-?\d+/, "");
    byCell.set(cell, [...(byCell.get(cell) ?? []), row]);
  }
  return [...byCell].map(([cell, members]) => {
    const { task, mixer, metric, config } = members[0]!;
    const done = members.filter(({ status }) => status === "done");
    return {
      rows: members,
      done,
      settings: cell.split(":")[2] ?? "",
      // Settings compete when they differ in training alone, not in the task or the network.
      group: JSON.stringify([
        task,
        mixer,
        Object.entries(config).filter(
          ([name]) => !["seed", "lr", "steps", "batch", "warmup", "clip", "weightDecay"].includes(name),
        ),
      ]),
      validation: mean(done.map((row) => row.validation[metric]!)),
      better: (a: number, b: number): boolean => isBetter(metric, a, b),
    };
  });
}

const mean = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length;

const failures = (rows: readonly Row[]): string => {
  const failed = rows.filter(({ status }) => status !== "done");
  if (failed.length === 0) return "";
  return `<h3>Not finished</h3><ul>${failed.map(({ trial, status, error, curve, divergedAt }) => `<li><code>${escape(trial)}</code>: ${status}${error ? `, ${escape(error)}` : status === "diverged" ? `, its loss was no longer a number ${divergedAt === undefined ? `after step ${curve.at(-1)?.step ?? 0}` : `at step ${divergedAt}`}` : ""}</li>`).join("")}</ul>`;
};

function environment(rows: readonly Row[]): string {
  const distinct = (values: readonly string[]): string => [...new Set(values)].map(escape).join("<br>");
  const lines: [string, string][] = [
    ["device", distinct(rows.map(({ device, deviceDescription }) => `${device} (${deviceDescription})`))],
    ["machine", distinct(rows.map(({ machine }) => machine))],
    ["seeds", distinct(rows.map(({ seed }) => String(seed)))],
    ["commit", distinct(rows.map(({ commit }) => commit))],
    [
      "versions",
      distinct(
        rows.map(({ versions }) =>
          Object.entries(versions)
            .map(([name, version]) => `${name} ${version}`)
            .join(", "),
        ),
      ),
    ],
    [
      "finished",
      distinct([
        rows
          .map(({ finished }) => finished)
          .sort()
          .at(-1) ?? "-",
      ]),
    ],
  ];
  return `<section><h2>How it was made</h2><dl>${lines.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("")}</dl><h3>Trials</h3><ul class="trials">${rows.map(({ trial }) => `<li><code>${escape(trial)}</code></li>`).join("")}</ul></section>`;
}
