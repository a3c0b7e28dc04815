/** Time and memory of a mixer against the length of its sequence, and from which length on one is faster than another. */
import { configure, runMixer, type AnyMixer, type MixerConfig, type MixerSettings } from "@seqmix/mixer";
import {
  add,
  compile,
  dispose,
  foldIn,
  key,
  leavesOf,
  normal,
  realize,
  square,
  sum,
  valueAndGrad,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** What is timed: a sequence forward ("prefill"), forward and backward ("training"), or one more element after it ("decode"). */
export const SCALING_WORK = ["prefill", "training", "decode"] as const;

/** One of {@link SCALING_WORK}. */
export type ScalingWork = (typeof SCALING_WORK)[number];

/** A measurement, or why there is none. */
export interface ScalingRow {
  /** Id of the mixer, and its settings if they were given: "mamba:dState=64". */
  readonly mixer: string;
  readonly work: ScalingWork;
  /** Elements of the sequence. */
  readonly L: number;
  readonly batch: number;
  readonly dModel: number;
  /** Median seconds of a run: of the whole sequence, or of one element for "decode". */
  readonly seconds?: number;
  /** Runs that were timed. */
  readonly runs?: number;
  /** Highest memory of the device, parameters and inputs included. */
  readonly peakBytes?: number;
  /** Why there is no time: the length is too much for the mixer, the memory or the time. */
  readonly error?: string;
}

/** What is measured. */
export interface ScalingCase {
  readonly mixer: AnyMixer;
  readonly settings?: MixerSettings;
  /** Name of its row; the mixer's id by default. */
  readonly label?: string;
  readonly work: ScalingWork;
  readonly L: number;
  readonly batch: number;
  readonly dModel: number;
  /** Seconds that its runs take together, about; 0.5 by default. */
  readonly enough?: number;
}

/** How many runs there are at least and at most. */
const LEAST_RUNS = 3;
const MOST_RUNS = 30;

/** A run of so many seconds is timed alone: it hardly varies, and three would take minutes. */
const LONG = 3;

/** Measures one case on a device of its own. */
export async function measureScaling(
  { mixer, settings, label = mixer.id, work, L, batch, dModel, enough = 0.5 }: ScalingCase,
  device: Device,
): Promise<ScalingRow> {
  const row = { mixer: label, work, L, batch, dModel };
  try {
    // A mixer whose parameters bound the length gets room for it.
    const room = "lMax" in mixer.config ? { lMax: L } : {};
    const config = configure(mixer, { ...room, ...settings, dModel });
    const source = key(0);
    const inputs = {
      params: mixer.init(config, foldIn(source, "params")),
      x: normal(foldIn(source, "x"), [batch, L, dModel]),
    };
    await realize(inputs, { device });
    const run = await runOf(mixer, config, work, inputs, device);
    const times = await time(run, enough);
    const { peakBytes } = device.memory();
    return { ...row, seconds: times[times.length >> 1]!, runs: times.length, peakBytes };
  } catch (error) {
    return { ...row, error: error instanceof Error ? error.message : String(error) };
  }
}

/** A run that is waited for, in the mode in which models train: it ends with one number on the host. */
async function runOf(
  mixer: AnyMixer,
  config: MixerConfig,
  work: ScalingWork,
  { params, x }: { readonly params: Tree; readonly x: Tensor },
  device: Device,
): Promise<() => Promise<void>> {
  const end = async (result: Tensor): Promise<void> => {
    await result.item();
    result.dispose();
  };
  if (work === "prefill") {
    const forward = compile((p: Tree, input: Tensor) => sum(runMixer(mixer, config, p, input)[0]), {
      device,
    });
    return async () => end(await forward(params, x));
  }
  if (work === "training") {
    const loss = valueAndGrad((p: Tree, input: Tensor) => sum(square(runMixer(mixer, config, p, input)[0])));
    const backward = compile(
      (p: Tree, input: Tensor) => {
        const [value, gradient] = loss(p, input);
        // Every gradient is computed, and one number waits for them all.
        return leavesOf(gradient).reduce((total, leaf) => add(total, sum(leaf)), value);
      },
      { device },
    );
    return async () => end(await backward(params, x));
  }
  if (!mixer.step) throw new RangeError(`${mixer.id} has no recurrent form`);
  const [y, state] = runMixer(mixer, config, params, x);
  dispose(await realize(sum(y), { device }));
  const room = mixer.reserve ? mixer.reserve(config, state, 1) : state;
  await realize(room, { device });
  const step = compile((p: Tree, given: Tree, input: Tensor) => sum(mixer.step!(config, p, input, given)[0]), {
    device,
  });
  const element = normal(key(1), [x.shape[0]!, config.dModel]);
  await realize(element, { device });
  return async () => end(await step(params, room, element));
}

/** Seconds of runs, sorted; the first, which plans and compiles, does not count. */
async function time(run: () => Promise<void>, enough: number): Promise<readonly number[]> {
  await run();
  const times: number[] = [];
  let spent = 0;
  while (times.length < (spent > LONG ? 1 : LEAST_RUNS) || (spent < enough && times.length < MOST_RUNS)) {
    const began = performance.now();
    await run();
    times.push((performance.now() - began) / 1000);
    spent += times.at(-1)!;
  }
  return times.sort((a, b) => a - b);
}

/** From which measured length on one mixer is faster than another that is faster below it. */
export interface Crossover {
  readonly work: ScalingWork;
  /** Faster at short lengths. */
  readonly short: string;
  /** Faster from `from` on. */
  readonly long: string;
  readonly from: number;
}

/** The lengths at which the order of two mixers turns, once and for all measured lengths beyond. */
export function crossovers(rows: readonly ScalingRow[]): readonly Crossover[] {
  const measured = rows.filter(({ seconds }) => seconds !== undefined);
  return SCALING_WORK.flatMap((work) => {
    const own = measured.filter((row) => row.work === work);
    const names = [...new Set(own.map(({ mixer }) => mixer))];
    const secondsOf = (mixer: string, L: number): number | undefined =>
      own.find((row) => row.mixer === mixer && row.L === L)?.seconds;
    const lengths = [...new Set(own.map(({ L }) => L))].sort((a, b) => a - b);
    return names.flatMap((short) =>
      names.flatMap((long): Crossover[] => {
        const pairs = lengths.flatMap((L) => {
          const [a, b] = [secondsOf(short, L), secondsOf(long, L)];
          return a === undefined || b === undefined ? [] : [{ L, longWins: b < a }];
        });
        const first = pairs.findIndex(({ longWins }) => longWins);
        if (first < 1 || pairs.slice(first).some(({ longWins }) => !longWins)) return [];
        return [{ work, short, long, from: pairs[first]!.L }];
      }),
    );
  });
}
