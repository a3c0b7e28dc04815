/** The CPU device's threads: compiles programs and runs their phases, chunk by chunk, on all of them. */
import { DeviceError, KernelCompileError } from "../../../graph/errors.js";
import type { DeviceMemory } from "../memory/memory.js";
import { CONTROL_BYTES, GATE_OPEN, NO_CHUNKS, WORD } from "./pool-worker.js";
import type { CpuPhase, CpuProgram } from "../program.js";
import { coreCount, mayWait, startThread, type Thread } from "./threads.js";

/** Polls before a worker goes to sleep: some microseconds, longer than the usual gap between two dispatches. */
const WORKER_SPINS = 2000;
/** The caller polls longer: what it waits for is already running. */
const CALLER_SPINS = 20_000;
const MOST_THREADS = 64;
/** Compiled modules kept, 16 to 20 KB each. */
const CACHED_MODULES = 1024;

export interface PoolOptions {
  /** Threads that work on a phase, the calling one included; default: all cores. 1 if the memory is not shared. */
  readonly threads?: number;
}

type PhaseFunction = (args: number, begin: number, end: number, scratch: number) => void;

interface CompiledModule {
  readonly id: number;
  readonly bytes: Uint8Array;
  /** The phases' exports, by phase. */
  readonly functions: readonly PhaseFunction[];
  readonly names: string;
  /** Where the workers find the bytes and the names; 0 until the first parallel run. */
  code: number;
}

/** A compiled program, ready to run any number of times. */
export interface Prepared {
  readonly program: CpuProgram;
  readonly compiled: CompiledModule;
}

export class ThreadPool {
  /** Threads that work on a phase, the calling one included. */
  readonly threads: number;
  readonly #memory: DeviceMemory;
  readonly #control: Int32Array;
  readonly #modules = new Map<string, CompiledModule>();
  readonly #mayWait: boolean;
  #workers: readonly Thread[] | undefined;
  #nextId = 1;
  /** A block for the programs' addresses, and one with every thread's scratch. */
  #args = { address: 0, bytes: 0 };
  #scratch = { address: 0, bytes: 0 };
  #closed = false;

