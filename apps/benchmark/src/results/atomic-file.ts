/** Files that are never seen half-written, whatever kills the process. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { messageOf, UsageError } from "../commands/usage-error.js";

/**
 * Writes beside the file and renames: a reader sees the old content or the new.
 * @throws UsageError if it cannot be written, e.g. on a full disk; nothing is left then.
 */
export function writeFileAtomically(path: string, data: string | Uint8Array): void {
  const partial = `${path}.${process.pid}.partial`;
  try {
    writeAll(partial, "w", data);
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw cannotWrite(path, error);
  }
}

/**
 * Appends one whole line and waits until it is on the disk.
 * @throws UsageError if it cannot be written; the file is as it was then.
 */
export function appendLine(path: string, line: string): void {
  const size = existsSync(path) ? statSync(path).size : 0;
  try {
    writeAll(path, "a", `${line}\n`);
  } catch (error) {
    if (existsSync(path) && statSync(path).isFile()) truncateSync(path, size);
    throw cannotWrite(path, error);
  }
}

const cannotWrite = (path: string, error: unknown): UsageError =>
  new UsageError(
    (error as NodeJS.ErrnoException).code === "ENOSPC"
      ? `Expected room for ${path}, but the disk is full; free some, and the same command goes on from what is saved`
      : `Expected to write ${path}, but that failed (${messageOf(error)}); make it writable, and the same command goes on from what is saved`,
    { cause: error },
  );

function writeAll(path: string, flags: "w" | "a", data: string | Uint8Array): void {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  const file = openSync(path, flags);
  try {
    for (let written = 0; written < bytes.length;) written += writeSync(file, bytes, written);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
