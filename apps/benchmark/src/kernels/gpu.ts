/** What measuring on a GPU needs beyond running: waiting for it. */
import { performance } from "node:perf_hooks";
import type { Device } from "@seqmix/tensor";
import { profileOn } from "../commands/devices.js";
import type { Contestant } from "./contestant.js";

/** The part of a GPUDevice that is used here; this app builds without the GPU's types. */
interface Gpu {
  readonly queue: { onSubmittedWorkDone(): Promise<undefined> };
  readonly features: ReadonlySet<string>;
}

const gpuOf = (device: Device): Gpu | undefined => (device as Device & { readonly gpu?: Gpu }).gpu;

/** Why a device cannot be measured in f16; undefined: it can. */
export const withoutHalf = (device: Device): string | undefined =>
  gpuOf(device)?.features.has("shader-f16") ? undefined : "the device has no shader-f16: it would keep f16 as f32";

/** Share of a run in which the GPU runs no kernel, after others like it; undefined without a GPU or its timestamps. */
export async function idleOf(device: Device, run: () => Promise<void>): Promise<number | undefined> {
  if (!gpuOf(device)?.features.has("timestamp-query")) return undefined;
  const shares: number[] = [];
  for (let k = 0; k < 5; k++) {
    for (let j = 0; j < 8; j++) await run();
    shares.push((await profileOn(device, run)).idle);
  }
  return shares.sort((a, b) => a - b)[2];
}

/** A burst takes about so long: far above the round trip of waiting for it, ms. */
const BURST_MS = 30;
/** Fewest and most runs of a burst: encoding the first hides behind no run before it, as it does while a model trains. */
const SHORTEST = 8;
const LONGEST = 400;

/** Runs of a contestant that are waited for together. */
interface Burst {
  /** Runs in it. */
  readonly length: number;
  run(): Promise<void>;
}

/** Bursts of about {@link BURST_MS} of each contestant; undefined on a device whose runs end when their call does. */
export async function inBursts<K>(
  device: Device,
  contestants: ReadonlyMap<K, Contestant>,
): Promise<Map<K, Burst> | undefined> {
  const gpu = gpuOf(device);
  if (!gpu) return undefined;
  const bursts = new Map<K, Burst>();
  for (const [name, contestant] of contestants) {
    const runs = (length: number): Burst => ({
      length,
      async run() {
        for (let k = 0; k < length; k++) await contestant.run();
        await gpu.queue.onSubmittedWorkDone();
      },
    });
    await runs(3).run();
    const trial = runs(8);
    const before = performance.now();
    await trial.run();
    const each = (performance.now() - before) / trial.length;
    bursts.set(name, runs(Math.min(LONGEST, Math.max(SHORTEST, Math.ceil(BURST_MS / each)))));
  }
  return bursts;
}
