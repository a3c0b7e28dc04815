/**
 * H3: a shift state-space model and a diagonal one around products of keys and values, as a sequence mixer.
 *
 * @packageDocumentation
 */
export { h3, h3System, shiftSystem, type H3Config, type H3Parameters, type H3State } from "./h3.js";
export { shiftKernel, shiftSequence, shiftStep, type ShiftSystem } from "./shift-ssm.js";
