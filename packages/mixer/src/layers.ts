/** The layers of a language model: which mixer each has, and whether a feed-forward block follows. */
import { assertFields, assertSettings, type SettingRules } from "@seqmix/tensor";
import type { AnyMixer, MixerConfig } from "./contract.js";
import { assertFeedForward, type FeedForwardConfig } from "./feed-forward-block.js";
import { assertMixerSettings, configure, type MixerSettings } from "./run-mixer.js";

/** Where a layer differs from the model's settings. */
export interface LayerConfig {
  /** Another mixer, or none: the layer is its feed-forward block alone. */
  readonly mixer?: AnyMixer | "none";
  /** Settings of the mixer; with the model's own mixer they come on top of the model's. */
  readonly mixerConfig?: MixerSettings;
  /** Another feed-forward block, or none. */
  readonly feedForward?: FeedForwardConfig | "none";
}

/** What the layers of a language model are made of. */
export interface LayersConfig {
  /** The mixer of every layer for which `pattern` has no other. */
  readonly mixer: AnyMixer;
  /** Settings other than the mixer's defaults; its dModel is the model's. */
  readonly mixerConfig?: MixerSettings;
  /** A feed-forward block behind the mixer of every layer for which `pattern` has no other; none by default. */
  readonly feedForward?: FeedForwardConfig;
  /**
   * Where layers differ, from the input on and again from its beginning as long as there are layers: `[{}, {}, { mixer:
   * attention }]` has attention in every third.
   */
  readonly pattern?: readonly LayerConfig[];
  /** Channels D. */
  readonly dModel: number;
  /** Layers. */
  readonly nLayers: number;
}

/** One layer, everything filled in. */
export interface Layer {
  /** None: the layer is a feed-forward block alone. */
  readonly mixer: AnyMixer | undefined;
  /** Of the mixer. */
  readonly mixerConfig: MixerConfig;
  /** None: the layer is a mixer alone. */
  readonly feedForward: FeedForwardConfig | undefined;
}

/** Those of a language model with them. */
const SETTINGS: SettingRules<LayersConfig & { readonly vocabSize?: number; readonly checkpoint?: boolean }> = {
  mixer: "own",
  mixerConfig: "own",
  feedForward: "own",
  pattern: "list?",
  dModel: "own",
  nLayers: "own",
  vocabSize: { from: 1, whole: true },
  checkpoint: "flag",
};

/**
 * The layers, from the input on.
 * @throws RangeError for an empty pattern, a layer of nothing, or settings that a mixer does not have.
 */
export function layersOf(model: LayersConfig): readonly Layer[] {
  assertSettings("layersOf", model, SETTINGS);
  const { pattern = [{}], nLayers } = model;
  assertFields("layersOf", model, { dModel: { from: 1, whole: true }, nLayers: { from: 0, whole: true } });
  if (pattern.length === 0)
    throw new RangeError("layersOf: expected a pattern of at least one layer, got none; leave it out, or name a layer");
  const period = pattern.slice(0, nLayers).map((layer, k) => layerOf(model, layer, k));
  return Array.from({ length: nLayers }, (_, k) => period[k % pattern.length]!);
}

function layerOf(model: LayersConfig, layer: LayerConfig, k: number): Layer {
  assertSettings("layersOf", layer, ["mixer", "mixerConfig", "feedForward"]);
  const { dModel } = model;
  const feedForward = layer.feedForward ?? model.feedForward ?? "none";
  const mixer = layer.mixer ?? model.mixer;
  if (mixer === "none" && feedForward === "none")
    throw new RangeError(
      `layersOf: expected a mixer or a feed-forward block in layer ${k} of the pattern, got neither; name one of them`,
    );
  if (feedForward !== "none") assertFeedForward(feedForward);
  for (const given of [model.mixerConfig, layer.mixerConfig])
    if (given !== undefined) assertMixerSettings("layersOf, mixerConfig", given);
  const settings = { ...(layer.mixer === undefined && model.mixerConfig), ...layer.mixerConfig, dModel };
  return {
    mixer: mixer === "none" ? undefined : mixer,
    mixerConfig: mixer === "none" ? { dModel } : configure(mixer, settings),
    feedForward: feedForward === "none" ? undefined : feedForward,
  };
}
