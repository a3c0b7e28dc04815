/** Band-limited white noise on the host: the input of the memory tasks. */
import { assertSettings, assertFields } from "@seqmix/tensor";
import type { HostRandom } from "./host-random.js";
import { realSignal } from "./fourier.js";

/** Settings of {@link whiteSignal}. */
export interface WhiteSignalOptions {
  /** Positions. */
  readonly length: number;
  /** Seconds between two positions. */
  readonly dt: number;
  /** Highest frequency, in 1/s: from 1 / (length dt) to the Nyquist frequency 1 / (2 dt). */
  readonly frequency: number;
  /** Root mean square of the noise before it is shifted. */
  readonly rms: number;
}

/**
 * White noise of frequencies up to a limit, shifted so that it starts at 0.
 * Source: `whitesignal` of the S4 code base (`src/dataloaders/utils/signal.py`), after nengo.
 * @returns `length` values
 * @throws RangeError for a frequency that no signal of these settings has.
 */
export function whiteSignal(random: HostRandom, options: WhiteSignalOptions): Float64Array {
  assertSettings("whiteSignal", options, ["length", "dt", "frequency", "rms"]);
  assertFields("whiteSignal", options, {
    length: { from: 1, whole: true },
    dt: { above: 0 },
    frequency: { above: 0 },
    rms: { from: 0 },
  });
  const { length, dt, frequency, rms } = options;
  if (!(frequency * length * dt >= 1 - 1e-9 && frequency * dt <= 0.5))
    throw new RangeError(
      `whiteSignal: expected a frequency from ${1 / (length * dt)} (one period) to ${0.5 / dt} (Nyquist), got ${frequency}; change frequency or dt`,
    );
  // A signal of odd length is one of the next even length, cut.
  const half = Math.ceil(length / 2);
  const sigma = rms * Math.SQRT1_2;
  const re = new Float64Array(half + 1);
  const im = new Float64Array(half + 1);
  let silent = 0;
  for (let k = 0; k <= half; k++) {
    if (k / (2 * half * dt) > frequency) {
      silent++;
      continue;
    }
    // No constant part, and a real one at the Nyquist frequency.
    if (k > 0) re[k] = sigma * random.normal();
    if (k > 0 && k < half) im[k] = sigma * random.normal();
  }
  const gain = Math.sqrt(2 * half) / (Math.sqrt(1 - silent / half) || 1);
  const signal = realSignal(re, im);
  return Float64Array.from({ length }, (_, t) => gain * (signal[t]! - signal[0]!));
}
