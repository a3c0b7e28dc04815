/** What goes wrong while trials run: kills, crashes, full disks, two processes at once, other versions. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mixers } from "@seqmix/catalog";
import type { Row } from "./results/results.js";
import { prepare } from "./sweeps/experiment.js";
import { bench, buildBench, cli, linesOf, tinyTrial } from "./testing/bench-process.js";
import { runTrials, type RunOptions } from "./trials/run-trials.js";
import { tasks } from "./trials/tasks.js";
import { parseTrial } from "./trials/trial.js";
import { openPool } from "./trials/worker-pool.js";

let folder: string;
beforeAll(async () => {
  await buildBench();
  folder = mkdtempSync(join(tmpdir(), "seqmix-faults-"));
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What must not depend on interruptions. */
const numbers = ({ trial, status, metrics, validation, curve }: Row): unknown => ({
  trial,
  status,
  metrics,
  validation,
  curve,
});

const snapshots = (out: string): string[] =>
  existsSync(join(folder, out)) ? readdirSync(join(folder, out)).filter((name) => name.endsWith(".snapshot")) : [];

/** Starts the command line and resolves when `seen` is true or it ended. */
async function startUntil(args: readonly string[], seen: () => boolean): Promise<ChildProcess> {
  const child = spawn(process.execPath, [cli, ...args], { cwd: folder, stdio: "ignore" });
  while (child.exitCode === null && child.signalCode === null && !seen())
    await new Promise((done) => setTimeout(done, 20));
  return child;
}

/** Kills without a chance to save, and waits for the end. */
const killNow = (child: ChildProcess): Promise<void> =>
  new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.once("exit", () => done());
    child.kill("SIGKILL");
  });

/** Workers of a process (Linux). */
const workersOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter((child) => child !== "" && readFileSync(`/proc/${child}/cmdline`, "utf8").includes("worker"))
    .map(Number);

/** Runs trials from this process, each in a worker of its own kind, and collects what is shown. */
async function run(trials: readonly string[], out: string, options: Partial<RunOptions> = {}) {
  let shown = "";
  const stream = { write: (text: string) => ((shown += text), true) } as unknown as NodeJS.WriteStream;
  const experiments = trials.map((text) => prepare(parseTrial(text, { tasks, mixers })));
  const rows = await runTrials(experiments, {
    device: "cpu",
    jobs: 1,
    out: join(folder, out),
    entry: cli,
    stream,
    ...options,
  });
  return { rows, shown };
}

test("kill -9 at any moment, then again: no trial lost, none repeated, the numbers of an uninterrupted run", async () => {
  const args = (out: string): string[] => [
    "run",
    tinyTrial(60),
    tinyTrial(80),
    "--seeds",
    "0,1",
    "--jobs",
    "2",
    "--out",
    out,
  ];
  const whole = bench(folder, args("whole"));
  const moments = [1, 3].map((rows) => () => linesOf(join(folder, "killed")).length >= rows);
  for (const moment of moments) await killNow(await startUntil(args("killed"), moment));
  for (const { code } of [await bench(folder, args("killed")), await whole]) expect(code).toBe(0);
  const rows = linesOf(join(folder, "killed"));
  expect(rows).toHaveLength(4);
  const byTrial = (some: Row[]): unknown[] =>
    some.map(numbers).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  expect(byTrial(rows)).toEqual(byTrial(linesOf(join(folder, "whole"))));
  expect(readdirSync(join(folder, "killed")).sort()).toEqual([
    "report.html",
    "report.md",
    "report.tex",
    "results.jsonl",
  ]);
}, 240_000);

test("a second process on one folder is refused by name; a lock that a killed one left is taken over", async () => {
  const args = ["run", tinyTrial(100_000), "--out", "held"];
  const holder = await startUntil(args, () => existsSync(join(folder, "held", "results.lock")));
  const second = await bench(folder, ["run", tinyTrial(3), "--out", "held"]);
  expect(second.code).toBe(2);
  expect(second.output).toContain(`Expected held for this process alone, but process ${holder.pid} on `);
  expect(linesOf(join(folder, "held"))).toEqual([]);
  await killNow(holder);
  expect(existsSync(join(folder, "held", "results.lock"))).toBe(true);
  expect((await bench(folder, ["run", tinyTrial(3), "--out", "held"])).code).toBe(0);
  expect(linesOf(join(folder, "held"))).toHaveLength(1);
}, 120_000);

test.runIf(process.platform === "linux")(
  "a worker that is killed is a failed row, and its trial runs again next time",
  async () => {
    const running = run([tinyTrial(3000), tinyTrial(3)], "crash");
    let [worker] = workersOf(process.pid);
    while (worker === undefined) {
      await new Promise((done) => setTimeout(done, 20));
      [worker] = workersOf(process.pid);
    }
    process.kill(worker, "SIGKILL");
    const { rows } = await running;
    expect(rows.map(({ status }) => status)).toEqual(["failed", "done"]);
    expect(rows[0]!.error).toBe("its process was killed by SIGKILL, perhaps by the system for lack of memory");
    const again = await run([tinyTrial(3), tinyTrial(3000)], "crash");
    expect(again.shown).toContain("1 of 2 trials are finished");
    expect(again.rows.map(({ status }) => status)).toEqual(["done", "done"]);
  },
  120_000,
);

