/** What a sequence mixer is: one file per architecture, a few functions, everything else comes from them. */
import type { Key, Tensor, Tree } from "@seqmix/tensor";

/** What every mixer's config has. */
export type MixerConfig = {
  /** Channels D. */
  readonly dModel: number;
};

/**
 * A causal map of sequences x [B L D] -> y [B L D] with a state.
 * y_t depends on x_0 .. x_t only, and the state after x_t holds all that later outputs need of them.
 *
 * C is the config: `dModel` (D) and further numbers, strings and booleans, so that the identity string of a trial
 * can carry them. P (parameters) and S (state) are trees; declare all three with `type`, since an `interface` is no tree.
 */
export interface MixerDefinition<C extends MixerConfig, P extends Tree, S extends Tree> {
  /** Name in trials, registries and reports, e.g. "mamba". */
  readonly id: string;
  /** The defaults. */
  readonly config: C;
  /** How the bytes of the state depend on the length: not at all, growing with it, or there is no finite state. */
  readonly state: "constant" | "grows" | "none";
  /** New parameters: a plain tree with the keys of published checkpoints, e.g. `{ A_log, in_proj: { weight } }`. */
  init(config: C, key: Key): P;
  /** The state before the first element of `batch` sequences. */
  initState(config: C, batch: number): S;
  /** One element: x [B D] -> y [B D], and the state after it. */
  step(config: C, params: P, x: Tensor, state: S): readonly [Tensor, S];
  /** Ways to run whole sequences. All agree with the folded `step`, in values and in gradients. */
  readonly modes: MixerModes<C, P, S>;
}

/** Ways to run whole sequences: x [B L D] -> y [B L D], and the state after the last element. `state` undefined means `initState`. */
export interface MixerModes<C, P, S> {
  /** All elements at once. */
  parallel(config: C, params: P, x: Tensor, state?: S): readonly [Tensor, S];
  /** Pieces of a fixed length at once, the state carried between them. */
  chunked?(config: C, params: P, x: Tensor, state?: S): readonly [Tensor, S];
}

/** A way to run a mixer over a sequence; "recurrent" is the folded `step`, which every mixer has. */
export type Mode = "parallel" | "chunked" | "recurrent";

/** Any mixer, for code that runs all of them and looks into none. */
export type AnyMixer = MixerDefinition<MixerConfig, Tree, Tree>;

/** The same object, with its types inferred and checked. */
export function defineMixer<C extends MixerConfig, P extends Tree, S extends Tree>(
  mixer: MixerDefinition<C, P, S>,
): MixerDefinition<C, P, S> {
  return mixer;
}
