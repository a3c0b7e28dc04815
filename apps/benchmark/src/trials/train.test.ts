import { attention } from "@seqmix/attention";
import { defineMixer } from "@seqmix/mixer";
import { cpu, mul, normal, reference, type Device, type Key, type Tensor } from "@seqmix/tensor";
import { selectiveCopying } from "@seqmix/tasks";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { prepare, type Experiment } from "../sweeps/experiment.js";
import type { Settings } from "./settings.js";
import { train, type TrainingOptions, type TrainingOutcome } from "./train.js";
import { trialOf } from "./trial.js";
import type { TaskEntry } from "./tasks.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "seqmix-train-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const tiny: TaskEntry = {
  ...selectiveCopying.entry,
  id: "tiny-copying",
  defaults: { vocabSize: 5, dataTokens: 2, L: 6, evaluationSequences: 10 },
  training: { steps: 20, batch: 4, lr: 1e-2, warmup: 2, clip: 1, weightDecay: 0.01 },
};

/** Its output leaves the range of numbers at once. */
const exploding = defineMixer({
  id: "exploding",
  config: { dModel: 8 },
  state: "constant",
  init: ({ dModel }: { dModel: number }, source: Key): { weight: Tensor } => ({ weight: normal(source, [dModel]) }),
  initState: (): { none: Tensor[] } => ({ none: [] }),
  step: (_, { weight }, x, state) => [mul(mul(mul(x, weight), 1e30), 1e300), state],
  modes: { parallel: (_, { weight }, x, state) => [mul(mul(mul(x, weight), 1e30), 1e300), state ?? { none: [] }] },
});

const experiment = (mixer: string, settings: Settings = {}): Experiment =>
  prepare(
    trialOf(
      "tiny-copying",
      mixer,
      { dModel: 8, nLayers: 1, ...settings },
      { tasks: [tiny], mixers: [attention, exploding] },
    ),
  );

const run = (what: Experiment, device: Device, options: Partial<TrainingOptions> = {}): Promise<TrainingOutcome> =>
  train(what, {
    device,
    deviceName: device.name,
    snapshot: join(folder, "snapshot"),
    stopAsked: () => false,
    report: () => {},
    ...options,
  });

/** Stops after so many steps, as Ctrl-C does. */
function stopAfter(steps: number): Pick<TrainingOptions, "stopAsked"> {
  let asked = 0;
  return { stopAsked: () => ++asked === steps };
}

/** What must not depend on interruptions: everything but times. */
const numbers = (outcome: TrainingOutcome) =>
  outcome.status === "stopped" ? outcome : { ...outcome, tokensPerSecond: 0, wallSeconds: 0 };

test.each([
  ["reference", reference],
  ["cpu", () => cpu({ threads: 1 })],
])("stopped and continued, a trial ends with the numbers of an uninterrupted one (%s)", async (_, open) => {
  const device = open();
  const whole = await run(experiment("attention"), device);
  expect(whole.status).toBe("done");
  expect(existsSync(join(folder, "snapshot"))).toBe(false);

  // Between two reads of the loss, on a point of the curve, one step before the end, and twice while it is measured.
  for (const [steps, at] of [
    [5, 5],
    [7, 12],
    [7, 19],
    [2, 20],
    [4, 20],
  ] as const)
    expect(await run(experiment("attention"), device, stopAfter(steps))).toEqual({ status: "stopped", step: at });
  expect(numbers(await run(experiment("attention"), device))).toEqual(numbers(whole));
});

test("a snapshot taken while running is continued after a kill", async () => {
  const device = reference();
  const whole = await run(experiment("attention"), device);
  let steps = 0;
  const killed = run(experiment("attention"), device, {
    snapshotEvery: 0,
    report: () => {
      if (++steps === 9) throw new Error("killed");
    },
  });
  await expect(killed).rejects.toThrow("killed");
  const seen: number[] = [];
  const resumed = await run(experiment("attention"), device, { report: ({ step }) => seen.push(step) });
  expect(seen[0]).toBe(9);
  expect(numbers(resumed)).toEqual(numbers(whole));
});

test("a snapshot that is damaged or of other settings is not used", async () => {
  const device = reference();
  await run(experiment("attention"), device, stopAfter(5));
  const first = async (what: Experiment): Promise<number> => {
    const seen: number[] = [];
    await run(what, device, { report: ({ step }) => seen.push(step) });
    return seen[0]!;
  };
  expect(await first(experiment("attention", { lr: 0.02 }))).toBe(1);
  truncateSync(join(folder, "snapshot"), 700);
  expect(await first(experiment("attention"))).toBe(1);
});

