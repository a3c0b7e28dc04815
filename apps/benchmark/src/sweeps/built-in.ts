/** The questions that come with the program: a folder each, with a README and a sweep.ts. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A question by its name. */
export interface BuiltInSweep {
  readonly name: string;
  /** Path of its sweep.ts. */
  readonly file: string;
}

const folder = fileURLToPath(new URL("../../sweeps/", import.meta.url));

/** Every question, by name. */
export const builtInSweeps: readonly BuiltInSweep[] = (existsSync(folder) ? readdirSync(folder).sort() : [])
  .map((name) => ({ name, file: join(folder, name, "sweep.ts") }))
  .filter(({ file }) => existsSync(file));
