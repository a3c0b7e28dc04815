import { mixers } from "@seqmix/catalog";
import { InvalidArgumentError, type Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { formatBytes, formatCount, formatDuration } from "../report/format.js";
import { formatTable } from "../report/table.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { crossovers, measureDecoding, type DecodingRow } from "../sweeps/decoding.js";
import { devices, openDevice } from "./devices.js";
import { didYouMean } from "./nearest-name.js";
import { UsageError } from "./usage-error.js";

interface Options {
  readonly device: string;
  readonly longest: number;
  readonly channels: number;
  readonly mixers: readonly string[] | undefined;
  readonly seed: number;
  readonly out: string;
}

const ELEMENTS = 16;
const PATIENCE = 4;
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
    .option("--longest <n>", "longest context, 4 to 65536", parseLongest, 65536)
    .option("--channels <n>", "channels of a layer", parseCount, 256)
    .option("--mixers <names>", "mixers, with commas between them; all by default", (text) => text.split(","))
    .option("--seed <n>", "seed of parameters and inputs", Number, 0)
    .option("--out <folder>", "folder of decoding.html and .json", "results/decoding")
    .action(run);
}

async function run({ device: name, longest, channels, mixers: asked, seed, out }: Options): Promise<void> {
  const known = mixers.map(({ id }) => id);
  const unknown = asked?.find((id) => !known.includes(id));
  if (unknown !== undefined) throw new UsageError(`Unknown mixer "${unknown}"${didYouMean(unknown, known)}`);
  // Attention is what all others are compared with.
  const chosen = mixers.filter(({ id }) => !asked || asked.includes(id) || id === "attention");
  mkdirSync(out, { recursive: true });
  const device = await openDevice(name);
  const options = {
    device,
    channels,
    contexts: contextsTo(longest),
    elements: ELEMENTS,
    patience: PATIENCE,
    seed,
  };
  const rows: DecodingRow[] = [];
  try {
    for (const [k, mixer] of chosen.entries()) {
      const started = performance.now();
      rows.push(await measureDecoding(mixer, options));
      const seconds = (performance.now() - started) / 1000;
      console.log(`[${k + 1}/${chosen.length}] ${mixer.id}: ${formatDuration(seconds)}`);
    }
  } finally {
    await device.close();
  }
  const crossings = crossovers(
    rows,
    rows.find(({ mixer }) => mixer === "attention")!,
  );
  const { decodingPage, formatSeconds } = await import("../report/decoding-page.js");
  console.log(`\n${timeTable(rows, formatSeconds)}\n`);
  const setting = { channels, device: name, elements: ELEMENTS, seed };
  writeFileAtomically(join(out, "decoding.json"), `${JSON.stringify({ ...setting, rows, crossings })}\n`);
  const page = join(out, "decoding.html");
  const drawn = asked ? rows.slice(0, DRAWN.length).map(({ mixer }) => mixer) : DRAWN;
  writeFileAtomically(page, decodingPage(rows, crossings, { ...setting, drawn }));
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

function parseLongest(text: string): number {
  const longest = Number(text);
  if (!Number.isInteger(longest) || longest < 4 || longest > 65536)
    throw new InvalidArgumentError("Expected a whole number from 4 to 65536.");
  return longest;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("Expected a whole number of at least 1.");
  return count;
}
