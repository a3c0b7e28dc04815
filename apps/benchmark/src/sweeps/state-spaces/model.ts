/** A small model around state-space layers: a map of the input to channels, the layers, and a map to what is asked. */
import { runMixer, type AnyMixer, type MixerSettings } from "@seqmix/mixer";
import { initLinear, linear } from "@seqmix/nn";
import { s4, s4Block, type S4Config, type S4Parameters } from "@seqmix/s4";
import { add, foldIn, mean, reshape, sliceAxis, type Key, type Tensor, type Tree } from "@seqmix/tensor";

/** One way to build the layers. */
export interface Arm {
  /** Name in tables and charts. */
  readonly name: string;
  readonly mixer: AnyMixer;
  readonly settings: MixerSettings;
}

/** What is around the layers. */
export interface Shape {
  readonly channels: number;
  readonly layers: number;
  /** Outputs of the model. */
  readonly outputs: number;
  /** Where the layers are read: at every position, at the last one, or on average. */
  readonly read: "all" | "last" | "mean";
}

/** Parameters. */
export type ModelParameters = {
  readonly encoder: ReturnType<typeof initLinear>;
  readonly layers: readonly Tree[];
  readonly decoder: ReturnType<typeof initLinear>;
};

const configOf = ({ mixer, settings }: Arm, { channels }: Shape) => ({
  ...mixer.config,
  ...settings,
  dModel: channels,
});

/** Fresh parameters. */
export function initModel(arm: Arm, shape: Shape, source: Key): ModelParameters {
  const config = configOf(arm, shape);
  return {
    encoder: initLinear(foldIn(source, "encoder"), 1, shape.channels),
    layers: Array.from({ length: shape.layers }, (_, k) => arm.mixer.init(config, foldIn(source, k))),
    decoder: initLinear(foldIn(source, "decoder"), shape.channels, shape.outputs),
  };
}

/**
 * x [B L 1] -> [B L outputs], or [B outputs] read at one place or on average. Several layers have residual connections.
 * @param rate Step between samples relative to that of training; other than 1 with S4 only.
 */
export function runModel(arm: Arm, shape: Shape, params: ModelParameters, x: Tensor, rate = 1): Tensor {
  const config = configOf(arm, shape);
  const apply = (layer: Tree, h: Tensor): Tensor =>
    rate === 1
      ? runMixer(arm.mixer, config, layer, h)[0]
      : s4Block(config as unknown as S4Config, layer as S4Parameters, h, { rate })[0];
  if (rate !== 1 && arm.mixer.id !== s4.id)
    throw new RangeError(`runModel: expected S4 with a rate of ${rate}, got ${arm.mixer.id}`);
  let h = linear(params.encoder, x);
  for (const layer of params.layers) h = shape.layers === 1 ? apply(layer, h) : add(h, apply(layer, h));
  const L = x.shape[1]!;
  const read =
    shape.read === "all"
      ? h
      : shape.read === "mean"
        ? mean(h, 1)
        : reshape(sliceAxis(h, 1, L - 1, L), [h.shape[0]!, -1]);
  return linear(params.decoder, read);
}
