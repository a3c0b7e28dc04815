/** A sweep as an array job for Slurm, one element a shard. */
import { argumentsOf, quoted, type ClusterWork } from "./work.js";

/** What only Slurm needs to know. */
export interface SlurmOptions {
  /** Time limit of an element, as Slurm writes it. */
  readonly time: string;
  readonly partition?: string;
  readonly account?: string;
  /** Elements that may run at once. */
  readonly parallel?: number;
  /** Folder from which the program runs. */
  readonly folder: string;
  /** The program: Node and the script. */
  readonly program: readonly string[];
}

/**
 * The batch script. An element is told a minute before its time ends: it saves its running trials and stops, and Slurm starts it
 * again when it is requeued; what is finished is skipped then. Each element sees the GPU that Slurm gave it, if Slurm keeps
 * devices apart (ConstrainDevices in cgroup.conf).
 */
export function slurmScript(work: ClusterWork, options: SlurmOptions): string {
  const { time, partition, account, parallel, folder, program } = options;
  const directives = [
    `job-name=seqmix-${work.name}`,
    `array=1-${work.shards}${parallel === undefined ? "" : `%${parallel}`}`,
    `output=${work.out}/slurm-%A-%a.log`,
    `chdir=${folder}`,
    `time=${time}`,
    "nodes=1",
    "ntasks=1",
    `cpus-per-task=${work.cpus}`,
    `mem=${work.memory}G`,
    ...(work.gpus > 0 ? [`gpus=${work.gpus}`] : []),
    ...(partition === undefined ? [] : [`partition=${partition}`]),
    ...(account === undefined ? [] : [`account=${account}`]),
    "requeue",
    "open-mode=append",
    "signal=B:TERM@60",
  ];
  const command = [...program, ...argumentsOf(work, "@INDEX@")]
    .map(quoted)
    .join(" ")
    .replaceAll("@INDEX@", '"$SLURM_ARRAY_TASK_ID"');
  return `#!/bin/bash
${directives.map((line) => `#SBATCH --${line}`).join("\n")}
set -eu
# In the place of this shell, so that signals reach it.
exec ${command}
`;
}
