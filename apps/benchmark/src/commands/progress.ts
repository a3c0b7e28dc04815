/** Progress of a list of long jobs: bars in a terminal, a line now and then elsewhere. */
import { Listr } from "listr2";
import { formatCount, formatDuration } from "../report/format.js";
import type { TrainingReport } from "../trials/train.js";

/** A job: reports while it runs, and says in a few words how it came out. */
export interface Job {
  readonly title: string;
  run(report: (report: TrainingReport) => void): Promise<string>;
}

/** Runs the jobs one after another; the first that throws ends the run with its error. */
export async function runJobs(jobs: readonly Job[], { terminal }: { readonly terminal: boolean }): Promise<void> {
  await (terminal ? runInTerminal(jobs) : runWithLines(jobs));
}

async function runInTerminal(jobs: readonly Job[]): Promise<void> {
  const list = new Listr(
    jobs.map((job) => ({
      title: job.title,
      task: async (_: unknown, shown: { title?: string; output?: string }) => {
        const pace = paceOf();
        let shownAt = -Infinity;
        const outcome = await job.run((report) => {
          const estimate = pace(report);
          if (performance.now() - shownAt < 100 && report.phase === "training") return;
          shownAt = performance.now();
          shown.output = bar(report, estimate);
        });
        shown.title = `${job.title}  ${outcome}`;
      },
    })),
    // Ctrl-C is handled by the run itself, which saves first.
    { concurrent: false, registerSignalListeners: false, rendererOptions: { collapseErrors: true } },
  );
  await list.run();
}

async function runWithLines(jobs: readonly Job[]): Promise<void> {
  const quietSeconds = 15;
  for (const [k, job] of jobs.entries()) {
    const name = `[${k + 1}/${jobs.length}] ${job.title}`;
    const pace = paceOf();
    let said = -Infinity;
    const outcome = await job.run((report) => {
      const estimate = pace(report);
      if (performance.now() - said < quietSeconds * 1000) return;
      said = performance.now();
      console.log(`${name}  ${bar(report, estimate)}`);
    });
    console.log(`${name}  ${outcome}`);
  }
}

/** Seconds left, from the steps of this process: a resumed trial begins in the middle. */
function paceOf(): (report: TrainingReport) => number | undefined {
  let begin: { step: number; time: number } | undefined;
  return ({ step, steps }) => {
    const time = performance.now();
    if (!begin) {
      begin = { step, time };
      return undefined;
    }
    return step === begin.step ? undefined : (((time - begin.time) / (step - begin.step)) * (steps - step)) / 1000;
  };
}

const CELLS = 24;

function bar({ step, steps, loss, tokensPerSecond, phase }: TrainingReport, secondsLeft: number | undefined): string {
  const full = Math.floor((step / steps) * CELLS);
  const parts = [
    `${"█".repeat(full)}${"░".repeat(CELLS - full)} ${String(Math.floor((100 * step) / steps)).padStart(3)} %`,
    `step ${formatCount(step)}/${formatCount(steps)}`,
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(3)}`]),
    ...(tokensPerSecond > 0 ? [`${formatCount(tokensPerSecond)} tokens/s`] : []),
    ...(phase === "measuring"
      ? ["measuring"]
      : secondsLeft === undefined
        ? []
        : [`${formatDuration(secondsLeft)} left`]),
  ];
  return parts.join("  ");
}
