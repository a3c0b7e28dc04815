/**
 * What a generated WebAssembly kernel looks like to the CPU device.
 *
 * The module imports `env.memory` (the device's memory) and exports one function per phase:
 * `(args: i32, begin: i32, end: i32, scratch: i32) => void`, which computes the units [begin, end) of the phase.
 * Units of a phase are independent and may run on any thread in any order; phases are separated by a barrier.
 * `args` is the address of an array of i32 addresses: the inputs, then the outputs, then (if `sharedBytes` > 0)
 * one block of temporary memory shared by all threads and phases. `scratch` is this thread's private block.
 * All buffers are aligned to 16 bytes and may be read (never written) 16 bytes beyond either end.
 */
export interface CpuProgram {
  /** Name for `explain`, e.g. "loop [8,256,128] 3 loads 1 store" or "matmul 512x512x512". */
  readonly name: string;
  /** The WebAssembly module's bytes. */
  readonly module: Uint8Array;
  /** Run one after another. */
  readonly phases: readonly CpuPhase[];
  /** Private temporary bytes a thread needs. */
  readonly scratchBytes: number;
  /** Temporary bytes shared by all threads across phases. */
  readonly sharedBytes: number;
  /** What computes the outputs once more if the f32 at the beginning of the shared block is not 0 behind the phases. */
  readonly instead?: CpuProgram;
}

/** A part of a program whose units may run in any order. */
export interface CpuPhase {
  /** Name of the exported function. */
  readonly run: string;
  /** Pieces of work. */
  readonly units: number;
  /** Units a thread should take at once, so that a claim's overhead (about 0.1 us) vanishes. */
  readonly grain: number;
}
