/** Cases that compute outputs from inputs: how they run on a device, how they are checked, and how peers get the same inputs. */
import { dispose, realize, reference, tensor, type Device, type Tensor } from "@seqmix/tensor";
import { peerNames, type Bar } from "./bars.js";
import { maxUlp, relativeError } from "./compare.js";
import type { BenchmarkCase, Contestant, OwnContestant, PreparedCase } from "./contestant.js";
import type { OnnxModel } from "./onnx-model.js";
import { jaxContestant, type JaxArray, type JaxPackage } from "./peers/jax.js";
import { onnxContestant } from "./peers/onnxruntime.js";
import { tensorflowContestant, type TensorflowPackage, type TensorflowTensor } from "./peers/tensorflow.js";
import type { Check } from "./row.js";
import { variantOf } from "./variant.js";

/** An input. The work falls into units (rows, channels, sequences) that do not touch each other. */
export interface Input {
  readonly values: Float32Array;
  /** Shape if there were so many units. */
  readonly shape: (units: number) => readonly number[];
  /** All units read the whole input; by default each has its share, in order. */
  readonly shared?: boolean;
}

/** A forward case. `N` are the names of the inputs. */
export interface ForwardCase<N extends string> extends Pick<
  BenchmarkCase,
  "kernel" | "shape" | "mode" | "flops" | "bytes" | "rate"
> {
  readonly bars?: readonly Bar[];
  /** How many parts the work has, and how many of them are compared with the reference. */
  readonly units: number;
  readonly checkedUnits: number;
  /** What a unit is, plural. */
  readonly unitName: string;
  readonly tolerance: Pick<Check, "tolerance" | "unit">;
  /** true: some outputs sum over the units, so a smaller instance, made of the checked units alone, is compared. */
  readonly sumsOverUnits?: boolean;
  inputs(): Readonly<Record<N, Input>>;
  /** The outputs, each with its units in order. */
  compute(inputs: Readonly<Record<N, Tensor>>): readonly Tensor[];
  /** What takes turns with it on the same device and inputs; its results are not compared. */
  readonly beside?: Readonly<Record<string, (inputs: Readonly<Record<N, Tensor>>) => Tensor>>;
  /** The same for peers; only the first output. The model is one of the inputs, by name, to "out". */
  readonly onnx?: Pick<OnnxModel, "opset" | "nodes" | "constants"> & { readonly out: readonly number[] };
  readonly tensorflow?: (tf: TensorflowPackage, ...inputs: readonly TensorflowTensor[]) => TensorflowTensor;
  readonly jax?: (jax: JaxPackage, ...inputs: readonly JaxArray[]) => JaxArray;
  /** A plain typed-array loop; fills `out`. */
  readonly loop?: { readonly size: number; run(inputs: Readonly<Record<N, Float32Array>>, out: Float32Array): void };
  /** Further peers. */
  readonly peers?: (inputs: Readonly<Record<N, Input>>) => PreparedCase["peers"];
}

/** The case that a description stands for. */
export function forwardCase<const N extends string>(description: ForwardCase<N>): BenchmarkCase {
  const { kernel, shape, mode, flops, bytes, rate, bars = [] } = description;
  return {
    kernel,
    shape,
    mode,
    flops,
    bytes,
    rate,
    bars,
    prepare() {
      const inputs = description.inputs();
      return {
        open: (device) => openOwn(description, inputs, device),
        beside: (device) => openBeside(description, inputs, device),
        loops: loopsOf(description, inputs),
        peers: peersOf(description, inputs),
      };
    },
  };
}

type Inputs<N extends string> = Readonly<Record<N, Input>>;

const mapInputs = <N extends string, T>(inputs: Inputs<N>, f: (input: Input) => T): Record<N, T> =>
  Object.fromEntries(Object.entries<Input>(inputs).map(([name, input]) => [name, f(input)])) as Record<N, T>;

async function openOwn<N extends string>(
  description: ForwardCase<N>,
  inputs: Inputs<N>,
  device: Device,
): Promise<OwnContestant> {
  const { compute, units } = description;
  const given = mapInputs(inputs, ({ values, shape }) => tensor(values, shape(units)));
  await realize(Object.values<Tensor>(given), { device });
  const call = (): Promise<readonly Tensor[]> => realize(compute(given), { device });
  return {
    variant: await variantOf(compute(given), device),
    run: async () => dispose(await call()),
    async read() {
      const outputs = await call();
      const values = await outputs[0]!.data();
      dispose(outputs);
      return values;
    },
    check: () => check(description, inputs, device, call),
    close: () => dispose(given as Readonly<Record<string, Tensor>>),
  };
}

