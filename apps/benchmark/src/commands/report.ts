import type { Command } from "commander";
import { readResults } from "../results/results.js";
import { verdictOf } from "../results/summary.js";
import { writeReport } from "../report/write-report.js";

/** Registers `report`. */
export function registerReport(program: Command): void {
  program
    .command("report")
    .description("write report.html again from the results in a folder")
    .argument("<folder>", "folder with a results.jsonl")
    .action(async (folder: string) => {
      const { rows, corrupt } = readResults(folder);
      if (corrupt > 0) console.warn(`${folder}: ${corrupt} corrupt ${corrupt === 1 ? "line" : "lines"} left out`);
      const quickstart =
        rows.some(({ task }) => task === "selective-copying") && rows.some(({ task }) => task === "moby-dick");
      console.log(await writeReport(folder, rows, quickstart ? verdictOf(rows) : undefined));
    });
}
