/** Running a mixer over a sequence in any of its modes. */
import { reshape, ShapeError, sliceAxis, stack, zeros, type Tensor, type Tree } from "@seqmix/tensor";
import type { AnyMixer, MixerConfig, Mode } from "./contract.js";

/** Values of a mixer's settings by name. */
export type MixerSettings = Readonly<Record<string, number | string | boolean>>;

/**
 * The mixer's defaults with some settings changed.
 * @throws RangeError for a setting the mixer does not have, or a value of another type.
 */
export function configure<C extends MixerConfig>(
  mixer: { readonly id: string; readonly config: C },
  settings: MixerSettings = {},
): C {
  const known = mixer.config as unknown as MixerSettings;
  for (const [name, value] of Object.entries(settings)) {
    if (!(name in known))
      throw new RangeError(
        `${mixer.id}: expected a setting out of ${Object.keys(known).join(", ")}, got ${name}=${value}; check the name`,
      );
    // A number may stand where the default is a word such as "auto".
    if (typeof known[name] !== "string" && typeof value !== typeof known[name])
      throw new RangeError(`${mixer.id}: expected a ${typeof known[name]} for ${name}, got ${JSON.stringify(value)}`);
  }
  return { ...mixer.config, ...settings };
}

/** The modes of a mixer. */
export const modesOf = (mixer: AnyMixer): Mode[] => [
  "parallel",
  ...(mixer.modes.chunked ? (["chunked"] as const) : []),
  ...(mixer.state === "none" ? [] : (["recurrent"] as const)),
];

/**
 * Runs a mixer over a sequence.
 * @param x [B L D]
 * @param state As the mixer's `initState` gives it; that by default.
 * @param mode "parallel" by default.
 * @returns y [B L D] and the state after the last element
 * @throws RangeError if the mixer does not have the mode.
 */
export function runMixer(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  state?: Tree,
  mode: Mode = "parallel",
): readonly [Tensor, Tree] {
  if (x.shape.length !== 3 || x.shape[2] !== config.dModel)
    throw new ShapeError(
      `${mixer.id}: expected x [B L ${config.dModel}], got shape [${x.shape.join(",")}]; D is dModel`,
    );
  if (!modesOf(mixer).includes(mode))
    throw new RangeError(`${mixer.id}: expected a mode out of ${modesOf(mixer).join(", ")}, got ${mode}`);
  return mode === "recurrent" ? fold(mixer, config, params, x, state) : mixer.modes[mode]!(config, params, x, state);
}

/** `step` applied to one element after another. */
function fold(mixer: AnyMixer, config: MixerConfig, params: Tree, x: Tensor, state?: Tree): readonly [Tensor, Tree] {
  const [B, L, D] = x.shape as [number, number, number];
  let carried = state ?? mixer.initState(config, B);
  const outputs: Tensor[] = [];
  for (let t = 0; t < L; t++) {
    const [y, next] = mixer.step(config, params, reshape(sliceAxis(x, 1, t, t + 1), [B, D]), carried);
    outputs.push(y);
    carried = next;
  }
  return [L === 0 ? zeros([B, 0, D]) : stack(outputs, 1), carried];
}
