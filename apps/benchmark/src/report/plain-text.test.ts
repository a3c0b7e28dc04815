import { expect, test } from "vitest";
import { latexTable, markdownTable } from "./plain-text.js";

const table = {
  columns: [{ title: "model" }, { title: "test", number: true }],
  cells: [
    ["a_b | c", "97.2 % ± 0.4"],
    ["100 $ & #1 {x} ~^\\", "-"],
  ],
};

test("Markdown: numbers at the right, bars escaped", () => {
  expect(markdownTable(table)).toBe(
    "| model | test |\n|---|---:|\n| a_b \\| c | 97.2 % ± 0.4 |\n| 100 $ & #1 {x} ~^\\ | - |",
  );
});

test("LaTeX: every character that means something is escaped", () => {
  const text = latexTable(table, "50 % of it", "t");
  expect(text).toContain("    a\\_b | c & 97.2 \\% $\\pm$ 0.4 \\\\");
  expect(text).toContain(
    "    100 \\$ \\& \\#1 \\{x\\} \\textasciitilde{}\\textasciicircum{}\\textbackslash{} & - \\\\",
  );
  expect(text).toContain("\\begin{tabular}{lr}");
  expect(text).toContain("\\caption{50 \\% of it}");
});
