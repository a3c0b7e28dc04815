/** What a sequence mixer is: one file per architecture, a few functions, everything else comes from them. */
import type { ParameterGroup } from "@seqmix/optim";
import type { Key, Tensor, Tree } from "@seqmix/tensor";

/** What every mixer's config has. */
export type MixerConfig = {
  /** Channels D. */
  readonly dModel: number;
};

/** Least and largest value of a setting, and whether it has to be a whole number. */
export type SettingRange = readonly [least: number, largest: number, whole?: "whole"];

/** Where in a stack of layers a mixer stands; some published initialisations depend on it. */
export interface LayerPlace {
  /** From 0, at the input. */
  readonly index: number;
  /** Layers in all. */
  readonly count: number;
  /** Branches that add to the residual stream, in all layers; those of a stack of this mixer alone by default. */
  readonly branches?: number;
}

/** Whether something holds under a config; written as a method, so that any mixer is an `AnyMixer`. */
type Depends<C> = { holds(config: C): boolean }["holds"];

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
  /** Words that a setting may be, where it is one out of a list; checked by `configure`. */
  readonly choices?: { readonly [K in keyof C]?: readonly C[K][] };
  /** Least and largest value of a number, and whether it is a whole one; checked by `configure`, as are dModel and chunkSize. */
  readonly ranges?: { readonly [K in keyof C]?: SettingRange };
  /** Tiny settings by name, under which the laws of `checkMixer` are proven on every device; together they reach every option. */
  readonly samples?: Readonly<Record<string, Partial<C>>>;
  /** Whether y_t depends on x_0 .. x_t only under a config; absent: always. A mixer that sees both ways has no state and no step. */
  causal?(config: C): boolean;
  /** Whether the modes honour `resets`, under any config or under some. */
  readonly resets?: boolean | Depends<C>;
  /** How the published training code treats some parameters, given the peak learning rate of the others. */
  parameterGroups?(learningRate: number): readonly ParameterGroup[];
  /** How the bytes of the state depend on the length: not at all, growing with it, or there is no finite state. */
  readonly state: "constant" | "grows" | "none";
  /** "own": a whole block with norms and residual connections inside, so that `residualBlock` adds neither. */
  readonly residual?: "own";
  /** Branches of a layer that add to the residual stream; 1 by default. */
  readonly residualBranches?: number;
  /**
   * Paths of the weights that end in the residual stream, for a mixer whose published models divide them by the square root of the
   * branches of all layers (Radford et al., GPT-2, 2019). `init` leaves that to the block around it, which knows the depth.
   */
  readonly residualMaps?: RegExp;
  /**
   * New parameters: a plain tree with the keys of published checkpoints, e.g. `{ A_log, in_proj: { weight } }`.
   * @param place The first of one layer by default.
   */
  init(config: C, key: Key, place?: LayerPlace): P;
  /** The state before the first element of `batch` sequences. */
  initState(config: C, batch: number): S;
  /** A state that grows, with room for `length` more elements: `step` then keeps its shapes, so that one plan serves all elements. */
  reserve?(config: C, state: S, length: number): S;
  /** The state with that of the start in its place where `flags` [B], bool, are true; for states that grow and honour resets. */
  forget?(config: C, state: S, flags: Tensor): S;
  /**
   * One element: x [B D] -> y [B D], and the state after it. Absent: there is no recurrent form. It computes from its arguments
   * alone: of long sequences the device repeats one step.
   */
  step?(config: C, params: P, x: Tensor, state: S): readonly [Tensor, S];
  /** Ways to run whole sequences. All agree with the folded `step`, in values and in gradients. */
  readonly modes: MixerModes<C, P, S>;
}

/**
 * Ways to run whole sequences: x [B L D] -> y [B L D], and the state after the last element. `state` undefined means `initState`.
 * `resets` [B L], bool: true at the first element of each packed sequence, before which the state is `initState` again.
 * Only mixers that declare `resets` are given one. Attention, the delta rule and convolutions multiply what was forgotten by 0:
 * values have to be finite there. Recurrences and structured masked attention forget what is no number, too.
 */
export interface MixerModes<C, P, S> {
  /** All elements at once. */
  parallel(config: C, params: P, x: Tensor, state?: S, resets?: Tensor): readonly [Tensor, S];
  /** Pieces of a fixed length at once, the state carried between them. */
  chunked?(config: C, params: P, x: Tensor, state?: S, resets?: Tensor): readonly [Tensor, S];
}

/** A way to run a mixer over a sequence; "recurrent" is the folded `step`, which mixers with a `step` have. */
export type Mode = "parallel" | "chunked" | "recurrent";

/** Any mixer, for code that runs all of them and looks into none. */
export type AnyMixer = MixerDefinition<MixerConfig, Tree, Tree>;

/** The same object, with its types inferred and checked. */
export function defineMixer<C extends MixerConfig, P extends Tree, S extends Tree>(
  mixer: MixerDefinition<C, P, S>,
): MixerDefinition<C, P, S> {
  return mixer;
}
