/** Rows as people read them. */
import { formatCount } from "../report/format.js";
import { formatTable } from "../report/table.js";
import type { BenchmarkCase } from "./contestant.js";
import type { KernelRow } from "./row.js";

/** "0.164", "3.71", "42.5", "1,340". */
export const formatMs = (ms: number): string =>
  ms < 1 ? ms.toFixed(3) : ms < 10 ? ms.toFixed(2) : ms < 1000 ? ms.toFixed(1) : formatCount(ms);

/** The rate a kernel is known by, with its unit. */
export function formatRate({ ms, bytes, flops, tokensPerSecond }: KernelRow, unit: BenchmarkCase["rate"]): string {
  if (unit === "tokens/s") return `${formatCount(tokensPerSecond ?? 0)} tokens/s`;
  return `${((unit === "GB/s" ? bytes : flops) / ms / 1e6).toFixed(1)} ${unit}`;
}

/** A peer's time and how many times ours it is; no ratio for a result that is not right. */
export function formatPeer({ check, ms, peers }: KernelRow, name: string): string {
  const time = peers[name];
  if (time === undefined) return "";
  return check === "green" ? `${formatMs(time)} (${(time / ms).toFixed(2)}x)` : formatMs(time);
}

/** Error, tolerance and what was compared. */
export function formatCheck({ check, checkDetail: { error, tolerance, unit } }: KernelRow): string {
  const number = (value: number): string => (unit === "ulp" ? `${value.toFixed(2)} ulp` : value.toExponential(1));
  return check === "green" ? `green ${number(error)}` : `RED ${number(error)} > ${number(tolerance)}`;
}

const formatBar = ({ asked, reached, met }: NonNullable<KernelRow["bar"]>): string =>
  `${asked}: ${met === null ? "not judged" : `${reached}, ${met ? "met" : "NOT MET"}`}`;

/** One line of a case that is done. */
export const summaryOf = (rows: readonly KernelRow[]): string =>
  rows.map((row) => `${row.threads} thread${row.threads === 1 ? "" : "s"} ${formatMs(row.ms)} ms`).join(", ") +
  `, check ${rows.every(({ check }) => check === "green") ? "green" : "RED"}`;

/** The table of all rows, a column for each peer; below it what the checks covered and figures measured elsewhere. */
export function formatRows(rows: readonly KernelRow[], rateOf: (row: KernelRow) => BenchmarkCase["rate"]): string {
  const peers = [...new Set(rows.flatMap((row) => Object.keys(row.peers)))];
  const columns = [
    { title: "kernel" },
    { title: "shape" },
    { title: "mode" },
    { title: "threads", number: true },
    { title: "ms", number: true },
    { title: "rate", number: true },
    { title: "extra MiB", number: true },
    { title: "check" },
    ...peers.map((name) => ({ title: name, number: true })),
    { title: "asked" },
  ];
  const cells = rows.map((row) => [
    row.kernel,
    row.shape,
    row.mode,
    String(row.threads),
    formatMs(row.ms),
    formatRate(row, rateOf(row)),
    row.extraBytes === undefined ? "" : formatCount(Math.ceil(row.extraBytes / 2 ** 20)),
    formatCheck(row),
    ...peers.map((name) => formatPeer(row, name)),
    row.bar ? formatBar(row.bar) : "",
  ]);
  const notes = rows.flatMap(({ kernel, mode, shape, checkDetail, reference }, k) => {
    const before = rows[k - 1];
    if (before?.kernel === kernel && before.mode === mode && before.shape === shape) return [];
    return [
      `  ${kernel} ${shape} ${mode}: checked ${checkDetail.coverage}${reference === undefined ? "" : `; ${reference}`}`,
    ];
  });
  return [
    formatTable(columns, cells),
    "",
    "ms: median. Extra MiB: the most memory a run takes beside its inputs. A peer's figure is its ms and, in brackets, how many times ours it is.",
    "Checked against float64 on the reference device:",
    ...notes,
  ].join("\n");
}
