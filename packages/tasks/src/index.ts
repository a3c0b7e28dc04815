/**
 * Sequence tasks: where training sequences come from, and what counts as success.
 *
 * @packageDocumentation
 */
export * from "./task.js";
export * from "./selective-copying.js";
export * from "./character-language-model.js";
export * from "./interpolated-trigram.js";
export * from "./forecasting.js";
export * from "./passkey.js";
