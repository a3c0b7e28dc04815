// Every task of the catalog trains and is measured, at its smallest scale, with a small model.
import { mixers } from "@seqmix/catalog";
import { cpu } from "@seqmix/tensor";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { prepare } from "../sweeps/experiment.js";
import { tasks } from "./tasks.js";
import { train } from "./train.js";
import { trialOf } from "./trial.js";

const device = cpu({ threads: 1 });
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "seqmix-tasks-"));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

test.each(tasks.map(({ id, defaults, scales }) => [id, defaults, scales?.smoke ?? {}] as const))(
  "%s: three steps, and a measurement",
  async (id, defaults, smoke) => {
    const few = "evaluationSequences" in defaults ? { evaluationSequences: 4 } : {};
    const settings = { ...smoke, ...few, dModel: 8, nLayers: 1, steps: 3, warmup: 1, batch: 2 };
    const outcome = await train(prepare(trialOf(id, "minGru", settings, { tasks, mixers })), {
      device,
      deviceName: "cpu",
      snapshot: join(folder, id),
      stopAsked: () => false,
      report: () => {},
    });
    if (outcome.status !== "done") throw new Error(outcome.status);
    expect(outcome.curve).toHaveLength(3);
    expect(outcome.curve.every(({ loss }) => loss > 0)).toBe(true);
    expect(outcome.test).toBeGreaterThanOrEqual(0);
    expect(device.memory().buffers).toBe(0);
  },
);
