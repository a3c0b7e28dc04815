/** The page of the decoding experiment. */
import { costChart } from "./charts.js";
import { formatBytes, formatCount } from "./format.js";
import { document, escape, figure, figuresOfSeries, htmlTable } from "./html.js";
import type { Crossover, DecodingPoint, DecodingRow } from "../sweeps/decoding.js";

/** How a run of the experiment was made. */
export interface DecodingSetting {
  readonly channels: number;
  readonly device: string;
  readonly elements: number;
  readonly seed: number;
  /** Mixers that are drawn; the tables have all. */
  readonly drawn: readonly string[];
}

const contextsOf = (rows: readonly DecodingRow[]): number[] => rows[0]?.points.map(({ context }) => context) ?? [];

/** A duration in microseconds, milliseconds or seconds. */
export const formatSeconds = (seconds: number): string =>
  seconds < 1e-3
    ? `${(seconds * 1e6).toPrecision(3)} µs`
    : seconds < 1
      ? `${(seconds * 1e3).toPrecision(3)} ms`
      : `${seconds.toPrecision(3)} s`;

/** Three figures, three tables, and how they were made. */
export function decodingPage(
  rows: readonly DecodingRow[],
  crossings: readonly Crossover[],
  { channels, device, elements, seed, drawn }: DecodingSetting,
): string {
  const shown = rows.filter(({ mixer }) => drawn.includes(mixer));
  const names = shown.map(({ mixer }) => mixer);
  const text = `One layer of each mixer with its default settings and fresh parameters, ${channels} channels, a batch of one, on ${device}, seed ${seed}: the median time of ${elements} elements after a context, the bytes of the state that it leaves, and the time to read it at once. Finite states cost the same at every context; attention reads all it has seen. States after long contexts are made of random numbers, which costs the same as reading them would leave. A mixer without a recurrent form has no time for an element: it would compute the whole sequence again.`;
  const chart = (title: string, unit: "seconds" | "bytes", value: (point: DecodingPoint) => number | null): string =>
    figure(title, costChart(linesOf(shown, value), names, unit));
  return document(
    "Decoding compared",
    `<main><section><p>${escape(text)}</p>${figuresOfSeries(names, [
      chart("Time for the next element", "seconds", ({ seconds }) => seconds),
      chart("State of one sequence", "bytes", ({ bytes }) => bytes),
      chart("Time to read the context", "seconds", ({ prefill }) => prefill),
    ])}</section>${[
      table("Time for the next element", rows, ({ seconds }) => seconds, formatSeconds),
      table("State of one sequence", rows, ({ bytes }) => bytes, formatBytes),
      table("Time to read the context", rows, ({ prefill }) => prefill, formatSeconds),
      crossingTable(crossings),
    ].join("")}</main>`,
  );
}

const linesOf = (
  rows: readonly DecodingRow[],
  value: (point: DecodingPoint) => number | null,
): { readonly name: string; readonly context: number; readonly value: number }[] =>
  rows.flatMap(({ mixer, points }) =>
    points.flatMap((point) => {
      const y = value(point);
      return y === null || y <= 0 ? [] : [{ name: mixer, context: point.context, value: y }];
    }),
  );

function table(
  title: string,
  rows: readonly DecodingRow[],
  value: (point: DecodingPoint) => number | null,
  format: (value: number) => string,
): string {
  const head = [
    { title: "mixer" },
    ...contextsOf(rows).map((context) => ({ title: formatCount(context), number: true })),
  ];
  const body = rows.map(({ mixer, points }) => [
    mixer,
    ...points.map((point) => {
      const y = value(point);
      return y === null ? "-" : format(y);
    }),
  ]);
  return `<section><h2>${escape(title)}, by context</h2>${htmlTable({ columns: head, cells: body })}</section>`;
}

function crossingTable(crossings: readonly Crossover[]): string {
  const head = [
    { title: "mixer" },
    { title: "attention takes longer from", number: true },
    { title: "attention's state is larger from", number: true },
  ];
  const body = crossings.map(({ mixer, time, bytes }) => [
    mixer,
    time === null ? "no measured context" : formatCount(time),
    bytes === null ? "-" : formatCount(bytes),
  ]);
  return `<section><h2>Where a finite state begins to pay</h2>${htmlTable({ columns: head, cells: body })}</section>`;
}
