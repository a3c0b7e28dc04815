import type { Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { formatDuration } from "../report/format.js";
import { formatTable } from "../report/table.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { savedRun } from "../results/saved-run.js";
import {
  runCollapseTrial,
  type CollapseOutcome,
  type CollapseSetting,
  type CollapseTrial,
} from "../sweeps/state-collapse/collapse.js";
import { atLength, far, meanOf } from "../sweeps/state-collapse/finding.js";
import { devices, openDevice } from "./devices.js";
import { aboveZero, parseCount, parseSeeds } from "./options.js";

interface Options {
  readonly device: string;
  readonly products: "f32" | "tf32";
  readonly trained: readonly number[];
  readonly states: readonly number[];
  readonly steps: number;
  readonly rate: number;
  readonly longest: number;
  readonly seeds: readonly number[];
  readonly out: string;
}

const SETTING = {
  stream: { keys: 8, memory: 8 },
  tokens: 2048,
  dModel: 64,
  nLayers: 2,
  stretch: 16,
  sequences: 32,
} as const;

/** Registers `state-collapse`. */
export function registerStateCollapse(program: Command): void {
  program
    .command("state-collapse")
    .description("train Mamba-2 on short sequences and read it far beyond, as it is and with its state kept in bounds")
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--products <kind>", "products of f32 on a GPU's matrix units: f32 or tf32", "f32")
    .option("--trained <lengths>", "training lengths in tokens, powers of two from 16", parseCounts, [16, 32, 64, 128])
    .option("--states <sizes>", "sizes N of the state", parseCounts, [16, 64])
    .option("--steps <n>", "training steps of 2048 tokens", parseCount, 1000)
    .option("--rate <number>", "peak of the learning rate", aboveZero(1), 4e-3)
    .option("--longest <n>", "tokens that a trained model is read to, a power of two", parseCount, 8192)
    .option("--seeds <numbers>", "seeds of each model", parseSeeds, [0, 1, 2])
    .option("--out <folder>", "folder of state-collapse.html and .json", "results/state-collapse")
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { device: name, products, trained, states, steps, rate, longest, seeds, out } = options;
  const setting: CollapseSetting = { ...SETTING, steps, learningRate: rate, longest };
  const trials = states.flatMap((dState) =>
    trained.flatMap((length) => seeds.map((seed): CollapseTrial => ({ trained: length, dState, seed }))),
  );
  mkdirSync(out, { recursive: true });
  const file = join(out, "state-collapse.json");
  const saved =
    savedRun<{ readonly outcomes: readonly CollapseOutcome[] }>(file, setting, ["outcomes"])?.outcomes ?? [];
  const outcomes: CollapseOutcome[] = [...saved];
  const device = await openDevice(name, { products, halfPrecision: true });
  try {
    for (const [k, trial] of trials.entries()) {
      if (saved.some((one) => isSame(one, trial))) continue;
      const started = performance.now();
      const outcome = await runCollapseTrial(setting, trial, device);
      outcomes.push(outcome);
      writeFileAtomically(file, `${JSON.stringify({ ...setting, outcomes })}\n`);
      const seconds = (performance.now() - started) / 1000;
      console.log(`[${k + 1}/${trials.length}] ${describe(outcome)} (${formatDuration(seconds)})`);
    }
  } finally {
    await device.close();
  }
  const { stateCollapsePage } = await import("../report/state-collapse-page.js");
  console.log(`\n${table(outcomes)}\n`);
  const page = join(out, "state-collapse.html");
  writeFileAtomically(page, stateCollapsePage(outcomes, setting));
  console.log(`Written to ${page}.`);
}

const isSame = (a: CollapseTrial, b: CollapseTrial): boolean =>
  a.trained === b.trained && a.dState === b.dState && a.seed === b.seed;

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

const describe = ({ trained, dState, seed, loss, curves }: CollapseOutcome): string =>
  `N ${dState}, trained to ${trained}, seed ${seed}: loss ${loss.toFixed(3)}; ${curves
    .map((curve) => `${curve.mitigation} ${percent(atLength(curve, trained))} to ${percent(far(curve))}`)
    .join(", ")}`;

function table(outcomes: readonly CollapseOutcome[]): string {
  const ways = outcomes[0]!.curves.map(({ mitigation }) => mitigation);
  const groups = [...new Set(outcomes.map(({ dState, trained }) => `${dState} ${trained}`))];
  return formatTable(
    [
      { title: "N, training length" },
      { title: "at that length", number: true },
      ...ways.map((way) => ({ title: way === "none" ? "far beyond" : way, number: true })),
    ],
    groups.map((group) => {
      const [dState, trained] = group.split(" ").map(Number);
      const own = outcomes.filter((one) => one.dState === dState && one.trained === trained);
      return [
        `${dState}, ${trained}`,
        percent(meanOf(own.map(({ curves }) => atLength(curves[0]!, trained!)))),
        ...ways.map((_, k) => percent(meanOf(own.map(({ curves }) => far(curves[k]!))))),
      ];
    }),
  );
}

const parseCounts = (text: string): number[] => text.split(",").map(parseCount);
