/** A sweep as tables and figures: what was asked, what was found beside what was published, and how mixers were sized. */
import type { CellSummary, Spread } from "../results/cells.js";
import { isHigherBetter } from "../results/metrics.js";
import type { Published, Scale, Statement, Sweep, SweepPlot } from "../sweeps/sweep.js";
import { sweepChart, type SweepPoint } from "./charts.js";
import { formatBytes, formatCount, formatMetric, formatSpread } from "./format.js";
import { escape, figure, figuresOfSeries, htmlTable } from "./html.js";
import type { Column, Table } from "./table.js";
import { taskTable } from "./task-table.js";

/** A sweep, and what was found. */
export interface SweepReport {
  readonly name: string;
  readonly sweep: Sweep;
  readonly scale: Scale;
  readonly cells: readonly (CellSummary & { readonly matched?: string })[];
}

/** What was found, each with whether it holds; nothing at smoke scale, which only shows that a sweep runs. */
export function findings({ sweep, scale, cells }: SweepReport): readonly Statement[] {
  return scale === "smoke" ? [] : (sweep.expected?.check(cells) ?? []);
}

/** "as expected", "NOT as expected", or that results are missing. */
export const verdictWord = ({ holds }: Statement): string =>
  holds === undefined ? "no result" : holds ? "as expected" : "NOT as expected";

/** How mixers were sized, a sentence each; with the tasks it is so on, where it is not so on all. */
export function sizesOf({ cells }: SweepReport): readonly string[] {
  const tasks = new Set(cells.map(({ task }) => task));
  const tasksOf = new Map<string, string[]>();
  for (const { name, task, matched } of cells)
    if (matched !== undefined)
      tasksOf.set(`${name}: ${matched}`, [...(tasksOf.get(`${name}: ${matched}`) ?? []), task]);
  return [...tasksOf].map(([text, own]) =>
    new Set(own).size === tasks.size ? text : `${text} (${[...new Set(own)].join(", ")})`,
  );
}

interface SweepColumn extends Column {
  cell(cell: CellSummary): string;
  value?(cell: CellSummary): number | undefined;
}

/** The table of a sweep: a row a cell, with the published number in a column of its own. */
export function sweepTable({ sweep, cells }: SweepReport): Table {
  const columns = columnsOf(cells, sweep.published ?? []);
  return {
    columns: columns.map(({ title, number, explanation }) => ({
      title,
      ...(number && { number }),
      ...(explanation && { explanation }),
    })),
    cells: cells.map((cell) => columns.map((column) => column.cell(cell))),
    values: cells.map((cell) => columns.map((column) => column.value?.(cell))),
  };
}

function columnsOf(cells: readonly CellSummary[], published: readonly Published[]): readonly SweepColumn[] {
  const several = new Set(cells.map(({ task }) => task)).size > 1;
  const beyond = [...new Set(cells.flatMap((cell) => Object.keys(cell.beyond)))];
  return [
    ...(several ? [{ title: "task", cell: ({ task }: CellSummary) => task }] : []),
    { title: "model", cell: ({ name }) => name },
    {
      title: "test",
      number: true,
      explanation: "mean over seeds, and its standard deviation, on sequences that were used for nothing else",
      cell: (cell) => formatSpread(cell.metric, cell.test),
      value: ({ test }) => test?.mean,
    },
    ...beyond.map((name): SweepColumn => ({
      title: name,
      number: true,
      explanation: "the trained model on a harder task",
      cell: (cell) => formatSpread(cell.metric, cell.beyond[name]),
      value: (cell) => cell.beyond[name]?.mean,
    })),
    ...publishedColumns(published),
    { title: "seeds", number: true, cell: seedsOf },
    {
      title: "lr",
      number: true,
      explanation: "learning rate, chosen on the validation split",
      cell: ({ lr }) => lr?.toPrecision(2) ?? "-",
    },
    {
      title: "parameters",
      number: true,
      cell: ({ parameters }) => (parameters === undefined ? "-" : formatCount(parameters)),
    },
    {
      title: "state",
      number: true,
      explanation: "memory that a model needs to go on after a sequence",
      cell: ({ stateBytes }) =>
        stateBytes === undefined ? "-" : stateBytes === null ? "none" : formatBytes(stateBytes),
      value: ({ stateBytes }) => stateBytes ?? 0,
    },
    {
      title: "operations",
      number: true,
      explanation: "floating-point operations of one sequence forward",
      cell: ({ flops }) => (flops === undefined ? "-" : formatOperations(flops)),
      value: ({ flops }) => flops,
    },
    {
      title: "tokens/s",
      number: true,
      explanation: "training, with as many trials at once as the rows say",
      cell: ({ tokensPerSecond }) => (tokensPerSecond ? formatCount(tokensPerSecond.mean) : "-"),
    },
  ];
}

/** A column for each harder form of the task and each other metric that numbers were published of. */
function publishedColumns(published: readonly Published[]): readonly SweepColumn[] {
  const titleOf = ({ of, beyond }: Published): string =>
    ["published", ...(of === undefined ? [] : [of]), ...(beyond === undefined ? [] : [beyond])].join(", ");
  return [...new Set(published.map(titleOf))].map((title): SweepColumn => {
    const own = published.filter((each) => titleOf(each) === title);
    const find = ({ name, task }: CellSummary): Published | undefined =>
      own.find((each) => each.row === name && (each.task === undefined || each.task === task));
    return {
      title,
      number: true,
      cell(cell) {
        const found = find(cell);
        return found?.of === undefined ? formatMetric(cell.metric, found?.value) : String(found.value);
      },
      value: (cell) => find(cell)?.value,
    };
  });
}

