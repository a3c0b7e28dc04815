import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";

/** What a result depends on beside its settings. */
export interface Environment {
  /** Commit of the working tree, with "+changes" if tracked files differ from it; "unknown" outside a repository. */
  readonly commit: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Processor, cores, memory, operating system. */
  readonly machine: string;
}

/** Reads the environment of this process. */
export function readEnvironment(): Environment {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  return {
    commit: process.env.SEQMIX_COMMIT ?? commit(),
    versions: { seqmix: manifest.version, node: process.versions.node, v8: process.versions.v8 },
    machine: `${cpus()[0]?.model.trim() || process.arch}, ${availableParallelism()} threads, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}`,
  };
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, {
      cwd: import.meta.dirname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    return git("rev-parse", "HEAD") + (git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "+changes");
  } catch {
    return "unknown";
  }
}
