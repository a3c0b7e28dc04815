/** report.html: one file with everything in it, legible in light and dark, printed or on a phone. */
import { formatMetric } from "./format.js";
import { summaryTable } from "../results/summary.js";
import type { Row } from "../results/results.js";
import { lossChart, seriesColor, stateChart, throughputChart, validationChart } from "./charts.js";

/** What stands above the figures. */
export interface ReportText {
  readonly title: string;
  /** One line that says what was found; left out if empty. */
  readonly verdict?: string;
  /** One line for each task, by id. */
  readonly tasks: Readonly<Record<string, string>>;
}

/** The page for the rows of one folder. */
export function reportPage(rows: readonly Row[], { title, verdict, tasks }: ReportText): string {
  const mixers = [...new Set(rows.map(({ mixer }) => mixer))];
  const taskIds = [...new Set(rows.map(({ task }) => task))];
  const sections = taskIds.map((task) => {
    const own = rows.filter((row) => row.task === task);
    const trained = own.filter(({ curve }) => curve.length > 0);
    const done = own.filter(({ status, stateBytes }) => status === "done" && stateBytes);
    const figures = [
      ...(trained.length > 0
        ? [figure("Training", lossChart(trained, mixers)), figure("Validation", validationChart(trained, mixers))]
        : []),
      ...(done.length > 0 ? [figure("Quality against memory", stateChart(done, mixers))] : []),
      ...(own.some(({ tokensPerSecond }) => tokensPerSecond > 0)
        ? [figure("Throughput", throughputChart(own, mixers))]
        : []),
    ];
    return `<section><h2>${escape(task)}</h2><p>${escape(tasks[task] ?? "")}</p>${legend(mixers)}<div class="figures">${figures.join("")}</div></section>`;
  });
  const main = `<main>
<section><h2>Results</h2>${table(rows)}${seedTable(rows)}${failures(rows)}</section>
${sections.join("\n")}
${environment(rows)}
</main>`;
  return document(title, main, verdict);
}

/** A whole page around its main part. */
export const document = (title: string, main: string, verdict?: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${escape(title)}</h1>${verdict ? `<p class="verdict">${escape(verdict)}</p>` : ""}</header>
${main}
</body>
</html>
`;

export const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

export const figure = (caption: string, svg: string): string =>
  `<figure><figcaption>${escape(caption)}</figcaption><div class="chart">${svg}</div></figure>`;

export const legend = (mixers: readonly string[]): string =>
  `<ul class="legend">${mixers.map((mixer, k) => `<li><span style="background:${seriesColor(k)}"></span>${escape(mixer)}</li>`).join("")}</ul>`;

/** A table that scrolls where it is too wide. */
export function htmlTable(
  head: readonly { readonly title: string; readonly number?: boolean }[],
  rows: readonly (readonly string[])[],
): string {
  const style = (k: number): string =>
    head[k]!.number ? ' class="number"' : head[k]!.title === "settings" ? ' class="settings"' : "";
  const cell = (tag: "td" | "th", text: string, k: number): string =>
    `<${tag}${style(k)}>${escape(text).replaceAll(";", ";<wbr>")}</${tag}>`;
  return `<div class="scroll"><table><thead><tr>${head.map(({ title }, k) => cell("th", title, k)).join("")}</tr></thead><tbody>${rows.map((cells) => `<tr>${cells.map((text, k) => cell("td", text, k)).join("")}</tr>`).join("")}</tbody></table></div>`;
}

function table(rows: readonly Row[]): string {
  const { columns, cells } = summaryTable(rows);
  return htmlTable(columns, cells);
}

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
  return `<h3>Over seeds</h3>${htmlTable(head, body)}`;
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
      better: (a: number, b: number): boolean => (metric === "accuracy" ? a > b : a < b),
    };
  });
}

const mean = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length;

const failures = (rows: readonly Row[]): string => {
  const failed = rows.filter(({ status }) => status !== "done");
  if (failed.length === 0) return "";
  return `<h3>Not finished</h3><ul>${failed.map(({ trial, status, error, curve }) => `<li><code>${escape(trial)}</code>: ${status}${error ? `, ${escape(error)}` : status === "diverged" ? `, its loss was no longer a number after step ${curve.at(-1)?.step ?? 0}` : ""}</li>`).join("")}</ul>`;
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

const STYLE = `
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f6f7f9; --text: #1b1f24; --muted: #5a6370; --line: #d5dae1; --accent: #0b5cad;
  --series-0: #0b6cc4; --series-1: #c2410c; --series-2: #15803d; --series-3: #9333ea; --series-4: #be185d; --series-5: #0e7490; --series-6: #a16207; --series-7: #4d5562; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --panel: #1c2026; --text: #e6e9ee; --muted: #a2abb8; --line: #363c46; --accent: #79b8ff;
  --series-0: #5fb0ff; --series-1: #ff9a62; --series-2: #5fd08a; --series-3: #c79bff; --series-4: #ff8fc0; --series-5: #4fd0e0; --series-6: #f2bd55; --series-7: #b3bcc9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.25rem 3rem; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 70ch; } section > p { color: var(--muted); }
.verdict { border-left: 4px solid var(--accent); padding: .25rem 0 .25rem .9rem; font-size: 1.05rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; } th { color: var(--muted); font-weight: 600; }
td.settings { white-space: normal; min-width: 12rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; list-style: none; padding: 0; margin: .5rem 0; font-size: .9rem; }
.legend span { display: inline-block; width: .85em; height: .85em; border-radius: 2px; margin-right: .4em; vertical-align: -.05em; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .9rem 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; } .chart { overflow-x: auto; } .chart svg { --plot-background: transparent; min-width: 26rem; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .5rem 0; } dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; } .trials { padding-left: 1.1rem; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
`;
