/**
 * Every mixer and kernel record, listed once.
 *
 * @packageDocumentation
 */
export { kernels, mixers, type AnyKernel } from "./catalog.js";
