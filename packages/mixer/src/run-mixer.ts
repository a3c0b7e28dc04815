/** Running a mixer over a sequence in any of its modes. */
import {
  assertTensor,
  cast,
  DTypeError,
  leavesOf,
  namedLeaves,
  replaceLeaves,
  reshape,
  sequentialScan,
  ShapeError,
  sliceAxis,
  stack,
  transpose,
  where,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { AnyMixer, MixerConfig, MixerDefinition, Mode, SettingRange } from "./contract.js";

/** Values of a mixer's settings by name. */
export type MixerSettings = Readonly<Record<string, SettingValue>>;

/** A number, a choice by name, or a switch. */
export type SettingValue = number | string | boolean;

/**
 * The mixer's defaults with some settings changed.
 * @throws RangeError for a setting the mixer does not have, a value of another type, or one outside its choices or range.
 */
export function configure<C extends MixerConfig>(
  mixer: Pick<MixerDefinition<C, Tree, Tree>, "id" | "config" | "choices" | "ranges">,
  settings: MixerSettings = {},
): C {
  assertMixer("configure", mixer);
  assertMixerSettings(mixer.id, settings);
  const known = mixer.config as unknown as MixerSettings;
  for (const [name, value] of Object.entries(settings)) {
    if (!(name in known))
      throw new RangeError(
        `${mixer.id}: expected a setting out of ${Object.keys(known).join(", ")}, got ${name}=${value}; check the name`,
      );
    const standard = known[name]!;
    // A number may stand where the default is a word such as "auto".
    if (typeof value !== typeof standard && !(typeof standard === "string" && typeof value === "number"))
      throw new RangeError(
        `${mixer.id}: expected a ${typeof standard} for ${name}, got ${typeof value === "string" ? JSON.stringify(value) : value}; change it`,
      );
    assertNumber(mixer.id, name, value, standard);
    assertAllowed(mixer, name, value, standard);
  }
  const config = { ...mixer.config, ...settings };
  assertStepSizes(mixer.id, config as Partial<Record<"dtMin" | "dtMax", number>>);
  return config;
}

function assertStepSizes(id: string, { dtMin, dtMax }: Partial<Record<"dtMin" | "dtMax", number>>): void {
  if (dtMin! > dtMax!)
    throw new RangeError(`${id}: expected dtMin of at most dtMax, got ${dtMin} and ${dtMax}; change one of them`);
}

/** @throws TypeError for anything but an object. @internal */
export function assertMixerSettings(name: string, settings: MixerSettings): void {
  if (typeof settings !== "object" || settings === null)
    throw new TypeError(
      `${name}: expected settings such as { dModel: 64 }, got ${describe(settings)}; put them into an object`,
    );
}

/** @throws TypeError for anything but a mixer. */
function assertMixer(name: string, mixer: Pick<AnyMixer, "id" | "config">): void {
  const given = mixer as Partial<AnyMixer> | null | undefined;
  if (typeof given?.id !== "string" || typeof given.config !== "object")
    throw new TypeError(
      `${name}: expected a mixer such as those of defineMixer, got ${describe(mixer)}; pass the mixer itself`,
    );
}

const describe = (value: unknown): string => (value === null ? "null" : typeof value);

/** @throws TypeError for anything but a mixer; RangeError for a config that lacks settings, or has some that `configure` would refuse. */
export function assertConfig(name: string, mixer: AnyMixer, config: MixerConfig): void {
  assertMixer(name, mixer);
  configure(mixer, config as unknown as MixerSettings);
  for (const name in mixer.config)
    if ((config as unknown as MixerSettings)[name] === undefined)
      throw new RangeError(
        `${mixer.id}: expected a config with ${name}, got none; make it with configure(mixer, { dModel: ${config.dModel} })`,
      );
}

/** @throws ShapeError unless the state has the leaves of `initState`, and others only where `reserve` may have added them. */
function assertState(mixer: AnyMixer, config: MixerConfig, batch: number, state: Tree): void {
  if (mixer.state === "none") return;
  const isTree = typeof state === "object" && state !== null;
  const own = Object.keys(namedLeaves(mixer.initState(config, batch)));
  const given = isTree ? Object.keys(namedLeaves(state)) : [];
  if (isTree && own.every((name) => given.includes(name)) && (mixer.reserve || given.length === own.length)) return;
  const names = (list: readonly string[]): string => list.toSorted().join(", ") || "nothing";
  throw new ShapeError(
    `${mixer.id}: expected a state of ${names(own)}, got ${isTree ? names(given) : describe(state)}; take that of initState or of an earlier run`,
  );
}

/** @throws RangeError for NaN, and for an infinity where the default is finite. */
function assertNumber(id: string, name: string, value: SettingValue, standard: SettingValue): void {
  if (typeof value === "number" && !Number.isFinite(value) && (Number.isNaN(value) || Number.isFinite(standard)))
    throw new RangeError(`${id}: expected a finite number for ${name}, got ${value}; change it`);
}

/** Of every mixer that has them; step sizes are drawn by their logarithms. */
const COMMON: Readonly<Record<string, SettingRange>> = {
  dModel: [1, Infinity, "whole"],
  chunkSize: [1, Infinity, "whole"],
  dtMin: [1e-30, Infinity],
  dtMax: [1e-30, Infinity],
};

/** @throws RangeError if the mixer gives choices or a range for the setting and the value is outside. */
function assertAllowed(
  mixer: { readonly id: string; readonly choices?: object; readonly ranges?: object },
  name: string,
  value: SettingValue,
  standard: SettingValue,
): void {
  const choices = (mixer.choices as Readonly<Record<string, readonly unknown[]>> | undefined)?.[name];
  if (choices && !choices.includes(value))
    throw new RangeError(
      `${mixer.id}: expected ${name} out of ${choices.join(", ")}, got ${value}; choose one of them`,
    );
  if (!choices && typeof value === "string" && value !== standard)
    throw new RangeError(`${mixer.id}: expected ${name}, ${standard} or a number, got ${value}; change it`);
  const range = { ...COMMON, ...(mixer.ranges as Readonly<Record<string, SettingRange>> | undefined) }[name];
  if (!range || typeof value !== "number") return;
  const [least, largest, whole] = range;
  if (!(value >= least && value <= largest) || (whole && !Number.isInteger(value)))
    throw new RangeError(
      `${mixer.id}: expected ${name}${whole ? ", a whole number" : ""} from ${least} to ${largest}, got ${value}; change it`,
    );
}

/** Whether outputs depend on earlier inputs only. */
export const isCausal = (mixer: AnyMixer, config: MixerConfig): boolean => mixer.causal?.(config) ?? true;

/** Whether the modes honour resets under a config. */
export const honoursResets = ({ resets = false }: AnyMixer, config: MixerConfig): boolean =>
  typeof resets === "boolean" ? resets : resets(config);

/** Whether there is a recurrent form. */
const hasStep = (mixer: AnyMixer): boolean => mixer.step !== undefined && mixer.state !== "none";

/** The modes of a mixer under a config: one that sees both ways has the parallel one alone. */
export const modesOf = (mixer: AnyMixer, config: MixerConfig = mixer.config): Mode[] =>
  isCausal(mixer, config)
    ? [
        "parallel",
        ...(mixer.modes.chunked ? (["chunked"] as const) : []),
        ...(hasStep(mixer) ? (["recurrent"] as const) : []),
      ]
    : ["parallel"];

/**
 * Runs a mixer over a sequence.
 * @param x [B L D]
 * @param state As the mixer's `initState` gives it; that by default.
 * @param mode "parallel" by default.
 * @param resets bool or i32 [B L], not 0 at the first element of each packed sequence: the state is as at the start before it.
 * @returns y [B L D] and the state after the last element
 * @throws RangeError if the mixer does not have the mode, or does not honour resets.
 */
export function runMixer(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  state?: Tree,
  mode: Mode = "parallel",
  resets?: Tensor,
): readonly [Tensor, Tree] {
  assertConfig("runMixer", mixer, config);
  assertTensor(mixer.id, x);
  if (typeof params !== "object" || params === null)
    throw new TypeError(`${mixer.id}: expected parameters, got ${describe(params)}; make them with init`);
  if (x.shape.length !== 3 || x.shape[2] !== config.dModel)
    throw new ShapeError(
      `${mixer.id}: expected x [B L ${config.dModel}], got shape [${x.shape.join(",")}]; D is dModel`,
    );
  const modes = modesOf(mixer, config);
  if (!modes.includes(mode))
    throw new RangeError(`${mixer.id}: expected a mode out of ${modes.join(", ")}, got ${mode}`);
  if (state !== undefined) assertState(mixer, config, x.shape[0]!, state);
  if (resets !== undefined) assertTensor(mixer.id, resets);
  const flags = resets && resetFlags(mixer, config, x, resets);
  return mode === "recurrent"
    ? fold(mixer, config, params, x, state, flags)
    : mixer.modes[mode]!(config, params, x, state, flags);
}

/** Resets as bool [B L]. */
function resetFlags(mixer: AnyMixer, config: MixerConfig, x: Tensor, resets: Tensor): Tensor {
  if (!honoursResets(mixer, config))
    throw new RangeError(
      `${mixer.id}: expected no resets, which this mixer does not honour${mixer.resets ? " with these settings" : ""}; run each sequence alone`,
    );
  if (resets.dtype !== "bool" && resets.dtype !== "i32")
    throw new DTypeError(`${mixer.id}: expected bool or i32 resets [B L], got ${resets.dtype}; convert them with cast`);
  if (resets.shape.join() !== x.shape.slice(0, 2).join())
    throw new ShapeError(
      `${mixer.id}: expected resets [B L] = [${x.shape.slice(0, 2).join(",")}], got shape [${resets.shape.join(",")}]`,
    );
  return cast(resets, "bool");
}

/** Elements from which a recurrence of fixed form is one repeated step: a graph of every step takes long to plan. */
const REPEATED = 32;

/** `step` applied to one element after another. */
function fold(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  state: Tree | undefined,
  resets: Tensor | undefined,
): readonly [Tensor, Tree] {
  const [B, L, D] = x.shape as [number, number, number];
  let carried = state ?? mixer.initState(config, B);
  if (mixer.state === "constant" && L >= REPEATED) return repeated(mixer, config, params, x, carried, resets);
  const outputs: Tensor[] = [];
  for (let t = 0; t < L; t++) {
    if (resets) carried = forget(mixer, config, carried, reshape(sliceAxis(resets, 1, t, t + 1), [B]));
    const [y, next] = mixer.step!(config, params, reshape(sliceAxis(x, 1, t, t + 1), [B, D]), carried);
    outputs.push(y);
    carried = next;
  }
  return [L === 0 ? zeros([B, 0, D]) : stack(outputs, 1), carried];
}

/** The same as one step that the device repeats. */
function repeated(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  state: Tree,
  resets: Tensor | undefined,
): readonly [Tensor, Tree] {
  const { outputs, state: last } = sequentialScan({
    step(before: Tree, { now, flags }: { readonly now: Tensor; readonly flags?: Tensor }, weights: Tree) {
      const [y, next] = mixer.step!(config, weights, now, flags ? forget(mixer, config, before, flags) : before);
      return [next, y];
    },
    initial: state,
    inputs: { now: transpose(x, [1, 0, 2]), ...(resets && { flags: transpose(resets) }) },
    constants: params,
  });
  return [transpose(outputs, [1, 0, 2]), last];
}

/** The state with that of the start in its place where `flags` [B] are true. Leaves [B ...]. */
export function forget(mixer: AnyMixer, config: MixerConfig, state: Tree, flags: Tensor): Tree {
  if (mixer.forget) return mixer.forget(config, state, flags);
  const B = flags.shape[0]!;
  const fresh = leavesOf(mixer.initState(config, B));
  return replaceLeaves(
    state,
    leavesOf(state).map((leaf, k) => where(reshape(flags, [B, ...leaf.shape.slice(1).map(() => 1)]), fresh[k]!, leaf)),
  );
}
