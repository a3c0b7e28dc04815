import { mixers } from "@seqmix/catalog";
import type { Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { formatBytes, formatCount, formatDuration } from "../report/format.js";
import { formatTable } from "../report/table.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { savedRun } from "../results/saved-run.js";
import { crossovers, measureDecoding, type Crossover, type DecodingRow } from "../sweeps/decoding.js";
import { devices, openDevice } from "./devices.js";
import { didYouMean } from "./nearest-name.js";
import { aboveZero, parseCount, parseSeed, wholeFrom } from "./options.js";
import { UsageError } from "./usage-error.js";

interface Options {
  readonly device: string;
  readonly threads: number | undefined;
  readonly longest: number;
  readonly channels: number;
  readonly mixers: readonly string[] | undefined;
  readonly patience: number;
  readonly seed: number;
  readonly out: string;
}

const ELEMENTS = 64;
/** Lines of the figures, of which there are colours for eight. */
const DRAWN = ["attention", "mamba", "mamba2", "s4d", "lru", "rwkv4", "gru", "linear-attention"];

/** Registers `decoding`. */
export function registerDecoding(program: Command): void {
  program
    .command("decoding")
    .description(
      "time and bytes of one more element after contexts of 1 to 65,536, for every mixer, and of reading them",
    )
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--threads <n>", "threads of the cpu device; as many as it takes by itself by default", parseCount)
    .option("--longest <n>", "longest context, 4 to 65536", wholeFrom(4, 65536), 65536)
    .option("--channels <n>", "channels of a layer", parseCount, 256)
    .option("--mixers <names>", "mixers, with commas between them; all by default", (text) => text.split(","))
    .option("--patience <seconds>", "longer contexts are not read once reading one takes longer", aboveZero(3600), 4)
    .option("--seed <n>", "seed of parameters and inputs", parseSeed, 0)
    .option("--out <folder>", "folder of decoding.html and .json", "results/decoding")
    .action(run);
}

async function run(given: Options): Promise<void> {
  const { device: name, threads, longest, channels, mixers: asked, patience, seed, out } = given;
  const known = mixers.map(({ id }) => id);
  const unknown = asked?.find((id) => !known.includes(id));
  if (unknown !== undefined) throw new UsageError(`Unknown mixer "${unknown}"${didYouMean(unknown, known)}`);
  // Attention is what all others are compared with.
  const chosen = mixers.filter(({ id }) => !asked || asked.includes(id) || id === "attention");
  mkdirSync(out, { recursive: true });
  const setting = { channels, device: name, threads: threads ?? null, longest, elements: ELEMENTS, patience, seed };
  const file = join(out, "decoding.json");
  const saved =
    savedRun<{ readonly rows: readonly DecodingRow[]; readonly crossings: unknown }>(file, setting, [
      "rows",
      "crossings",
    ])?.rows ?? [];
  const device = await openDevice(name, threads === undefined ? {} : { threads });
  const options = { ...setting, device, contexts: contextsTo(longest) };
  const rows: DecodingRow[] = [];
  const crossings = (): readonly Crossover[] => {
    const attention = rows.find(({ mixer }) => mixer === "attention");
    return attention ? crossovers(rows, attention) : [];
  };
  try {
    for (const [k, mixer] of chosen.entries()) {
      const started = performance.now();
      const known = saved.find((row) => row.mixer === mixer.id);
      rows.push(known ?? (await measureDecoding(mixer, options)));
      writeFileAtomically(file, `${JSON.stringify({ ...setting, rows, crossings: crossings() })}\n`);
      const took = known ? "measured before" : formatDuration((performance.now() - started) / 1000);
      console.log(`[${k + 1}/${chosen.length}] ${mixer.id}: ${took}`);
    }
  } finally {
    await device.close();
  }
  const { decodingPage, formatSeconds } = await import("../report/decoding-page.js");
  console.log(`\n${timeTable(rows, formatSeconds)}\n`);
  const page = join(out, "decoding.html");
  const drawn = asked ? rows.slice(0, DRAWN.length).map(({ mixer }) => mixer) : DRAWN;
  writeFileAtomically(page, decodingPage(rows, crossings(), { ...setting, drawn }));
  console.log(`Written to ${page}.`);
}

/** 1, 4, 16 .. and the longest. */
function contextsTo(longest: number): number[] {
  const powers = Array.from({ length: 9 }, (_, k) => 4 ** k).filter((context) => context < longest);
  return [...powers, longest];
}

function timeTable(rows: readonly DecodingRow[], format: (seconds: number) => string): string {
  const contexts = rows[0]!.points.map(({ context }) => context);
  return formatTable(
    [
      { title: "next element by context" },
      ...contexts.map((context) => ({ title: formatCount(context), number: true })),
      { title: "state at the longest", number: true },
    ],
    rows.map(({ mixer, points }) => [
      mixer,
      ...points.map(({ seconds }) => (seconds === null ? "-" : format(seconds))),
      points.at(-1)!.bytes === null ? "-" : formatBytes(points.at(-1)!.bytes!),
    ]),
  );
}
