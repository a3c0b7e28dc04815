import { InvalidArgumentError, Option, type Command } from "commander";
import { devices, openDevice } from "../commands/devices.js";
import { formatDuration } from "../report/format.js";
import { didYouMean } from "../commands/nearest-name.js";
import { UsageError } from "../commands/usage-error.js";
import { casesOf } from "./cases/index.js";
import type { BenchmarkCase } from "./contestant.js";
import { standardMeasure } from "./measure.js";
import { installPeers, loadPeers, peerVersions } from "./peers/peer-packages.js";
import { allGreen, assertWritable, machineNow, versionsOf, writeReport } from "./report.js";
import type { KernelRow, Products } from "./row.js";
import { measureInTurn } from "./in-turn.js";
import { runCase } from "./run-kernels.js";
import { formatRows, summaryOf } from "./show.js";

interface Options {
  readonly device: string;
  readonly json?: string;
  readonly peers?: boolean;
  readonly only?: readonly string[];
  readonly threads: readonly number[];
  readonly products: Products;
}

/** Registers `kernels`. The exit code is 1 if a check is red. */
export function registerKernels(program: Command, exit: (code: number) => void): void {
  program
    .command("kernels")
    .description("measure single kernels and training steps, each checked in the same run, and peers side by side")
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--threads <list>", "numbers of threads of the cpu device", parseThreads, [1, 2])
    .option(
      "--only <names>",
      `kernels to measure, separated by commas: ${Object.keys(casesOf)
        .map((device) => `${kernelNames(device).join(", ")} (${device})`)
        .join("; ")}`,
      parseNames,
    )
    .addOption(
      new Option("--products <precision>", "how exact products of f32 are on a GPU's matrix units")
        .choices(["f32", "tf32"])
        .default("f32"),
    )
    .option("--peers", `measure beside ${Object.keys(peerVersions()).join(", ")}; installed at the first use (350 MB)`)
    .option("--json <file>", "write the figures to this file")
    .action(async (options: Options) => {
      exit(await measureKernels(options));
    });
}

async function measureKernels({
  device,
  json,
  peers = false,
  only,
  threads: asked,
  products,
}: Options): Promise<number> {
  if (device === "reference")
    throw new UsageError(
      'The reference device is what results are checked against, not measured; choose "cpu" or "webgpu"',
    );
  if (!Object.hasOwn(casesOf, device))
    throw new UsageError(`Unknown device "${device}"${didYouMean(device, Object.keys(casesOf))}`);
  const chosen = chooseCases(device, only);
  if (json !== undefined) assertWritable(json);
  const threads = device === "cpu" ? asked : [1];
  const opened = await openDevice(device, { threads: Math.max(...threads), halfPrecision: true, products });
  const adapter = opened.description;
  const missing = new Map(chosen.map((each) => [each, each.missing?.(opened)]));
  await opened.close();
  if (peers) installPeers(console.log);
  const packages = peers ? await loadPeers() : undefined;
  const machine = machineNow();
  const versions = versionsOf(peers ? peerVersions() : {});
  console.log(`${machine}\n${adapter}; seqmix ${versions["commit"]}`);

  const started = performance.now();
  const rates = new Map<KernelRow, BenchmarkCase["rate"]>();
  const measured = new Date().toISOString().slice(0, 10);
  const { rows, notRun } = await measureInTurn(chosen, {
    missing: (each) => missing.get(each),
    async rowsOf(each, title) {
      const terminal = process.stdout.isTTY;
      if (terminal) process.stdout.write(`${title} ...`);
      const warnings: string[] = [];
      const warn = (sentence: string): void => void warnings.push(sentence);
      const found = await runCase(each, { device, threads, packages, measure: standardMeasure, products, warn });
      console.log(`${terminal ? "\r" : ""}${title}: ${summaryOf(found)}`);
      for (const warning of warnings) console.warn(`  ${warning}`);
      for (const row of found) rates.set(row, each.rate);
      return found;
    },
    save(found) {
      if (json !== undefined) writeReport(json, { measured, machine, adapter, versions, ...found });
    },
  });
  console.log(`\n${formatRows(rows, (row) => rates.get(row)!)}\n`);
  const red = rows.filter(({ check }) => check === "red");
  const bars = rows.flatMap(({ bar }) => bar ?? []);
  const judged = bars.filter(({ met }) => met !== null);
  console.log(
    `${rows.length} rows in ${formatDuration((performance.now() - started) / 1000)}, ${red.length} red; of ${bars.length} figures asked for, ${judged.filter(({ met }) => met).length} are met, ${judged.filter(({ met }) => !met).length} are not, and ${bars.length - judged.length} could not be judged.${notRun === undefined ? "" : ` ${notRun.length} case${notRun.length === 1 ? " was" : "s were"} not run.`}${json === undefined ? "" : ` Written to ${json}.`}`,
  );
  return allGreen(rows) ? 0 : 1;
}

const kernelNames = (device: string): string[] => [...new Set(casesOf[device]!.map(({ kernel }) => kernel))];

function chooseCases(device: string, only: readonly string[] | undefined): readonly BenchmarkCase[] {
  const cases = casesOf[device]!;
  if (!only) return cases;
  const names = kernelNames(device);
  for (const name of only)
    if (!names.includes(name)) throw new UsageError(`Unknown kernel "${name}"${didYouMean(name, names)}`);
  return cases.filter(({ kernel }) => only.includes(kernel));
}

function parseNames(text: string, before: readonly string[] = []): readonly string[] {
  return [
    ...before,
    ...text
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== ""),
  ];
}

function parseThreads(text: string): readonly number[] {
  const threads = text.split(",").map(Number);
  if (threads.some((each) => !Number.isInteger(each) || each < 1 || each > 256))
    throw new InvalidArgumentError("Expected whole numbers from 1 to 256, separated by commas, such as 1,2.");
  return [...new Set(threads)];
}
