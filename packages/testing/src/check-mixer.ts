/** Checks of one mixer: the laws that make it a causal map with a state, however it is run. */
import { modesOf, runMixer, type AnyMixer, type MixerDefinition, type Mode } from "@seqmix/mixer";
import { add, concat, dispose, foldIn, grad, key, leavesOf, mul, namedLeaves, realize, reference, replaceLeaves, sliceAxis, sum, tensor, type Device, type Tensor, type Tree } from "@seqmix/tensor";
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
  readonly mixer: string;
  readonly modes: readonly Mode[];
  /** Laws that hold, in words. */
  readonly laws: readonly string[];
}

interface Problem {
  readonly params: readonly HostValues[];
  readonly x: HostValues;
  /** A state as it is after some elements; absent for mixers without one. */
  readonly state?: readonly HostValues[];
}

const BATCH = 2;

/**
 * The laws, each in every mode: equal keys make equal parameters; all modes agree in values, final states and gradients
 * (of parameters, input and initial state, through output and final state), in float64 and on the device; a sequence split
 * anywhere, an empty part included, is the whole; no output depends on later inputs; the elements of a batch do not depend
 * on each other; gradients are finite differences; the state's size depends on the length only if declared; no buffer is
 * left over on the device. Use a tiny config: the finite differences and the oracle are slow.
 * @throws LawError naming the mixer, the law and the worst element.
 */
export async function checkMixer<C extends { readonly dModel: number }, P extends Tree, S extends Tree>(mixer: MixerDefinition<C, P, S>, config: C, device: Device, options: MixerCheckOptions = {}): Promise<MixerReport> {
  const check = new MixerCheck(mixer as unknown as AnyMixer, config, device, options);
  const laws: string[] = [];
  for (const [law, part] of check.laws()) {
    const name = `mixer ${mixer.id}: ${law}`;
    await attempt(name, () => part(name));
    laws.push(law);
  }
  return { mixer: mixer.id, modes: modesOf(mixer as unknown as AnyMixer), laws };
}

class MixerCheck {
  private readonly oracle = reference();
  private readonly length: number;
  private readonly hasState: boolean;
  private readonly modes: readonly Mode[];
  /** Trees of the right form; their tensors are never realized. */
  private readonly paramsForm: Tree;
  private problem: Promise<Problem> | undefined;

  constructor(
    private readonly mixer: AnyMixer,
    private readonly config: { readonly dModel: number },
    private readonly device: Device,
    private readonly options: MixerCheckOptions,
  ) {
    this.length = options.length ?? 13;
    this.hasState = mixer.state !== "none";
    this.modes = modesOf(mixer);
    this.paramsForm = mixer.init(config, key(1));
  }

  laws(): [string, (law: string) => Promise<void>][] {
    const stateful: [string, (law: string) => Promise<void>][] = [
      ["a sequence split anywhere is the whole", (law) => this.split(law)],
      ["the size of the state depends on the length as declared", (law) => this.stateSize(law)],
    ];
    return [
      ["the same key makes the same parameters", (law) => this.determinism(law)],
      ["all modes agree in float64, in values and gradients", (law) => this.modesAgree(law, this.oracle)],
      ["the device agrees with float64 in every mode, in values and gradients", (law) => this.modesAgree(law, this.device)],
      ...(this.hasState ? stateful : []),
      ["no output depends on later inputs", (law) => this.causality(law)],
      ["the elements of a batch are independent", (law) => this.batch(law)],
      ["gradients are finite differences", (law) => this.derivatives(law)],
      ["no buffer is left over", (law) => this.memory(law)],
    ];
  }

  /** Parameters, input and the state after three earlier elements, on the host. */
  private get(): Promise<Problem> {
    return (this.problem ??= this.prepare());
  }

  private async prepare(): Promise<Problem> {
    const { mixer, config, oracle } = this;
    const params = (await evaluate(oracle, () => ownLeaves(mixer.init(config, key(1))))).map(rounded);
    const x = randomValues(key(2), [BATCH, this.length, config.dModel]);
    if (!this.hasState) return { params, x };
    const earlier = randomValues(key(3), [BATCH, 3, config.dModel]);
    const state = await evaluate(oracle, () => ownLeaves(runMixer(mixer, config, this.paramsOf(params), toTensor(earlier))[1]));
    return { params, x, state: state.map(rounded) };
  }

  private paramsOf(values: readonly HostValues[]): Tree {
    return replaceLeaves(this.paramsForm, values.map(toTensor));
  }

  /** A state of the given values; its form is that of `initState`. */
  private stateOf(values: readonly Tensor[] | undefined): Tree | undefined {
    return values && replaceLeaves(this.mixer.initState(this.config, BATCH), values);
  }

