import { existsSync, readFileSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { join } from "node:path";
import { mixers } from "@seqmix/catalog";
import { scalingPage } from "../report/scaling-page.js";
import { formatDuration } from "../report/format.js";
import { appendLine, writeFileAtomically } from "../results/atomic-file.js";
import { readEnvironment, type Environment } from "../results/environment.js";
import { lockFolder } from "../results/lock.js";
import { makeResultsFolder } from "../results/results.js";
import { crossovers, measureScaling, SCALING_WORK, type ScalingRow, type ScalingWork } from "../sweeps/scaling.js";
import { AUTO, chooseDevice, devices, openDevice } from "./devices.js";
import type { AnyMixer } from "@seqmix/mixer";
import { parseSetting, type Settings } from "../trials/settings.js";
import { mixerSettingsOf } from "../trials/trial.js";
import { didYouMean } from "./nearest-name.js";
import { UsageError } from "./usage-error.js";
import { aboveZero, wholeFrom } from "./options.js";

/** A mixer that is measured. */
interface Contender {
  readonly label: string;
  readonly mixer: AnyMixer;
  readonly settings: Settings;
}

/** A line of scaling.jsonl. */
interface SavedRow extends ScalingRow, Environment {
  readonly device: string;
  readonly threads?: number;
}

interface Options {
  readonly mixers?: readonly Contender[];
  readonly work: readonly ScalingWork[];
  readonly lengths: readonly number[];
  readonly batch: number;
  readonly dModel: number;
  readonly most: number;
  readonly enough: number;
  readonly device: string;
  readonly threads?: number;
  readonly json?: boolean;
  readonly page?: boolean;
  readonly out: string;
}

/** Registers `scaling`. */
export function registerScaling(program: Command): void {
  program
    .command("scaling")
    .description(
      "measure time and memory of mixers against the length of the sequence, and where one overtakes another",
    )
    .option(
      "--mixers <names>",
      'mixers, separated by commas, with settings if any: "mamba:dState=64,mamba2:dState=64;headDim=64"; all by default',
      parseMixers,
    )
    .option("--work <names>", `out of ${SCALING_WORK.join(", ")}, separated by commas`, parseWork, SCALING_WORK)
    .option(
      "--lengths <range>",
      'powers of two, such as "2^6..2^14", or numbers separated by commas',
      parseLengths,
      lengthsOf(6, 13),
    )
    .option("--batch <n>", "sequences at once", wholeFrom(1, 4096), 1)
    .option("--d-model <n>", "channels", wholeFrom(1, 8192), 64)
    .option(
      "--most <seconds>",
      "a mixer whose run takes longer is not asked for longer sequences",
      wholeFrom(1, 3600),
      2,
    )
    .option("--enough <seconds>", "about as long as the runs of one measurement take together", aboveZero(60), 0.5)
    .option("--device <name>", `where to compute: ${[...Object.keys(devices), AUTO].join(", ")}`, "cpu")
    .option("--threads <n>", "threads of the cpu device", wholeFrom(1, 256))
    .option("--json", "print each measurement as a line of JSON, and everything else to the error stream")
    .option("--page", "measure nothing: write the page of all that scaling.jsonl holds")
    .option("--out <folder>", "folder of scaling.jsonl and scaling.html", "results/scaling")
    .action(run);
}

async function run(options: Options): Promise<void> {
  if (options.page) return writePage(options.out, readRows(join(options.out, "scaling.jsonl")), console.log);
  const { work, lengths, batch, dModel, most, enough, json = false, threads } = options;
  const chosen = options.mixers ?? mixers.map((mixer): Contender => ({ label: mixer.id, mixer, settings: {} }));
  const say = json ? console.error : console.log;
  const device = await chooseDevice(options.device, say);
  const folder = makeResultsFolder(options.out);
  const lock = lockFolder(folder);
  const file = join(folder, "scaling.jsonl");
  const environment = readEnvironment();
  const rows: SavedRow[] = readRows(file);
  try {
    for (const each of work)
      for (const { label, mixer, settings } of chosen)
        for (const L of lengths) {
          const known = rows.find(
            (row) =>
              row.mixer === label &&
              row.work === each &&
              row.L === L &&
              row.batch === batch &&
              row.dModel === dModel &&
              row.device === device.name,
          );
          const row: SavedRow = known ?? {
            ...(await measure()),
            device: device.name,
            ...(threads !== undefined && { threads }),
            ...environment,
          };
          if (!known) {
            rows.push(row);
            appendLine(file, JSON.stringify(row));
            if (json) console.log(JSON.stringify(row));
            say(
              `${each} ${label} L=${L}: ${row.seconds === undefined ? row.error : `${(row.seconds * 1000).toPrecision(3)} ms, ${row.runs} runs`}`,
            );
          }
          if (row.seconds === undefined || row.seconds > most) break;

          async function measure(): Promise<ScalingRow> {
            const opened = await openDevice(device.name, {
              software: device.software,
              ...(threads !== undefined && { threads }),
            });
            try {
              return await measureScaling({ mixer, settings, label, work: each, L, batch, dModel, enough }, opened);
            } finally {
              await opened.close();
            }
          }
        }
  } finally {
    lock.release();
  }
  const own = rows.filter((row) => row.device === device.name && row.batch === batch && row.dModel === dModel);
  writePage(folder, own, say);
}

/** The page, and where attention is overtaken. */
function writePage(folder: string, rows: readonly SavedRow[], say: (text: string) => void): void {
  if (rows.length === 0)
    throw new UsageError(`Expected measurements in ${join(folder, "scaling.jsonl")}, got none; leave --page out first`);
  const page = join(folder, "scaling.html");
  writeFileAtomically(page, scalingPage(rows, originOf(rows)));
  const attention = (name: string): boolean => /^attention(:|$)/.test(name);
  for (const { work, short, long, from } of crossovers(rows))
    if (attention(short) !== attention(long)) say(`${work}: ${long} is faster than ${short} from ${from} on`);
  say(`Written to ${page} (${formatDuration(performance.now() / 1000)}).`);
}

/** Where and how rows were measured, all that differ. */
function originOf(rows: readonly SavedRow[]): string {
  const origins = rows.map(
    ({ device, threads, batch, dModel, machine, versions, commit }) =>
      `${device}${threads === undefined ? "" : `, ${threads} thread${threads === 1 ? "" : "s"}`}; batch ${batch}, ${dModel} channels; ${machine}; seqmix ${versions["seqmix"]}, commit ${commit}`,
  );
  return [...new Set(origins)].join(". ");
}

function readRows(file: string): SavedRow[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        return line.trim() === "" ? [] : [JSON.parse(line) as SavedRow];
      } catch {
        return []; // a torn last line: it is measured again
      }
    });
}

