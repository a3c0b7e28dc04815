/** Checks of one mixer: the laws that make it a causal map with a state, however it is run. */
import {
  isCausal,
  modesOf,
  runMixer,
  type AnyMixer,
  type MixerConfig,
  type MixerDefinition,
  type Mode,
} from "@seqmix/mixer";
import {
  add,
  concat,
  dispose,
  foldIn,
  grad,
  key,
  leavesOf,
  mul,
  namedLeaves,
  realize,
  reference,
  replaceLeaves,
  sliceAxis,
  sum,
  tensor,
  zeros,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { assertClose, attempt, LawError, toleranceOfScale } from "./compare.js";
import { checkDerivatives } from "./finite-differences.js";
import { evaluate, randomValues, toTensor, type HostValues } from "./host-values.js";

/** How {@link checkMixer} compares. */
export interface MixerCheckOptions {
  /** Elements of the sequences; 13 by default. With a chunk size in the config, choose more than two chunks and no multiple. */
  readonly length?: number;
  /** Share of each value and of the largest of its tensor that an f32 device may be off; 1e-4 by default. */
  readonly relative?: number;
  /** The same for gradients; 1e-3 by default. */
  readonly gradientRelative?: number;
  /** The same between modes in float64; 1e-8 by default. */
  readonly exact?: number;
}

/** What {@link checkMixer} did. */
export interface MixerReport {
  /** The mixer's id. */
  readonly mixer: string;
  /** Modes it was run in. */
  readonly modes: readonly Mode[];
  /** Laws that hold, in words. */
  readonly laws: readonly string[];
}

/** A mixer under test, with parameters, an input and a carried state on the host. */
interface Subject {
  readonly mixer: AnyMixer;
  readonly config: MixerConfig;
  readonly device: Device;
  readonly oracle: Device;
  readonly options: MixerCheckOptions;
  readonly modes: readonly Mode[];
  readonly hasState: boolean;
  readonly length: number;
  /** A tree of the right form; its tensors are never realized. */
  readonly paramsForm: Tree;
  readonly params: readonly HostValues[];
  readonly x: HostValues;
  /** The state after three earlier elements; absent for mixers without one. */
  readonly state: readonly HostValues[] | undefined;
}

interface Law {
  readonly name: string;
  /** true: for mixers with a state only. */
  readonly stateful?: boolean;
  /** true: for mixers that see no later inputs. */
  readonly causal?: boolean;
  /** true: for mixers that honour resets. */
  readonly packed?: boolean;
  /** @throws LawError if the law does not hold; `law` begins its message. */
  check(subject: Subject, law: string): Promise<void>;
}

const BATCH = 2;

/**
 * The laws, each in every mode: equal keys make equal parameters; all modes agree in values, final states and gradients
 * (of parameters, input and initial state, through output and final state), in float64 and on the device; a sequence split
 * anywhere, an empty part included, is the whole; sequences packed into one with resets are each alone; no output depends on
 * later inputs, unless the config sees both ways; the elements of a batch do not depend
 * on each other; gradients are finite differences; the state's size depends on the length only if declared; no buffer is
 * left over on the device. Use a tiny config: the finite differences and the oracle are slow.
 * @throws LawError naming the mixer, the law and the worst element.
 */
export async function checkMixer<C extends MixerConfig, P extends Tree, S extends Tree>(
  mixer: MixerDefinition<C, P, S>,
  config: C,
  device: Device,
  options: MixerCheckOptions = {},
): Promise<MixerReport> {
  const any = mixer as unknown as AnyMixer;
  const subject = await attempt(`mixer ${mixer.id}: init, initState and parallel run`, () =>
    prepare(any, config, device, options),
  );
  const laws = LAWS.filter(
    ({ stateful, causal, packed }) =>
      (!stateful || subject.hasState) && (!causal || isCausal(any, config)) && (!packed || any.resets === true),
  );
  for (const { name, check } of laws)
    await attempt(`mixer ${mixer.id}: ${name}`, () => check(subject, `mixer ${mixer.id}: ${name}`));
  return { mixer: mixer.id, modes: subject.modes, laws: laws.map(({ name }) => name) };
}

async function prepare(
  mixer: AnyMixer,
  config: MixerConfig,
  device: Device,
  options: MixerCheckOptions,
): Promise<Subject> {
  const oracle = reference();
  const paramsForm = mixer.init(config, key(1));
  const { length = 13 } = options;
  const params = (await evaluate(oracle, () => ownLeaves(mixer.init(config, key(1))))).map(rounded);
  const x = randomValues(key(2), [BATCH, length, config.dModel]);
  const subject: Subject = {
    mixer,
    config,
    device,
    oracle,
    options,
    modes: modesOf(mixer, config),
    hasState: mixer.state !== "none" && isCausal(mixer, config),
    length,
    paramsForm,
    params,
    x,
    state: undefined,
  };
  if (!subject.hasState) return subject;
  const earlier = randomValues(key(3), [BATCH, 3, config.dModel]);
  const state = await evaluate(oracle, () =>
    ownLeaves(runMixer(mixer, config, newParams(subject), toTensor(earlier))[1]),
  );
  return { ...subject, state: state.map(rounded) };
}

const LAWS: readonly Law[] = [
  {
    name: "the same key makes the same parameters",
    async check(s, law) {
      const make = (): Promise<HostValues[]> => evaluate(s.oracle, () => ownLeaves(s.mixer.init(s.config, key(1))));
      compare(law, await make(), await make(), Object.keys(namedLeaves(s.paramsForm)), 0);
    },
  },
  { name: "all modes agree in float64, in values and gradients", check: (s, law) => modesAgree(s, law, s.oracle) },
  {
    name: "the device agrees with float64 in every mode, in values and gradients",
    check: (s, law) => modesAgree(s, law, s.device),
  },
  { name: "a sequence split anywhere is the whole", stateful: true, check: split },
  { name: "the size of the state depends on the length as declared", stateful: true, check: stateSize },
  { name: "packed sequences are each alone, in values, states and gradients", packed: true, check: packing },
  { name: "no output depends on later inputs", causal: true, check: causality },
  { name: "the elements of a batch are independent", check: batchIndependence },
  { name: "gradients are finite differences", check: derivatives },
  { name: "no buffer is left over", check: memory },
];

/** The parameters as new tensors. */
const newParams = (s: Subject): Tree => replaceLeaves(s.paramsForm, s.params.map(toTensor));

/** A state of the given tensors; its form is that of `initState`. */
const stateOf = (s: Subject, leaves: readonly Tensor[] | undefined): Tree | undefined =>
  leaves && replaceLeaves(s.mixer.initState(s.config, BATCH), leaves);

/** Output and, if there is one, the leaves of the final state. */
function run(
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

const namesOf = (s: Subject): string[] => [
  "y",
  ...(s.hasState ? Object.keys(namedLeaves(s.mixer.initState(s.config, BATCH))).map((path) => `state ${path}`) : []),
];

const gradientNamesOf = (s: Subject, carried: boolean): string[] => [
  ...Object.keys(namedLeaves(s.paramsForm)).map((path) => `gradient of ${path}`),
  "gradient of x",
  ...(carried
    ? namesOf(s)
        .slice(1)
        .map((name) => `gradient of initial ${name}`)
    : []),
];

function compare(
  law: string,
  actual: readonly HostValues[],
  expected: readonly HostValues[],
  names: readonly string[],
  relative: number,
): void {
  expected.forEach(({ data, shape, dtype }, k) => {
    const what = `${law}, ${names[k] ?? k}`;
    if (actual[k]!.shape.join() !== shape.join())
      throw new LawError(what, `expected shape [${shape.join(",")}], got [${actual[k]!.shape.join(",")}]`);
    assertClose(what, actual[k]!.data, data, dtype === "f32" ? toleranceOfScale(data, relative) : {}, shape);
  });
}

function toleranceOn(
  { options: { relative = 1e-4, gradientRelative = 1e-3, exact = 1e-8 } }: Subject,
  device: Device,
): { values: number; gradients: number } {
  return device.name === "reference"
    ? { values: exact, gradients: exact }
    : { values: relative, gradients: gradientRelative };
}

/** Weighted sum of output and final state; `given` holds parameters, input and, perhaps, the initial state. */
function loss(s: Subject, given: readonly Tensor[], mode: Mode): Tensor {
  const count = s.params.length;
  const params = replaceLeaves(s.paramsForm, given.slice(0, count));
  const state = given.length > count + 1 ? stateOf(s, given.slice(count + 1)) : undefined;
  return weighted(run(s, params, given[count]!, state, mode));
}

/** The outputs' sum with fixed random weights. */
function weighted(outputs: readonly Tensor[]): Tensor {
  return outputs
    .flatMap((y, k) => (y.dtype === "f32" ? [sum(mul(y, toTensor(randomValues(foldIn(key(4), k), y.shape))))] : []))
    .reduce((a, b) => add(a, b));
}

/** Every mode on a device against the parallel one in float64, from the start and from a carried state. */
async function modesAgree(s: Subject, law: string, device: Device): Promise<void> {
  const tolerance = toleranceOn(s, device);
  for (const start of s.state ? [undefined, s.state] : [undefined]) {
    const from = start ? "from a carried state" : "from the start";
    const values = (mode: Mode) => (): Tensor[] =>
      own(run(s, newParams(s), toTensor(s.x), stateOf(s, start?.map(toTensor)), mode));
    const gradients = (mode: Mode) => (): Tensor[] =>
      own(
        leavesOf(
          grad((given: readonly Tensor[]) => loss(s, given, mode))([...s.params, s.x, ...(start ?? [])].map(toTensor)),
        ),
      );
    const expected = await evaluate(s.oracle, values("parallel"));
    const exact = await evaluate(s.oracle, gradients("parallel"));
    for (const mode of s.modes) {
      if (device === s.oracle && mode === "parallel") continue;
      compare(
        `${law} (${mode}, ${from})`,
        await evaluate(device, values(mode)),
        expected,
        namesOf(s),
        tolerance.values,
      );
      compare(
        `${law} (gradients, ${mode}, ${from})`,
        await evaluate(device, gradients(mode)),
        exact,
        gradientNamesOf(s, start !== undefined),
        tolerance.gradients,
      );
    }
  }
}

/** Modes that see more than one element at once; for the folded step the law holds by itself. */
const wholeModes = (s: Subject): Mode[] => s.modes.filter((mode) => mode !== "recurrent");

async function split(s: Subject, law: string): Promise<void> {
  const L = s.length;
  const cuts = [...new Set([0, 1, 2, L >> 1, L - 1, L])].filter((cut) => cut >= 0 && cut <= L);
  for (const mode of wholeModes(s)) {
    const whole = await evaluate(s.oracle, () => own(run(s, newParams(s), toTensor(s.x), undefined, mode)));
    for (const cut of cuts) {
      const part = `${law} (${mode}, after ${cut} of ${L})`;
      const actual = await attempt(part, () =>
        evaluate(s.device, () => {
          const [params, all] = [newParams(s), toTensor(s.x)];
          const [first, ...carried] = run(s, params, sliceAxis(all, 1, 0, cut), undefined, mode);
          const [second, ...last] = run(s, params, sliceAxis(all, 1, cut, L), stateOf(s, carried), mode);
          return own([concat([first!, second!], 1), ...last]);
        }),
      );
      compare(part, actual, whole, namesOf(s), toleranceOn(s, s.device).values);
    }
  }
}

/** The ends of sequences packed into one of length L: lengths 1 and 2, and longer ones on both sides. */
const packedEnds = (L: number): number[] =>
  [...new Set([L >> 1, (L >> 1) + 1, (L >> 1) + 3, L])].filter((end) => end <= L);

/** Output, state after the last sequence, and gradients: all sequences in one, and each alone. */
async function packing(s: Subject, law: string): Promise<void> {
  const L = s.length;
  const ends = packedEnds(L);
  const starts = [0, ...ends.slice(0, -1)];
  const flags = Uint8Array.from({ length: BATCH * L }, (_, i) => (starts.includes(i % L) ? 1 : 0));
  const together = (mode: Mode, given: readonly Tensor[]): readonly Tensor[] =>
    carriedOn(s, given, run(s, paramsOf(s, given), given.at(-1)!, undefined, mode, tensor(flags.slice(), [BATCH, L])));
  const alone = (given: readonly Tensor[]): readonly Tensor[] => {
    const parts = ends.map((end, k) =>
      run(s, paramsOf(s, given), sliceAxis(given.at(-1)!, 1, starts[k]!, end), undefined, "parallel"),
    );
    // A reset comes before its element, so the state at the end is that of the last sequence.
    const all = concat(
      parts.map(([y]) => y!),
      1,
    );
    return carriedOn(s, given, [all, ...parts.at(-1)!.slice(1)]);
  };
  const names = gradientNamesOf(s, false);
  const gradients = (outputs: (given: readonly Tensor[]) => readonly Tensor[]) => (): Tensor[] =>
    own(leavesOf(grad((given: readonly Tensor[]) => weighted(outputs(given)))(inputsOf(s))));
  const values = await evaluate(s.oracle, () => own(alone(inputsOf(s))));
  const slopes = await evaluate(s.oracle, gradients(alone));
  for (const mode of s.modes)
    for (const device of [s.oracle, s.device]) {
      const tolerance = toleranceOn(s, device);
      const actual = await evaluate(device, () => own(together(mode, inputsOf(s))));
      compare(
        `${law} (${mode})`,
        actual,
        values,
        s.mixer.state === "grows" ? ["y", "y after it"] : namesOf(s),
        tolerance.values,
      );
      const actualSlopes = await evaluate(
        device,
        gradients((given) => together(mode, given)),
      );
      compare(`${law} (${mode}, gradients)`, actualSlopes, slopes, names, tolerance.gradients);
    }
}

/** Output and state; of a state that grows, which may hold what is forgotten, the outputs that come of it instead. */
function carriedOn(s: Subject, given: readonly Tensor[], [y, ...state]: readonly Tensor[]): readonly Tensor[] {
  if (s.mixer.state !== "grows" || !s.hasState) return [y!, ...state];
  const more = run(s, paramsOf(s, given), sliceAxis(given.at(-1)!, 1, 0, 2), stateOf(s, state), "parallel");
  return [y!, more[0]!];
}

const inputsOf = (s: Subject): Tensor[] => [...s.params, s.x].map(toTensor);
const paramsOf = (s: Subject, given: readonly Tensor[]): Tree =>
  replaceLeaves(s.paramsForm, given.slice(0, s.params.length));

async function stateSize({ mixer, config }: Subject, law: string): Promise<void> {
  const sizesAfter = (length: number): string => {
    const state =
      length === 0
        ? mixer.initState(config, BATCH)
        : runMixer(mixer, config, mixer.init(config, key(1)), zeros([BATCH, length, config.dModel]))[1];
    return Object.entries(namedLeaves(state))
      .map(([path, leaf]) => `${path} [${leaf.shape.join(",")}]`)
      .join(", ");
  };
  const [none, few, many] = [sizesAfter(0), sizesAfter(3), sizesAfter(8)];
  if (mixer.state === "constant" && (none !== few || few !== many))
    throw new LawError(
      law,
      `declared constant, but the state is ${none} at the start, ${few} after 3 elements and ${many} after 8`,
    );
  if (mixer.state === "grows" && few === many)
    throw new LawError(
      law,
      `declared to grow, but the state is ${few} after 3 and after 8 elements; declare it constant`,
    );
}

async function causality(s: Subject, law: string): Promise<void> {
  const L = s.length;
  for (const mode of wholeModes(s)) {
    const before = async (input: HostValues, t: number): Promise<HostValues[]> =>
      evaluate(s.device, () => own([sliceAxis(run(s, newParams(s), toTensor(input), undefined, mode)[0]!, 1, 0, t)]));
    for (const t of new Set([1, L >> 1, L - 1])) {
      const other = randomValues(foldIn(key(5), t), s.x.shape);
      const data = s.x.data.map((value: number, i: number) =>
        Math.floor(i / s.config.dModel) % L < t ? value : other.data[i]!,
      );
      compare(
        `${law} (${mode}, inputs from ${t} on replaced)`,
        await before({ ...s.x, data }, t),
        await before(s.x, t),
        ["y"],
        toleranceOn(s, s.device).values,
      );
    }
  }
}

async function batchIndependence(s: Subject, law: string): Promise<void> {
  for (const mode of s.modes) {
    const values = (b: number | undefined): Promise<HostValues[]> =>
      evaluate(s.device, () => {
        const all = toTensor(s.x);
        return own([run(s, newParams(s), b === undefined ? all : sliceAxis(all, 0, b, b + 1), undefined, mode)[0]!]);
      });
    const [together] = await values(undefined);
    const size = together!.data.length / BATCH;
    for (let b = 0; b < BATCH; b++) {
      const [alone] = await values(b);
      compare(
        `${law} (${mode}, sequence ${b} alone)`,
        [alone!],
        [{ ...alone!, data: together!.data.slice(b * size, (b + 1) * size) }],
        ["y"],
        toleranceOn(s, s.device).values,
      );
    }
  }
}

async function derivatives(s: Subject, law: string): Promise<void> {
  const L = Math.min(5, s.length);
  const x = randomValues(key(6), [BATCH, L, s.config.dModel]);
  await checkDerivatives({
    law,
    inputs: [...s.params, x, ...(s.state ?? [])],
    names: gradientNamesOf(s, s.state !== undefined),
    device: s.oracle,
    loss: (given) => loss(s, given, "parallel"),
  });
}

/** Runs every mode twice; the second run, when constants are in place, must leave as many buffers as it found. */
async function memory(s: Subject, law: string): Promise<void> {
  // Buffers of tensors that were garbage collected meanwhile count as still there: the sum does not depend on when that happens.
  const count = (): number => s.device.memory().buffers + s.device.memory().collected;
  for (const mode of s.modes)
    for (const round of [1, 2]) {
      const before = count();
      const inputs = { params: newParams(s), x: toTensor(s.x) };
      const outputs = own(run(s, inputs.params, inputs.x, undefined, mode));
      await realize(outputs, { device: s.device });
      dispose([...outputs, ...leavesOf(inputs)]);
      const after = count();
      if (round === 2 && after !== before)
        throw new LawError(
          `${law} (${mode})`,
          `expected ${before} buffers on ${s.device.name} when all inputs and outputs are disposed, got ${after}; a tensor of host data made inside the mixer stays until it is garbage collected, use full, iota or arange`,
        );
    }
}

/** Each tensor as a node of its own: outputs may be one tensor twice, or an input. */
const own = (tensors: readonly Tensor[]): Tensor[] => tensors.map((x) => (x.dtype === "f32" ? mul(x, 1) : x));
const ownLeaves = (tree: Tree): Tensor[] => own(leavesOf(tree));

/** The values as f32 holds them, so that all devices start from the same. */
const rounded = (x: HostValues): HostValues =>
  x.dtype === "f32" ? { ...x, data: Float64Array.from(x.data, Math.fround) } : x;
