/** What a run that was ended had measured. */
import { existsSync, readFileSync } from "node:fs";

/**
 * What the file of a run with the same setting holds beside the setting; undefined without such a file.
 * @param found Names of what was found: all else in the file is the setting.
 */
export function savedRun<Found extends object>(
  file: string,
  setting: object,
  found: readonly (keyof Found & string)[],
): Found | undefined {
  if (!existsSync(file)) return undefined;
  const saved = JSON.parse(readFileSync(file, "utf8")) as Found;
  const names: readonly string[] = found;
  const settingOf = (run: object): string =>
    JSON.stringify(
      Object.entries(run)
        .filter(([name]) => !names.includes(name))
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  return settingOf(saved) === settingOf(setting) ? saved : undefined;
}
