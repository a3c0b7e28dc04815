import { execFileSync } from "node:child_process";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { kubernetesJob, dockerfile } from "../cluster/kubernetes.js";
import { slurmScript } from "../cluster/slurm.js";
import { mergeCommand, type ClusterWork } from "../cluster/work.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { makeResultsFolder } from "../results/results.js";
import { planOf } from "../sweeps/run-sweep.js";
import { expandSweep, type Scale } from "../sweeps/sweep.js";
import { devices } from "./devices.js";
import { wholeFrom } from "./options.js";
import { loadSweep, parseScale } from "./sweep.js";
import { messageOf, UsageError } from "./usage-error.js";

interface Options {
  readonly slurm?: boolean;
  readonly kubernetes?: boolean;
  readonly scale: Scale;
  readonly device: string;
  readonly shards?: number;
  readonly out?: string;
  readonly cpus: number;
  readonly memory: number;
  readonly parallel?: number;
  readonly time: string;
  readonly partition?: string;
  readonly account?: string;
  readonly image: string;
  readonly claim: string;
  readonly namespace?: string;
  readonly dryRun?: boolean;
}

/** Registers `submit`. */
export function registerSubmit(program: Command): void {
  program
    .command("submit")
    .description(
      "run a sweep on a cluster that is there: an array job for Slurm, or a job for Kubernetes, one part a GPU",
    )
    .argument("<question>", "a name of `list`, or a file, as for `sweep`")
    .option("--slurm", "write the batch script and submit it with sbatch")
    .option("--kubernetes", "write the manifest of an Indexed Job and a Dockerfile, and create the job with kubectl")
    .option("--scale <scale>", "as for `sweep`", parseScale, "paper")
    .option(
      "--device <name>",
      `where to compute: ${Object.keys(devices).join(", ")}; webgpu asks for a GPU each`,
      "webgpu",
    )
    .option("--shards <n>", "parts (one a row of the sweep's table by default)", wholeFrom(1, 10_000))
    .option("--parallel <n>", "parts that may run at once", wholeFrom(1, 10_000))
    .option("--cpus <n>", "cores of a part", wholeFrom(1, 1024), 4)
    .option("--memory <GiB>", "memory of a part", wholeFrom(1, 8192), 16)
    .option("--time <limit>", "Slurm: time limit of a part; it saves and goes on when it is started again", "24:00:00")
    .option("--partition <name>", "Slurm: the partition")
    .option("--account <name>", "Slurm: the account")
    .option("--image <name>", "Kubernetes: the image", "seqmix:latest")
    .option("--claim <name>", "Kubernetes: the persistent volume claim for results", "seqmix-results")
    .option("--namespace <name>", "Kubernetes: the namespace")
    .option("--out <folder>", "folder of the results and of what is written here")
    .option("--dry-run", "write the files and submit nothing")
    .action(submit);
}

async function submit(question: string, options: Options): Promise<void> {
  if (options.slurm === options.kubernetes)
    throw new UsageError("Expected one of --slurm and --kubernetes; name the cluster there is");
  if (!Object.hasOwn(devices, options.device)) throw new UsageError(`Unknown device "${options.device}"`);
  const { name, sweep } = await loadSweep(question);
  const rows = expandSweep(planOf(sweep, options.scale)).length;
  const work: ClusterWork = {
    question: question === name ? question : resolve(question),
    name,
    scale: options.scale,
    device: options.device,
    shards: Math.min(options.shards ?? rows, rows),
    out: resolve(makeResultsFolder(options.out ?? join("results", `${name}-${options.scale}`))),
    cpus: options.cpus,
    memory: options.memory,
    gpus: options.device === "webgpu" ? 1 : 0,
  };
  if (options.slurm) toSlurm(work, options);
  else toKubernetes(work, options);
  console.log(`When all ${work.shards} parts have ended: ${mergeCommand(work)}`);
}

function toSlurm(work: ClusterWork, { time, partition, account, parallel, dryRun = false }: Options): void {
  const file = join(work.out, "slurm.sh");
  const script = slurmScript(work, {
    time,
    folder: process.cwd(),
    program: [process.execPath, process.argv[1]!],
    ...(partition !== undefined && { partition }),
    ...(account !== undefined && { account }),
    ...(parallel !== undefined && { parallel }),
  });
  writeFileAtomically(file, script);
  console.log(`Written to ${file}: ${work.shards} parts.`);
  if (!dryRun) console.log(run("sbatch", [file]));
}

function toKubernetes(work: ClusterWork, { image, claim, namespace, parallel, dryRun = false }: Options): void {
  const manifest = join(work.out, "job.json");
  const job = kubernetesJob(work, {
    image,
    claim,
    ...(namespace !== undefined && { namespace }),
    ...(parallel !== undefined && { parallel }),
  });
  writeFileAtomically(manifest, `${JSON.stringify(job, undefined, 2)}\n`);
  writeFileAtomically(join(work.out, "Dockerfile"), dockerfile(work.gpus > 0));
  console.log(
    `Written to ${manifest}: ${work.shards} parts. Its image: docker build -f ${join(work.out, "Dockerfile")} -t ${image} . (in the repository's root)`,
  );
  if (!dryRun) console.log(run("kubectl", ["create", "-f", manifest]));
}

/** Runs the scheduler's own program. @throws UsageError with what it said. */
function run(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { readonly stderr?: string };
    const why = code === "ENOENT" ? "it is not installed" : (stderr ?? messageOf(error)).trim();
    throw new UsageError(
      `Expected ${program} to take the job, but ${why}; submit the written file where it is, or use --dry-run`,
      { cause: error },
    );
  }
}
