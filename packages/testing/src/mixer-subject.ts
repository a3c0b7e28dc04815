/** A mixer under test: what the laws of `checkMixer` run and compare. */
import { isCausal, modesOf, runMixer, type AnyMixer, type MixerConfig, type Mode } from "@seqmix/mixer";
import {
  add,
  foldIn,
  key,
  leavesOf,
  mul,
  namedLeaves,
  reference,
  replaceLeaves,
  sum,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { assertClose, LawError, toleranceOfScale, type Tolerance } from "./compare.js";
import { evaluate, randomValues, toTensor, type HostValues } from "./host-values.js";

/** How {@link checkMixer} compares. */
export interface MixerCheckOptions {
  /** Sequences in a batch; 2 by default. */
  readonly batch?: number;
  /** Elements of the sequences; 13 by default. With a chunk size in the config, choose more than two chunks and no multiple. */
  readonly length?: number;
  /** Share of each value and of the largest of its tensor that an f32 device may be off; 1e-4 by default. */
  readonly relative?: number;
  /** The same for gradients; 1e-3 by default. */
  readonly gradientRelative?: number;
  /**
   * What a gradient may be off on an f32 device in any case, 0 by default: where its terms cancel, as those of a query with
   * one key do, rounding is all that is left of them.
   */
  readonly cancelling?: number;
  /** The same between modes in float64; 1e-8 by default. */
  readonly exact?: number;
}

/** A mixer under test, with parameters, an input and a carried state on the host. */
export interface Subject {
  readonly mixer: AnyMixer;
  readonly config: MixerConfig;
  readonly device: Device;
  readonly oracle: Device;
  readonly options: MixerCheckOptions;
  readonly modes: readonly Mode[];
  readonly hasState: boolean;
  readonly batch: number;
  readonly length: number;
  /** A tree of the right form; its tensors are never realized. */
  readonly paramsForm: Tree;
  readonly params: readonly HostValues[];
  readonly x: HostValues;
  /** The state after three earlier elements; absent for mixers without one. */
  readonly state: readonly HostValues[] | undefined;
}

export async function prepare(
  mixer: AnyMixer,
  config: MixerConfig,
  device: Device,
  options: MixerCheckOptions,
): Promise<Subject> {
  const oracle = reference();
  const paramsForm = mixer.init(config, key(1));
  const { batch = 2, length = 13 } = options;
  const params = (await evaluate(oracle, () => ownLeaves(mixer.init(config, key(1))))).map(rounded);
  const x = randomValues(key(2), [batch, length, config.dModel]);
  const subject: Subject = {
    mixer,
    config,
    device,
    oracle,
    options,
    modes: modesOf(mixer, config),
    hasState: mixer.state !== "none" && isCausal(mixer, config),
    batch,
    length,
    paramsForm,
    params,
    x,
    state: undefined,
  };
  if (!subject.hasState) return subject;
  const earlier = randomValues(key(3), [batch, 3, config.dModel]);
  const state = await evaluate(oracle, () =>
    ownLeaves(runMixer(mixer, config, newParams(subject), toTensor(earlier))[1]),
  );
  return { ...subject, state: state.map(rounded) };
}

/** The parameters as new tensors. */
export const newParams = (s: Subject): Tree => replaceLeaves(s.paramsForm, s.params.map(toTensor));

/** A state of the given tensors; its form is that of `initState`. */
export const stateOf = (s: Subject, leaves: readonly Tensor[] | undefined): Tree | undefined =>
  leaves && replaceLeaves(s.mixer.initState(s.config, s.batch), leaves);

/** Output and, if there is one, the leaves of the final state. */
export function run(
  s: Subject,
  params: Tree,
  x: Tensor,
  state: Tree | undefined,
  mode: Mode,
  resets?: Tensor,
): readonly Tensor[] {
  const [y, after] = runMixer(s.mixer, s.config, params, x, state, mode, resets);
  if (y.shape.join() !== x.shape.join())
    throw new LawError(
      `mixer ${s.mixer.id}, mode ${mode}: y [B L D] has the shape of x`,
      `expected [${x.shape.join(",")}], got [${y.shape.join(",")}]`,
    );
  return [y, ...(s.hasState ? leavesOf(after) : [])];
}

export const namesOf = (s: Subject): string[] => [
  "y",
  ...(s.hasState ? Object.keys(namedLeaves(s.mixer.initState(s.config, s.batch))).map((path) => `state ${path}`) : []),
];

export const gradientNamesOf = (s: Subject, carried: boolean): string[] => [
  ...Object.keys(namedLeaves(s.paramsForm)).map((path) => `gradient of ${path}`),
  "gradient of x",
  ...(carried
    ? namesOf(s)
        .slice(1)
        .map((name) => `gradient of initial ${name}`)
    : []),
];

export function compare(
  law: string,
  actual: readonly HostValues[],
  expected: readonly HostValues[],
  names: readonly string[],
  relative: number,
  absolute = 0,
): void {
  expected.forEach(({ data, shape, dtype }, k) => {
    const what = `${law}, ${names[k] ?? k}`;
    if (actual[k]!.shape.join() !== shape.join())
      throw new LawError(what, `expected shape [${shape.join(",")}], got [${actual[k]!.shape.join(",")}]`);
    assertClose(
      what,
      actual[k]!.data,
      data,
      dtype === "f32" ? atLeast(toleranceOfScale(data, relative), absolute) : {},
      shape,
    );
  });
}

const atLeast = (tolerance: Tolerance, absolute: number): Tolerance => ({
  ...tolerance,
  absolute: Math.max(tolerance.absolute ?? 0, absolute),
});

export function toleranceOn(
  { options: { relative = 1e-4, gradientRelative = 1e-3, cancelling = 0, exact = 1e-8 } }: Subject,
  device: Device,
): { readonly values: number; readonly gradients: number; readonly cancelling: number } {
  return device.name === "reference"
    ? { values: exact, gradients: exact, cancelling: 0 }
    : { values: relative, gradients: gradientRelative, cancelling };
}

/** Weighted sum of output and final state; `given` holds parameters, input and, perhaps, the initial state. */
export function loss(s: Subject, given: readonly Tensor[], mode: Mode): Tensor {
  const count = s.params.length;
  const params = replaceLeaves(s.paramsForm, given.slice(0, count));
  const state = given.length > count + 1 ? stateOf(s, given.slice(count + 1)) : undefined;
  return weighted(run(s, params, given[count]!, state, mode));
}

/** The outputs' sum with fixed random weights. */
export function weighted(outputs: readonly Tensor[]): Tensor {
  return outputs
    .flatMap((y, k) => (y.dtype === "f32" ? [sum(mul(y, toTensor(randomValues(foldIn(key(4), k), y.shape))))] : []))
    .reduce((a, b) => add(a, b));
}

export const inputsOf = (s: Subject): Tensor[] => [...s.params, s.x].map(toTensor);
export const paramsOf = (s: Subject, given: readonly Tensor[]): Tree =>
  replaceLeaves(s.paramsForm, given.slice(0, s.params.length));

/** Each tensor as a node of its own: outputs may be one tensor twice, or an input. */
export const own = (tensors: readonly Tensor[]): Tensor[] => tensors.map((x) => (x.dtype === "f32" ? mul(x, 1) : x));
export const ownLeaves = (tree: Tree): Tensor[] => own(leavesOf(tree));

/** The values as f32 holds them, so that all devices start from the same. */
export const rounded = (x: HostValues): HostValues =>
  x.dtype === "f32" ? { ...x, data: Float64Array.from(x.data, Math.fround) } : x;
