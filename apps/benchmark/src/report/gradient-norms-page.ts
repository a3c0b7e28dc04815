/** The page of the gradient-norms experiment. */
import { gradientNormChart } from "./charts.js";
import { document, escape, figure, legend } from "./html.js";

/** Norms by distance, from 0 on, relative to that of distance 0. */
export interface GradientNormCurve {
  readonly name: string;
  readonly norms: readonly number[];
}

/** One figure and how it was made. */
export function gradientNormsPage(
  curves: readonly GradientNormCurve[],
  {
    batch,
    length,
    channels,
    seed,
  }: { readonly batch: number; readonly length: number; readonly channels: number; readonly seed: number },
): string {
  const names = curves.map(({ name }) => name);
  const text = `Norm of the gradient of the last output by the input k elements back, over that of k = 0: one layer with fresh parameters, ${channels} channels, sequences of ${length} normal inputs, batch ${batch}, seed ${seed}. An ordinary RNN multiplies k Jacobians, so its gradient falls or grows exponentially; a linear recurrence holds decays near 1 by construction. Norms below 1e-12 and above 1e12 are drawn at the edge.`;
  return document(
    "Gradient norm by distance",
    `<main><section><p>${escape(text)}</p>${legend(names)}<div class="figures">${figure("Gradient norm by distance", gradientNormChart(curves, names))}</div></section></main>`,
  );
}
