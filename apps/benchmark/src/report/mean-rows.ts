/** Rows for the figures of a sweep: each of its cells once, its seeds averaged. */
import type { CellSummary } from "../results/cells.js";
import type { CurvePoint, Row } from "../results/results.js";

/** A row for each cell that has a finished trial, under its name and that of its series: curves, results and speeds are means over seeds. */
export const meanRows = (cells: readonly CellSummary[]): readonly Row[] =>
  cells.flatMap(({ task, name, series, rows }) => {
    const done = rows.filter(({ status }) => status === "done");
    const [first] = done;
    if (!first) return [];
    const { metric } = first;
    return [
      {
        ...first,
        trial: `${task}: ${name}`,
        mixer: series,
        metrics: { ...first.metrics, [metric]: mean(done.map(({ metrics }) => metrics[metric]!)) },
        tokensPerSecond: mean(done.map(({ tokensPerSecond }) => tokensPerSecond)),
        curve: meanCurve(done.map(({ curve }) => curve)),
      },
    ];
  });

/** Points that all curves have; those of a sweep's seeds are taken after the same steps. */
function meanCurve(curves: readonly (readonly CurvePoint[])[]): readonly CurvePoint[] {
  const [first, ...others] = curves.map((curve) => new Map(curve.map((point) => [point.step, point])));
  return [...first!.values()].flatMap((point) => {
    const same = others.map((curve) => curve.get(point.step));
    if (same.includes(undefined)) return [];
    const all = [point, ...(same as CurvePoint[])];
    const measured = all.flatMap(({ validation }) => validation ?? []);
    return [
      {
        step: point.step,
        tokens: point.tokens,
        loss: mean(all.map(({ loss }) => loss)),
        ...(measured.length === all.length && { validation: mean(measured) }),
      },
    ];
  });
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
