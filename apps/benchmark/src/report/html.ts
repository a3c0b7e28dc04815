/** Pieces of a page: one file with everything in it, legible in light and dark, printed or on a phone. */
import { SCRIPT, STYLE } from "./style.js";
import type { Table } from "./table.js";
import { MOST_COLORS, seriesKey } from "./series.js";

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
<script>${SCRIPT}</script>
</body>
</html>
`;

/** Text as HTML. */
export const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** Numbers that a figure was drawn from. */
export interface FigureData {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** A drawing with its caption, and its numbers to look at and to take along. */
export const figure = (caption: string, svg: string, data?: FigureData): string =>
  `<figure><figcaption>${escape(caption)}</figcaption><div class="chart">${svg}</div>${data ? figureData(caption, data) : ""}</figure>`;

function figureData(caption: string, { columns, rows }: FigureData): string {
  const file = `${caption.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.csv`;
  const table = htmlTable({
    columns: columns.map((title, k) => ({ title, number: typeof rows[0]?.[k] === "number" })),
    cells: rows.map((row) =>
      row.map((value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : value)),
    ),
    values: rows,
  });
  return `<details><summary>Data (${rows.length} ${rows.length === 1 ? "row" : "rows"}) <a download="${file}" href="#">CSV</a></summary>${table}</details>`;
}

/** Names with their colours. */
export const legend = (names: readonly string[]): string =>
  `<ul class="legend">${names.map((name, k) => `<li>${seriesKey(k)}${escape(name)}</li>`).join("")}</ul>`;

/** Figures of series with their names; pressing one shows its series alone in all of them. */
export const figuresOfSeries = (names: readonly string[], figures: readonly string[]): string =>
  `<ul class="legend">${names
    .map(
      (name, k) =>
        `<li><button type="button" aria-pressed="false" data-series="${k}">${seriesKey(k)}${escape(name)}</button></li>`,
    )
    .join("")}</ul><div class="figures${names.length > MOST_COLORS ? " wide" : ""}">${figures.join("")}</div>`;

/** A table whose columns can be sorted by. */
export function htmlTable({ columns, cells, values }: Table): string {
  const classOf = (k: number): string =>
    columns[k]!.number ? ' class="number"' : columns[k]!.title === "settings" ? ' class="settings"' : "";
  const head = columns.map(
    ({ title, explanation }, k) =>
      `<th${classOf(k)} scope="col"><button type="button"${explanation ? ` title="${escape(explanation)}"` : ""}>${escape(title)}</button></th>`,
  );
  const body = cells.map(
    (row, n) =>
      `<tr>${row
        .map((text, k) => {
          const value = values?.[n]?.[k];
          return `<td${classOf(k)}${value === undefined || String(value) === text ? "" : ` data-value="${escape(String(value))}"`}>${escape(text).replaceAll(";", ";<wbr>")}</td>`;
        })
        .join("")}</tr>`,
  );
  return `<div class="scroll"><table><thead><tr>${head.join("")}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}
