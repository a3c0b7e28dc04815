/** The look of a page, and what makes its tables sort. */

export const STYLE = `
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f6f7f9; --text: #1b1f24; --muted: #5a6370; --line: #d5dae1; --accent: #0b5cad;
  --series-0: #0b6cc4; --series-1: #c2410c; --series-2: #15803d; --series-3: #9333ea; --series-4: #be185d; --series-5: #0e7490; --series-6: #a16207; --series-7: #4d5562; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --panel: #1c2026; --text: #e6e9ee; --muted: #a2abb8; --line: #363c46; --accent: #79b8ff;
  --series-0: #5fb0ff; --series-1: #ff9a62; --series-2: #5fd08a; --series-3: #c79bff; --series-4: #ff8fc0; --series-5: #4fd0e0; --series-6: #f2bd55; --series-7: #b3bcc9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.25rem 3rem; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 70ch; overflow-wrap: anywhere; } section > p { color: var(--muted); }
.verdict { border-left: 4px solid var(--accent); padding: .25rem 0 .25rem .9rem; font-size: 1.05rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; } th { color: var(--muted); font-weight: 600; }
td.settings { white-space: normal; min-width: 12rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; list-style: none; padding: 0; margin: .5rem 0; font-size: .9rem; }
.legend svg { margin-right: .4em; vertical-align: -.05em; } .legend button { all: unset; cursor: pointer; border-radius: 4px; padding: 0 .3em; margin: 0 -.3em; } .legend button:focus-visible { outline: 2px solid var(--accent); }
.legend button[aria-pressed=true] { background: var(--line); } .alone .series { opacity: .08; } .alone .series.shown { opacity: 1; }
.legend span { display: inline-block; width: .85em; height: .85em; border-radius: 2px; margin-right: .4em; vertical-align: -.05em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.figures.wide { grid-template-columns: minmax(0, 1fr); } .wide .chart svg { min-width: 44rem; }
figure { margin: 0; padding: .9rem 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; } .chart { overflow-x: auto; } .chart svg { --plot-background: transparent; min-width: 26rem; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .5rem 0; } dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; } .trials { padding-left: 1.1rem; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
.verdict + .verdict, .findings { margin-top: .5rem; } .findings { list-style: none; padding: 0; } .findings li { padding: .2rem 0 .2rem .9rem; border-left: 4px solid var(--line); margin: .35rem 0; max-width: 80ch; }
.findings .holds { border-color: var(--series-2); } .findings .fails { border-color: var(--series-1); } .findings b { font-weight: 650; }
th button { all: unset; cursor: pointer; } th button:focus-visible, a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
details { margin-top: .5rem; font-size: .85rem; } summary { cursor: pointer; color: var(--muted); } a { color: var(--accent); } .small { font-size: .9rem; color: var(--muted); }
`;

/**
 * Makes the file of a figure's numbers out of its table when its link is pressed; sorts a table by the column whose title is pressed, by its numbers where it has some, again to
 * turn the order round; and shows the series alone whose name is pressed, again to show all.
 */
export const SCRIPT = `
for (const link of document.querySelectorAll("a[download]")) link.addEventListener("click", () => {
  const text = (cell) => { const value = cell.dataset.value ?? cell.textContent; return /[",\\n]/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value; };
  const rows = [...link.closest("details").querySelectorAll("tr")].map((row) => [...row.cells].map(text).join(","));
  link.href = URL.createObjectURL(new Blob([rows.join("\\n") + "\\n"], { type: "text/csv" }));
});
for (const button of document.querySelectorAll(".legend button")) button.addEventListener("click", () => {
  const legend = button.closest(".legend"), figures = legend.nextElementSibling, alone = button.getAttribute("aria-pressed") !== "true";
  for (const each of legend.querySelectorAll("button")) each.setAttribute("aria-pressed", String(alone && each === button));
  figures.classList.toggle("alone", alone);
  for (const each of figures.querySelectorAll(".series")) each.classList.toggle("shown", each.classList.contains("series-" + button.dataset.series));
});
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const th = button.parentElement, body = th.closest("table").tBodies[0], k = th.cellIndex;
  const up = th.getAttribute("aria-sort") !== "ascending";
  for (const other of th.parentElement.children) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => { const cell = row.cells[k], text = cell.dataset.value ?? cell.textContent, n = parseFloat(text.replaceAll(",", "")); return Number.isFinite(n) ? n : text; };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b)) * (up ? 1 : -1)));
});
`;
