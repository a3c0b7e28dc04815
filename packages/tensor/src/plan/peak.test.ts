import { expect, test } from "vitest";
import { whenLoaded } from "../graph/on-demand.js";
import {
  add,
  cpu,
  explain,
  full,
  matmul,
  mul,
  reshape,
  setDebug,
  softmax,
  sum,
  tensor,
  type Tensor,
} from "../index.js";
import { graphOf } from "./signature.js";
import { peakOf } from "./peak.js";
import type { Plan } from "./plan.js";
import { makePlan, PASSES } from "./planner.js";

const OPTIONS = { device: "cpu", fuse: true, maxBuffers: 16 } as const;
const matrix = (rows: number, columns: number): Tensor =>
  tensor(new Float32Array(rows * columns).fill(0.5), [rows, columns]);

const planOf = async (root: Tensor): Promise<Plan> => {
  const { roots, leaves } = graphOf([root]);
  return whenLoaded(() => makePlan(roots, leaves, OPTIONS));
};

test("the peak is where most lies between kernels, with inputs and results", async () => {
  // [8 8] -> [8 32] -> [8 64] -> [8 1]: at the second product 8 x 32 and 8 x 64 numbers are alive.
  const x = matrix(8, 8);
  const wide = matmul(matmul(x, matrix(8, 32)), matrix(32, 64));
  const peak = peakOf(await planOf(matmul(wide, matrix(64, 1))));
  const inputs = 4 * (64 + 256 + 2048 + 64);
  expect(peak.bytes).toBe(inputs + 4 * 8 + 4 * (8 * 32 + 8 * 64));
  expect(peak.step).toBe(1);
  expect(peak.alive.map(({ use, bytes }) => `${use} ${bytes}`)).toEqual([
    "input 8192",
    "temporary 2048",
    "input 1024",
    "temporary 1024",
    "input 256",
    "input 256",
    "result 32",
  ]);
});

test("explain lists what is alive, with the line that made it in debug mode", async () => {
  const device = cpu({ threads: 1 });
  setDebug(true);
  const y = matmul(matmul(matrix(8, 8), matrix(8, 16)), matrix(16, 2));
  setDebug(false);
  const lines = (await explain(y, { device, memory: true })).split("\n").filter((line) => line.startsWith("#"));
  expect(lines[0]).toMatch(/^# memory: 1\.\d+ kB at kernel 1 of 2, matmul: .*512 B of temporaries, 64 B of results/);
  expect(lines.join("\n")).toMatch(/512 B temporary f32 \[8,16\] of matmul, made at .*peak\.test\.ts:\d+/);
  await device.close();
});

test("explain shows the plan after each pass, and what makes the line run again", async () => {
  const device = cpu({ threads: 1 });
  const x = reshape(add(full([4, 6], 2), matrix(4, 6)), [24]);
  const text = await explain(softmax(mul(x, sum(x)), -1), { device, passes: true });
  const seen = text.split("\n").flatMap((line) => (line.startsWith(" ") ? [] : [line.split(":")[0]]));
  const names = PASSES.map(({ name }) => name);
  expect(seen.every((name) => names.includes(name!))).toBe(true);
  // There is no recurrence: the pass that looks for them changes nothing, and is not shown.
  expect(seen.slice(0, 3)).toEqual(["resolve", "keep", "store"]);
  expect(text).toMatch(/rows: \d+ kernels/);
  await device.close();
});
