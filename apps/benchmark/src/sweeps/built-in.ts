/** The questions that come with the program: a folder each, with a README and a sweep.ts, or a sweep.mjs where the program is a bundle. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A question by its name. */
export interface BuiltInSweep {
  readonly name: string;
  /** Path of its sweep.ts or sweep.mjs. */
  readonly file: string;
}

const folder = fileURLToPath(new URL("../../sweeps/", import.meta.url));

/** Every question, by name. */
export const builtInSweeps: readonly BuiltInSweep[] = (existsSync(folder) ? readdirSync(folder).sort() : [])
  .flatMap((name) => ["sweep.ts", "sweep.mjs"].map((file) => ({ name, file: join(folder, name, file) })))
  .filter(({ file }) => existsSync(file));
