/** Sizes read off the trees themselves: nothing is written by hand. */
import { BYTES_PER_ELEMENT, key, leavesOf, zeros, type Tree } from "@seqmix/tensor";
import type { AnyMixer } from "./contract.js";
import { configure, type MixerSettings } from "./run-mixer.js";

/** Numbers in a tree. */
export const parameterCount = (tree: Tree): number => leavesOf(tree).reduce((total, x) => total + x.size, 0);

/** Bytes of a tree on a device, 4 an element. */
export const treeBytes = (tree: Tree): number => parameterCount(tree) * BYTES_PER_ELEMENT;

/**
 * Bytes of one sequence's state after `length` elements, read off the shapes of the state that the mixer returns.
 * Nothing is computed: shapes are known before values. null for a mixer without a finite state.
 * @param settings In place of the mixer's defaults.
 */
export function stateBytes(mixer: AnyMixer, settings: MixerSettings, length: number): number | null {
  if (mixer.state === "none") return null;
  const config = configure(mixer, settings);
  if (length === 0) return treeBytes(mixer.initState(config, 1));
  const [, state] = mixer.modes.parallel(config, mixer.init(config, key(0)), zeros([1, length, config.dModel]));
  return treeBytes(state);
}