test("a worker that runs out of memory is a failed row", async () => {
  const big =
    "selective-copying:transformer:nLayers=150;dModel=8;nHeads=2;dHidden=8;steps=3;batch=1;dataTokens=2;positions=6";
  const { rows } = await run([big, tinyTrial(3)], "memory", { heap: 80 });
  expect(rows.map(({ status }) => status)).toEqual(["failed", "done"]);
  expect(rows[0]!.error).toContain("its process ran out of memory (heap limit)");
}, 120_000);

test.runIf(process.platform === "linux")(
  "a disk that takes no more stops with one sentence, and what is there stays whole",
  async () => {
    mkdirSync(join(folder, "full"));
    expect((await bench(folder, ["run", tinyTrial(3), "--out", "full"])).code).toBe(0);
    const before = readFileSync(join(folder, "full", "results.jsonl"), "utf8");
    // Files may not grow beyond that: the next row does not fit.
    const blocks = Math.ceil((before.length + 200) / 1024);
    const command = `trap '' XFSZ; ulimit -f ${blocks}; exec "$@"`;
    const child = spawn(
      "bash",
      ["-c", command, "bash", process.execPath, cli, "run", tinyTrial(4), tinyTrial(5), "--jobs", "1", "--out", "full"],
      {
        cwd: folder,
      },
    );
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (output += text.toString()));
    const code = await new Promise<number | null>((done) => child.once("close", done));
    expect(output).toMatch(/error: Expected (room for|to write) full\/results\.jsonl/);
    expect(output).not.toContain("    at ");
    expect(code).toBe(2);
    expect(readFileSync(join(folder, "full", "results.jsonl"), "utf8")).toBe(before);
    expect((await bench(folder, ["run", tinyTrial(4), tinyTrial(5), "--out", "full"])).code).toBe(0);
    expect(linesOf(join(folder, "full"))).toHaveLength(3);
  },
  120_000,
);

test("results of another version are kept, named, and run again only with fresh; those of a newer form are left alone", async () => {
  const trials = [tinyTrial(3)];
  const [row] = (await run(trials, "versions")).rows;
  const file = join(folder, "versions", "results.jsonl");
  const old = { ...row!, commit: "0123456789abcdef", versions: { ...row!.versions, seqmix: "0.0.0-old" } };
  writeFileSync(file, `${JSON.stringify(old)}\n`);
  const kept = await run(trials, "versions");
  expect(kept.shown).toContain("1 of them was run by another version, 0.0.0-old (0123456789ab)");
  expect(kept.rows).toEqual([old]);
  const fresh = await run(trials, "versions", { fresh: true });
  expect(fresh.rows.map(({ commit }) => commit)).toEqual([row!.commit]);
  expect(linesOf(join(folder, "versions")).map(({ commit }) => commit)).toEqual([old.commit, row!.commit]);

  const newer = `${JSON.stringify({ ...row!, format: 99 })}\n`;
  writeFileSync(file, newer);
  await expect(run(trials, "versions")).rejects.toThrow("got form 99, which a newer version wrote");
  expect(readFileSync(file, "utf8")).toBe(newer);
}, 120_000);

test("a lost device: the trial goes on in a new process, and fails after the third loss", async () => {
  const entry = join(folder, "worker.mjs");
  writeFileSync(
    entry,
    `import { appendFileSync, readFileSync } from "node:fs";
process.on("message", ({ kind, trial, snapshot }) => {
  if (kind === "open") return process.send({ kind: "ready", description: "fake" });
  appendFileSync(snapshot, "x");
  const losses = readFileSync(snapshot, "utf8").length;
  process.send(trial === "twice" && losses === 3 ? { kind: "outcome", outcome: { status: "stopped", step: losses } } : { kind: "lost", error: "gone" });
});
process.on("disconnect", () => process.exit(0));\n`,
  );
  const pool = openPool({ device: "webgpu", commit: "x", entry });
  const run = (trial: string, warnings: string[]) =>
    pool.run({ trial, snapshot: join(folder, trial), report() {}, warn: (text) => warnings.push(text) });
  const [twice, always] = [[], []] as [string[], string[]];
  expect(await run("twice", twice)).toMatchObject({ status: "stopped", step: 3 });
  expect(twice).toHaveLength(2);
  expect(await run("always", always)).toMatchObject({ status: "failed", error: "gone (3 times)" });
  await pool.close();
});

test.runIf(process.platform === "linux")(
  "Ctrl-C while trials run at once saves each",
  async () => {
    const args = ["run", tinyTrial(30_000), "--seeds", "0,1", "--jobs", "2", "--out", "both"];
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, stdio: "ignore" });
    while (workersOf(child.pid!).length < 2) await new Promise((done) => setTimeout(done, 20));
    const ended = new Promise<number | null>((done) => child.once("exit", done));
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(snapshots("both")).toHaveLength(2);
    expect(existsSync(join(folder, "both", "results.lock"))).toBe(false);
  },
  120_000,
);

test.runIf(process.platform === "linux")(
  "a request to end that reaches every process at once is no failure of a trial",
  async () => {
    const args = ["run", tinyTrial(30_000), "--seeds", "0,1", "--jobs", "2", "--out", "all"];
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, stdio: "ignore" });
    while (workersOf(child.pid!).length < 2) await new Promise((done) => setTimeout(done, 20));
    const ended = new Promise<number | null>((done) => child.once("exit", done));
    // As a scheduler does it: the workers hear of it first.
    for (const pid of [...workersOf(child.pid!), child.pid!]) process.kill(pid, "SIGTERM");
    expect(await ended).toBe(143);
    expect(linesOf(join(folder, "all"))).toEqual([]);
  },
  120_000,
);
