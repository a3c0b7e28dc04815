/** The report's figures as SVG text. Colours are custom properties of the page, so that one figure serves light and dark. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { formatBytes, formatCount } from "./format.js";
import type { Row } from "../results/results.js";
import type { FigureData } from "./html.js";
import { colors, namesAtEnds, seriesMarks, sizeWithNames } from "./series.js";

/** A drawing, and the numbers it was made from. */
export interface Drawing {
  readonly svg: string;
  readonly data: FigureData;
}

/** The fields of points as rows of a table. */
function drawing<P extends object>(points: readonly P[], fields: readonly (keyof P & string)[], svg: string): Drawing {
  return {
    svg,
    data: { columns: fields, rows: points.map((point) => fields.map((name) => point[name] as string | number)) },
  };
}

/** A line of a training chart. */
interface CurveLine {
  readonly trial: string;
  readonly mixer: string;
  readonly tokens: number;
  readonly value: number;
}

/** Something measured of mixers against length, both axes logarithmic. */
export function scalingChart(
  points: readonly { readonly mixer: string; readonly L: number; readonly value: number }[],
  names: readonly string[],
  label: string,
): Drawing {
  type Point = (typeof points)[number];
  const svg = draw({
    ...sizeWithNames(names),
    x: {
      type: "log",
      base: 2,
      label: "elements of the sequence →",
      ticks: 6,
      tickFormat: (L: number) => formatCount(L),
    },
    y: { type: "log", label: `↑ ${label}`, grid: true, ticks: 6, tickFormat: "~g" },
    marks: [
      ...seriesMarks<Point>(points, names, {
        x: "L",
        y: "value",
        series: "mixer",
        r: 3,
        sorted: true,
        title: ({ mixer, L, value }) => `${mixer}, ${formatCount(L)}: ${value.toPrecision(3)}`,
      }),
      namesAtEnds<Point>(points, names, { x: "L", y: "value", series: "mixer" }),
    ],
  });
  return drawing(points, ["mixer", "L", "value"], svg);
}

/** A point of a sweep's figure: a mean over seeds, and the least and most of them. */
export interface SweepPoint {
  readonly name: string;
  readonly series: string;
  readonly x: number | string;
  readonly y: number;
  readonly low: number;
  readonly high: number;
}

/** Means against a number or a word of each row of a sweep, with bars from the least to the most. */
export function sweepChart(
  points: readonly SweepPoint[],
  series: readonly string[],
  { x, y, log, percent }: { readonly x: string; readonly y: string; readonly log: boolean; readonly percent: boolean },
): Drawing {
  const words = points.some((point) => typeof point.x === "string");
  const bytes = x === "stateBytes";
  const svg = draw({
    x: words
      ? { label: `${x} →`, type: "point" }
      : {
          label: `${bytes ? "state of one sequence" : x} →`,
          ...(log ? octaves(points.map((point) => Number(point.x))) : { type: "linear", ticks: 6 }),
          ...(bytes || log
            ? { tickFormat: (value: number) => (bytes ? formatBytes(Math.round(value)) : formatCount(value)) }
            : {}),
        },
    y: { label: `↑ ${y}`, grid: true, ...(percent ? { domain: [0, 100] } : { nice: true, zero: true }) },
    color: colors(series),
    marks: [
      Plot.ruleX(points, { x: "x", y1: "low", y2: "high", stroke: "series", strokeOpacity: 0.5, strokeWidth: 3 }),
      ...seriesMarks<SweepPoint>(points, series, {
        x: "x",
        y: "y",
        series: "series",
        r: 4,
        sorted: !words,
        title: ({ name, y: value }) => `${name}: ${Number(value.toPrecision(4))}`,
      }),
    ],
  });
  return drawing(points, ["name", "x", "y", "low", "high"], svg);
}

/** A logarithmic axis from a power of two below the values to one above, with a tick at powers of two. */
function octaves(values: readonly number[]): Pick<Plot.ScaleOptions, "type" | "base" | "domain" | "ticks"> {
  const low = Math.ceil(Math.log2(Math.min(...values))) - 1;
  const high = Math.floor(Math.log2(Math.max(...values))) + 1;
  return { type: "log", base: 2, domain: [2 ** low, 2 ** high], ticks: Math.min(6, high - low + 1) };
}

const WIDTH = 560;
const HEIGHT = 320;

/** What a metric is called on an axis. */
const metricAxis = (metric: string): string =>
  metric === "accuracy"
    ? "accuracy (%)"
    : metric === "bitsPerChar"
      ? "bits per character"
      : `${metric} (lower is better)`;

