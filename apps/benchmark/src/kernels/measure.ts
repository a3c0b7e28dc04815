/** Timing of contestants side by side: warm-up, then rounds in which each has its turn. */
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { timingOf, type Timing } from "./statistics.js";

/** How long to measure. */
export interface MeasureOptions {
  /** Least runs of the warm-up. */
  readonly warmupRuns: number;
  /** Least time of the warm-up, ms. */
  readonly warmupMs: number;
  /** Least measured time of each contestant, ms. */
  readonly measureMs: number;
  /** Least measured runs of each contestant. */
  readonly runs: number;
  /** A turn ends after this time, ms. */
  readonly turnMs: number;
  /** Slow contestants stop after this time in each of warm-up and measuring, whatever the least values say, ms. */
  readonly patienceMs: number;
}

/** At least 5 runs and 200 ms of warm-up, then turns of 40 ms until each contestant has run for a second and 5 times. */
export const standardMeasure: MeasureOptions = {
  warmupRuns: 5,
  warmupMs: 200,
  measureMs: 1000,
  runs: 5,
  turnMs: 40,
  patienceMs: 8000,
};

/** Threads that other contestants left spinning are asleep after this pause, ms. */
const SETTLE_MS = 5;
/** Faster runs than this get an untimed one at the start of a turn, to wake threads and fill caches, ms. */
const BRIEF_MS = 20;

interface Entry {
  readonly run: () => void | Promise<void>;
  readonly times: number[];
  total: number;
}

/** Median, fastest and slowest run of each contestant, in the order given. */
export async function measure<K>(
  contestants: ReadonlyMap<K, { run(): void | Promise<void> }>,
  options: MeasureOptions,
): Promise<Map<K, Timing>> {
  const { measureMs, runs, patienceMs } = options;
  const entries = new Map(
    [...contestants].map(([name, contestant]) => [
      name,
      { run: () => contestant.run(), times: [], total: 0 } satisfies Entry as Entry,
    ]),
  );
  for (const entry of entries.values()) await warmUp(entry, options);
  const unfinished = ({ times, total }: Entry): boolean =>
    times.length === 0 || (total < patienceMs && (times.length < runs || total < measureMs));
  let round = [...entries.values()];
  while (round.length > 0) {
    for (const entry of round) await turn(entry, options);
    // Back and forth, so that nobody always follows the same neighbour.
    round = round.filter(unfinished).reverse();
  }
  return new Map([...entries].map(([name, { times }]) => [name, timingOf(times)]));
}

async function warmUp({ run }: Entry, { warmupRuns, warmupMs, patienceMs }: MeasureOptions): Promise<void> {
  const started = performance.now();
  const elapsed = (): number => performance.now() - started;
  for (let k = 0; k === 0 || (elapsed() < patienceMs && (k < warmupRuns || elapsed() < warmupMs)); k++) await run();
}

async function turn(entry: Entry, { turnMs }: MeasureOptions): Promise<void> {
  await pause(SETTLE_MS);
  if ((entry.times.at(-1) ?? 0) < BRIEF_MS) await entry.run();
  const started = performance.now();
  do {
    const before = performance.now();
    await entry.run();
    const time = performance.now() - before;
    entry.times.push(time);
    entry.total += time;
  } while (performance.now() - started < turnMs);
}
