/** The report as text. */
import type { GoldenReport } from "@seqmix/testing";

/** A row an operator, a line for every case that did not pass, and one with the verdict. */
export function formatReport({ device, operators, cases }: GoldenReport): string {
  const names = Object.keys(operators).sort();
  const rows = names.map((name) => {
    const { passed, failed, unsupported, worstErrorOverTolerance, relaxed } = operators[name]!;
    const ran = passed + failed > 0;
    return [
      name,
      passed,
      failed,
      unsupported,
      ran ? formatRatio(worstErrorOverTolerance) : "-",
      relaxed > 0 ? `${relaxed} with 10x gradient tolerance` : "",
    ].map(String);
  });
  const table = [["operator", "passed", "failed", "unsupported", "worst error / tolerance", ""], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) =>
        column === 0 || column === 5 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join("  ")
      .trimEnd(),
  );

  const count = (status: string): number => cases.filter((each) => each.status === status).length;
  const relaxed = cases.filter((each) => each.relaxed).map((each) => `${each.operator}/${each.case}`);
  const notes = [
    ...cases
      .filter(({ status }) => status === "unsupported")
      .map((each) => `unsupported ${each.operator}/${each.case}: ${each.reason}`),
    ...(relaxed.length > 0
      ? [`gradients of more than 128 steps within 10 times the float32 tolerance, not within it: ${relaxed.join(", ")}`]
      : []),
    ...cases
      .filter(({ status }) => status === "failed")
      .map((each) => `FAILED ${each.operator}/${each.case}: ${each.reason}`),
  ];
  const verdict = `golden on ${device}: ${count("passed")} passed, ${count("failed")} failed, ${count("unsupported")} unsupported of ${cases.length}`;
  return [...lines, "", ...notes, ...(notes.length > 0 ? [""] : []), verdict].join("\n");
}

const formatRatio = (ratio: number): string => (Number.isFinite(ratio) ? ratio.toPrecision(2) : "not a number");
