/** The pages of tasks, made from what a task says of itself and one example that it draws. */
import { key } from "@seqmix/tensor";
import type { Batch, ReadData, Task, TaskEntry, TaskSettings } from "@seqmix/tasks";
import { drawImage, drawSeries } from "./task-picture.js";
import { drawTokens, type Example } from "./task-text.js";

/** A page, and the picture that it shows, if its example is no text. */
export interface TaskPage {
  readonly markdown: string;
  readonly picture?: string;
}

/** The page of a task. @param read Gives the files that the task needs. */
export async function taskPage(entry: TaskEntry, read?: ReadData): Promise<TaskPage> {
  const small = { ...entry.defaults, ...ownSettings(entry, entry.scales?.smoke ?? {}) };
  const task = entry.make(small, read);
  const example = await firstOf(task.batch(key(0), "test", 1));
  const picture = pictureOf(entry, task, example);
  const shown =
    picture === undefined ? ["```text", drawTokens(entry, task, example), "```"] : [`![An example](${entry.id}.svg)`];
  const lines = [
    `# ${entry.id}`,
    "",
    `${capitalized(entry.summary)}.`,
    "",
    entry.definition,
    "",
    `**What it tests.** ${entry.tests}`,
    "",
    `**Example** (${settingsText(small)}):`,
    "",
    ...shown,
    "",
    `**Answers.** ${answersText(task)} Chance level at the defaults: ${chanceText(entry, read)}.`,
    "",
    ...settingsTable(entry),
    "",
    ...publishedTable(entry),
    ...(entry.data ?? [])
      .slice(0, 1)
      .map(({ package: name, license }) => `**Data.** The npm package \`${name}\` (${license}).\n`),
    `**Source.** ${entry.source}`,
    "",
  ];
  return { markdown: lines.join("\n"), ...(picture !== undefined && { picture }) };
}

/** The list of tasks, by what they test, for a README. @param folder Path of the pages. */
export function taskList(entries: readonly TaskEntry[], folder: string): string {
  const rows = entries.map(({ id, family, summary }) => `| [\`${id}\`](${folder}/${id}.md) | ${family} | ${summary} |`);
  return ["| task | what it tests | |", "|---|---|---|", ...rows].join("\n");
}

/** The settings of a list that are the task's own. */
const ownSettings = ({ defaults }: TaskEntry, settings: TaskSettings): TaskSettings =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => name in defaults));

async function firstOf({ inputs, targets, mask }: Batch): Promise<Example> {
  const [x, y, m] = await Promise.all([inputs, targets, mask].map(async (tensor) => [...(await tensor.data())]));
  return { inputs: x!, targets: y!, mask: m! };
}

function pictureOf({ image }: TaskEntry, task: Task, example: Example): string | undefined {
  if (image) return drawImage(example.inputs, task.length, example.targets[0]!);
  return "channels" in task.input && task.input.channels === 1 && "numbers" in task.output
    ? drawSeries(example.inputs, example.targets, task.answers === "positions")
    : undefined;
}

function answersText({ input, output, answers, metric }: Task): string {
  const each =
    "classes" in output
      ? `a class of ${output.classes}`
      : output.numbers === 1
        ? "a number"
        : `${output.numbers} numbers`;
  const what =
    answers === "positions"
      ? `${each} at each position that counts`
      : answers === 1
        ? `${each} for the whole sequence`
        : `${answers} for the whole sequence, each ${each}`;
  const from =
    "vocabSize" in input
      ? `${input.vocabSize} tokens`
      : input.channels === 1
        ? "numbers"
        : `vectors of ${input.channels} numbers`;
  const metrics = { accuracy: "accuracy", bitsPerChar: "bits per character", nmse: "normalised mean squared error" };
  return `In the example ${what}, from a sequence of ${from}. Metric: ${metrics[metric]}.`;
}

function chanceText(entry: TaskEntry, read: ReadData | undefined): string {
  const { metric, chance } = entry.make(entry.defaults, read);
  if (metric === "accuracy") return `${Number((100 * chance).toPrecision(3))} %`;
  return metric === "bitsPerChar" ? `${chance.toFixed(2)} bits` : "1, that of the mean of the targets";
}

function settingsTable({ defaults, training, scales, network }: TaskEntry): string[] {
  const names = [...Object.keys(defaults), ...Object.keys(training)];
  const further = Object.keys(scales?.paper ?? {}).filter((name) => !names.includes(name));
  const all: TaskSettings = { ...defaults, ...training };
  const rows = [...names, ...further].map((name) => {
    const at = (scale: TaskSettings | undefined): string => (scale && name in scale ? String(scale[name]) : "");
    return `| \`${name}\` | ${name in all ? all[name] : ""} | ${at(scales?.smoke)} | ${at(scales?.paper)} |`;
  });
  const pooled = network ? [`The network differs: ${settingsText(network)}.`, ""] : [];
  return [...pooled, "| setting | default | smoke | paper |", "|---|---|---|---|", ...rows];
}

function publishedTable({ published = [] }: TaskEntry): string[] {
  if (published.length === 0)
    return ["**Published results.** None is listed here; the source below is where to look.", ""];
  const rows = published.map(
    ({ model, value, setting, source }) => `| ${model} | ${value} | ${setting ?? ""} | ${source} |`,
  );
  return ["**Published results**", "", "| model | result | setting | source |", "|---|---|---|---|", ...rows, ""];
}

const settingsText = (settings: TaskSettings): string =>
  Object.entries(settings)
    .map(([name, value]) => `\`${name}=${value}\``)
    .join(", ");

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
