/** The page of the forecasting experiment. */
import type { ForecastOutcome } from "../sweeps/forecasting.js";
import { forecastChart, forecastErrorChart } from "./charts.js";
import { document, escape, figure, legend } from "./html.js";

/** One series: how all forecasters did, and the last test window in standard units. */
export interface ForecastSection {
  readonly series: string;
  readonly outcomes: readonly ForecastOutcome[];
  readonly past: readonly number[];
  readonly future: readonly number[];
  readonly lag: number;
  readonly horizon: number;
}

/** Two figures a series. @param finding What the numbers say, in a sentence. */
export function forecastingPage(sections: readonly ForecastSection[], finding: string): string {
  const names = [...new Set(sections.flatMap(({ outcomes }) => outcomes.map(({ name }) => name)))];
  const figures = sections.map(({ series, outcomes, past, future, lag, horizon }) => {
    // One forecast each: that of the first seed.
    const forecasts = names.flatMap((name) => outcomes.find((outcome) => outcome.name === name) ?? []);
    return `<section><h2>${escape(series)}</h2><p>${escape(`${horizon} months from ${lag}; a dot a seed. The dashed line is the seasonal-naive forecast.`)}</p><div class="figures">${figure("Error on the test part", forecastErrorChart(outcomes, names))}${figure("The last test window", forecastChart({ past, future }, forecasts, names))}</div></section>`;
  });
  const text =
    "Closed-loop forecasts of monthly series out of vega-datasets. The last months are for testing, those before for validation, which chooses the step that is kept. Errors are mean absolute ones over the mean change from a year before in the training part, so 1 is as far off as the year before was.";
  return document(
    "Forecasting",
    `<main><section><p>${escape(text)}</p>${legend(names)}</section>${figures.join("")}</main>`,
    finding,
  );
}