function parseMixers(text: string): readonly Contender[] {
  return text.split(",").map((part) => {
    const label = part.trim();
    const [id = "", given = ""] = label.split(":");
    const mixer = mixers.find((each) => each.id === id);
    if (!mixer)
      throw new InvalidArgumentError(
        `Unknown mixer "${id}"${didYouMean(
          id,
          mixers.map((each) => each.id),
        )}`,
      );
    return { label, mixer, settings: parseMixerSettings(mixer, given) };
  });
}

function parseMixerSettings(mixer: AnyMixer, text: string): Settings {
  const known = mixerSettingsOf(mixer);
  const parts = text.split(";").filter((part) => part !== "");
  return Object.fromEntries(
    parts.map((part) => {
      const [name = "", value = ""] = part.split("=");
      const parsed = Object.hasOwn(known, name) ? parseSetting(value, known[name]!) : undefined;
      if (parsed === undefined)
        throw new InvalidArgumentError(
          `Expected a setting of ${mixer.id} with its value, got "${part}"${didYouMean(name, Object.keys(known))}`,
        );
      return [name, parsed];
    }),
  );
}

function parseWork(text: string): readonly ScalingWork[] {
  const names = text.split(",").map((name) => name.trim());
  for (const name of names)
    if (!(SCALING_WORK as readonly string[]).includes(name))
      throw new InvalidArgumentError(`Unknown work "${name}"${didYouMean(name, SCALING_WORK)}`);
  return names as readonly ScalingWork[];
}

function lengthsOf(low: number, high: number): readonly number[] {
  return Array.from({ length: high - low + 1 }, (_, k) => 2 ** (low + k));
}

function parseLengths(text: string): readonly number[] {
  const range = /^2\^(\d+)\.\.2\^(\d+)$/.exec(text);
  const lengths = range ? lengthsOf(Number(range[1]), Number(range[2])) : text.split(",").map(Number);
  if (lengths.length === 0 || lengths.some((L) => !Number.isInteger(L) || L < 1 || L > 2 ** 24))
    throw new InvalidArgumentError('Expected lengths such as "2^6..2^14" or "64,100,200", up to 2^24.');
  return lengths.toSorted((a, b) => a - b);
}
