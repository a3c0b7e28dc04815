/** A process that runs trials one after another, so that a crash takes one trial with it and nothing else. */
import { mixers } from "@seqmix/catalog";
import { DeviceLostError, type Device } from "@seqmix/tensor";
import { openDevice } from "../commands/devices.js";
import { messageOf, UsageError } from "../commands/usage-error.js";
import { prepare } from "../sweeps/experiment.js";
import { tasks } from "./tasks.js";
import { train } from "./train.js";
import { parseTrial } from "./trial.js";
import type { Message, Order, WorkerOptions } from "./worker-messages.js";

/** Milliseconds between two reports of a running trial. */
const REPORT_EVERY = 100;

/** Serves the process that started this one until it goes away. */
export function serveTrials(): void {
  let device: Device | undefined;
  let options: WorkerOptions | undefined;
  let stop = false;
  const say = (message: Message): void => void (process.connected && process.send!(message));

  const run = async (identity: string, snapshot: string): Promise<void> => {
    let reported = -Infinity;
    try {
      const experiment = prepare(parseTrial(identity, { tasks, mixers }));
      const outcome = await train(experiment, {
        device: device!,
        deviceName: options!.device,
        commit: options!.commit,
        snapshot,
        stopAsked: () => stop,
        warn: (text) => say({ kind: "warning", text }),
        report(report) {
          if (performance.now() - reported < REPORT_EVERY && report.phase === "training") return;
          reported = performance.now();
          say({ kind: "report", report });
        },
      });
      say({ kind: "outcome", outcome });
    } catch (error) {
      if (error instanceof UsageError) say({ kind: "halt", error: error.message });
      else if (error instanceof DeviceLostError) say({ kind: "lost", error: error.message });
      else say({ kind: "outcome", outcome: { status: "failed", error: messageOf(error) } });
    }
  };

  const open = async (given: WorkerOptions): Promise<void> => {
    try {
      options = given;
      device = await openDevice(given.device, given);
      say({ kind: "ready", description: device.description });
    } catch (error) {
      say({ kind: "halt", error: messageOf(error) });
    }
  };

  process.on("message", (order: Order) => {
    if (order.kind === "stop") stop = true;
    else void (order.kind === "open" ? open(order.options) : run(order.trial, order.snapshot));
  });
  // The process that started this one says when to stop, also where a scheduler tells every process at once; without it
  // nobody would take the results.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  if (!process.connected) process.exit(0);
}
