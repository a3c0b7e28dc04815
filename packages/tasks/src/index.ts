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
export * from "./character-language-model.js";
export * from "./text-entry.js";
export * from "./interpolated-trigram.js";
export * from "./forecasting.js";
export * from "./passkey.js";

// Tasks: a line here is all that lists, trials, pages and tests need.
export * from "./adding.js";
export * from "./delay.js";
export * from "./moby-dick.js";
export * from "./reconstruction.js";
export * from "./selective-copying.js";
