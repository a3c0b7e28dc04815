/** Progress of trials: the running ones at the foot of a terminal, a line now and then elsewhere. */
import { createLogUpdate } from "log-update";
import { formatCount, formatDuration } from "../report/format.js";
import type { TrainingReport } from "../trials/train.js";

/** What is shown of a list of jobs. */
export interface Progress {
  /** More jobs than were known: their work, in any unit that is the same for all. */
  expect(work: readonly number[]): void;
  /** A job begins. */
  begin(title: string, work: number): RunningJob;
  /** A line that stays. */
  note(text: string): void;
  /** Nothing more comes. */
  close(): void;
}

/** A job that is running. */
export interface RunningJob {
  report(report: TrainingReport): void;
  /** It came out so, in a few words. */
  end(outcome: string): void;
}

/** Seconds between two lines about a running job where there is no terminal. */
const QUIET = 15;
/** Milliseconds between two drawings. */
const DRAW_EVERY = 100;

interface Shown {
  readonly name: string;
  readonly work: number;
  begin?: { readonly step: number; readonly time: number };
  share: number;
  saidAt: number;
  line: string;
}

/** Shows progress on a stream. @param now Milliseconds, for tests. */
export function showProgress(
  stream: NodeJS.WriteStream,
  { terminal = stream.isTTY === true, now = () => performance.now() }: { terminal?: boolean; now?: () => number } = {},
): Progress {
  const live = terminal ? createLogUpdate(stream) : undefined;
  const running = new Set<Shown>();
  const totals = { jobs: 0, begun: 0, ended: 0, work: 0, done: 0 };
  /** Work done when the first job reported, before which it was planned and compiled. */
  let begin: { readonly work: number; readonly time: number } | undefined;
  let drawn = -Infinity;

  const doneWork = (): number => [...running].reduce((sum, job) => sum + job.share * job.work, totals.done);
  const left = (): number | undefined => {
    const work = doneWork();
    if (!begin || work <= begin.work) return undefined;
    return (((now() - begin.time) / 1000) * (totals.work - work)) / (work - begin.work);
  };
  const overall = (): string => {
    const seconds = left();
    return `${totals.ended} of ${totals.jobs} finished${seconds === undefined ? "" : `, about ${formatDuration(seconds)} left`}`;
  };
  const draw = (force = false): void => {
    if (!live || (!force && now() - drawn < DRAW_EVERY)) return;
    drawn = now();
    live([...[...running].map(({ name, line }) => `${name}  ${line}`), overall()].join("\n"));
  };
  const say = (text: string): void => {
    live?.clear();
    stream.write(`${text}\n`);
    if (running.size > 0) draw(true);
  };

  return {
    expect(work) {
      totals.jobs += work.length;
      totals.work += work.reduce((sum, each) => sum + each, 0);
    },
    begin(title, work) {
      const job: Shown = {
        name: `[${++totals.begun}/${totals.jobs}] ${title}`,
        work,
        share: 0,
        saidAt: now(),
        line: "",
      };
      running.add(job);
      draw();
      return {
        report(report) {
          job.begin ??= { step: report.step, time: now() };
          job.share = report.step / report.steps;
          begin ??= { work: doneWork(), time: now() };
          job.line = describe(report, job.begin, now());
          if (live) draw();
          else if (now() - job.saidAt >= QUIET * 1000) {
            job.saidAt = now();
            say(`${job.name}  ${job.line}${totals.jobs > 1 ? `  (${overall()})` : ""}`);
          }
        },
        end(outcome) {
          running.delete(job);
          totals.ended++;
          totals.done += job.work;
          say(`${job.name}  ${outcome}`);
        },
      };
    },
    note: say,
    close() {
      live?.clear();
    },
  };
}

const CELLS = 24;

/** One line about a running trial; a resumed one began in the middle, so its time left counts from there. */
function describe(
  { step, steps, loss, tokensPerSecond, phase }: TrainingReport,
  begin: { readonly step: number; readonly time: number },
  time: number,
): string {
  const full = Math.floor((step / steps) * CELLS);
  const seconds =
    step === begin.step ? undefined : (((time - begin.time) / (step - begin.step)) * (steps - step)) / 1000;
  return [
    `${"█".repeat(full)}${"░".repeat(CELLS - full)} ${String(Math.floor((100 * step) / steps)).padStart(3)} %`,
    `step ${formatCount(step)}/${formatCount(steps)}`,
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(3)}`]),
    ...(tokensPerSecond > 0 ? [`${formatCount(tokensPerSecond)} tokens/s`] : []),
    ...(phase === "measuring" ? ["measuring"] : seconds === undefined ? [] : [`${formatDuration(seconds)} left`]),
  ].join("  ");
}
