/** Checks of one mixer: the laws that make it a causal map with a state, however it is run. */
import {
  honoursResets,
  isCausal,
  runMixer,
  type AnyMixer,
  type MixerConfig,
  type MixerDefinition,
  type Mode,
} from "@seqmix/mixer";
import {
  assertSettings,
  concat,
  dispose,
  foldIn,
  grad,
  key,
  leavesOf,
  namedLeaves,
  realize,
  sliceAxis,
  zeros,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { attempt, LawError } from "./compare.js";
import { checkDerivatives } from "./finite-differences.js";
import { evaluate, randomValues, toTensor, type HostValues } from "./host-values.js";
import { packing, padding } from "./mixer-packing.js";
import {
  compare,
  gradientNamesOf,
  loss,
  namesOf,
  newParams,
  own,
  ownLeaves,
  prepare,
  run,
  stateOf,
  toleranceOn,
  type MixerCheckOptions,
  type Subject,
} from "./mixer-subject.js";

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

/** What {@link checkMixer} did. */
export interface MixerReport {
  /** The mixer's id. */
  readonly mixer: string;
  /** Modes it was run in. */
  readonly modes: readonly Mode[];
  /** Laws that hold, in words. */
  readonly laws: readonly string[];
}

/**
 * The laws, each in every mode: equal keys make equal parameters; all modes agree in values, final states and gradients
 * (of parameters, input and initial state, through output and final state), in float64 and on the device; a sequence split
 * anywhere, an empty part included, is the whole; sequences packed into one with resets, and sequences padded on either side, are each alone; no output depends on
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
  const [count, share] = [{ from: 1, whole: true }, { from: 0 }];
  assertSettings("checkMixer", options, {
    batch: count,
    length: { from: 0, whole: true },
    relative: share,
    gradientRelative: share,
    cancelling: share,
    exact: share,
  });
  const any = mixer as unknown as AnyMixer;
  const subject = await attempt(`mixer ${mixer.id}: init, initState and parallel run`, () =>
    prepare(any, config, device, options),
  );
  const laws = LAWS.filter(
    ({ stateful, causal, packed }) =>
      (!stateful || subject.hasState) && (!causal || isCausal(any, config)) && (!packed || honoursResets(any, config)),
  );
  for (const { name, check } of laws)
    await attempt(`mixer ${mixer.id}: ${name}`, () => check(subject, `mixer ${mixer.id}: ${name}`));
  return { mixer: mixer.id, modes: subject.modes, laws: laws.map(({ name }) => name) };
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
  { name: "padded sequences are each alone, in values, states and gradients", packed: true, check: padding },
  { name: "no output depends on later inputs", causal: true, check: causality },
  { name: "the elements of a batch are independent", check: batchIndependence },
  { name: "gradients are finite differences", check: derivatives },
  { name: "no buffer is left over", check: memory },
];

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
        tolerance.cancelling,
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

async function stateSize({ mixer, config, batch }: Subject, law: string): Promise<void> {
  const sizesAfter = (length: number): string => {
    const state =
      length === 0
        ? mixer.initState(config, batch)
        : runMixer(mixer, config, mixer.init(config, key(1)), zeros([batch, length, config.dModel]))[1];
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
    const size = together!.data.length / s.batch;
    for (let b = 0; b < s.batch; b++) {
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
  const x = randomValues(key(6), [s.batch, L, s.config.dModel]);
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
