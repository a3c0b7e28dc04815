/**
 * What the pool's threads run: source text, so that no bundler has to resolve a file.
 *
 * The control block is an Int32Array shared by the pool's threads. The calling thread opens the gate for one round
 * (one phase of one program) at a time. A worker that enters while the gate is open may read the round's parameters
 * and claim chunks; the caller closes the gate when no chunk is left and goes on when everyone inside has left.
 * A worker that comes late finds the gate closed and waits for the next round: nobody waits for a sleeping worker.
 */

/** Places in the control block; words that different threads write sit on cache lines of their own. */
export const WORD = {
  /** Counts rounds; workers wait for it to change. */
  generation: 0,
  /** The open bit, and how many workers are inside. */
  gate: 16,
  /** The next chunk to claim. */
  next: 32,
  /** Workers asleep in Atomics.wait. */
  sleepers: 48,
  /** 1 while the caller sleeps until the gate is empty. */
  callerAsleep: 64,
  // Parameters of the round, written while the gate is closed and empty.
  module: 80,
  phase: 81,
  units: 82,
  grain: 83,
  args: 84,
  scratch: 85,
  scratchStride: 86,
  /** The module's bytes, followed by its phases' names in ASCII with spaces between. */
  code: 87,
  codeLength: 88,
  namesLength: 89,
  quit: 90,
  // The first error of a round.
  failed: 96,
  errorLength: 97,
  error: 98,
} as const;

export const ERROR_CHARACTERS = 256;
export const CONTROL_BYTES = 4 * (WORD.error + ERROR_CHARACTERS);
export const GATE_OPEN = 1 << 30;
/** Above every chunk number, with room for further claims. */
export const NO_CHUNKS = 1 << 30;
/** Instances a thread keeps; all are dropped when there are more. */
const CACHED_MODULES = 1024;

export interface WorkerStart {
  readonly control: Int32Array;
  readonly memory: WebAssembly.Memory;
  /** 1, 2, ...; the calling thread is 0. */
  readonly thread: number;
  readonly spins: number;
}

const SOURCE = `
"use strict";
function start({ control, memory, thread, spins }) {
  const cache = new Map();

  function instantiate() {
    const at = control[${WORD.code}] >>> 0, length = control[${WORD.codeLength}], names = control[${WORD.namesLength}];
    // Growth of the memory by another thread shows here at the next loop iteration at the latest.
    while (memory.buffer.byteLength < at + length + names);
    const bytes = new Uint8Array(memory.buffer, at, length + names).slice();
    const module = new WebAssembly.Module(bytes.subarray(0, length));
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return String.fromCharCode(...bytes.subarray(length)).split(" ").map((name) => exports[name]);
  }

  function claim(run, units, grain, args, scratch) {
    const chunks = Math.ceil(units / grain);
    for (;;) {
      const chunk = Atomics.add(control, ${WORD.next}, 1);
      if (chunk >= chunks) return;
      const begin = chunk * grain;
      run(args, begin, Math.min(begin + grain, units), scratch);
    }
  }

  function work() {
    try {
      const id = control[${WORD.module}];
      let phases = cache.get(id);
      if (phases === undefined) {
        if (cache.size >= ${CACHED_MODULES}) cache.clear();
        cache.set(id, phases = instantiate());
      }
      claim(phases[control[${WORD.phase}]], control[${WORD.units}], control[${WORD.grain}], control[${WORD.args}],
        control[${WORD.scratch}] + thread * control[${WORD.scratchStride}]);
    } catch (error) {
      Atomics.store(control, ${WORD.next}, ${NO_CHUNKS});
      if (Atomics.compareExchange(control, ${WORD.failed}, 0, 1) !== 0) return;
      const message = String(error && error.message || error).slice(0, ${ERROR_CHARACTERS});
      for (let i = 0; i < message.length; i++) control[${WORD.error} + i] = message.charCodeAt(i);
      control[${WORD.errorLength}] = message.length;
    }
  }

  let seen = 0;
  for (;;) {
    let generation = seen;
    for (let i = 0; i < spins && generation === seen; i++) generation = Atomics.load(control, ${WORD.generation});
    while (generation === seen) {
      Atomics.add(control, ${WORD.sleepers}, 1);
      Atomics.wait(control, ${WORD.generation}, seen);
      Atomics.sub(control, ${WORD.sleepers}, 1);
      generation = Atomics.load(control, ${WORD.generation});
    }
    seen = generation;
    if (Atomics.load(control, ${WORD.quit}) !== 0) return;
    if ((Atomics.add(control, ${WORD.gate}, 1) & ${GATE_OPEN}) !== 0) work();
    if (Atomics.sub(control, ${WORD.gate}, 1) === 1 && Atomics.load(control, ${WORD.callerAsleep}) !== 0) Atomics.notify(control, ${WORD.gate});
  }
}
`;

/** For node:worker_threads with `eval: true`; the start values come as workerData. */
export const NODE_WORKER_SOURCE = `${SOURCE}start(require("node:worker_threads").workerData);`;
/** For a Web Worker; the start values come as its first message. */
export const WEB_WORKER_SOURCE = `${SOURCE}onmessage = (event) => { start(event.data); close(); };`;
