/**
 * The contract of a sequence mixer, the residual block, the language model and generation.
 *
 * @packageDocumentation
 */
export * from "./contract.js";