  private run(params: Tree, x: Tensor, state: Tree | undefined, mode: Mode): readonly Tensor[] {
    const [y, after] = runMixer(this.mixer, this.config, params, x, state, mode);
    if (y.shape.join() !== x.shape.join()) throw new LawError(`mixer ${this.mixer.id}, mode ${mode}: y [B L D] has the shape of x`, `expected [${x.shape.join(",")}], got [${y.shape.join(",")}]`);
    return [y, ...(this.hasState ? leavesOf(after) : [])];
  }

  private get names(): string[] {
    return ["y", ...(this.hasState ? Object.keys(namedLeaves(this.mixer.initState(this.config, BATCH))).map((path) => `state ${path}`) : [])];
  }

  private compare(law: string, actual: readonly HostValues[], expected: readonly HostValues[], names: readonly string[], relative: number): void {
    expected.forEach(({ data, shape, dtype }, k) => {
      const what = `${law}, ${names[k] ?? k}`;
      if (actual[k]!.shape.join() !== shape.join()) throw new LawError(what, `expected shape [${shape.join(",")}], got [${actual[k]!.shape.join(",")}]`);
      assertClose(what, actual[k]!.data, data, dtype === "f32" ? toleranceOfScale(data, relative) : {}, shape);
    });
  }

  private toleranceOn(device: Device): { values: number; gradients: number } {
    const { relative = 1e-4, gradientRelative = 1e-3, exact = 1e-8 } = this.options;
    return device.name === "reference" ? { values: exact, gradients: exact } : { values: relative, gradients: gradientRelative };
  }

  private async determinism(law: string): Promise<void> {
    const make = (): Promise<HostValues[]> => evaluate(this.oracle, () => ownLeaves(this.mixer.init(this.config, key(1))));
    this.compare(law, await make(), await make(), Object.keys(namedLeaves(this.paramsForm)), 0);
  }

  /** Every mode on a device against the parallel one in float64, from zero and from a carried state. */
  private async modesAgree(law: string, device: Device): Promise<void> {
    const { params, x, state } = await this.get();
    const tolerance = this.toleranceOn(device);
    for (const start of state ? [undefined, state] : [undefined]) {
      const from = start ? "from a carried state" : "from the start";
      const values = (mode: Mode) => (): Tensor[] => own(this.run(this.paramsOf(params), toTensor(x), this.stateOf(start?.map(toTensor)), mode));
      const gradients = (mode: Mode) => (): Tensor[] => {
        const [p, input, s] = [this.paramsOf(params), toTensor(x), start?.map(toTensor) ?? []];
        const from_ = [...leavesOf(p), input, ...s];
        return own(leavesOf(grad((given: readonly Tensor[]) => this.loss(given, start !== undefined, mode))(from_)));
      };
      const expected = await evaluate(this.oracle, values("parallel"));
      const exact = await evaluate(this.oracle, gradients("parallel"));
      const wanted = this.gradientNames(start !== undefined);
      for (const mode of this.modes) {
        if (device === this.oracle && mode === "parallel") continue;
        this.compare(`${law} (${mode}, ${from})`, await evaluate(device, values(mode)), expected, this.names, tolerance.values);
        this.compare(`${law} (gradients, ${mode}, ${from})`, await evaluate(device, gradients(mode)), exact, wanted, tolerance.gradients);
      }
    }
  }

  /** Weighted sum of output and final state; `given` holds parameters, input and, perhaps, the initial state. */
  private loss(given: readonly Tensor[], carried: boolean, mode: Mode): Tensor {
    const count = leavesOf(this.paramsForm).length;
    const params = replaceLeaves(this.paramsForm, given.slice(0, count));
    const outputs = this.run(params, given[count]!, carried ? this.stateOf(given.slice(count + 1)) : undefined, mode);
    return outputs.flatMap((y, k) => (y.dtype === "f32" ? [sum(mul(y, toTensor(randomValues(foldIn(key(4), k), y.shape))))] : [])).reduce((a, b) => add(a, b));
  }

  private gradientNames(carried: boolean): string[] {
    return [...Object.keys(namedLeaves(this.paramsForm)).map((path) => `gradient of ${path}`), "gradient of x", ...(carried ? this.names.slice(1).map((name) => `gradient of initial ${name}`) : [])];
  }

  private async split(law: string): Promise<void> {
    const { params, x } = await this.get();
    const L = this.length;
    const cuts = [...new Set([0, 1, 2, L >> 1, L - 1, L])].filter((cut) => cut >= 0 && cut <= L);
    for (const mode of this.modes) {
      const whole = await evaluate(this.oracle, () => own(this.run(this.paramsOf(params), toTensor(x), undefined, mode)));
      for (const cut of cuts) {
        const actual = await attempt(`${law} (${mode}, after ${cut} of ${L})`, () => evaluate(this.device, () => {
          const p = this.paramsOf(params);
          const all = toTensor(x);
          const [first, ...carried] = this.run(p, sliceAxis(all, 1, 0, cut), undefined, mode);
          const [second, ...last] = this.run(p, sliceAxis(all, 1, cut, L), this.stateOf(carried), mode);
          return own([concat([first!, second!], 1), ...last]);
        }));
        this.compare(`${law} (${mode}, after ${cut} of ${L})`, actual, whole, this.names, this.toleranceOn(this.device).values);
      }
    }
  }