/** Training loss against tokens: in nats, as bits per character, or as squared error. */
export function lossChart(rows: readonly Row[], mixers: readonly string[]): Drawing {
  const metric = rows[0]?.metric;
  const scale = metric === "bitsPerChar" ? Math.LN2 : 1;
  const lines = rows.flatMap(({ trial, mixer, curve }) =>
    curve.map(({ tokens, loss }): CurveLine => ({ trial, mixer, tokens, value: loss / scale })),
  );
  const inBits = metric === "bitsPerChar";
  const label = inBits
    ? "training bits per character"
    : metric === "nmse"
      ? "training loss (squared error)"
      : "training loss (nats)";
  // A level of the metric has no place among losses in other units.
  return curveChart(lines, mixers, { label, percent: false, levels: inBits ? references(rows) : [] });
}

/** The metric on the validation split against tokens. */
export function validationChart(rows: readonly Row[], mixers: readonly string[]): Drawing {
  const metric = rows[0]?.metric ?? "accuracy";
  const percent = metric === "accuracy";
  const lines = rows.flatMap(({ trial, mixer, curve }) =>
    curve.flatMap(({ tokens, validation }): CurveLine[] =>
      validation === undefined ? [] : [{ trial, mixer, tokens, value: percent ? validation * 100 : validation }],
    ),
  );
  return curveChart(lines, mixers, {
    label: `validation ${metricAxis(metric)}`,
    percent,
    levels: references(rows),
    dots: true,
  });
}

/** The test metric against the bytes of state one sequence needs. Mixers without a finite state are left out. */
export function stateChart(rows: readonly Row[], mixers: readonly string[]): Drawing {
  const percent = rows[0]?.metric === "accuracy";
  const points = rows.flatMap(({ mixer, trial, status, metric, metrics, stateBytes }) =>
    status === "done" && stateBytes
      ? [{ mixer, trial, bytes: stateBytes, value: metrics[metric]! * (percent ? 100 : 1) }]
      : [],
  );
  const sizes = points.map(({ bytes }) => bytes);
  const values = points.map(({ value }) => value);
  const svg = draw({
    x: {
      ...octaves(sizes),
      label: "state of one sequence after L tokens →",
      tickFormat: (bytes: number) => formatBytes(Math.round(bytes)),
    },
    y: {
      label: `${percent ? "↑" : "↓"} test ${metricAxis(rows[0]?.metric ?? "accuracy")}`,
      grid: true,
      nice: true,
      reverse: !percent,
      ...(percent ? { domain: [0, 100] } : { domain: padded(values) }),
    },
    color: colors(mixers),
    marks: [
      Plot.dot(points, {
        x: "bytes",
        y: "value",
        fill: "mixer",
        r: 5,
        title: ({ trial, value, bytes }: (typeof points)[number]) =>
          `${trial}\n${value.toFixed(percent ? 1 : 3)} at ${formatBytes(bytes)}`,
      }),
      Plot.text(bestOfEach(points, percent), { x: "bytes", y: "value", text: "mixer", dy: -12, fill: "currentColor" }),
    ],
  });
  return drawing(points, ["trial", "mixer", "bytes", "value"], svg);
}

/** The best point of each mixer, which bears its name: names of several seeds would cover each other. */
function bestOfEach<P extends { readonly mixer: string; readonly value: number }>(
  points: readonly P[],
  higher: boolean,
): readonly P[] {
  const inOrder = points.toSorted((a, b) => (higher ? a.value - b.value : b.value - a.value));
  return [...new Map(inOrder.map((point) => [point.mixer, point])).values()];
}

/** Characters of a bar's name on one line. */
const NAME_LINE = 34;

/** Tokens trained on a second, a bar a trial. */
export function throughputChart(rows: readonly Row[], mixers: readonly string[]): Drawing {
  const some = rows.filter(({ tokensPerSecond }) => tokensPerSecond > 0);
  const names = barNames(some);
  const bars = some.map(({ trial, mixer, tokensPerSecond }) => ({
    trial,
    mixer,
    tokensPerSecond,
    name: names.get(trial)!,
  }));
  const longest = Math.max(...bars.flatMap(({ name }) => name.split("\n").map((line) => line.length)));
  const svg = draw({
    height: 60 + bars.reduce((sum, { name }) => sum + 16 + 18 * name.split("\n").length, 0),
    marginLeft: 24 + 6.6 * longest,
    marginRight: 60,
    x: { label: "tokens a second, training →", grid: true, zero: true, ticks: 5 },
    y: { label: null, domain: bars.map(({ trial }) => trial), axis: null },
    color: colors(mixers),
    marks: [
      Plot.barX(bars, { x: "tokensPerSecond", y: "trial", fill: "mixer", title: "trial", insetTop: 4, insetBottom: 4 }),
      Plot.text(bars, {
        y: "trial",
        text: "name",
        frameAnchor: "left",
        textAnchor: "end",
        dx: -8,
        fill: "currentColor",
      }),
      Plot.text(bars, {
        x: "tokensPerSecond",
        y: "trial",
        text: ({ tokensPerSecond }: (typeof bars)[number]) => formatCount(tokensPerSecond),
        textAnchor: "start",
        dx: 5,
      }),
    ],
  });
  return drawing(bars, ["trial", "mixer", "tokensPerSecond"], svg);
}

