/** The pages of the experiments with state-space layers. */
import { spread } from "../sweeps/forecast-finding.js";
import type { SignalOutcome, SignalTraining, StateSpaceExperiment } from "../sweeps/state-spaces/experiments.js";
import { seedChart } from "./charts.js";
import { document, escape, figure } from "./html.js";

/** A figure and a table a task. */
export function stateSpacesPage(
  { title, text, tasks }: StateSpaceExperiment,
  outcomes: readonly SignalOutcome[],
  { steps, batch, learningRate }: SignalTraining,
): string {
  const names = [...new Set(outcomes.map(({ name }) => name))];
  const seeds = new Set(outcomes.map(({ seed }) => seed)).size;
  const sections = tasks.map((task) => {
    const own = outcomes.filter((outcome) => outcome.task === task.id);
    const rows = names.map(
      (name) => `<tr><td>${escape(name)}</td><td class="number">${escape(spread(own, name))}</td></tr>`,
    );
    return `<section><h2>${escape(task.id)}</h2><p>${escape(task.text)}</p><div class="figures">${figure("A dot a seed", seedChart(own, names, task.label))}</div><div class="scroll"><table><thead><tr><th>model</th><th class="number">${escape(task.label.replace(" →", ""))}</th></tr></thead><tbody>${rows.join("")}</tbody></table></div></section>`;
  });
  const how = `${steps} steps of ${batch} new sequences each, AdamW with a peak rate of ${learningRate}, ${seeds} seeds; measured on 256 new sequences.`;
  return document(title, `<main><section><p>${escape(`${text} ${how}`)}</p></section>${sections.join("")}</main>`);
}