function seedsOf({ rows, seeds, test, diverged, failed }: CellSummary): string {
  const bad = [...(diverged > 0 ? [`${diverged} diverged`] : []), ...(failed > 0 ? [`${failed} failed`] : [])];
  const count = `${test?.values.length ?? 0} of ${Math.max(seeds.length, rows.length)}`;
  return bad.length > 0 ? `${count}, ${bad.join(", ")}` : count;
}

const formatOperations = (flops: number): string =>
  flops >= 1e9
    ? `${(flops / 1e9).toFixed(2)} G`
    : flops >= 1e6
      ? `${(flops / 1e6).toFixed(1)} M`
      : `${(flops / 1e3).toFixed(0)} k`;

/** Where the published numbers stand. */
export const publishedSources = ({ sweep }: SweepReport): readonly string[] => [
  ...new Set((sweep.published ?? []).map(({ source }) => source)),
];

/** The part of the report page above the trials. */
export function sweepSection(report: SweepReport): string {
  const { sweep, scale, cells } = report;
  const { question, expected } = sweep;
  const statements = findings(report).map(
    (statement) =>
      `<li class="${statement.holds === undefined ? "" : statement.holds ? "holds" : "fails"}"><b>${verdictWord(statement)}:</b> ${escape(statement.text)}</li>`,
  );
  const claim = expected ? `<p>Tested: “${escape(expected.claim)}” (${escape(expected.source)})</p>` : "";
  const smoke =
    scale === "smoke" && expected
      ? '<p class="small">Smoke scale: it shows that the sweep runs, and decides nothing.</p>'
      : "";
  const sources = publishedSources(report);
  const byTask = taskTable(cells);
  const matched = sizesOf(report).map((text) => `<li>${escape(text)}</li>`);
  return `<section><h2>${escape(question ?? "Results")}</h2>${claim}${smoke}<ul class="findings">${statements.join("")}</ul>${byTask ? `<h3>By task</h3>${htmlTable(byTask)}<h3>All numbers</h3>` : ""}${htmlTable(sweepTable(report))}${
    sources.length > 0
      ? `<p class="small">Published: ${escape(sources.join("; "))}. Conditions differ; see the sweep.</p>`
      : ""
  }${matched.length > 0 ? `<h3>How mixers were sized</h3><ul class="small">${matched.join("")}</ul>` : ""}${figures(report)}</section>`;
}

/** Every plot of the sweep, for each of its tasks by itself. */
function figures({ sweep, cells }: SweepReport): string {
  const series = [...new Set(cells.map((cell) => cell.series))];
  const tasks = [...new Set(cells.map(({ task }) => task))];
  const drawn = (sweep.plots ?? []).flatMap((plot) =>
    tasks.flatMap((task) => {
      const own = cells.filter((cell) => cell.task === task);
      const points = own.flatMap((cell) => pointsOf(cell, plot));
      if (points.length === 0) return [];
      const metric = own.find(({ test }) => test)?.metric ?? "accuracy";
      const y = plot.y === undefined || plot.y === "test" ? axisOf(metric) : plot.y;
      const percent = metric === "accuracy" && (plot.y ?? "test") === "test";
      const { svg, data } = sweepChart(points, series, { x: plot.x, y, log: plot.log ?? false, percent });
      return [figure(tasks.length > 1 ? `${plot.title}: ${task}` : plot.title, svg, data)];
    }),
  );
  return drawn.length > 0 ? figuresOfSeries(series, drawn) : "";
}

const axisOf = (metric: string): string =>
  `test ${metric === "accuracy" ? "accuracy (%)" : metric}${isHigherBetter(metric) ? "" : " (lower is better)"}`;

/** Points of a cell in a figure: one, or for "length" one for each length that the model was asked. */
export function pointsOf(cell: CellSummary, { x, y = "test" }: SweepPlot): readonly SweepPoint[] {
  const scale = cell.metric === "accuracy" && y === "test" ? 100 : 1;
  const point = (at: number | string | undefined | null, spread: Spread | undefined): SweepPoint[] =>
    at === undefined || at === null || !spread
      ? []
      : [
          {
            name: cell.name,
            series: cell.series,
            x: at,
            y: spread.mean * scale,
            low: spread.min * scale,
            high: spread.max * scale,
          },
        ];
  if (x === "length") {
    const own = cell.rows[0]?.config["L"];
    const longer = Object.entries(cell.beyond).flatMap(([name, spread]) => {
      const found = /^L=(\d+)$/.exec(name);
      return found ? point(Number(found[1]), spread) : [];
    });
    return [...point(typeof own === "number" ? own : undefined, cell.test), ...longer];
  }
  const spread = y === "test" ? cell.test : cell.tokensPerSecond;
  if (x === "stateBytes" || x === "parameters" || x === "flops") return point(cell[x], spread);
  const value = cell.rows[0]?.config[x];
  return point(typeof value === "boolean" ? String(value) : value, spread);
}
