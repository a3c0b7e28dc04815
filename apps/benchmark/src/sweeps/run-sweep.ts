/** From a sweep to the trials that are due, and back from rows to its cells. */
import { mixers } from "@seqmix/catalog";
import { summarize, type CellSummary } from "../results/cells.js";
import type { Row } from "../results/results.js";
import { rowsOfTrials } from "../results/rows-of-trials.js";
import type { Settings } from "../trials/settings.js";
import { tasks } from "../trials/tasks.js";
import { trialOf, type Trial } from "../trials/trial.js";
import { prepare, sizeOfTrial, type Experiment } from "./experiment.js";
import { matchCells, type MatchedCell } from "./match.js";
import { dueTrials } from "./rounds.js";
import { expandSweep, planAt, type Cell, type Match, type Scale, type Sweep, type SweepPlan } from "./sweep.js";

const registry = { tasks, mixers };

/** The plan of a sweep at a scale, with what its tasks say of the scale, and every mixer by its name. */
export function planOf(sweep: Sweep, scale: Scale): SweepPlan {
  const plan = planAt(sweep, scale, (id) =>
    scale === "laptop" ? {} : (tasks.find((task) => task.id === id)?.scales?.[scale] ?? {}),
  );
  const named = plan.mixers.map((each) => (typeof each === "string" ? each : each.mixer));
  const others = mixers.map(({ id }) => id).filter((id) => !named.includes(id));
  return { ...plan, mixers: plan.mixers.flatMap((each) => (each === "*" ? others : [each])) };
}

/** The trial of a cell with a learning rate and a seed in the settings. */
export const trialOfCell = ({ task, mixer }: Cell, settings: Settings): Trial =>
  trialOf(task, mixer, settings, registry);

/** The cells of a plan, sized to each other if it says so. */
export function cellsOf(plan: SweepPlan): readonly MatchedCell[] {
  const cells = expandSweep(plan);
  if (!plan.match) return cells;
  return matchCells(cells, plan.match, measureFor(plan.match), (cell) => trialOfCell(cell, cell.settings).settings);
}

/** Sizes of a cell's model by trial; impossible settings have none. */
function measureFor(match: Match): (cell: Cell) => number | null | undefined {
  const known = new Map<string, number | null | undefined>();
  return (cell) => {
    const trial = trialOfCell(cell, cell.settings);
    if (match === "stateBytes" && trial.mixer.state !== "constant") return null;
    if (!known.has(trial.identity)) known.set(trial.identity, sizeOf(trial, match));
    return known.get(trial.identity);
  };
}

function sizeOf(trial: Trial, match: Match): number | null | undefined {
  try {
    return sizeOfTrial(trial, match);
  } catch {
    return undefined;
  }
}

/** The experiments of some cells that are due, given the rows there are. */
export function dueExperiments(cells: readonly Cell[], rows: readonly Row[]): readonly Experiment[] {
  const rowOf = rowsByTrial(rows);
  const due = cells.flatMap((cell) =>
    dueTrials(cell, (settings) => rowOf(cell, settings)).map((settings) => trialOfCell(cell, settings)),
  );
  return [...new Map(due.map((trial) => [trial.identity, trial])).values()].map(prepared);
}

const experiments = new Map<string, Experiment>();

/** {@link prepare}, once for each trial: plans are asked again after every round. */
function prepared(trial: Trial): Experiment {
  const known = experiments.get(trial.identity) ?? prepare(trial);
  experiments.set(trial.identity, known);
  return known;
}

/** What was found of each cell. */
export const summarizeCells = (cells: readonly Cell[], rows: readonly Row[]): readonly CellSummary[] =>
  summarize(cells, rowsByTrial(rows));

function rowsByTrial(rows: readonly Row[]): (cell: Cell, settings: Settings) => Row | undefined {
  const rowOf = rowsOfTrials(rows);
  return (cell, settings) =>
    Object.values(settings).some((value) => Number.isNaN(value)) ? undefined : rowOf(trialOfCell(cell, settings));
}
