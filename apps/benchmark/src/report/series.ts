/**
 * How the series of a figure are told apart: by colour, from the ninth on by dashes and the form of their points too, and
 * where there are many by their names at the ends of the lines.
 */
import * as Plot from "@observablehq/plot";

/** Colours that tell mixers apart at a glance. */
export const MOST_COLORS = 8;
/** Dashes of a line for every eight series, and the points that go with them. */
const DASHES = ["none", "7 3", "2 3", "9 3 2 3"] as const;
const SYMBOLS = ["circle", "square", "triangle", "diamond"] as const;
/** Series up to which a legend is enough. */
const MOST_BY_LEGEND = MOST_COLORS;
/** Pixels from a name at the end of a line to the next. */
const NAME_HEIGHT = 14;

/** Colour of the k-th series; the page defines --series-0 to --series-7. */
export const seriesColor = (k: number): string => `var(--series-${k % MOST_COLORS})`;

const round = (k: number): number => Math.floor(k / MOST_COLORS) % DASHES.length;

/** The colours of series as a scale. */
export const colors = (names: readonly string[]): { domain: readonly string[]; range: string[] } => ({
  domain: names,
  range: names.map((_, k) => seriesColor(k)),
});

/** A point of a series: what it is drawn at is read by the names of its fields. */
export interface SeriesMarks<P> {
  readonly x: keyof P & string;
  readonly y: keyof P & string;
  readonly series: keyof P & string;
  /** Radius of a point. */
  readonly r: number;
  /** Whether lines run from left to right, whatever the order of the points. */
  readonly sorted?: boolean;
  title(point: P): string;
}

/** The lines and points of each series; a mark each, in a group of class `series`, named by its series for the page's script. */
export function seriesMarks<P extends object>(
  points: readonly P[],
  names: readonly string[],
  { x, y, series, r, sorted = false, title }: SeriesMarks<P>,
): Plot.Markish[] {
  return names.flatMap((name, k) => {
    const own = points.filter((point) => point[series] === name);
    const className = `series series-${k}`;
    const color = seriesColor(k);
    return [
      Plot.line(own, {
        x,
        y,
        stroke: color,
        strokeWidth: 2,
        strokeDasharray: DASHES[round(k)]!,
        className,
        ...(sorted && { sort: x }),
      }),
      Plot.dot(own, { x, y, fill: color, r, symbol: SYMBOLS[round(k)]!, className, title }),
    ];
  });
}

/** Size of a figure with names at the ends of its lines; nothing where a legend is enough. */
export const sizeWithNames = (names: readonly string[]): Pick<Plot.PlotOptions, "width" | "height" | "marginRight"> =>
  names.length <= MOST_BY_LEGEND
    ? {}
    : {
        width: 860,
        height: Math.max(320, 90 + NAME_HEIGHT * names.length),
        marginRight: 48 + 7 * Math.max(...names.map(({ length }) => length)),
      };

/** The name of each series beside the figure, in its colour, with a thin line to the series' last point; none where a legend is enough. */
export function namesAtEnds<P extends object>(
  points: readonly P[],
  names: readonly string[],
  { x, y, series }: Pick<SeriesMarks<P>, "x" | "y" | "series">,
): Plot.Markish {
  if (names.length <= MOST_BY_LEGEND) return [];
  return (_index, scales, _values, { width, height, marginRight, marginTop, marginBottom }, { document }) => {
    const at = (scale: ((value: never) => unknown) | undefined, value: unknown): number =>
      Number(scale!(value as never));
    const ends = names.flatMap((name, k) => {
      const own = points.filter((point) => point[series] === name);
      const last = own.toSorted((a, b) => Number(a[x]) - Number(b[x])).at(-1);
      return last ? [{ name, k, x: at(scales.x, last[x]), y: at(scales.y, last[y]) }] : [];
    });
    const inOrder = ends.toSorted((a, b) => a.y - b.y);
    const places = apart(
      inOrder.map((end) => end.y),
      NAME_HEIGHT,
      marginTop,
      height - marginBottom,
    );
    const element = (tag: string, attributes: Readonly<Record<string, string | number>>): SVGElement => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
      return made as SVGElement;
    };
    const all = element("g", { "aria-label": "names" });
    inOrder.forEach((end, n) => {
      const group = element("g", { class: `series series-${end.k}` });
      const left = width - marginRight + 34;
      group.append(
        element("path", {
          d: `M${end.x + 5},${end.y}L${Math.max(end.x + 5, left - 10)},${places[n]!}H${left - 3}`,
          fill: "none",
          stroke: seriesColor(end.k),
          "stroke-width": 0.75,
          "stroke-opacity": 0.6,
        }),
      );
      const text = element("text", {
        x: left,
        y: places[n]!,
        dy: "0.32em",
        "text-anchor": "start",
        fill: seriesColor(end.k),
      });
      text.textContent = end.name;
      group.append(text);
      all.append(group);
    });
    return all;
  };
}

/** Numbers in order, moved for neighbours to be that far apart within a range: half of what moving all down takes, half of what moving all up takes. */
export function apart(wanted: readonly number[], gap: number, low: number, high: number): readonly number[] {
  const down: number[] = [];
  for (const [k, place] of wanted.entries()) down.push(Math.max(place, k === 0 ? low : down[k - 1]! + gap));
  const up: number[] = [];
  for (const [k, place] of wanted.toReversed().entries()) up.push(Math.min(place, k === 0 ? high : up[k - 1]! - gap));
  up.reverse();
  const last = wanted.length - 1;
  return down.map((place, k) =>
    Math.min(Math.max((place + up[k]!) / 2, low + k * gap), Math.max(high - (last - k) * gap, low + k * gap)),
  );
}

/** What stands in a legend before a name: the line and the point of the k-th series. */
export function seriesKey(k: number): string {
  const color = seriesColor(k);
  if (k < MOST_COLORS) return `<span style="background:${color}"></span>`;
  const points = ["", "M10 1h8v8h-8z", "M14 0l5 9h-10z", "M14 0l5 5-5 5-5-5z"][round(k)]!;
  const dashes = DASHES[round(k)]!;
  return `<svg viewBox="0 0 28 10" width="28" height="10" aria-hidden="true"><path d="M0 5h28" fill="none" stroke="${color}" stroke-width="2" stroke-dasharray="${dashes}"/><path d="${points}" fill="${color}"/></svg>`;
}
