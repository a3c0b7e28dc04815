/**
 * For packages that bring a hand-written WebGPU program for a kernel record: what a program looks like to the device, as
 * plain data, and the texts that all of them begin with. The twin of `@seqmix/tensor/wasm`.
 *
 * @packageDocumentation
 */
export * from "./devices/webgpu/entry.js";
export * from "./devices/webgpu/fragments.js";
export * from "./devices/webgpu/program.js";
export { MOST_ROWS } from "./devices/webgpu/most-rows.js";
export { rowProgram, type RowProduct, type RowProgram } from "./devices/webgpu/row-products.js";
