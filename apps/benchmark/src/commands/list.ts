import type { Command } from "commander";
import { mixers } from "@seqmix/catalog";
import { builtInSweeps } from "../sweeps/built-in.js";
import { networkDefaults, trainingDefaults } from "../trials/budgets.js";
import type { Settings } from "../trials/settings.js";
import { tasks } from "../trials/tasks.js";
import { mixerSettingsOf } from "../trials/trial.js";
import { AUTO, devices } from "./devices.js";
import { loadSweep } from "./sweep.js";

const show = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${value}`)
    .join(";");

/** Registers `list`. */
export function registerList(program: Command): void {
  program
    .command("list")
    .description("list questions, tasks, mixers and devices, with the settings of a trial and their defaults")
    .option("--json", "print them as JSON")
    .action(async ({ json = false }: { json?: boolean }) => {
      const questions = await Promise.all(
        builtInSweeps.map(async ({ name }) => ({ name, question: (await loadSweep(name)).sweep.question ?? "" })),
      );
      console.log(json ? asJson(questions) : asText(questions));
    });
}

interface Question {
  readonly name: string;
  readonly question: string;
}

const asJson = (questions: readonly Question[]): string =>
  JSON.stringify({
    questions,
    tasks: tasks.map(({ id, summary, defaults, training }) => ({
      id,
      summary,
      settings: { ...defaults, ...trainingDefaults, ...training },
    })),
    mixers: mixers.map((mixer) => ({ id: mixer.id, settings: mixerSettingsOf(mixer) })),
    network: networkDefaults,
    devices: [...Object.keys(devices), AUTO],
  });

function asText(questions: readonly Question[]): string {
  return [
    ...(questions.length > 0
      ? ["questions (for sweep)", ...questions.map(({ name, question }) => `  ${name}: ${question}`)]
      : []),
    "tasks",
    ...tasks.flatMap(({ id, summary, defaults, training, aliases }) => [
      `  ${id}: ${summary}`,
      `    ${show(defaults)}${aliases ? ` (also ${aliases.names.join(", ")})` : ""}`,
      `    training: ${show({ ...trainingDefaults, ...training })};seed=0`,
    ]),
    "mixers (what carries information from one position of a sequence to others)",
    ...mixers.map((mixer) => `  ${mixer.id}: ${show(mixerSettingsOf(mixer)) || "no settings of its own"}`),
    "network",
    `  ${show(networkDefaults)}`,
    "devices",
    `  ${Object.keys(devices).join(", ")}; ${AUTO} is webgpu where there is a GPU, else cpu`,
  ].join("\n");
}