  constructor(memory: DeviceMemory, options: PoolOptions = {}) {
    const threads = Math.floor(options.threads ?? coreCount());
    this.#memory = memory;
    this.threads = memory.shared ? Math.max(1, Math.min(MOST_THREADS, threads)) : 1;
    this.#mayWait = this.threads > 1 && mayWait();
    this.#control = new Int32Array(
      this.threads > 1 ? new SharedArrayBuffer(CONTROL_BYTES) : new ArrayBuffer(CONTROL_BYTES),
    );
  }

  /** Compiles the program's module, or takes it from the cache of modules with the same bytes. */
  prepare(program: CpuProgram): Prepared {
    const names = program.phases.map((phase) => phase.run).join(" ");
    const key = `${names}\n${new TextDecoder("latin1").decode(program.module)}`;
    let compiled = this.#modules.get(key);
    if (compiled === undefined) {
      compiled = this.#compile(program, names);
      this.#evict();
    } else {
      this.#modules.delete(key);
    }
    this.#modules.set(key, compiled);
    return { program, compiled };
  }

  /**
   * Runs all phases of the program and returns when they are done. `addresses` are the inputs, then the outputs;
   * blocks for the program's shared and private temporaries are added here.
   */
  run(prepared: Prepared, addresses: readonly number[]): void {
    if (this.#closed)
      throw new DeviceError("Expected an open cpu device, got one that was closed: create a new device.");
    const { program, compiled } = prepared;
    const stride = Math.ceil(program.scratchBytes / 64) * 64;
    this.#scratch = this.#atLeast(this.#scratch, stride * this.threads);
    this.#args = this.#atLeast(this.#args, 4 * (addresses.length + 1));
    const shared = program.sharedBytes > 0 ? this.#memory.allocate(program.sharedBytes, true) : 0;
    let again = false;
    try {
      const words = this.#memory.i32;
      const at = this.#args.address / 4;
      words.set(addresses, at);
      if (shared !== 0) words[at + addresses.length] = shared;
      program.phases.forEach((phase, index) => {
        const run = compiled.functions[index];
        if (run === undefined)
          throw new DeviceError(
            `Expected program "${program.name}" to export "${phase.run}": report this as a bug in seqmix.`,
          );
        if (this.threads === 1 || phase.units <= phase.grain) this.#runAlone(program, phase, run);
        else this.#runTogether(prepared, phase, index, run, stride);
      });
      again = program.instead !== undefined && this.#memory.f32[shared / 4] !== 0;
    } finally {
      if (shared !== 0) this.#memory.free(shared);
    }
    if (again && program.instead) this.run(this.prepare(program.instead), addresses);
  }

  /** Ends the workers and gives the pool's blocks back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const control = this.#control;
    Atomics.store(control, WORD.quit, 1);
    Atomics.add(control, WORD.generation, 1);
    if (this.threads > 1) Atomics.notify(control, WORD.generation);
    for (const worker of this.#workers ?? []) worker.terminate();
    this.#workers = undefined;
    for (const compiled of this.#modules.values()) this.#dropCode(compiled);
    this.#modules.clear();
    for (const block of [this.#args, this.#scratch]) if (block.address !== 0) this.#memory.free(block.address);
  }

  #runAlone(program: CpuProgram, phase: CpuPhase, run: PhaseFunction): void {
    try {
      // In chunks here too: a call starts with unoptimised code and keeps it to its end.
      for (let begin = 0; begin < phase.units; begin += phase.grain) {
        run(this.#args.address, begin, Math.min(begin + phase.grain, phase.units), this.#scratch.address);
      }
    } catch (cause) {
      throw failure(program, phase, cause);
    }
  }

  #runTogether(prepared: Prepared, phase: CpuPhase, index: number, run: PhaseFunction, stride: number): void {
    const control = this.#control;
    const { units, grain } = phase;
    const args = this.#args.address;
    const scratch = this.#scratch.address;
    const { compiled, program } = prepared;
    if (compiled.code === 0) this.#uploadCode(compiled);
    this.#workers ??= this.#startWorkers();
    control[WORD.module] = compiled.id;
    control[WORD.phase] = index;
    control[WORD.units] = units;
    control[WORD.grain] = grain;
    control[WORD.args] = args;
    control[WORD.scratch] = scratch;
    control[WORD.scratchStride] = stride;
    control[WORD.code] = compiled.code;
    control[WORD.codeLength] = compiled.bytes.length;
    control[WORD.namesLength] = compiled.names.length;
    Atomics.store(control, WORD.next, 0);
    Atomics.or(control, WORD.gate, GATE_OPEN);
    Atomics.add(control, WORD.generation, 1);
    if (Atomics.load(control, WORD.sleepers) !== 0) Atomics.notify(control, WORD.generation);
    let error: unknown;
    try {
      claimChunks(control, units, grain, run, args, scratch);
    } catch (cause) {
      Atomics.store(control, WORD.next, NO_CHUNKS);
      error = cause;
    }
    Atomics.and(control, WORD.gate, ~GATE_OPEN);
    this.#awaitEmptyGate();
    const elsewhere = takeError(control);
    error ??= elsewhere;
    if (error !== undefined) throw failure(program, phase, error);
  }

  #awaitEmptyGate(): void {
    const control = this.#control;
    for (let spins = 0; Atomics.load(control, WORD.gate) !== 0; spins++) {
      if (spins < CALLER_SPINS || !this.#mayWait) continue;
      Atomics.store(control, WORD.callerAsleep, 1);
      const inside = Atomics.load(control, WORD.gate);
      if (inside !== 0) Atomics.wait(control, WORD.gate, inside);
      Atomics.store(control, WORD.callerAsleep, 0);
    }
  }

  #startWorkers(): readonly Thread[] {
    const workers: Thread[] = [];
    for (let thread = 1; thread < this.threads; thread++) {
      const worker = startThread({ control: this.#control, memory: this.#memory.memory, thread, spins: WORKER_SPINS });
      if (worker !== undefined) workers.push(worker);
    }
    return workers;
  }

  #compile(program: CpuProgram, names: string): CompiledModule {
    try {
      const module = new WebAssembly.Module(program.module as BufferSource);
      const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#memory.memory } });
      const functions = program.phases.map((phase) => exports[phase.run] as PhaseFunction);
      return { id: this.#nextId++, bytes: program.module, functions, names, code: 0 };
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new KernelCompileError(
        `Expected program "${program.name}" to compile, got "${reason}": report this as a bug in seqmix.`,
        { cause },
      );
    }
  }

  #uploadCode(compiled: CompiledModule): void {
    const { bytes, names } = compiled;
    compiled.code = this.#memory.allocate(bytes.length + names.length, true);
    this.#memory.u8.set(bytes, compiled.code);
    this.#memory.u8.set(new TextEncoder().encode(names), compiled.code + bytes.length);
  }

  #dropCode(compiled: CompiledModule): void {
    if (compiled.code !== 0) this.#memory.free(compiled.code);
    compiled.code = 0;
  }

  /** Makes room for one more module: the one not asked for longest goes. Its programs still run. */
  #evict(): void {
    if (this.#modules.size < CACHED_MODULES) return;
    for (const [key, compiled] of this.#modules) {
      this.#modules.delete(key);
      this.#dropCode(compiled);
      return;
    }
  }

  /** The block, or a larger one in its place. */
  #atLeast(block: { address: number; bytes: number }, bytes: number): { address: number; bytes: number } {
    if (bytes <= block.bytes) return block;
    const rounded = Math.max(4096, bytes);
    const address = this.#memory.allocate(rounded, true);
    if (block.address !== 0) this.#memory.free(block.address);
    return { address, bytes: rounded };
  }
}

function claimChunks(
  control: Int32Array,
  units: number,
  grain: number,
  run: PhaseFunction,
  args: number,
  scratch: number,
): void {
  const chunks = Math.ceil(units / grain);
  for (;;) {
    const chunk = Atomics.add(control, WORD.next, 1);
    if (chunk >= chunks) return;
    const begin = chunk * grain;
    run(args, begin, Math.min(begin + grain, units), scratch);
  }
}

/** The error a worker left in this round, if any. */
function takeError(control: Int32Array): Error | undefined {
  if (control[WORD.failed] === 0) return undefined;
  const length = control[WORD.errorLength] ?? 0;
  control[WORD.failed] = 0;
  return new Error(String.fromCharCode(...control.subarray(WORD.error, WORD.error + length)));
}

function failure(program: CpuProgram, phase: CpuPhase, cause: unknown): DeviceError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new DeviceError(
    `Expected program "${program.name}" to finish phase "${phase.run}", got "${reason}": report this as a bug in seqmix.`,
    { cause },
  );
}
