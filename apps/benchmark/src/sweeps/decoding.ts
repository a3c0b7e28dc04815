/**
 * What one more element costs after a context of any length, and what reading the context costs: models with a finite state
 * do the same work for every element, attention looks at all it has seen.
 */
import { configure, isCausal, runMixer, treeBytes, type AnyMixer, type MixerConfig } from "@seqmix/mixer";
import {
  compile,
  dispose,
  foldIn,
  key,
  leavesOf,
  normal,
  realize,
  replaceLeaves,
  type Device,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** How decoding is measured. */
export interface DecodingOptions {
  readonly device: Device;
  /** D. */
  readonly channels: number;
  /** Elements seen before, ascending. */
  readonly contexts: readonly number[];
  /** Elements whose times are taken at each context; the median counts. */
  readonly elements: number;
  /** A context is not read where a shorter one took longer than this many seconds. */
  readonly patience: number;
  readonly seed: number;
}

/** One mixer at one context. */
export interface DecodingPoint {
  /** Elements seen before. */
  readonly context: number;
  /** Seconds for the next element; null: there is no recurrent form. */
  readonly seconds: number | null;
  /** Bytes of one sequence's state; null: there is no finite state. */
  readonly bytes: number | null;
  /** Seconds to read the context at once; null: not read, the one before took too long or it did not fit. */
  readonly prefill: number | null;
}

/** One mixer at every context. */
export interface DecodingRow {
  readonly mixer: string;
  readonly points: readonly DecodingPoint[];
}

/** Measures a mixer with fresh parameters and a batch of one. */
export async function measureDecoding(mixer: AnyMixer, options: DecodingOptions): Promise<DecodingRow> {
  const { device, channels, contexts, seed } = options;
  const config = configure(mixer, { dModel: channels, ...roomFor(mixer, contexts) });
  const params = mixer.init(config, foldIn(key(seed), "parameters"));
  await realize(params, { device });
  const points: DecodingPoint[] = [];
  let patient = true;
  try {
    for (const context of contexts) {
      const prefill: number | null = patient ? await prefillSeconds(mixer, config, params, context, options) : null;
      patient = prefill !== null && prefill <= options.patience;
      points.push({ context, prefill, ...(await elementCost(mixer, config, params, context, options)) });
    }
  } finally {
    dispose(params);
  }
  return { mixer: mixer.id, points };
}

/** Settings of mixers whose parameters bound the length. */
const roomFor = (mixer: AnyMixer, contexts: readonly number[]): Record<string, number> =>
  "lMax" in mixer.config ? { lMax: Math.max(...contexts) } : {};

async function prefillSeconds(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  length: number,
  { device, seed, patience }: DecodingOptions,
): Promise<number | null> {
  const whole = compile((given: Tree, x: Tensor): readonly [Tensor, Tree] => runMixer(mixer, config, given, x), {
    device,
  });
  const x = await realize(normal(foldIn(key(seed), "x"), [1, length, config.dModel]), { device });
  const times: number[] = [];
  try {
    // The first run plans and compiles, and counts only where no other is worth waiting for.
    for (let run = 0; run < 3; run++) {
      const started = performance.now();
      dispose(await finished(await whole(params, x)));
      times.push((performance.now() - started) / 1000);
      if (times[run]! > (run === 0 ? 5 : 1) * patience) break;
    }
    return Math.min(...(times.length > 1 ? times.slice(1) : times));
  } catch (error) {
    if (error instanceof RangeError || (error as Error).name === "LimitError") return null;
    throw error;
  } finally {
    x.dispose();
  }
}

async function elementCost(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  context: number,
  { device, elements, seed }: DecodingOptions,
): Promise<Pick<DecodingPoint, "seconds" | "bytes">> {
  if (mixer.state === "none" || !mixer.step || !isCausal(mixer, config)) return { seconds: null, bytes: null };
  const WARM = 3;
  const random = foldIn(key(seed), "context");
  const full = stateAfter(mixer, config, context, random);
  const bytes = treeBytes(full);
  let state = mixer.reserve?.(config, full, elements + WARM) ?? full;
  const x = await realize(normal(foldIn(random, "x"), [1, config.dModel]), { device });
  await realize(state, { device });
  const step = compile(
    (given: Tree, now: Tensor, before: Tree): readonly [Tensor, Tree] => mixer.step!(config, given, now, before),
    { device, donate: [2] },
  );
  const times: number[] = [];
  for (let t = 0; t < elements + WARM; t++) {
    const started = performance.now();
    const [y, next] = await finished(await step(params, x, state));
    times.push((performance.now() - started) / 1000);
    // An output may be the state itself.
    if (!leavesOf(next).includes(y)) y.dispose();
    state = next;
  }
  dispose([x, state]);
  return { seconds: times.slice(WARM).sort((a, b) => a - b)[elements >> 1]!, bytes };
}

/** Waits for the output, which is small; on a device that works ahead nothing else says when it is done. */
async function finished(result: readonly [Tensor, Tree]): Promise<readonly [Tensor, Tree]> {
  await result[0].data();
  return result;
}

/**
 * A state as it is after `context` elements, with random numbers in it: what takes a context of 65,536 elements to read takes
 * none to make. Shapes are read off the mixer's own states after a few elements; what grows with them is extended.
 */
export function stateAfter(mixer: AnyMixer, config: MixerConfig, context: number, random: Key): Tree {
  const params = mixer.init(config, random);
  const after = (length: number): Tree =>
    runMixer(mixer, config, params, normal(foldIn(random, "some"), [1, length, config.dModel]))[1];
  const [few, more] = [after(2), after(3)];
  const longer = leavesOf(more);
  const leaves = leavesOf(few).map((leaf, k) => {
    const shape = leaf.shape.map((extent, axis) => (longer[k]!.shape[axis] === extent ? extent : context));
    return leaf.dtype === "f32" ? normal(foldIn(random, k), shape) : leaf;
  });
  return replaceLeaves(few, leaves);
}

/** Where a finite state begins to pay beside attention. */
export interface Crossover {
  readonly mixer: string;
  /** The first measured context from which on attention takes longer for an element; null: at none. */
  readonly time: number | null;
  /** The first context at which attention's state is larger. */
  readonly bytes: number | null;
}

/** Every row with a finite state against that of attention. */
export function crossovers(rows: readonly DecodingRow[], attention: DecodingRow): readonly Crossover[] {
  const [first, last] = [attention.points[0]!, attention.points.at(-1)!];
  const bytesAnElement = (last.bytes! - first.bytes!) / (last.context - first.context);
  return rows
    .filter(({ points }) => points[0]!.bytes !== null && points[0]!.bytes === points.at(-1)!.bytes)
    .map(({ mixer, points }) => {
      const slower = points.map(({ seconds }, k) => attention.points[k]!.seconds! > seconds!);
      const from = slower.lastIndexOf(false) + 1;
      return {
        mixer,
        time: from < points.length ? points[from]!.context : null,
        bytes: bytesAnElement > 0 ? Math.floor(points[0]!.bytes! / bytesAnElement) + 1 : null,
      };
    });
}
