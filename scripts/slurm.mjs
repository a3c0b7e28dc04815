// Tries `seqmix-bench submit --slurm` for real: a Slurm of one node, started here in a temporary folder, runs a sweep as an
// array job; one element is requeued on its way. Where Slurm cannot be had, the verdict says so.
//   node scripts/slurm.mjs              with the Slurm that is installed
//   node scripts/slurm.mjs --install    installs Debian's slurm-wlm and munge first (root)
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, hostname, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { root } from "./pnpm.mjs";

const SHARDS = 2;
const MOST_SECONDS = 540;
const paths = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/local/sbin"];
const programs = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo"];
const find = (name) => paths.map((folder) => join(folder, name)).find(existsSync);
const missing = () => programs.filter((name) => !find(name));

if (process.argv.includes("--install") && missing().length > 0) {
  const apt = (...args) =>
    execFileSync("apt-get", args, { stdio: "inherit", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  try {
    apt("update");
    apt("install", "-y", "--no-install-recommends", "slurm-wlm", "munge");
  } catch (error) {
    console.error(`Could not install slurm-wlm: ${error.message}`);
  }
}
if (missing().length > 0)
  verdict(0, `NOT RUN, since this machine has no ${missing().join(", ")}; --install installs them as root`);
if (process.getuid?.() !== 0) verdict(0, "NOT RUN, since a Slurm of one's own needs root here");

const folder = mkdtempSync(join(tmpdir(), "seqmix-slurm-"));
const daemons = [];
const env = { ...process.env, SLURM_CONF: join(folder, "slurm.conf") };
const slurm = (name, ...args) => execFileSync(find(name), args, { env, encoding: "utf8", cwd: root }).trim();
try {
  await start();
  await test();
} catch (error) {
  for (const name of readdirSync(folder).filter((each) => each.endsWith(".log")))
    console.error(`--- ${name}\n${readFileSync(join(folder, name), "utf8").split("\n").slice(-15).join("\n")}`);
  console.error(error.message);
  await stop();
  verdict(1, "FAILED");
}
await stop();
verdict(0, `passed: ${SHARDS} elements, one of them requeued on its way, every trial once`);

function verdict(code, text) {
  console.log(`slurm: ${text}`);
  process.exit(code);
}

/** Starts munged, slurmctld and slurmd with everything they write below the folder. */
async function start() {
  const socket = join(folder, "munge.socket");
  writeFileSync(join(folder, "munge.key"), randomBytes(128), { mode: 0o400 });
  for (const name of ["state", "spool"]) mkdirSync(join(folder, name));
  const host = hostname();
  writeFileSync(
    env.SLURM_CONF,
    [
      "ClusterName=seqmix",
      `SlurmctldHost=${host}(127.0.0.1)`,
      "SlurmctldPort=36817",
      "SlurmdPort=36818",
      "SlurmUser=root",
      "SlurmdUser=root",
      "AuthType=auth/munge",
      `AuthInfo=socket=${socket}`,
      "CredType=cred/munge",
      `StateSaveLocation=${join(folder, "state")}`,
      `SlurmdSpoolDir=${join(folder, "spool")}`,
      `SlurmctldPidFile=${join(folder, "slurmctld.pid")}`,
      `SlurmdPidFile=${join(folder, "slurmd.pid")}`,
      "ProctrackType=proctrack/linuxproc",
      "TaskPlugin=task/none",
      "MpiDefault=none",
      "SelectType=select/cons_tres",
      "SelectTypeParameters=CR_Core",
      "ReturnToService=2",
      "KillWait=30",
      "MinJobAge=600",
      `NodeName=${host} NodeAddr=127.0.0.1 CPUs=${availableParallelism()} RealMemory=${Math.floor(totalmem() / 2 ** 20)} State=UNKNOWN`,
      `PartitionName=all Nodes=${host} Default=YES MaxTime=INFINITE State=UP`,
      "",
    ].join("\n"),
  );
  daemon("munged", [
    "-F",
    "--force",
    "--socket",
    socket,
    "--key-file",
    join(folder, "munge.key"),
    "--pid-file",
    join(folder, "munged.pid"),
    "--seed-file",
    join(folder, "munge.seed"),
    "--log-file",
    join(folder, "munged.log"),
  ]);
  await until("the socket of munged", () => existsSync(socket));
  daemon("slurmctld", ["-D", "-f", env.SLURM_CONF]);
  daemon("slurmd", ["-D", "-f", env.SLURM_CONF]);
  await until("an idle node", () => slurm("sinfo", "-h", "-o", "%T").includes("idle"));
  console.log(`Slurm ${slurm("sinfo", "--version")} with one node runs.`);
}

function daemon(name, args) {
  const child = spawn(find(name), args, { env, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => writeFileSync(join(folder, `${name}.log`), text, { flag: "a" }));
  daemons.push(child);
}

async function test() {
  const cli = join(root, "apps/benchmark/dist/cli.js");
  const out = join(folder, "results");
  const bench = (...args) => execFileSync(process.execPath, [cli, ...args], { env, encoding: "utf8", cwd: root });
  console.log(
    bench(
      "submit",
      "selective-copying",
      "--slurm",
      "--scale",
      "smoke",
      "--device",
      "cpu",
      "--shards",
      String(SHARDS),
      "--cpus",
      "1",
      "--memory",
      "2",
      "--time",
      "10:00",
      "--out",
      out,
    ),
  );
  const rowsOf = (k) => {
    const file = join(out, `shard-${k}-of-${SHARDS}`, "results.jsonl");
    return existsSync(file)
      ? readFileSync(file, "utf8")
          .trim()
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line))
      : [];
  };
  await until("the first row", () => rowsOf(1).length > 0);
  console.log(slurm("squeue", "-r"));
  const [job] = slurm("squeue", "-h", "-r", "-o", "%i")
    .split("\n")
    .filter((id) => id.endsWith("_1"));
  if (job) console.log(`Requeued ${job} after ${rowsOf(1).length} of its rows. ${slurm("scontrol", "requeue", job)}`);
  // A requeued element waits a while before it may begin again.
  await until("all elements to end", () => {
    for (const id of slurm("squeue", "-h", "-r", "-t", "PD", "-o", "%i").split("\n").filter(Boolean))
      slurm("scontrol", "update", `JobId=${id}`, "StartTime=now");
    return slurm("squeue", "-h", "-r") === "";
  });
  const shards = Array.from({ length: SHARDS }, (_, k) => rowsOf(k + 1));
  console.log(`Rows by element: ${shards.map((rows) => rows.length).join(", ")}.`);
  for (const name of readdirSync(out).filter((each) => each.endsWith(".log")))
    console.log(`--- ${name}\n${readFileSync(join(out, name), "utf8").trim()}`);
  const trials = shards.flat().map(({ trial }) => trial);
  if (trials.length === 0 || new Set(trials).size !== trials.length)
    throw new Error(`Expected every trial once, got ${trials.join(", ")}`);
  if (shards.flat().some(({ status }) => status !== "done")) throw new Error("Expected every trial to be done");
  bench("sweep", "selective-copying", "--scale", "smoke", "--out", join(folder, "alone"));
  const alone = readFileSync(join(folder, "alone", "results.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const numbers = (rows) =>
    JSON.stringify(
      rows
        .map(({ trial, metrics, validation }) => ({ trial, metrics, validation }))
        .sort((a, b) => (a.trial < b.trial ? -1 : 1)),
    );
  if (numbers(alone) !== numbers(shards.flat()))
    throw new Error("Expected the elements' rows to be those of one machine alone");
  const folders = shards.map((_, k) => join(out, `shard-${k + 1}-of-${SHARDS}`));
  console.log(`Put together: ${bench("report", ...folders, "--out", out).trim()}`);
}

async function until(what, done) {
  const begin = performance.now();
  for (;;) {
    try {
      if (done()) return;
    } catch {
      // Not up yet.
    }
    if (performance.now() - begin > MOST_SECONDS * 1000) throw new Error(`Waited ${MOST_SECONDS} s for ${what}`);
    await sleep(500);
  }
}

async function stop() {
  const ends = daemons.map(
    (child) => new Promise((done) => (child.exitCode === null ? child.once("exit", done) : done())),
  );
  for (const child of daemons.reverse()) child.kill("SIGTERM");
  await Promise.all(ends);
  rmSync(folder, { recursive: true, force: true });
}
