/**
 * Trees of tensors as safetensors files.
 *
 * @packageDocumentation
 */
export { saveSafetensors, type SaveOptions } from "./save.js";
export { loadSafetensors, type LoadedTree, type LoadOptions } from "./load.js";
export { readSafetensors, type SafetensorsFile, type StoredDType, type StoredTensor } from "./format.js";
