/** The worker in which trials train, so that the page stays at the user's hand. */
import { cpu, type Device } from "@seqmix/tensor";
import { webgpu } from "@seqmix/webgpu";
import { prepare, type Experiment } from "../../src/sweeps/experiment.js";
import { parseTrial } from "../../src/trials/trial.js";
import { readTestSequence } from "../state/read-test-sequence.js";
import type { DeviceChoice } from "../address.js";
import type { Answer, DeviceReport, Request } from "./messages.js";
import { fetchData } from "./fetched-data.js";
import { registry } from "./registry.js";
import { rowInPage } from "./row.js";
import { startLearner, trainTogether, type Learner } from "./train-together.js";

const say = (answer: Answer): void => postMessage(answer);

let device: Device | undefined;
let opened: { readonly choice: DeviceChoice; readonly report: DeviceReport } | undefined;
let learners: Learner[] = [];
/** One thing at a time; a request to stop goes past the queue. */
let queue: Promise<void> = Promise.resolve();

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  if (data.kind === "stop") return void learners.forEach((learner) => learner.stop());
  queue = queue
    .then(() => (data.kind === "train" ? train(data.trials, data.device) : read(data.trial, data.sequence)))
    .catch((error: unknown) => say({ kind: "error", message: error instanceof Error ? error.message : String(error) }))
    .then(() => say({ kind: "idle" }));
});

async function train(trials: readonly string[], choice: DeviceChoice): Promise<void> {
  for (const learner of learners) learner.close();
  learners = [];
  const on = await open(choice);
  const experiments: Experiment[] = [];
  for (const text of trials) {
    const trial = parseTrial(text, registry);
    await fetchData(trial.task);
    experiments.push(prepare(trial));
  }
  const tell = (learner: Learner): void =>
    say({ kind: "trial", trial: { state: learner.state(), row: rowInPage(learner.experiment, learner.state(), on) } });
  for (const experiment of experiments) {
    const learner = startLearner(experiment, device!);
    learners.push(learner);
    tell(learner);
  }
  await trainTogether(learners, tell);
  learners.forEach(tell);
}

async function read(trial: string, sequence: number): Promise<void> {
  const learner = learners.find(({ experiment }) => experiment.trial.identity === trial);
  if (!learner) throw new Error(`Expected ${trial} to be trained in this page, got a page without it; train it first`);
  const progress = (done: number, of: number): void => say({ kind: "reading", done, of });
  say({ kind: "read", read: await readTestSequence(learner, sequence, device!, progress) });
}

/** Opens the device that was asked for. @throws Error if "webgpu" was asked for by name and there is none. */
async function open(choice: DeviceChoice): Promise<DeviceReport> {
  if (opened?.choice === choice && device) return opened.report;
  await device?.close();
  const report = await (choice === "cpu" ? openCpu() : openGpu().catch((error: unknown) => orCpu(choice, error)));
  opened = { choice, report };
  say({ kind: "device", device: report });
  return report;
}

async function openGpu(): Promise<DeviceReport> {
  device = await webgpu();
  const { description, software } = device;
  return {
    name: "webgpu",
    description,
    ...(software && {
      notice: "This browser's WebGPU runs in software, which is slow; the cpu device is faster here.",
    }),
  };
}

function openCpu(notice?: string): DeviceReport {
  device = cpu();
  const threads = crossOriginIsolated ? "" : " One thread works, since this page is not cross-origin isolated.";
  const text = `${notice ?? ""}${threads}`.trim();
  return { name: "cpu", description: device.description, ...(text !== "" && { notice: text }) };
}

function orCpu(choice: DeviceChoice, error: unknown): DeviceReport {
  if (choice === "webgpu") throw error;
  return openCpu("This browser offers no WebGPU, so the cpu device computes.");
}
