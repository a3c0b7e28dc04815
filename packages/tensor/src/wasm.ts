/**
 * For packages that bring a hand-written CPU program for a kernel record: the WebAssembly emitter,
 * vectorised mathematical functions, and what is needed to run a program by itself in a test.
 *
 * @packageDocumentation
 */
export * from "./cpu/emitter.js";
export * from "./cpu/vector-math.js";
export type * from "./cpu/program.js";
export { transposed } from "./cpu/matmul-code.js";
export { zeroProgram } from "./cpu/zero-program.js";
export { DeviceMemory, type MemoryCounters, type MemoryOptions } from "./cpu/memory.js";
export { ThreadPool, type PoolOptions, type Prepared } from "./cpu/pool.js";
