/** Monthly series of the npm package `vega-datasets`, read by their paths: its loader fetches them from a network. */
import { createRequire } from "node:module";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TimeSeries } from "@seqmix/tasks";
import { csvParse } from "d3-dsv";
import { UsageError } from "../commands/usage-error.js";

/** A year of months. */
const SEASON = 12;

/** Carbon dioxide at Mauna Loa (Scripps, parts per million), months that were not measured filled in on a line. */
function carbonDioxide(): TimeSeries {
  const rows = csvParse(dataFile("co2-concentration.csv"));
  const measured = rows.map((row) => [monthNumber(row["Date"]!), Number(row["CO2"])] as const);
  return { id: "co2", season: SEASON, values: [everyMonth(measured)] };
}

/** Unemployed persons by industry (Bureau of Labor Statistics, thousands). */
function unemployment(): TimeSeries {
  const rows = JSON.parse(dataFile("unemployment-across-industries.json")) as readonly {
    readonly series: string;
    readonly year: number;
    readonly month: number;
    readonly count: number;
  }[];
  const names = [...new Set(rows.map(({ series }) => series))].sort();
  return {
    id: "unemployment",
    season: SEASON,
    values: names.map((name) =>
      everyMonth(
        rows
          .filter(({ series }) => series === name)
          .map(({ year, month, count }) => [12 * year + month, count] as const)
          .sort(([a], [b]) => a - b),
      ),
    ),
  };
}

/** Every series by name. */
export const realSeries: Readonly<Record<string, () => TimeSeries>> = { co2: carbonDioxide, unemployment };

/** Values at each month from the first to the last, those between known ones on a line. */
export function everyMonth(known: readonly (readonly [month: number, value: number])[]): Float64Array {
  const values: number[] = [];
  known.forEach(([month, value], k) => {
    const [before, from] = known[k - 1] ?? [month - 1, value];
    for (let m = before + 1; m <= month; m++) values.push(from + ((value - from) * (m - before)) / (month - before));
  });
  return Float64Array.from(values);
}

/** Months since the year 0 of a date YYYY-MM-DD. */
function monthNumber(date: string): number {
  const [year, month] = date.split("-").map(Number) as [number, number];
  return 12 * year + month;
}

function dataFile(name: string): string {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve("vega-datasets");
  } catch {
    throw new UsageError(
      "the series are in the package vega-datasets, which is not installed; run npm test once, or pnpm install",
    );
  }
  const path = join(entry, "..", "..", "data", name);
  if (!existsSync(path))
    throw new UsageError(`expected ${name} in vega-datasets, got none; install the version of the lockfile`);
  return readFileSync(path, "utf8");
}
