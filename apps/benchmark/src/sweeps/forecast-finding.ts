/** What the numbers of the forecasting experiment say, in words that follow from them. */
import type { ForecastOutcome } from "./forecasting.js";

/** Outcomes on one series; the first is the one that others have to beat. */
interface SeriesOutcomes {
  readonly series: string;
  readonly outcomes: readonly ForecastOutcome[];
}

/** Mean and, over several seeds, the standard deviation of a forecaster's error: "0.512 ± 0.020". */
export function spread(outcomes: readonly Pick<ForecastOutcome, "name" | "test">[], name: string): string {
  const errors = outcomes.filter((outcome) => outcome.name === name).map(({ test }) => test);
  const average = meanOf(errors);
  if (errors.length < 2) return average.toFixed(3);
  const variance = errors.reduce((sum, error) => sum + (error - average) ** 2, 0) / (errors.length - 1);
  return `${average.toFixed(3)} ± ${Math.sqrt(variance).toFixed(3)}`;
}

/** For each series whether SpaceTime is better than the seasonal-naive forecast with every seed, and what is best on average. */
export function findingOf(sections: readonly SeriesOutcomes[]): string {
  return sections
    .map(({ series, outcomes }) => {
      const naive = outcomes[0]!;
      const errors = outcomes.filter(({ name }) => name === "SpaceTime").map(({ test }) => test);
      const better = errors.filter((error) => error < naive.test).length;
      const names = [...new Set(outcomes.map(({ name }) => name))];
      const averages = names.map((name) =>
        meanOf(outcomes.filter((each) => each.name === name).map(({ test }) => test)),
      );
      const best = names[averages.indexOf(Math.min(...averages))]!;
      return `${series}: SpaceTime is better than the ${naive.name} forecast with ${better} of ${errors.length} seeds (${meanOf(errors).toFixed(3)} against ${naive.test.toFixed(3)}); best is ${best} (${Math.min(...averages).toFixed(3)}).`;
    })
    .join(" ");
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
