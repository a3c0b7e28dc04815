/** Files that are never seen half-written, whatever kills the process. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";

/** Writes beside the file and renames: a reader sees the old content or the new. */
export function writeFileAtomically(path: string, data: string | Uint8Array): void {
  const partial = `${path}.${process.pid}.partial`;
  writeAll(partial, "w", data);
  renameSync(partial, path);
}

/** Appends one whole line and waits until it is on the disk. */
export function appendLine(path: string, line: string): void {
  writeAll(path, "a", `${line}\n`);
}

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
