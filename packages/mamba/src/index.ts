/**
 * The Mamba block as a sequence mixer, with checkpoint names as published.
 *
 * @packageDocumentation
 */
export { mamba, mambaParameterGroups, type MambaConfig, type MambaParameters, type MambaState } from "./mamba.js";
