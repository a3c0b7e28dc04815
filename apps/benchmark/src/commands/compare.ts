import type { Command } from "commander";
import { formatTable } from "../report/table.js";
import { compareResults, comparisonTable } from "../results/comparison.js";
import { readResults } from "../results/results.js";

/** Registers `compare`. */
export function registerCompare(program: Command): void {
  program
    .command("compare")
    .description("compare the trials that two folders of results have in common: test results and throughput")
    .argument("<before>", "folder with a results.jsonl")
    .argument("<after>", "folder with a results.jsonl")
    .option("--json", "print the comparison as JSON")
    .action((before: string, after: string, { json = false }: { json?: boolean }) => {
      const comparison = compareResults(readResults(before).rows, readResults(after).rows);
      if (json) {
        console.log(JSON.stringify(comparison));
        return;
      }
      const { columns, cells } = comparisonTable(comparison.groups);
      if (cells.length > 0) console.log(`${formatTable(columns, cells)}\n`);
      for (const sentence of comparison.notes) console.log(sentence);
    });
}