test("a snapshot with one flipped bit, anywhere, is told apart: the trial starts again and says so", async () => {
  const device = reference();
  const whole = await run(experiment("attention"), device);
  await run(experiment("attention"), device, stopAfter(19));
  const path = join(folder, "snapshot");
  const good = readFileSync(path);
  const places = [
    0,
    3,
    4,
    60,
    good.indexOf("}") + 1,
    good.length - 200,
    good.length - 40,
    good.length - 33,
    good.length - 1,
  ];
  for (const place of places) {
    const bad = Buffer.from(good);
    bad[place]! ^= 64;
    writeFileSync(path, bad);
    const [seen, said] = [[] as number[], [] as string[]];
    const outcome = await run(experiment("attention"), device, {
      report: ({ step }) => seen.push(step),
      warn: (message) => said.push(message),
    });
    expect([seen[0], said.length], `byte ${place}`).toEqual([1, 1]);
    expect(said[0]).toMatch(/expected a whole snapshot .* starts again/i);
    expect(numbers(outcome)).toEqual(numbers(whole));
  }
  writeFileSync(path, good);
  const seen: number[] = [];
  await run(experiment("attention"), device, { report: ({ step }) => seen.push(step) });
  expect(seen[0]).toBe(20);
});

test("the seed decides: same seed, same numbers; other seed, others", async () => {
  const device = reference();
  const [first, again, other] = [
    await run(experiment("attention"), device),
    await run(experiment("attention"), device),
    await run(experiment("attention", { seed: 1 }), device),
  ];
  expect(numbers(again)).toEqual(numbers(first));
  expect(numbers(other)).not.toEqual(numbers(first));
});

test("training lowers the loss, and the curve ends at the last step", async () => {
  const outcome = await run(experiment("attention", { steps: 150 }), cpu());
  if (outcome.status !== "done") throw new Error(outcome.status);
  expect(outcome.curve.at(-1)).toMatchObject({ step: 150, tokens: 150 * 4 * 6, validation: outcome.validation });
  expect(outcome.curve.at(-1)!.loss).toBeLessThan(outcome.curve[0]!.loss * 0.8);
  expect(outcome.curve.filter(({ validation }) => validation !== undefined).length).toBeGreaterThan(4);
});

test("a loss that is no number ends the trial as diverged", async () => {
  const outcome = await run(experiment("exploding"), reference());
  expect(outcome.status).toBe("diverged");
  expect(outcome).not.toHaveProperty("test");
});

test("nothing stays on the device", async () => {
  const device = reference();
  await run(experiment("attention", { steps: 4 }), device);
  expect(device.memory().buffers).toBe(0);
  await run(experiment("exploding"), device);
  expect(device.memory().buffers).toBe(0);
});

test("sizes are known before anything runs: attention keeps keys and values of every element", () => {
  const { parameters, stateBytes } = experiment("attention", { dModel: 8, nLayers: 2, nHeads: 2 });
  expect(parameters).toBe(5 * 8 + 2 * (8 + 4 * 8 * 8) + 8);
  // In each layer keys and values of six elements, and where the sequence begins.
  expect(stateBytes).toBe(2 * (2 * 8 * 6 + 1) * 4);
});

test.each([
  [
    { dataTokens: 9 },
    "Trial tiny-copying:attention:dataTokens=9;dModel=8;L=6;nLayers=1;seed=0 is impossible: selective-copying: expected at most 3 data tokens for L=6",
  ],
  [{ dataTokens: 4 }, "expected at most 2 data tokens for 2 positions (L=6), got 4"],
  [{ steps: 2.5 }, "expected a whole number of at least 1 for steps, got 2.5"],
  [{ warmup: 20 }, "expected fewer warm-up steps than steps"],
  [{ lr: 0 }, "expected a number above 0 for lr, got 0"],
  [{ nHeads: 3 }, "is impossible: attention"],
  [{ seed: 0.5 }, "seed, got 0.5"],
])("impossible settings are found before anything runs: %o", (settings, message) => {
  expect(() => experiment("attention", settings)).toThrow(message);
});

test("more tokens than any device holds are refused before the data is made", () => {
  expect(() => experiment("attention", { L: 1e9 })).toThrow(
    /at most \d+ tokens an update, got batch=4 times L=1000000000/,
  );
});
