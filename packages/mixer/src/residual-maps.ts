/** Maps into the residual stream, which begin smaller the more of them there are (Radford et al., GPT-2, 2019, section 2.3). */
import { assertSettings, mapTree, mul, type Tree } from "@seqmix/tensor";
import type { AnyMixer, LayerPlace } from "./contract.js";

/** The second maps of feed-forward blocks. */
const feedForwardMaps = /(^|\.)(fc2|down_proj)\.weight$/;

function assertPlace(place: LayerPlace): void {
  const count = { from: 1, whole: true };
  assertSettings("place of a layer", place, { index: { from: 0, whole: true }, count, branches: count });
}

/** Branches of a layer of this mixer that add to the residual stream. */
export const branchesOf = (mixer: AnyMixer): number => mixer.residualBranches ?? 1;

/** The mixer's fresh parameters for its place in a model. */
export function scaledMixer(mixer: AnyMixer, params: Tree, place: LayerPlace = { index: 0, count: 1 }): Tree {
  assertPlace(place);
  const branches = place.branches ?? place.count * branchesOf(mixer);
  return mixer.residualMaps ? scaled(params, mixer.residualMaps, branches) : params;
}

/** A fresh feed-forward block of a model with so many branches. */
export const scaledFeedForward = <T extends Tree>(params: T, branches: number): T =>
  scaled(params, feedForwardMaps, branches);

/** So the sum of all branches has at the start the variance of one. */
const scaled = <T extends Tree>(params: T, weights: RegExp, branches: number): T =>
  mapTree((leaf, path) => (weights.test(path) ? mul(leaf, 1 / Math.sqrt(branches)) : leaf), params);
