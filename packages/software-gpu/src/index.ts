/**
 * A WebGPU adapter and a Chromium for tests on machines that have neither.
 *
 * @packageDocumentation
 */
export { useSoftwareAdapter } from "./software-adapter.js";
export { findChromium, type ChromiumProgram } from "./chromium.js";
