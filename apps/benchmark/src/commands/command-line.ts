import { Command, CommanderError } from "commander";
import { constants } from "node:os";
import { registerCompare } from "./compare.js";
import { registerDecoding } from "./decoding.js";
import { registerForecasting } from "./forecasting.js";
import { registerGradientNorms } from "./gradient-norms.js";
import { registerList } from "./list.js";
import { registerQuickstart } from "./quickstart.js";
import { registerReport } from "./report.js";
import { registerServe } from "./serve.js";
import { registerRun } from "./run.js";
import { registerScaling } from "./scaling.js";
import { registerSubmit } from "./submit.js";
import { registerStateCollapse } from "./state-collapse.js";
import { registerStateSpaces } from "./state-spaces.js";
import { registerSweep } from "./sweep.js";
import { registerKernels } from "../kernels/command.js";
import { Stopped } from "../trials/run-trials.js";
import { serveTrials } from "../trials/worker.js";
import { UsageError } from "./usage-error.js";

/** Exit codes: a failed trial or an unexpected error, and a mistake in what was asked for. */
const FAILED = 1;
const USAGE = 2;

/** Of an option that is given twice the last one would count without a word. */
function refuseRepeats(command: Command): void {
  for (const option of command.options.filter(({ variadic, parseArg }) => !variadic && parseArg?.length !== 2)) {
    let isGiven = false;
    command.on(`option:${option.name()}`, () => {
      if (isGiven) throw new UsageError(`Option ${option.long} is given twice; leave one out`);
      isGiven = true;
    });
  }
}

/**
 * Runs a command line and returns the exit code: 0 finished, 1 a trial failed, 2 a mistake in what was asked for,
 * 128 + signal if stopped.
 */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let code = 0;
  const exit = (value: number): void => void (code = value);
  const program = new Command("seqmix-bench")
    .description("Trains and measures sequence architectures side by side.")
    .showHelpAfterError("(--help lists commands and options)")
    .exitOverride();
  registerQuickstart(program, exit);
  registerRun(program, exit);
  registerSweep(program, exit);
  registerReport(program);
  registerCompare(program);
  registerScaling(program);
  registerSubmit(program);
  registerList(program);
  registerKernels(program, exit);
  registerGradientNorms(program);
  registerDecoding(program);
  registerForecasting(program);
  registerServe(program);
  registerStateSpaces(program);
  registerStateCollapse(program);
  // The processes that trials run in; for this program alone.
  program.command("worker", { hidden: true }).action(serveTrials);
  for (const command of program.commands) refuseRepeats(command);
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    if (error instanceof UsageError) {
      console.error(`error: ${error.message}`);
      return USAGE;
    }
    if (error instanceof Stopped) {
      console.error(error.message);
      return 128 + constants.signals[error.signal];
    }
    console.error(error);
    return FAILED;
  }
}
