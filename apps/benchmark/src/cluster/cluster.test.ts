import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseShard, shardFolder, shardOf } from "../commands/options.js";
import { kubernetesJob } from "./kubernetes.js";
import { slurmScript } from "./slurm.js";
import { mergeCommand, type ClusterWork } from "./work.js";

const work: ClusterWork = {
  question: "selective-copying",
  name: "selective-copying",
  scale: "paper",
  device: "webgpu",
  shards: 3,
  out: "/data/it's here/$HOME",
  cpus: 4,
  memory: 16,
  gpus: 1,
};
/** Prints its arguments, a line each. */
const echo = ["-e", "for (const each of process.argv.slice(1)) console.log(each)", "--"];

const lines = (program: string, args: readonly string[], env: Record<string, string>): string[] =>
  execFileSync(program, args, { env: { ...process.env, ...env }, encoding: "utf8" })
    .trim()
    .split("\n");

test.skipIf(process.platform === "win32")("the batch script runs its element's shard, whatever is in the names", () => {
  const folder = mkdtempSync(join(tmpdir(), "seqmix-slurm-"));
  const file = join(folder, "job.sh");
  const script = slurmScript(work, { time: "1:00:00", folder, program: [process.execPath, ...echo], parallel: 2 });
  writeFileSync(file, script);
  const shown = lines("bash", [file], { SLURM_ARRAY_TASK_ID: "2" });
  expect(shown.join(" ")).toBe(`sweep selective-copying --scale paper --device webgpu --out ${work.out} --shard 2/3`);
  expect(shown).toContain(work.out);
  for (const line of ["--array=1-3%2", "--gpus=1", "--requeue", "--signal=B:TERM@60", "--mem=16G", "--time=1:00:00"])
    expect(script).toContain(`#SBATCH ${line}\n`);
  rmSync(folder, { recursive: true });
});

test.skipIf(process.platform === "win32")("a pod of the indexed job runs its shard, counted from one", () => {
  const job = kubernetesJob(work, { image: "seqmix:1", claim: "results" });
  const { completions, completionMode, template } = job.spec!;
  expect({ completions, completionMode }).toEqual({ completions: 3, completionMode: "Indexed" });
  const [container] = template.spec!.containers;
  expect(container!.resources!.limits).toEqual({ memory: "16Gi", "nvidia.com/gpu": "1" });
  const [shell, option, text] = container!.command!;
  const shown = lines(shell!, [option!, text!.replace("exec node apps/benchmark/dist/cli.js", "exec printf '%s\\n'")], {
    JOB_COMPLETION_INDEX: "2",
  });
  expect(shown.slice(-2)).toEqual(["--shard", "3/3"]);
  expect(shown[shown.indexOf("--out") + 1]).toBe("/results/selective-copying-paper");
});

test("the shards of a list have each element once, the same on every machine", () => {
  const list = Array.from({ length: 11 }, (_, k) => k);
  const shards = [1, 2, 3, 4].map((k) => shardOf(list, parseShard(`${k}/4`)));
  expect(shards.flat().sort((a, b) => a - b)).toEqual(list);
  expect(Math.max(...shards.map(({ length }) => length)) - Math.min(...shards.map(({ length }) => length))).toBe(1);
  expect(shardFolder("out", parseShard("2/4"))).toBe("out/shard-2-of-4");
  expect(mergeCommand({ out: "out", shards: 2 })).toContain("out/shard-1-of-2 out/shard-2-of-2 --out out");
  for (const wrong of ["0/4", "5/4", "1", "a/b", "1/0"]) expect(() => parseShard(wrong)).toThrow(/part such as/);
});