/** The mixer's name, and below it the settings by which its trials differ, in lines that are not cut. */
function barNames(rows: readonly Row[]): ReadonlyMap<string, string> {
  return new Map(
    rows.map(({ trial, mixer, config }) => {
      const others = rows.filter((row) => row.mixer === mixer);
      const telling = Object.entries(config)
        .filter(([name, value]) => others.some((row) => row.config[name] !== value))
        .map(([name, value]) => `${name}=${value}`);
      const lines = [mixer];
      for (const part of telling)
        if (lines.length > 1 && lines.at(-1)!.length + part.length < NAME_LINE) lines.push(`${lines.pop()} ${part}`);
        else lines.push(part);
      return [trial, lines.join("\n")];
    }),
  );
}

/** Gradient norms against distance, both axes logarithmic. */
export function gradientNormChart(
  curves: readonly { readonly name: string; readonly norms: readonly number[] }[],
  names: readonly string[],
): string {
  const [low, high] = [1e-12, 1e12];
  const points = curves.flatMap(({ name, norms }) =>
    norms.flatMap((value, distance) =>
      distance === 0 || Number.isNaN(value) ? [] : [{ name, distance, value: Math.min(high, Math.max(low, value)) }],
    ),
  );
  const values = points.map(({ value }) => value);
  return draw({
    width: 760,
    x: { type: "log", label: "distance k →", ticks: 6, tickFormat: "~s" },
    y: {
      type: "log",
      label: "↑ gradient norm, relative to k = 0",
      grid: true,
      ticks: 7,
      tickFormat: ".0e",
      domain: [Math.min(...values), Math.max(1, ...values)],
    },
    color: colors(names),
    marks: [Plot.line(points, { x: "distance", y: "value", z: "name", stroke: "name", strokeWidth: 2 })],
  });
}

/** A cost against the context it comes after, both axes logarithmic. */
export function costChart(
  points: readonly { readonly name: string; readonly context: number; readonly value: number }[],
  names: readonly string[],
  unit: "seconds" | "bytes",
): string {
  type Point = (typeof points)[number];
  return draw({
    ...sizeWithNames(names),
    x: { type: "log", base: 4, label: "context, elements →", ticks: 9, tickFormat: (n: number) => formatCount(n) },
    y: {
      type: "log",
      base: unit === "bytes" ? 4 : 10,
      label: `↑ ${unit}`,
      grid: true,
      ticks: 5,
      tickFormat: unit === "bytes" ? (bytes: number) => formatBytes(Math.round(bytes)) : "~s",
    },
    marks: [
      ...seriesMarks<Point>(points, names, {
        x: "context",
        y: "value",
        series: "name",
        r: 3,
        sorted: true,
        title: ({ name, context, value }) => `${name}, ${formatCount(context)}: ${value.toPrecision(3)}`,
      }),
      namesAtEnds<Point>(points, names, { x: "context", y: "value", series: "name" }),
    ],
  });
}

/** A value at a position of a sequence; points of one line are connected. */
export interface PositionPoint {
  readonly name: string;
  readonly line: string;
  readonly position: number;
  readonly value: number;
}

/** Values against the position in a sequence, on a logarithmic axis; lines of one name have its colour. */
export function positionChart(
  points: readonly PositionPoint[],
  names: readonly string[],
  { label, log }: { readonly label: string; readonly log: boolean },
): string {
  return draw({
    x: { type: "log", base: 2, label: "position, tokens →", ticks: 8, tickFormat: (n: number) => formatCount(n) },
    y: {
      label: `↑ ${label}`,
      grid: true,
      ...(log ? { type: "log" as const, ticks: 5, tickFormat: "~g" } : { domain: [0, 100] }),
    },
    color: colors(names),
    marks: [
      Plot.line(points, { x: "position", y: "value", z: "line", stroke: "name", strokeWidth: 1.5, strokeOpacity: 0.8 }),
    ],
  });
}

/** Errors on the test part, a dot a seed and a row a forecaster; the line is that of the first one. */
export function forecastErrorChart(
  outcomes: readonly { readonly name: string; readonly test: number }[],
  names: readonly string[],
): string {
  return draw({
    height: 60 + names.length * 34,
    marginLeft: 160,
    x: { label: "mean absolute scaled error on the test part →", grid: true, zero: true, nice: true, ticks: 6 },
    y: { label: null, domain: names },
    color: colors(names),
    marks: [
      Plot.ruleX(outcomes.slice(0, 1), {
        x: "test",
        stroke: "currentColor",
        strokeOpacity: 0.6,
        strokeDasharray: "5 4",
      }),
      Plot.dot(outcomes, { x: "test", y: "name", fill: "name", r: 5, fillOpacity: 0.75 }),
    ],
  });
}

