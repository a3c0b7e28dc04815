/** The block around every mixer: x + mixer(norm(x)), or mixer(x) for a mixer that is a block itself. */
import { initRmsNorm, rmsNorm, type RmsNormParameters } from "@seqmix/nn";
import { add, type Key, type Tensor, type Tree } from "@seqmix/tensor";
import type { AnyMixer, LayerPlace, MixerConfig, Mode } from "./contract.js";
import { scaledMixer } from "./residual-maps.js";
import { isCausal, runMixer } from "./run-mixer.js";

/** Parameters of one block. */
export type ResidualBlockParameters = {
  /** Scale [D] of the norm before the mixer; none for a mixer with residual connections of its own. */
  readonly norm?: RmsNormParameters;
  /** As the mixer's `init` makes them. */
  readonly mixer: Tree;
};

/** A norm of ones and a fresh mixer, its maps into the residual stream as the published models of that depth begin. */
export const initResidualBlock = (
  mixer: AnyMixer,
  config: MixerConfig,
  key: Key,
  place?: LayerPlace,
): ResidualBlockParameters => ({
  ...(mixer.residual !== "own" && { norm: initRmsNorm(config.dModel) }),
  mixer: scaledMixer(mixer, mixer.init(config, key, place), place),
});

/** x [B L D] -> x + mixer(norm(x)) [B L D], or mixer(x), and the mixer's state. RMSNorm with eps 1e-5. */
export function residualBlock(
  mixer: AnyMixer,
  config: MixerConfig,
  params: ResidualBlockParameters,
  x: Tensor,
  state?: Tree,
  mode?: Mode,
  resets?: Tensor,
): readonly [Tensor, Tree] {
  const [y, next] = runMixer(mixer, config, params.mixer, normed(params, x), state, mode, resets);
  return [params.norm !== undefined ? add(x, y) : y, next];
}

/**
 * One element of {@link residualBlock}: x [B D] -> [B D].
 * @throws RangeError if the mixer has no recurrent form.
 */
export function residualBlockStep(
  mixer: AnyMixer,
  config: MixerConfig,
  params: ResidualBlockParameters,
  x: Tensor,
  state: Tree,
): readonly [Tensor, Tree] {
  if (!mixer.step || !isCausal(mixer, config))
    throw new RangeError(`${mixer.id}: expected a mixer with a recurrent form, got one without; run whole sequences`);
  const [y, next] = mixer.step(config, params.mixer, normed(params, x), state);
  return [params.norm !== undefined ? add(x, y) : y, next];
}

const normed = ({ norm }: ResidualBlockParameters, x: Tensor): Tensor => (norm !== undefined ? rmsNorm(norm, x) : x);