  private async causality(law: string): Promise<void> {
    const { params, x } = await this.get();
    const L = this.length;
    const row = this.config.dModel;
    for (const mode of this.modes) {
      const values = async (input: HostValues, t: number): Promise<HostValues[]> => evaluate(this.device, () => own([sliceAxis(this.run(this.paramsOf(params), toTensor(input), undefined, mode)[0]!, 1, 0, t)]));
      for (const t of new Set([1, L >> 1, L - 1])) {
        const other = randomValues(foldIn(key(5), t), x.shape);
        const data = x.data.map((value: number, i: number) => (Math.floor(i / row) % L < t ? value : other.data[i]!));
        this.compare(`${law} (${mode}, inputs from ${t} on replaced)`, await values({ ...x, data }, t), await values(x, t), ["y"], this.toleranceOn(this.device).values);
      }
    }
  }

  private async batch(law: string): Promise<void> {
    const { params, x } = await this.get();
    for (const mode of this.modes) {
      const values = (b: number | undefined): Promise<HostValues[]> => evaluate(this.device, () => {
        const all = toTensor(x);
        return own([this.run(this.paramsOf(params), b === undefined ? all : sliceAxis(all, 0, b, b + 1), undefined, mode)[0]!]);
      });
      const [together] = await values(undefined);
      const size = together!.data.length / BATCH;
      for (let b = 0; b < BATCH; b++) {
        const [alone] = await values(b);
        this.compare(`${law} (${mode}, sequence ${b} alone)`, [alone!], [{ ...alone!, data: together!.data.slice(b * size, (b + 1) * size) }], ["y"], this.toleranceOn(this.device).values);
      }
    }
  }

  private async derivatives(law: string): Promise<void> {
    const { params, x, state } = await this.get();
    const L = Math.min(5, this.length);
    const short: HostValues = { ...x, shape: [BATCH, L, this.config.dModel], data: x.data.slice(0, BATCH * L * this.config.dModel) };
    await checkDerivatives({
      law,
      inputs: [...params, short, ...(state ?? [])],
      names: this.gradientNames(state !== undefined),
      device: this.oracle,
      loss: (given) => this.loss(given, state !== undefined, "parallel"),
    });
  }

  private async stateSize(law: string): Promise<void> {
    const { mixer, config } = this;
    const sizesAfter = (length: number): string => {
      const state = length === 0 ? mixer.initState(config, BATCH) : runMixer(mixer, config, mixer.init(config, key(1)), tensor(new Float64Array(BATCH * length * config.dModel), [BATCH, length, config.dModel]))[1];
      return Object.entries(namedLeaves(state)).map(([path, leaf]) => `${path} [${leaf.shape.join(",")}]`).join(", ");
    };
    const [none, few, many] = [sizesAfter(0), sizesAfter(3), sizesAfter(8)];
    if (mixer.state === "constant" && (none !== few || few !== many)) throw new LawError(law, `declared constant, but the state is ${none} at the start, ${few} after 3 elements and ${many} after 8`);
    if (mixer.state === "grows" && few === many) throw new LawError(law, `declared to grow, but the state is ${few} after 3 and after 8 elements; declare it constant`);
  }

  /** Runs every mode twice; the second run, when constants are in place, must leave as many buffers as it found. */
  private async memory(law: string): Promise<void> {
    const { params, x } = await this.get();
    // Buffers of tensors that were garbage collected meanwhile count as still there: the sum does not depend on when that happens.
    const count = (): number => this.device.memory().buffers + this.device.memory().collected;
    for (const mode of this.modes)
      for (const round of [1, 2]) {
        const before = count();
        const inputs = { params: this.paramsOf(params), x: toTensor(x) };
        const outputs = own(this.run(inputs.params, inputs.x, undefined, mode));
        await realize(outputs, { device: this.device });
        dispose([...outputs, ...leavesOf(inputs)]);
        const after = count();
        if (round === 2 && after !== before) throw new LawError(`${law} (${mode})`, `expected ${before} buffers on ${this.device.name} when all inputs and outputs are disposed, got ${after}; a tensor of host data made inside the mixer stays until it is garbage collected, use full, iota or arange`);
      }
  }
}

/** Each tensor as a node of its own: outputs may be one tensor twice, or an input. */
const own = (tensors: readonly Tensor[]): Tensor[] => tensors.map((x) => (x.dtype === "f32" ? mul(x, 1) : x));
const ownLeaves = (tree: Tree): Tensor[] => own(leavesOf(tree));

/** The values as f32 holds them, so that all devices start from the same. */
const rounded = (x: HostValues): HostValues => (x.dtype === "f32" ? { ...x, data: Float64Array.from(x.data, Math.fround) } : x);
