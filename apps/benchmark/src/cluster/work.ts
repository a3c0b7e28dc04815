/** A sweep cut into shards for many machines. */
import type { Scale } from "../sweeps/sweep.js";

/** What each machine runs. */
export interface ClusterWork {
  /** Name of the question, or its file. */
  readonly question: string;
  /** A name for jobs: letters, digits and dashes. */
  readonly name: string;
  readonly scale: Scale;
  readonly device: string;
  /** Parts, each a job of its own. */
  readonly shards: number;
  /** Folder of the results, seen by every machine. */
  readonly out: string;
  /** Cores of a part. */
  readonly cpus: number;
  /** Memory of a part, GiB. */
  readonly memory: number;
  /** GPUs of a part: 1 with webgpu, else 0. */
  readonly gpus: number;
}

/** The arguments of a part's command line. @param index Text that the scheduler's shell turns into the part's number, from 1. */
export const argumentsOf = (work: ClusterWork, index: string): readonly string[] => [
  "sweep",
  work.question,
  "--scale",
  work.scale,
  "--device",
  work.device,
  "--out",
  work.out,
  "--shard",
  `${index}/${work.shards}`,
];

/** How the parts are put together when all have ended. */
export const mergeCommand = ({ out, shards }: Pick<ClusterWork, "out" | "shards">): string =>
  `seqmix-bench report ${Array.from({ length: shards }, (_, k) => `${out}/shard-${k + 1}-of-${shards}`).join(" ")} --out ${out}`;

/** A word for a shell, quoted. */
export const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
