/** Functions of time as sequences: smooth random ones, and waves of several frequencies. */
import {
  add,
  cast,
  expandDims,
  floor,
  foldIn,
  matmul,
  mul,
  normal,
  reshape,
  sin,
  tensor,
  uniform,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Sequences and what is asked of them. */
export type SignalBatch = {
  /** [B L 1]. */
  readonly x: Tensor;
  /** [B ..]: numbers, or i32 classes [B]. */
  readonly y: Tensor;
};

/** Samples k step / L of functions on [0, 1), k = 0 .. L/step - 1. */
const times = (length: number, step: number): number[] =>
  Array.from({ length: Math.ceil(length / step) }, (_, k) => (k * step) / length);

/**
 * Random smooth functions of unit variance [B L/step]: Fourier series of normal coefficients up to `highest` periods.
 * @param step Only every so many samples.
 */
export function smoothSignals(source: Key, batch: number, length: number, highest: number, step = 1): Tensor {
  const at = times(length, step);
  const rows = Array.from({ length: 2 * highest }, (_, k) => {
    const turns = 2 * Math.PI * (1 + (k >> 1));
    return at.map((t) => (k % 2 === 0 ? Math.cos(turns * t) : Math.sin(turns * t)));
  });
  const basis = tensor(Float32Array.from(rows.flat()), [rows.length, at.length]);
  return matmul(normal(source, [batch, rows.length], 0, 1 / Math.sqrt(highest)), basis);
}

/** Waves of one of `classes` frequencies, 4, 7, 10, .. periods give or take a tenth of the gap, in smooth noise; y is the class. */
export function waves(source: Key, batch: number, length: number, classes: number, step = 1): SignalBatch {
  const draw = (name: string, high: number): Tensor => uniform(foldIn(source, name), [batch, 1], 0, high);
  const label = floor(draw("class", classes));
  const periods = add(add(4, mul(3, label)), add(draw("detune", 0.6), -0.3));
  const at = tensor(
    Float32Array.from(times(length, step), (t) => 2 * Math.PI * t),
    [1, Math.ceil(length / step)],
  );
  const wave = sin(add(mul(periods, at), draw("phase", 2 * Math.PI)));
  const noise = mul(0.7, smoothSignals(foldIn(source, "noise"), batch, length, 32, step));
  return { x: expandDims(add(wave, noise), 2), y: cast(reshape(label, [batch]), "i32") };
}
