/** Trials that train in this page, and rows that were opened. */
import { lossChart, stateChart, throughputChart, validationChart } from "../../src/report/charts.js";
import { seriesColor } from "../../src/report/series.js";
import { summaryTable } from "../../src/results/summary.js";
import type { Row } from "../../src/results/results.js";
import type { LiveTrial } from "./messages.js";

/** What {@link Results} shows. */
export interface ResultsProps {
  readonly live: readonly LiveTrial[];
  readonly loaded: readonly Row[];
  /** Puts the opened rows away. */
  readonly forget: () => void;
}

/** Progress, a table, and the charts of each task. */
export function Results({ live, loaded, forget }: ResultsProps) {
  const rows = [...live.map(({ row }) => row), ...loaded];
  if (rows.length === 0) return null;
  const mixers = [...new Set(rows.map(({ mixer }) => mixer))];
  return (
    <>
      {live.map(({ row, state }) => (
        <div key={row.trial} class="progress">
          <span>{row.trial.slice(row.trial.indexOf(":") + 1)}</span>
          <progress max={state.steps} value={state.step} aria-label={`${row.mixer}: steps`} />
          <span class="number">
            {state.status === "training" ? `step ${state.step} of ${state.steps}` : state.status}
            {state.tokensPerSecond > 0 && `, ${Math.round(state.tokensPerSecond).toLocaleString("en-US")} tokens/s`}
          </span>
        </div>
      ))}
      <Table rows={rows} live={live} />
      {loaded.length > 0 && (
        <button type="button" onClick={forget}>
          Put {loaded.length} opened {loaded.length === 1 ? "row" : "rows"} away
        </button>
      )}
      {[...new Set(rows.map(({ task }) => task))].map((task) => (
        <Charts key={task} task={task} rows={rows.filter((row) => row.task === task)} mixers={mixers} />
      ))}
    </>
  );
}

function Table({ rows, live }: { rows: readonly Row[]; live: readonly LiveTrial[] }) {
  const { columns, cells } = summaryTable(rows);
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {columns.map(({ title, number }) => (
              <th key={title} class={number ? "number" : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {cells.map((row, k) => (
            <tr key={rows[k]!.trial}>
              {row.map((text, n) => (
                <td key={columns[n]!.title} class={classOf(columns[n]!)}>
                  {columns[n]!.title === "test" && live[k]?.state.status === "training" ? "training" : broken(text)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const classOf = ({ title, number }: { readonly title: string; readonly number?: boolean }): string | undefined =>
  number ? "number" : title === "settings" ? "settings" : undefined;

/** Text that may go on in the next line behind each setting. */
const broken = (text: string) =>
  text.split(/(?<=;)/).flatMap((part, k) => (k === 0 ? [part] : [<wbr key={k} />, part]));

function Charts({ task, rows, mixers }: { task: string; rows: readonly Row[]; mixers: readonly string[] }) {
  const trained = rows.filter(({ curve }) => curve.length > 0);
  const done = rows.filter(({ status, stateBytes }) => status === "done" && stateBytes);
  const validated = trained.filter(({ curve }) => curve.some(({ validation }) => validation !== undefined));
  return (
    <>
      <h3>{task}</h3>
      <ul class="legend">
        {mixers.map(
          (mixer, k) =>
            rows.some((row) => row.mixer === mixer) && (
              <li key={mixer}>
                <span style={{ background: seriesColor(k) }} />
                {mixer}
              </li>
            ),
        )}
      </ul>
      <div class="figures">
        {trained.length > 0 && <Figure caption="Training" svg={lossChart(trained, mixers).svg} />}
        {validated.length > 0 && <Figure caption="Validation" svg={validationChart(validated, mixers).svg} />}
        {done.length > 0 && <Figure caption="Quality against memory" svg={stateChart(done, mixers).svg} />}
        {rows.some(({ tokensPerSecond }) => tokensPerSecond > 0) && (
          <Figure caption="Throughput" svg={throughputChart(rows, mixers).svg} />
        )}
      </div>
    </>
  );
}

/** A chart of the report: its text is made by this app alone. */
function Figure({ caption, svg }: { caption: string; svg: string }) {
  return (
    <figure>
      <figcaption>{caption}</figcaption>
      <div class="chart" dangerouslySetInnerHTML={{ __html: svg }} />
    </figure>
  );
}
