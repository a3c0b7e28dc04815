/** A column of a table: its title, and whether its cells are numbers, which stand at the right. */
export interface Column {
  readonly title: string;
  readonly number?: boolean;
  /** What the title means, for who meets it the first time. */
  readonly explanation?: string;
}

/** A table: its columns, its cells by row, and the values they are sorted by where those are not what is written. */
export interface Table {
  readonly columns: readonly Column[];
  readonly cells: readonly (readonly string[])[];
  readonly values?: readonly (readonly (string | number | undefined)[])[];
}

/** A table as text, columns two spaces apart, a line under the titles. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, k) => Math.max(title.length, ...rows.map((row) => row[k]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, k) => (columns[k]!.number ? cell.padStart(widths[k]!) : cell.padEnd(widths[k]!)))
      .join("  ")
      .trimEnd();
  return [
    line(columns.map(({ title }) => title)),
    widths.map((width) => "─".repeat(width)).join("  "),
    ...rows.map(line),
  ].join("\n");
}
