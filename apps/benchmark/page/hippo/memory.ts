/** A signal, what an online memory keeps of it, and what can be read back. */
import { project, reconstruct, type HippoMeasure } from "@seqmix/hippo";
import { realize, sliceAxis, squeeze, tensor, type Device } from "@seqmix/tensor";

/** Samples of the signal. */
export const LENGTH = 400;

/** Measures with a basis to read the history back from, and how their time runs. */
export const measures = ["legs", "legt", "fourier"] as const satisfies readonly HippoMeasure[];

/** One of {@link measures}. */
export type Measure = (typeof measures)[number];

/** Samples of the window of the measures that have one; "legs" remembers the whole past. */
export const WINDOW = 160;

/** What a memory of `order` numbers, kept online, says of the past at a time. */
export interface Recollection {
  /** Positions of the read-back samples, 0 to LENGTH-1. */
  readonly positions: readonly number[];
  /** The values read back at them. */
  readonly values: ArrayLike<number>;
  /** The N numbers of the memory. */
  readonly coefficients: ArrayLike<number>;
}

/** Feeds the signal up to `time` (at least 1 sample) to the memory and reads the past back. */
export async function recall(
  signal: ArrayLike<number>,
  measure: Measure,
  order: number,
  time: number,
  device: Device,
): Promise<Recollection> {
  const seen = tensor(
    Float32Array.from({ length: time }, (_, t) => signal[t]!),
    [time],
  );
  const dt = measure === "legs" ? ("scaled" as const) : 2 / WINDOW;
  const all = project(seen, measure, { order, dt });
  const coefficients = squeeze(sliceAxis(all, 0, time - 1, time), 0);
  const first = measure === "legs" ? 0 : Math.max(0, time - WINDOW);
  const positions = Array.from({ length: time - first }, (_, k) => first + k);
  const at = positions.map((position) => (dt === "scaled" ? (position + 1) / time : time - 1 - position));
  const values = reconstruct(coefficients, measure, { dt, at });
  const [kept, read] = await Promise.all(
    (await realize([coefficients, values], { device })).map((each) => each.data()),
  );
  return { positions, values: read!, coefficients: kept! };
}

/** A signal to begin with: two waves and a step. */
export const exampleSignal = (): Float32Array =>
  Float32Array.from({ length: LENGTH }, (_, t) => {
    const x = t / LENGTH;
    return 0.5 * Math.sin(2 * Math.PI * 2 * x) + 0.25 * Math.sin(2 * Math.PI * 7 * x + 1) + (x > 0.6 ? 0.3 : 0);
  });
