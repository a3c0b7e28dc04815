import type { Command } from "commander";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeResultsFolder, readResults, type Row } from "../results/results.js";
import { verdictOf } from "../results/summary.js";
import type { SweepReport } from "../report/sweep-section.js";
import { writeReport } from "../report/write-report.js";
import { cellsOf, planOf } from "../sweeps/run-sweep.js";
import { ORIGIN_FILE, withMatches, type SweepOrigin } from "./finish.js";
import { loadSweep } from "./sweep.js";

/** Registers `report`. */
export function registerReport(program: Command): void {
  program
    .command("report")
    .description(
      "write report.html, report.md and report.tex again, from the results in folders; those of shards are put together",
    )
    .argument("<folder...>", "folders with a results.jsonl; the report goes into the first, or into --out")
    .option("--out <folder>", "folder of the report")
    .option("--json", "print the rows and what was found as JSON instead")
    .action(
      async (folders: readonly string[], { out = folders[0]!, json = false }: { out?: string; json?: boolean }) => {
        const rows = [...new Map(folders.flatMap(readRows).map((row) => [row.trial, row])).values()];
        const sweep = await sweepOf(folders, rows);
        if (json) {
          console.log(JSON.stringify({ rows, ...(sweep && { cells: sweep.cells }) }));
          return;
        }
        const quickstart =
          rows.some(({ task }) => task === "selective-copying") && rows.some(({ task }) => task === "moby-dick");
        makeResultsFolder(out);
        console.log(await writeReport(out, rows, sweep ? { sweep } : quickstart ? { verdict: verdictOf(rows) } : {}));
      },
    );
}

function readRows(folder: string): readonly Row[] {
  const { rows, corrupt } = readResults(folder);
  if (corrupt > 0) console.warn(`${folder}: ${corrupt} corrupt ${corrupt === 1 ? "line" : "lines"} left out`);
  return rows;
}

/** The sweep that the folders are of, if all are of one: the whole of it, though each may be a part. */
async function sweepOf(folders: readonly string[], rows: readonly Row[]): Promise<SweepReport | undefined> {
  const origins = folders.map((folder): SweepOrigin | undefined => {
    const file = join(folder, ORIGIN_FILE);
    return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as SweepOrigin) : undefined;
  });
  const [first] = origins;
  if (!first || origins.some((each) => each?.question !== first.question || each.scale !== first.scale))
    return undefined;
  const { name, sweep } = await loadSweep(first.question);
  const seeds = first.cells[0]?.seeds;
  const cells = cellsOf({ ...planOf(sweep, first.scale), ...(seeds && { seeds }) });
  return { name, sweep, scale: first.scale, cells: withMatches(cells, rows) };
}
