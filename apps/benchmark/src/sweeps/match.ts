/** Sizing mixers to each other before they are compared. */
import { formatCount } from "../report/format.js";
import type { Setting, Settings } from "../trials/settings.js";
import type { Cell, Match } from "./sweep.js";

/** Largest difference that counts as equal. */
export const WITHIN = 0.02;

/** What a cell with some settings has of what is matched; null: nothing that could be (a state that grows). undefined: the settings are impossible. */
export type Measure = (cell: Cell) => number | null | undefined;

/** A cell after matching. */
export interface MatchedCell extends Cell {
  /** What was changed and how near it came; absent for the cell that the others are matched to. */
  readonly matched?: string;
}

/** The settings of a cell's trials, defaults included. */
export type SettingsOf = (cell: Cell) => Settings;

const NAMES: Readonly<Record<Match, string>> = {
  parameters: "parameters",
  stateBytes: "bytes of state",
  flops: "operations a sequence",
};

/** Widths inside a mixer, turned beside dModel or in its place: those that leave the state as it is come first. */
const WHOLE = [
  "dHidden",
  "dInner",
  "dAttention",
  "filterOrder",
  "nKernels",
  "headDim",
  "dKey",
  "memoryOrder",
  "dState",
];
/** Widths as multiples of dModel, turned in sixteenths. */
const FRACTIONS = ["valueFactor", "expand", "expandV", "expandK"];
const FRACTION = 1 / 16;

/**
 * Sizes each cell to the first one of the same task and change, by its `dModel` and, where that alone comes not near enough, by
 * one setting of the mixer. For `stateBytes` the mixer's own settings come first. What cannot be matched is left and says so.
 */
export function matchCells(
  cells: readonly Cell[],
  match: Match,
  measure: Measure,
  settingsOf: SettingsOf,
): readonly MatchedCell[] {
  const firsts = new Map<string, { readonly cell: Cell; readonly size: number | null | undefined }>();
  return cells.map((cell) => {
    const group = JSON.stringify([cell.task, cell.changed]);
    const first = firsts.get(group);
    if (cell.fixed) return { ...cell, matched: `left as it is: ${formatCount(measure(cell) ?? 0)} ${NAMES[match]}` };
    if (first) return matchOne(cell, first, match, measure, settingsOf(cell));
    firsts.set(group, { cell, size: measure(cell) });
    return cell;
  });
}

function matchOne(
  cell: Cell,
  { cell: first, size: target }: { readonly cell: Cell; readonly size: number | null | undefined },
  match: Match,
  measure: Measure,
  all: Settings,
): MatchedCell {
  if (typeof target !== "number" || target <= 0) return cell;
  const started = measure(cell);
  if (typeof started !== "number")
    return { ...cell, matched: `not matched in ${NAMES[match]}: it has no finite number of them` };
  const start: Candidate = { cell, size: started, turned: [] };
  let best = start;
  const better = (next: Candidate): boolean => distance(next.size, target) < distance(best.size, target);
  for (const names of knobsOf(all, match)) {
    if (distance(best.size, target) <= WITHIN) break;
    const [outer, inner] = names;
    // One setting by itself, or the second for each of the first's values near the best.
    const found = turn(start, outer!, all, target, measure);
    for (const candidate of inner === undefined
      ? found
      : found.map((each) => turn(each, inner, all, target, measure)).flat())
      if (better(candidate)) best = candidate;
  }
  return { ...best.cell, matched: describe(best, all, target, match, first) };
}

interface Candidate {
  readonly cell: Cell;
  readonly size: number;
  /** Settings that were changed. */
  readonly turned: readonly string[];
}

const distance = (size: number, target: number): number => Math.abs(size - target) / target;

/** Settings to turn, in the order they are tried: one by itself, then with another. */
function knobsOf(all: Settings, match: Match): readonly (readonly string[])[] {
  const own = Object.entries(all)
    .filter(([name, value]) => isKnob(name, value))
    .map(([name]) => name);
  const whole = WHOLE.filter((name) => own.includes(name));
  const fractions = FRACTIONS.filter((name) => own.includes(name));
  const single = (names: readonly string[]): readonly string[][] => names.map((name) => [name]);
  const paired = (names: readonly string[]): readonly string[][] => names.map((name) => ["dModel", name]);
  if (match === "stateBytes") {
    const inner = [...whole.toReversed(), ...fractions];
    return [...single(inner), ["dModel"], ...paired(inner)];
  }
  const beside = whole.filter((name) => name === "dHidden" || name === "dInner");
  return [["dModel"], ...single(beside), ...paired([...fractions, ...whole]), ...single([...whole, ...fractions])];
}

const isKnob = (name: string, value: Setting): boolean =>
  FRACTIONS.includes(name) || (WHOLE.includes(name) && (value === "auto" || Number.isInteger(value)));

/** How far a setting is turned, as a factor; the model's own width less, so that it stays the same kind of model. */
const FARTHEST = 64;
const FARTHEST_WIDTH = 4;

/** The cell with the values of a setting around that which brings it nearest to the target: bisection over those that are possible. */
function turn(from: Candidate, name: string, all: Settings, target: number, measure: Measure): readonly Candidate[] {
  const unit = FRACTIONS.includes(name) ? FRACTION : 1;
  // In units; 0 and "auto" stand for some multiple of the model's width.
  const given = Number(from.cell.settings[name] ?? all[name]);
  const now = (given > 0 ? given : Number(from.cell.settings["dModel"] ?? all["dModel"])) / unit;
  const at = (value: number): Candidate | undefined => {
    const cell = { ...from.cell, settings: { ...from.cell.settings, [name]: value * unit } };
    const size = measure(cell);
    return typeof size === "number" ? { cell, size, turned: [...from.turned, name] } : undefined;
  };
  const step = stepOf((value) => at(value) !== undefined, now);
  const farthest = name === "dModel" ? FARTHEST_WIDTH : FARTHEST;
  const least = Math.max(1, Math.floor(now / farthest / step));
  let low = least;
  let high = Math.ceil((now * farthest) / step);
  while (low < high) {
    const middle = (low + high) >> 1;
    const found = at(middle * step);
    if (!found || found.size >= target) high = middle;
    else low = middle + 1;
  }
  // What is possible just below and above the target.
  return [low - 1, low, low + 1, low - 2].flatMap((n) => (n >= least ? (at(n * step) ?? []) : []));
}

/** The least power of two such that values a step above and below are possible, e.g. the number of heads for dModel. */
function stepOf(possible: (value: number) => boolean, around: number): number {
  for (let step = 1; step <= 64; step *= 2) {
    const base = Math.max(step, Math.round(around / step) * step);
    if (possible(base + step) && (base <= step || possible(base - step))) return step;
  }
  return 1;
}

function describe({ cell, size, turned }: Candidate, all: Settings, target: number, match: Match, first: Cell): string {
  const off = ((size - target) / target) * 100;
  const changes = turned
    .filter((name) => cell.settings[name] !== all[name])
    .map((name) => `${name} ${all[name]} to ${cell.settings[name]}`)
    .join(", ");
  const sizes = `${formatCount(size)} ${NAMES[match]}, ${first.name} has ${formatCount(target)} (${off >= 0 ? "+" : ""}${off.toFixed(1)} %)`;
  if (Math.abs(off) > WITHIN * 100) return `not matched: ${changes ? `${changes}: ` : ""}${sizes}`;
  return changes ? `${changes}: ${sizes}` : `as it is: ${sizes}`;
}
