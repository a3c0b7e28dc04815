/**
 * Sequence tasks: where training sequences come from, and what counts as success.
 *
 * @packageDocumentation
 */
export * from "./task.js";
export * from "./define-task.js";
export * from "./generated-task.js";
export * from "./host-random.js";
export * from "./white-signal.js";
export * from "./finite-group.js";
export * from "./character-language-model.js";
export * from "./text-entry.js";
export * from "./interpolated-trigram.js";
export * from "./forecasting.js";
export * from "./passkey.js";

// Tasks: a line here is all that lists, trials, pages and tests need.
export * from "./adding.js";
export * from "./associative-recall.js";
export * from "./autoregressive.js";
export * from "./copying.js";
export * from "./delay.js";
export * from "./group-word.js";
export * from "./induction.js";
export * from "./list-ops.js";
export * from "./mackey-glass.js";
export * from "./mad-compression.js";
export * from "./mad-fuzzy-recall.js";
export * from "./mad-in-context-recall.js";
export * from "./mad-memorization.js";
export * from "./mad-noisy-recall.js";
export * from "./mad-selective-copying.js";
export * from "./memory-chain.js";
export * from "./moby-dick.js";
export * from "./modular-arithmetic.js";
export * from "./mqar.js";
export * from "./mqar-compositional.js";
export * from "./mqar-forgetting.js";
export * from "./needle.js";
export * from "./ngram-lookup.js";
export * from "./parity.js";
export * from "./passkey-retrieval.js";
export * from "./pathfinder.js";
export * from "./reconstruction.js";
export * from "./repeat-first.js";
export * from "./repeat-previous.js";
export * from "./selective-copying.js";
export * from "./sequential-mnist.js";
export * from "./state-of-the-union.js";
