/**
 * How much an output depends on an input that lies k elements back: the reason linear recurrences exist. The gradient of an
 * ordinary RNN is a product of k Jacobians and vanishes or explodes with k (Bengio et al., Learning long-term dependencies
 * with gradient descent is difficult, 1994); a diagonal linear recurrence sets each decay by itself.
 */
import { runMixer, type AnyMixer, type MixerSettings } from "@seqmix/mixer";
import {
  add,
  dispose,
  expandDims,
  foldIn,
  grad,
  key,
  matmul,
  mul,
  normal,
  realize,
  reshape,
  sliceAxis,
  sqrt,
  sum,
  tanh,
  zeros,
  type Device,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** What is compared: a map of sequences x [B L D] -> y [B L D] with fresh random parameters. */
export interface GradientSubject {
  /** Name in the chart, e.g. "RNN, gain 2". */
  readonly name: string;
  map(x: Tensor, key: Key): Tensor;
}

/** How the norms are measured. */
export interface GradientNormOptions {
  readonly batch: number;
  /** Longest distance plus one. */
  readonly length: number;
  /** D. */
  readonly channels: number;
  readonly seed: number;
  readonly device: Device;
}

/** h_t = tanh(gain W h_(t-1) + x_t), W [D D] normal with deviation 1/sqrt(D), so that `gain` is about its spectral radius. */
export const vanillaRnn = (gain: number): GradientSubject => ({
  name: `RNN, gain ${gain}`,
  map(x, source) {
    const [B, L, D] = x.shape as [number, number, number];
    const weight = normal(source, [D, D], 0, gain / Math.sqrt(D));
    let h = zeros([B, D]);
    for (let t = 0; t < L; t++) h = tanh(add(matmul(h, weight), reshape(sliceAxis(x, 1, t, t + 1), [B, D])));
    return expandDims(h, 1);
  },
});

/** A mixer as it is initialised. */
export const mixerSubject = (mixer: AnyMixer, channels: number, settings: MixerSettings = {}): GradientSubject => ({
  name: mixer.id,
  map(x, source) {
    const config = { ...mixer.config, ...settings, dModel: channels };
    return runMixer(mixer, config, mixer.init(config, source), x)[0];
  },
});

/**
 * Norms [L] of the gradient of r . y_(L-1) by x_(L-1-k), k = 0 .. L-1, for inputs and directions r of independent normal
 * numbers; root mean square over the batch, divided by that of k = 0.
 */
export async function gradientNorms(
  subject: GradientSubject,
  { batch, length, channels, seed, device }: GradientNormOptions,
): Promise<readonly number[]> {
  const source = key(seed);
  const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(source, name), shape);
  const x = draw("x", [batch, length, channels]);
  const direction = draw("direction", [batch, 1, channels]);
  const gradient = grad((given: Tensor) => {
    const y = subject.map(given, foldIn(source, "parameters"));
    const last = y.shape[1]!;
    return sum(mul(sliceAxis(y, 1, last - 1, last), direction));
  })(x);
  const norms = sqrt(sum(mul(gradient, gradient), [0, 2]));
  await realize(norms, { device });
  const values = [...(await norms.data())].reverse();
  dispose([norms, x]);
  return values.map((value) => value / values[0]!);
}
