/** Cases too large for host data: inputs are made on the device, and parts of the result are compared with the reference. */
import {
  compile,
  dispose,
  full,
  key,
  mul,
  neg,
  realize,
  reference,
  sliceAxis,
  tensor,
  uniform,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import type { Bar } from "./bars.js";
import { relativeError } from "./compare.js";
import type { BenchmarkCase, Contestant, OwnContestant } from "./contestant.js";
import { spread } from "./forward-case.js";
import type { Check, Products } from "./row.js";
import { variantOf } from "./variant.js";

/** `N` are the names of the inputs. */
export interface DeviceCase<N extends string> extends Pick<
  BenchmarkCase,
  "kernel" | "shape" | "mode" | "flops" | "bytes" | "rate" | "dtype" | "tf32Bars" | "reference" | "missing"
> {
  readonly bars: readonly Bar[];
  /** Random values as tensor code; shapes for a given number of units. */
  inputs(): Readonly<Record<N, Tensor>>;
  compute(inputs: Readonly<Record<N, Tensor>>): readonly Tensor[];
  /**
   * The work falls into units (rows, channels) along one axis of some inputs and outputs; what has no axis belongs to all
   * units, and an output without one is checked by the smaller instance alone.
   */
  readonly units: {
    readonly count: number;
    readonly checked: number;
    readonly name: string;
    readonly inputAxis: Partial<Readonly<Record<N, number>>>;
    readonly outputAxis: readonly (number | undefined)[];
  };
  /** The same inputs at a size the reference computes whole, for outputs that sum over the units. */
  readonly smaller?: { readonly size: string; inputs(): Readonly<Record<N, Tensor>> };
  readonly tolerance: number;
  /** Where products of f32 are of tf32; as `tolerance` by default. */
  readonly tf32Tolerance?: number;
  /** Elements of a tensor whose negation takes turns with the case: what the memory does in the same rounds. */
  readonly copyOf?: number;
  /** Other work by name, which takes turns with the case. */
  readonly beside?: Readonly<Record<string, Work>>;
  /** true: the graph is built once, as in training; the others build it at every run. */
  readonly compiled?: boolean;
}

/** Something to compute. */
export interface Work {
  /** Random values as tensor code. */
  inputs(): Readonly<Record<string, Tensor>>;
  compute(inputs: Readonly<Record<string, Tensor>>): readonly Tensor[];
}

/** Name of the peer that reads and writes as much: a kernel that negates. */
export const copyPeer = "negation of the same size";

/** The case that a description stands for. */
export function deviceCase<const N extends string>(description: DeviceCase<N>): BenchmarkCase {
  const { kernel, shape, mode, flops, bytes, rate, bars, tf32Bars, dtype, missing, reference: elsewhere } = description;
  const { copyOf } = description;
  return {
    kernel,
    shape,
    mode,
    flops,
    bytes,
    rate,
    bars,
    ...(tf32Bars && { tf32Bars }),
    ...(dtype && { dtype }),
    ...(missing && { missing }),
    ...(elsewhere !== undefined && { reference: elsewhere }),
    prepare: () => ({
      open: (device, products) => openOwn(description, device, products),
      beside: async (device) => {
        const opened: Record<string, Contestant> = {};
        if (copyOf !== undefined) opened[copyPeer] = await openNegation(device, copyOf);
        for (const [name, work] of Object.entries(description.beside ?? {}))
          opened[name] = await openWork(work, device, description.compiled);
        return opened;
      },
      loops: {},
      peers: {},
    }),
  };
}

async function openOwn<N extends string>(
  description: DeviceCase<N>,
  device: Device,
  products: Products,
): Promise<OwnContestant> {
  const { tf32Tolerance } = description;
  const tolerance = products === "tf32" && tf32Tolerance !== undefined ? tf32Tolerance : description.tolerance;
  const inputs = description.inputs();
  await realize(inputs, { device });
  const variant = await variantOf(description.compute(inputs), device);
  const run = runOf(description, inputs, device, description.compiled);
  const extraBytes = await extraBytesOf(run, device);
  return {
    variant,
    run,
    extraBytes,
    // Peers are copies, not other ways to compute the same.
    read: () => [],
    check: () => check({ ...description, tolerance }, inputs, device),
    close: () => dispose(inputs),
  };
}

/** Bytes of the tensors that fill memory up. */
const SPACER = 2 ** 28;

/**
 * The bytes that work takes beyond what is held, results included. Making the inputs took more than they hold: that much is
 * filled first, or its peak would stand for that of the work.
 */
async function extraBytesOf(work: () => Promise<void>, device: Device): Promise<number> {
  const { bytes, peakBytes } = device.memory();
  const sizes = Array.from({ length: Math.ceil((peakBytes - bytes) / SPACER) }, (_, k) =>
    Math.min(SPACER, peakBytes - bytes - k * SPACER),
  );
  const filled = await realize(
    sizes.map((size) => full([Math.ceil(size / 4)], 0)),
    { device },
  );
  const held = device.memory().bytes;
  await work();
  dispose(filled);
  return Math.max(0, device.memory().peakBytes - held);
}

/** Computes and gives the results back. */
function runOf(
  { compute }: { compute(inputs: Readonly<Record<string, Tensor>>): readonly Tensor[] },
  inputs: Readonly<Record<string, Tensor>>,
  device: Device,
  compiled = false,
): () => Promise<void> {
  const once = compiled ? compile((given: typeof inputs) => compute(given), { device }) : undefined;
  return async () => dispose(await (once ? once(inputs) : realize(compute(inputs), { device })));
}

async function openWork(work: Work, device: Device, compiled: boolean | undefined): Promise<Contestant> {
  const inputs = work.inputs();
  await realize(inputs, { device });
  return { run: runOf(work, inputs, device, compiled), read: () => [], close: () => dispose(inputs) };
}

async function openNegation(device: Device, size: number): Promise<Contestant> {
  const x = await realize(uniform(key(0), [size], -1, 1), { device });
  return { run: async () => dispose(await realize(neg(x), { device })), read: () => [], close: () => dispose(x) };
}

async function check<N extends string>(
  { compute, units: { count, checked, name, inputAxis, outputAxis }, smaller, tolerance }: DeviceCase<N>,
  inputs: Readonly<Record<N, Tensor>>,
  device: Device,
): Promise<Check> {
  const oracle = reference();
  let error = 0;
  const compare = async (found: readonly Tensor[], expected: readonly Tensor[]): Promise<void> => {
    for (const [k, y] of found.entries())
      error = Math.max(error, relativeError(await y.data(), await expected[k]!.data()));
    dispose([found, expected]);
  };
  /** Computes on the reference from what the device holds. */
  const expectedOf = async (
    given: Readonly<Record<N, Tensor>>,
    wanted: (outputs: readonly Tensor[]) => readonly Tensor[],
  ): Promise<readonly Tensor[]> => {
    const onHost: [string, Tensor][] = [];
    for (const [key, x] of Object.entries<Tensor>(given)) onHost.push([key, tensor(await x.data(), x.shape, x.dtype)]);
    return realize(wanted(compute(Object.fromEntries(onHost) as Record<N, Tensor>)), { device: oracle });
  };
  const checkedOutputs = outputAxis.flatMap((axis, k) => (axis === undefined ? [] : [{ axis, k }]));
  if (checked > 0 && checkedOutputs.length > 0) {
    const outputs = await realize(compute(inputs), { device });
    for (const unit of spread(count, checked)) {
      const part = (x: Tensor, axis: number): Tensor => {
        const width = x.shape[axis]! / count;
        return sliceAxis(x, axis, unit * width, (unit + 1) * width);
      };
      const found = await realize(
        checkedOutputs.map(({ axis, k }) => part(outputs[k]!, axis)),
        { device },
      );
      const given = Object.fromEntries(
        Object.entries<Tensor>(inputs).map(([key, x]) => [
          key,
          inputAxis[key as N] === undefined ? mul(x, 1) : part(x, inputAxis[key as N]!),
        ]),
      ) as Record<N, Tensor>;
      await realize(given, { device });
      await compare(found, await expectedOf(given, (all) => checkedOutputs.map(({ k }) => all[k]!)));
      dispose(given);
    }
    dispose(outputs);
  }
  const parts = checked > 0 ? [`${Math.min(checked, count)} of ${count} ${name}, evenly spread`] : [];
  if (smaller) {
    const given = await realize(smaller.inputs(), { device });
    await compare(await realize(compute(given), { device }), await expectedOf(given, (all) => all));
    dispose(given);
    parts.push(`all outputs of a smaller instance, ${smaller.size}`);
  }
  await oracle.close();
  return {
    check: error <= tolerance ? "green" : "red",
    error,
    tolerance,
    unit: "relative",
    coverage: parts.join("; "),
  };
}
