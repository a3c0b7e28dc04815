import { InvalidArgumentError, type Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomically } from "../results/atomic-file.js";
import { devices, openDevice } from "./devices.js";
import { parseSeed } from "./options.js";
import { formatDuration } from "../report/format.js";
import { gradientNorms, mixerSubject, vanillaRnn, type GradientSubject } from "../sweeps/gradient-norms.js";
import { mixers } from "@seqmix/catalog";
import { formatTable } from "../report/table.js";

interface Options {
  readonly device: string;
  readonly length: number;
  readonly seed: number;
  readonly out: string;
}

const CHANNELS = 64;
const BATCH = 4;
/** Ordinary RNNs at three sizes of the recurrent weight, and linear recurrences as they are initialised. */
const subjects: readonly GradientSubject[] = [0.5, 2, 8]
  .map(vanillaRnn)
  .concat(mixers.filter(({ id }) => id === "lru" || id === "mamba").map((mixer) => mixerSubject(mixer, CHANNELS)));

/** Registers `gradient-norms`. */
export function registerGradientNorms(program: Command): void {
  program
    .command("gradient-norms")
    .description(
      "show how gradients of ordinary RNNs vanish or explode with distance, and those of linear recurrences do not",
    )
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--length <n>", "elements of a sequence, 2 to 4096", parseLength, 256)
    .option("--seed <n>", "seed of inputs and parameters", parseSeed, 0)
    .option("--out <folder>", "folder of gradient-norms.html and .json", "results/gradient-norms")
    .action(run);
}

async function run({ device: name, length, seed, out }: Options): Promise<void> {
  mkdirSync(join(out), { recursive: true });
  const device = await openDevice(name);
  const curves: { readonly name: string; readonly norms: readonly number[] }[] = [];
  try {
    for (const [k, subject] of subjects.entries()) {
      const started = performance.now();
      curves.push({
        name: subject.name,
        norms: await gradientNorms(subject, { batch: BATCH, length, channels: CHANNELS, seed, device }),
      });
      console.log(
        `[${k + 1}/${subjects.length}] ${subject.name}: ${formatDuration((performance.now() - started) / 1000)}`,
      );
    }
  } finally {
    await device.close();
  }
  const distances = [1, 4, 16, 64, 256, 1024, 4095].filter((distance) => distance < length);
  const columns = [
    { title: "gradient norm by distance" },
    ...distances.map((distance) => ({ title: String(distance), number: true })),
  ];
  console.log(
    `\n${formatTable(
      columns,
      curves.map(({ name: title, norms }) => [
        title,
        ...distances.map((distance) => norms[distance]!.toExponential(1)),
      ]),
    )}\n`,
  );
  const { gradientNormsPage } = await import("../report/gradient-norms-page.js");
  writeFileAtomically(
    join(out, "gradient-norms.json"),
    `${JSON.stringify({ batch: BATCH, length, channels: CHANNELS, seed, curves })}\n`,
  );
  const page = join(out, "gradient-norms.html");
  writeFileAtomically(page, gradientNormsPage(curves, { batch: BATCH, length, channels: CHANNELS, seed }));
  console.log(`Written to ${page}.`);
}

function parseLength(text: string): number {
  const length = Number(text);
  if (!Number.isInteger(length) || length < 2 || length > 4096)
    throw new InvalidArgumentError("Expected a whole number from 2 to 4096.");
  return length;
}
