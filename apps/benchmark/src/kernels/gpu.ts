/** What measuring on a GPU needs beyond running: waiting for it, and its memory's own speed. */
import { performance } from "node:perf_hooks";
import type { Device } from "@seqmix/tensor";
import type { Contestant } from "./contestant.js";

/** The part of a GPUDevice that is used here; this app builds without the GPU's types. */
interface Gpu {
  readonly queue: { onSubmittedWorkDone(): Promise<undefined>; submit(commands: readonly unknown[]): void };
  createBuffer(descriptor: { readonly size: number; readonly usage: number }): { destroy(): void };
  createCommandEncoder(): { copyBufferToBuffer(from: unknown, fromOffset: number, to: unknown, toOffset: number, size: number): void; finish(): unknown };
}

const gpuOf = (device: Device): Gpu | undefined => (device as Device & { readonly gpu?: Gpu }).gpu;

/** A burst takes about so long: far above the round trip of waiting for it, ms. */
const BURST_MS = 30;
const LONGEST = 400;

/** Runs of a contestant that are waited for together. */
interface Burst {
  /** Runs in it. */
  readonly length: number;
  run(): Promise<void>;
}

/** Bursts of about {@link BURST_MS} of each contestant; undefined on a device whose runs end when their call does. */
export async function inBursts<K>(device: Device, contestants: ReadonlyMap<K, Contestant>): Promise<Map<K, Burst> | undefined> {
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
    bursts.set(name, runs(Math.min(LONGEST, Math.max(2, Math.ceil(BURST_MS / each)))));
  }
  return bursts;
}

/** GPUBufferUsage.COPY_SRC and COPY_DST. */
const COPY = { from: 4, to: 8 } as const;

/** Copies so many bytes from one buffer to another by the GPU's own command. @throws TypeError on another device. */
export function openCopy(device: Device, bytes: number): Contestant {
  const gpu = gpuOf(device);
  if (!gpu) throw new TypeError(`A copy can be timed on a GPU only, and this is the ${device.name} device`);
  const [from, to] = [gpu.createBuffer({ size: bytes, usage: COPY.from }), gpu.createBuffer({ size: bytes, usage: COPY.to })];
  return {
    run() {
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
      gpu.queue.submit([encoder.finish()]);
    },
    read: () => [],
    close() {
      from.destroy();
      to.destroy();
    },
  };
}
