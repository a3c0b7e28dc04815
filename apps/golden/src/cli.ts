/** `pnpm golden`: every fixture on one device, as a table, and as JSON if asked. Exits with 1 if any case failed. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { runFixtures } from "./run.js";
import { formatReport } from "./table.js";

const OWN_FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));

const program = new Command("golden")
  .description(
    "Runs every golden fixture and compares outputs, final states and gradients.\nSEQMIX_DEVICE: reference, cpu (default) or webgpu. SEQMIX_FIXTURES: fixture directory, by default the repository's own.",
  )
  .option("--json <file>", "also write the report as JSON")
  .action(async ({ json }: { json?: string }) => {
    const directory = resolve(process.env["SEQMIX_FIXTURES"] || OWN_FIXTURES);
    const progress = process.stderr.isTTY;
    const report = await runFixtures(directory, process.env["SEQMIX_DEVICE"] || "cpu", (result, done, total) => {
      if (progress) process.stderr.write(`\r\x1b[K${done}/${total} ${result.operator}/${result.case}`);
    });
    if (progress) process.stderr.write("\r\x1b[K");
    console.log(formatReport(report));
    // A ratio that is no finite number is written as null.
    if (json) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
    if (report.cases.some(({ status }) => status === "failed")) process.exitCode = 1;
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`golden: ${(error as Error).message}`);
  process.exitCode = 1;
}
