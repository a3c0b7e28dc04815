/** A table as Markdown for a README, and as LaTeX for a paper. */
import type { Table } from "./table.js";

/** A Markdown table. */
export function markdownTable({ columns, cells }: Table): string {
  const line = (row: readonly string[]): string => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line(columns.map(({ title }) => title)),
    `|${columns.map(({ number }) => (number ? "---:" : "---")).join("|")}|`,
    ...cells.map(line),
  ].join("\n");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "±": "$\\pm$",
};

const latex = (text: string): string =>
  text.replaceAll(/[\\~^±&%$#_{}]/g, (character) => ESCAPES[character] ?? `\\${character}`);

/** A LaTeX table for the package booktabs. @param caption What stands under it. */
export function latexTable({ columns, cells }: Table, caption: string, label: string): string {
  const line = (row: readonly string[]): string => `    ${row.map(latex).join(" & ")} \\\\`;
  return [
    "% \\usepackage{booktabs}",
    "\\begin{table}",
    "  \\centering",
    `  \\begin{tabular}{${columns.map(({ number }) => (number ? "r" : "l")).join("")}}`,
    "    \\toprule",
    line(columns.map(({ title }) => title)),
    "    \\midrule",
    ...cells.map(line),
    "    \\bottomrule",
    "  \\end{tabular}",
    `  \\caption{${latex(caption)}}`,
    `  \\label{tab:${label}}`,
    "\\end{table}",
    "",
  ].join("\n");
}
