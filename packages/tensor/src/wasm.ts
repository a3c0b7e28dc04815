/**
 * For packages that bring a hand-written CPU program for a kernel record: the WebAssembly emitter,
 * vectorised mathematical functions, and what is needed to run a program by itself in a test.
 *
 * @packageDocumentation
 */
export * from "./devices/cpu/wasm/emitter.js";
export * from "./devices/cpu/wasm/scratch.js";
export * from "./devices/cpu/wasm/vector-math.js";
export type * from "./devices/cpu/program.js";
export {
  packFunction,
  storeLanes,
  tileFunction,
  transposed,
  type PanelShape,
  type TileShape,
} from "./devices/cpu/matmul/code.js";
export { zeroProgram } from "./devices/cpu/native/zero.js";
export { DeviceMemory, type MemoryCounters, type MemoryOptions } from "./devices/cpu/memory/memory.js";
export { ThreadPool, type PoolOptions, type Prepared } from "./devices/cpu/threads/pool.js";
