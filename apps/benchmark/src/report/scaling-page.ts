/** The page of time and memory against length. */
import { crossovers, SCALING_WORK, type ScalingRow, type ScalingWork } from "../sweeps/scaling.js";
import { scalingChart } from "./charts.js";
import { formatBytes } from "./format.js";
import { document, escape, figure, figuresOfSeries, htmlTable } from "./html.js";

const TITLES: Readonly<Record<ScalingWork, string>> = {
  prefill: "Forward, the whole sequence",
  training: "Forward and backward",
  decode: "One more element after the sequence",
};

/** A section for each kind of work. @param origin Where and how it was measured. */
export function scalingPage(rows: readonly ScalingRow[], origin: string): string {
  const names = [...new Set(rows.map(({ mixer }) => mixer))];
  const turns = crossovers(rows);
  const sections = SCALING_WORK.flatMap((work) => {
    const own = rows.filter((row) => row.work === work);
    const measured = own.filter(({ seconds }) => seconds !== undefined);
    if (measured.length === 0) return [];
    const time = scalingChart(
      measured.map(({ mixer, L, seconds }) => ({ mixer, L, value: seconds! * 1000 })),
      names,
      "time (ms)",
    );
    const memory = scalingChart(
      measured.map(({ mixer, L, peakBytes }) => ({ mixer, L, value: peakBytes! / 2 ** 20 })),
      names,
      "highest memory (MiB)",
    );
    const crossed = turns.filter((turn) => turn.work === work);
    const list = htmlTable({
      columns: [{ title: "faster below" }, { title: "faster from" }, { title: "length", number: true }],
      cells: crossed.map(({ short, long, from }) => [short, long, String(from)]),
    });
    return [
      `<section><h2>${TITLES[work]}</h2>${figuresOfSeries(names, [figure(`${TITLES[work]}: time`, time.svg, time.data), figure(`${TITLES[work]}: memory`, memory.svg, memory.data)])}${crossed.length > 0 ? `<details><summary>Crossovers (${crossed.length})</summary>${list}</details>` : ""}</section>`,
    ];
  });
  const table = htmlTable({
    columns: [
      { title: "work" },
      { title: "mixer" },
      { title: "length", number: true },
      { title: "time", number: true },
      { title: "memory", number: true },
      { title: "runs", number: true },
      { title: "why not" },
    ],
    cells: rows.map(({ work, mixer, L, seconds, peakBytes, runs, error }) => [
      work,
      mixer,
      String(L),
      seconds === undefined ? "-" : `${(seconds * 1000).toPrecision(3)} ms`,
      peakBytes === undefined ? "-" : formatBytes(peakBytes),
      runs === undefined ? "-" : String(runs),
      error ?? "",
    ]),
    values: rows.map(({ seconds, peakBytes }) => [
      undefined,
      undefined,
      undefined,
      seconds,
      peakBytes,
      undefined,
      undefined,
    ]),
  });
  const text = `Median of several runs of one mixer with fresh parameters, after the one that plans and compiles; each on a device of its own. ${origin}.`;
  return document(
    "Time and memory against length",
    `<main><section><p>${escape(text)}</p></section>${sections.join("")}<section><h2>All measurements</h2>${table}</section></main>`,
  );
}
