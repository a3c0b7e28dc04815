import type { Command } from "commander";
import { networkDefaults } from "../trials/budgets.js";
import { devices } from "./devices.js";
import { mixers } from "@seqmix/catalog";
import type { Settings } from "../trials/settings.js";
import { tasks } from "../trials/tasks.js";
import { mixerSettingsOf } from "../trials/trial.js";

const show = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${value}`)
    .join(";");

/** Registers `list`. */
export function registerList(program: Command): void {
  program
    .command("list")
    .description("list tasks, mixers and devices, with the settings of a trial and their defaults")
    .action(() => {
      const lines = [
        "tasks",
        ...tasks.flatMap(({ id, summary, defaults, training, aliases }) => [
          `  ${id}: ${summary}`,
          `    ${show(defaults)}${aliases ? ` (also ${aliases.names.join(", ")})` : ""}`,
          `    training: ${show(training)};seed=0`,
        ]),
        "mixers",
        ...mixers.map((mixer) => `  ${mixer.id}: ${show(mixerSettingsOf(mixer)) || "no settings of its own"}`),
        "network",
        `  ${show(networkDefaults)}`,
        "devices",
        `  ${Object.keys(devices).join(", ")}`,
      ];
      console.log(lines.join("\n"));
    });
}
