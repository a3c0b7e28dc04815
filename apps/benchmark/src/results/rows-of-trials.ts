/** Which row belongs to a trial. */
import { hasValuesOf } from "../trials/settings.js";
import type { Trial } from "../trials/trial.js";
import type { Row } from "./results.js";

/** Finds the last row of a trial, if it was made with the values of the trial's settings. */
export function rowsOfTrials(rows: readonly Row[]): (trial: Trial) => Row | undefined {
  const byIdentity = new Map(rows.map((row) => [row.trial, row]));
  return ({ identity, settings }) => {
    const row = byIdentity.get(identity);
    return row && hasValuesOf(row.config, settings) ? row : undefined;
  };
}
