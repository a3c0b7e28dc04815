/** One process at a time writes into a folder of results. */
import { linkSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { UsageError } from "../commands/usage-error.js";
import { writeFileAtomically } from "./atomic-file.js";

/** Holds a folder until it is released. */
export interface FolderLock {
  release(): void;
}

/** Who holds a folder. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, in the clock of its machine, where that can be known: a number of a process is used again. */
  readonly began: string | null;
  /** When it took the folder, ISO 8601. */
  readonly since: string;
}

const FILE = "results.lock";
/** Seconds between signs of life, and after which a holder on another machine counts as dead. */
const BEAT = 10;
const DEAD = 60;

/**
 * Takes a folder for this process. A lock that its process left behind (kill -9, a power cut) is taken over: at once if the
 * process was one of this machine, after a minute without a sign of life if it was another's.
 * @throws UsageError naming the process that holds it, or if the disk is full.
 */
export function lockFolder(folder: string): FolderLock {
  const path = join(folder, FILE);
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    began: beginningOf(process.pid),
    since: new Date().toISOString(),
  };
  while (!create(path, own)) {
    const found = read(path);
    if (found === undefined) continue; // released in between
    if (isAlive(found, path)) throw taken(folder, found.holder);
    setAside(path, found.text, folder);
  }
  const beat = setInterval(() => {
    const now = new Date();
    try {
      utimesSync(path, now, now);
    } catch {
      // Someone removed it by hand: the rows are still written whole, one line at a time.
    }
  }, BEAT * 1000);
  beat.unref();
  return {
    release() {
      clearInterval(beat);
      if (read(path)?.text === textOf(own)) rmSync(path, { force: true });
    },
  };
}

const textOf = (holder: Holder): string => `${JSON.stringify(holder)}\n`;

/** Makes the file with its content in one step. @returns false if there is one. @throws UsageError on a full disk. */
function create(path: string, holder: Holder): boolean {
  const draft = `${path}.${process.pid}`;
  writeFileAtomically(draft, textOf(holder));
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function read(path: string): { readonly text: string; readonly holder: Holder | undefined } | undefined {
  try {
    const text = readFileSync(path, "utf8");
    try {
      return { text, holder: JSON.parse(text) as Holder };
    } catch {
      return { text, holder: undefined };
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function isAlive({ holder }: { readonly holder: Holder | undefined }, path: string): boolean {
  if (holder?.host !== hostname()) return (Date.now() - statSync(path).mtimeMs) / 1000 < DEAD;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: there is one, and it is another user's.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return holder.began === null || holder.began === beginningOf(holder.pid);
}

/** Moves a dead process's lock away; if it was replaced meanwhile, puts the new one back. */
function setAside(path: string, text: string, folder: string): void {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  const moved = read(aside);
  try {
    if (moved && moved.text !== text) {
      linkSync(aside, path);
      throw taken(folder, moved.holder);
    }
  } finally {
    rmSync(aside, { force: true });
  }
}

const taken = (folder: string, holder: Holder | undefined): UsageError =>
  new UsageError(
    holder
      ? `Expected ${folder} for this process alone, but process ${holder.pid} on ${holder.host} has been writing into it since ${holder.since}; wait for it, stop it, or choose another folder with --out`
      : `Expected ${folder} for this process alone, but its ${FILE} is not readable; remove it if nothing is running, or choose another folder with --out`,
  );

/** When a process of this machine began, in ticks since the machine did; null where the system does not say. */
function beginningOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name of the program may hold spaces and brackets.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
