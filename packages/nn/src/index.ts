/**
 * Layers, norms, short convolution and losses as functions over plain parameter trees.
 *
 * @packageDocumentation
 */
export * from "./initialize.js";
export * from "./linear.js";
export * from "./embedding.js";
export * from "./norms.js";
export * from "./gated-norms.js";
export * from "./causal-conv1d.js";
export * from "./dropout.js";
export * from "./feed-forward.js";
export * from "./glu.js";
export * from "./rotary.js";
export * from "./losses.js";