/** A number a seed, a row a model. @param label What the numbers are. */
export function seedChart(
  outcomes: readonly { readonly name: string; readonly test: number }[],
  names: readonly string[],
  label: string,
): string {
  return draw({
    height: 60 + names.length * 34,
    marginLeft: 24 + 7 * Math.max(...names.map(({ length }) => length)),
    width: 760,
    x: { label, grid: true, zero: true, nice: true, ticks: 6 },
    y: { label: null, domain: names },
    color: colors(names),
    marks: [Plot.dot(outcomes, { x: "test", y: "name", fill: "name", r: 5, fillOpacity: 0.75 })],
  });
}

/** What followed the last test window, what went before, and what was forecast. */
export function forecastChart(
  { past, future }: { readonly past: readonly number[]; readonly future: readonly number[] },
  forecasts: readonly { readonly name: string; readonly example: readonly number[] }[],
  names: readonly string[],
): string {
  const known = [...past, ...future].map((value, k) => ({ month: k - past.length + 1, value }));
  const lines = forecasts.flatMap(({ name, example }) =>
    [past.at(-1)!, ...example].map((value, month) => ({ name, month, value })),
  );
  return draw({
    width: 760,
    x: { label: "months after the last one that was seen →", ticks: 8 },
    y: { label: "↑ value in standard units", grid: true, nice: true },
    color: colors(names),
    marks: [
      Plot.line(known, { x: "month", y: "value", stroke: "currentColor", strokeOpacity: 0.55, strokeWidth: 4 }),
      Plot.line(lines, { x: "month", y: "value", z: "name", stroke: "name", strokeWidth: 2 }),
    ],
  });
}

interface Reference {
  readonly name: string;
  readonly value: number;
}

/** Levels that simple models reach, for the task's charts: drawn where they fit on the scale of the chart. */
function references(rows: readonly Row[]): Reference[] {
  const { metrics = {}, metric } = rows[0] ?? {};
  return Object.entries(metrics).flatMap(([name, value]) =>
    name === metric || (metric === "bitsPerChar" && name === "chance")
      ? []
      : [{ name, value: metric === "accuracy" ? value * 100 : value }],
  );
}

function curveChart(
  lines: readonly CurveLine[],
  mixers: readonly string[],
  {
    label,
    percent,
    levels: shown,
    dots = false,
  }: {
    readonly label: string;
    readonly percent: boolean;
    readonly levels: readonly Reference[];
    readonly dots?: boolean;
  },
): Drawing {
  const [low, high] = padded([...lines.map(({ value }) => value), ...shown.map(({ value }) => value)]);
  const svg = draw({
    x: { label: "tokens trained on →", tickFormat: "s", ticks: 6 },
    y: { label: `↑ ${label}`, grid: true, domain: percent ? [0, 100] : [Math.max(0, low), high] },
    color: colors(mixers),
    marks: [
      Plot.ruleY(shown, { y: "value", stroke: "currentColor", strokeOpacity: 0.6, strokeDasharray: "5 4" }),
      Plot.text(shown, {
        y: "value",
        text: "name",
        frameAnchor: "right",
        textAnchor: "end",
        dy: -7,
        fill: "currentColor",
        fillOpacity: 0.8,
      }),
      Plot.line(lines, { x: "tokens", y: "value", z: "trial", stroke: "mixer", strokeWidth: 2 }),
      ...(dots
        ? [
            Plot.dot(lines, {
              x: "tokens",
              y: "value",
              fill: "mixer",
              r: 3,
              title: ({ trial, value, tokens }: CurveLine) =>
                `${trial}\n${value.toFixed(percent ? 1 : 3)} after ${formatCount(tokens)} tokens`,
            }),
          ]
        : []),
    ],
  });
  return drawing(lines, ["trial", "mixer", "tokens", "value"], svg);
}

/** The range of the values and a tenth of it on either side. */
function padded(values: readonly number[]): [number, number] {
  const finite = values.filter(Number.isFinite);
  const [low, high] = finite.length > 0 ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  const space = (high - low) * 0.1 || 0.1;
  return [low - space, high + space];
}

function draw(options: Plot.PlotOptions): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const figure = Plot.plot({
    document: document as unknown as Document,
    width: WIDTH,
    height: HEIGHT,
    marginTop: 32,
    marginRight: 36,
    marginBottom: 40,
    marginLeft: 56,
    style: { fontSize: "12px", background: "none" },
    ...options,
  });
  return figure.outerHTML;
}