async function openBeside<N extends string>(
  { beside = {}, units }: Pick<ForwardCase<N>, "beside" | "units">,
  inputs: Inputs<N>,
  device: Device,
): Promise<Readonly<Record<string, Contestant>>> {
  const opened: Record<string, Contestant> = {};
  for (const [name, compute] of Object.entries(beside)) {
    const given = mapInputs(inputs, ({ values, shape }) => tensor(values, shape(units)));
    await realize(Object.values<Tensor>(given), { device });
    opened[name] = {
      run: async () => dispose(await realize([compute(given)], { device })),
      read: () => [],
      close: () => dispose(given as Readonly<Record<string, Tensor>>),
    };
  }
  return opened;
}

/** Indices of `count` of `units` units, evenly spread, the first and the last among them. */
export const spread = (units: number, count: number): number[] =>
  Array.from({ length: Math.min(units, count) }, (_, k) =>
    count === 1 ? 0 : Math.round((k * (units - 1)) / (Math.min(units, count) - 1 || 1)),
  );

/** The given units of values that consist of `units` equal parts. */
export function pickUnits<T extends Float32Array | Float64Array>(
  values: T,
  units: number,
  picked: readonly number[],
): T {
  const size = values.length / units;
  const out = values.slice(0, size * picked.length) as T;
  picked.forEach((unit, k) => out.set(values.subarray(unit * size, (unit + 1) * size), k * size));
  return out;
}

async function check<N extends string>(
  { compute, units, checkedUnits, unitName, tolerance: { tolerance, unit }, sumsOverUnits = false }: ForwardCase<N>,
  inputs: Inputs<N>,
  device: Device,
  call: () => Promise<readonly Tensor[]>,
): Promise<Check> {
  const picked = spread(units, checkedUnits);
  const part = mapInputs(inputs, ({ values, shape, shared }) =>
    tensor(shared ? values : pickUnits(values, units, picked), shape(picked.length)),
  );
  const read = async (outputs: readonly Tensor[]): Promise<(Float32Array | Float64Array)[]> => {
    const values: (Float32Array | Float64Array)[] = [];
    for (const x of outputs) values.push((await x.data()) as Float32Array | Float64Array);
    dispose(outputs);
    return values;
  };
  const oracle = reference();
  const expected = await read(await realize(compute(part), { device: oracle }));
  await oracle.close();
  const found = sumsOverUnits
    ? await read(await realize(compute(part), { device }))
    : (await read(await call())).map((values) => pickUnits(values, units, picked));
  dispose(part as Readonly<Record<string, Tensor>>);
  const distance = unit === "ulp" ? maxUlp : relativeError;
  const error = expected.reduce((worst, values, k) => Math.max(worst, distance(found[k]!, values)), 0);
  const whole = picked.length === units;
  const coverage =
    sumsOverUnits && !whole
      ? `a smaller instance of ${picked.length} ${unitName} instead of ${units}`
      : whole
        ? `all ${units} ${unitName}`
        : `${picked.length} of ${units} ${unitName}, evenly spread`;
  return { check: error <= tolerance ? "green" : "red", error, tolerance, unit, coverage };
}

function loopsOf<N extends string>({ loop }: ForwardCase<N>, inputs: Inputs<N>): PreparedCase["loops"] {
  if (!loop) return {};
  return {
    [peerNames.loop](): Contestant {
      const values = mapInputs(inputs, (input) => input.values);
      const out = new Float32Array(loop.size);
      const run = (): void => loop.run(values, out);
      return { run, read: () => (run(), out), close() {} };
    },
  };
}

function peersOf<N extends string>(
  { onnx, tensorflow, jax, units, peers }: ForwardCase<N>,
  inputs: Inputs<N>,
): PreparedCase["peers"] {
  const named = Object.entries<Input>(inputs).map(([name, { values, shape }]) => ({
    name,
    values,
    shape: shape(units),
  }));
  const model = onnx && {
    opset: onnx.opset,
    nodes: onnx.nodes,
    ...(onnx.constants && { constants: onnx.constants }),
    inputs: named,
    outputs: [{ name: "out", shape: onnx.out }],
  };
  const onnxPeer =
    (threads: number): PreparedCase["peers"][string] =>
    ({ onnxRuntime }) =>
      onnxContestant(
        onnxRuntime,
        model!,
        named.map(({ values }) => values),
        threads,
      );
  return {
    ...(model && { [peerNames.onnx1]: onnxPeer(1), [peerNames.onnx2]: onnxPeer(2) }),
    ...(tensorflow && {
      [peerNames.tensorflow]: ({ tensorflow: tf }) =>
        tensorflowContestant(tf, named, (...given) => tensorflow(tf, ...given)),
    }),
    ...(jax && {
      [peerNames.jax]: ({ jax: package_ }) => jaxContestant(package_, named, (...given) => jax(package_, ...given)),
    }),
    ...peers?.(inputs),
  };
}
