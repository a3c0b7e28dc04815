/** Checks of one kernel record. */
import {
  add,
  assertSettings,
  concat,
  explain,
  grad,
  key,
  leavesOf,
  mul,
  reference,
  sliceAxis,
  sum,
  type AxisSpec,
  type Device,
  type Dims,
  type DType,
  type KernelCase,
  type Kernel,
  type KernelRecord,
  type Shape,
  type Tensor,
} from "@seqmix/tensor";
import { whenLoaded } from "@seqmix/tensor/backend";
import { PORTABLE_LIMITS } from "@seqmix/tensor/wgsl";
import { checkProgram } from "./check-program.js";
import { assertClose, attempt, LawError, toleranceOfScale } from "./compare.js";
import { checkDerivatives } from "./finite-differences.js";
import { evaluate, keyAt, poison, randomValues, toTensor, type HostValues } from "./host-values.js";

type AnyKernel = Kernel<AxisSpec, AxisSpec, unknown>;
type Sample = KernelRecord<AxisSpec, AxisSpec, unknown>["samples"][number];
type Named = Readonly<Record<string, HostValues>>;

/** How {@link checkKernel} compares. */
export interface KernelCheckOptions {
  /** Share of each value and of the largest of its tensor that an f32 device may be off; 2e-5 by default. */
  readonly relative?: number;
  /** The same for gradients; 1e-4 by default. */
  readonly gradientRelative?: number;
  /** A variant's name: it is an error if the device runs anything else. */
  readonly variant?: string;
  /** Input and output names of the carried states. By default every pair with 0 for T in the name: h0 and hT. */
  readonly states?: readonly (readonly [input: string, output: string])[];
  /** Lengths that every kind of sample is run at, if the record has an axis L. */
  readonly lengths?: readonly number[];
}

/** What {@link checkKernel} did. */
export interface KernelReport {
  /** The record's name. */
  readonly kernel: string;
  /** Cases whose values and gradients were compared. */
  readonly cases: number;
  /** Largest error over tolerance. */
  readonly worst: number;
}

interface Subject {
  readonly kernel: AnyKernel;
  readonly device: Device;
  readonly oracle: Device;
  readonly options: KernelCheckOptions;
  readonly tally: { cases: number; worst: number };
}

/** Share of a value by which f16 results may fall on either side of a rounding. */
const HALF_ULP = 2 ** -10;

/** Elements of the product of all axes of a case, at most: the reference device is slow. */
const RAGGED_BUDGET = 40_000;
const TINY_BUDGET = 250;

/**
 * For every sample of the record, and for every kind of sample (options, inputs left out) at lengths 1, 2, 63, 64, 65 and
 * 1000: the device's outputs and gradients are those of the reference in float64, the gradients of all outputs together
 * and of each alone, in memory full of NaN. Programs for WebGPU keep within the lowest limits of adapters, unless their
 * variant says why not, and bind the bytes that the record's cost declares. On small shapes the reference's gradients are finite differences, through initial and final states
 * too. A sequence run in two parts with the state carried is the whole sequence.
 * @throws LawError naming the sample, the law and the worst element.
 */
export async function checkKernel<I extends AxisSpec, U extends AxisSpec, O>(
  kernel: Kernel<I, U, O>,
  device: Device,
  options: KernelCheckOptions = {},
): Promise<KernelReport> {
  assertSettings("checkKernel", options, {
    relative: { from: 0 },
    gradientRelative: { from: 0 },
    variant: "own",
    states: "list?",
    lengths: "list?",
  });
  const subject: Subject = {
    kernel: kernel as unknown as AnyKernel,
    device,
    oracle: reference(),
    options,
    tally: { cases: 0, worst: 0 },
  };
  const { record } = subject.kernel;
  const { lengths = [1, 2, 63, 64, 65, 1000] } = options;
  const hasLength = Object.values(record.inputs).some((axes) => letters(axes).includes("L"));
  await poison(device);
  for (const sample of record.samples) await agrees(subject, sample);
  for (const kind of kindsOf(record.samples)) {
    const [first] = kind as [Sample];
    await derivatives(subject, {
      ...first,
      name: `${first.name}, small`,
      dims: shrink({ ...first.dims, ...(hasLength && { L: Math.min(5, first.dims.L ?? 5) }) }, TINY_BUDGET),
    });
    const ones = Object.fromEntries(Object.keys(first.dims).map((axis) => [axis, 1]));
    // Another variant may be the one for so little.
    const { variant: _, ...others } = subject.options;
    await agrees({ ...subject, options: others }, { ...first, name: `${first.name}, every extent 1`, dims: ones });
    if (!hasLength) continue;
    const known = new Set(kind.map(({ dims }) => dims.L));
    for (const L of lengths)
      if (!known.has(L))
        await agrees(subject, {
          ...first,
          name: `${first.name}, L=${L}`,
          dims: shrink({ ...first.dims, L }, RAGGED_BUDGET),
        });
    await carries(subject, {
      ...first,
      name: `${first.name}, L=70`,
      dims: shrink({ ...first.dims, L: 70 }, RAGGED_BUDGET),
    });
  }
  return { kernel: record.name, ...subject.tally };
}

/** Samples that differ in their axes only, together. */
function kindsOf(samples: readonly Sample[]): Sample[][] {
  const kinds = new Map<string, Sample[]>();
  for (const sample of samples) {
    const identity = JSON.stringify([sample.options, sample.without, sample.halves, sample.ranges]);
    kinds.set(identity, [...(kinds.get(identity) ?? []), sample]);
  }
  return [...kinds.values()];
}

/** Halves the largest axes but L until the product of all fits: what divides another axis mostly still does. */
function shrink(dims: Dims, budget: number): Dims {
  const out: Record<string, number> = { ...dims };
  while (Object.values(out).reduce((a, b) => a * Math.max(1, b), 1) > budget) {
    const [largest] = Object.entries(out)
      .filter(([name, extent]) => name !== "L" && extent > 1)
      .sort((a, b) => b[1] - a[1]);
    if (!largest) break;
    out[largest[0]] = Math.ceil(largest[1] / 2);
  }
  return out;
}

const letters = (axes: string): string[] => axes.split(" ").filter((letter) => letter !== "");

const lawOf = ({ kernel }: Subject, sample: Sample): string =>
  `kernel ${kernel.record.name}, sample ${sample.name} (${Object.entries(sample.dims)
    .map(([name, extent]) => `${name}${extent}`)
    .join(" ")})`;

function inputsOf({ kernel: { record } }: Subject, sample: Sample): Named {
  const given = Object.entries(record.inputs).filter(([name]) => !sample.without?.includes(name));
  return Object.fromEntries(
    given.map(([name, axes]) => {
      const shape: Shape = letters(axes).map((letter) => extentOf(sample, letter));
      const [low, high] = sample.ranges?.[name] ?? [-1, 1];
      return [
        name,
        randomValues(keyAt(key(0), record.name, sample.name, name), shape, typeOf(record, sample, name), low, high),
      ];
    }),
  );
}

const typeOf = ({ dtypes }: AnyKernel["record"], { halves }: Sample, name: string): DType =>
  halves?.includes(name) ? "f16" : (dtypes?.[name] ?? "f32");

/** The programs of the record's WebGPU variants, as data; and the bytes that the record declares. */
function checkVariants(subject: Subject, sample: Sample): void {
  const { record } = subject.kernel;
  const variants = record.variants.filter((variant) => variant.device === "webgpu");
  if (variants.length === 0) return;
  const law = lawOf(subject, sample);
  const present = new Set(Object.keys(record.inputs).filter((name) => !sample.without?.includes(name)));
  const dims = { ...sample.dims, ...record.extraDims?.(sample.dims, sample.options) };
  const sizeOf = (axes: string): number => letters(axes).reduce((size, letter) => size * dims[letter]!, 1);
  const kase: KernelCase<unknown> = {
    dims,
    options: sample.options,
    present,
    halves: new Set(sample.halves),
    cotangents: new Set(),
  };
  const inputs = [...present].map((name) => sizeOf(record.inputs[name]!));
  const outputs = Object.values(record.outputs).map(sizeOf);
  const kept = [...outputs, ...Object.values(record.residuals ?? {}).map(sizeOf)];
  const declared = record.cost(dims, sample.options, present).bytes;
  const bound = 4 * [...inputs, ...outputs].reduce((a, b) => a + b, 0);
  if (declared !== bound)
    throw new LawError(
      `${law}: cost declares the bytes of inputs and outputs`,
      `${declared} are declared, of ${bound}`,
    );
  const portable = variants.filter(({ needs }) => needs === undefined);
  const verdicts = portable.map((variant) => variant.supports?.(kase, PORTABLE_LIMITS) ?? true);
  if (portable.length > 0 && !verdicts.includes(true) && record.samples.includes(sample))
    throw new LawError(
      `${law}: a variant runs on every adapter`,
      portable.map(({ name }, k) => `${name}: ${String(verdicts[k])}`).join("; "),
    );
  for (const variant of portable.filter((_, k) => verdicts[k] === true)) {
    const tables = (variant.tables?.(kase, PORTABLE_LIMITS) ?? []).map(({ values }) => values().length);
    checkProgram(`${law}: ${variant.name}`, variant.forward(kase, PORTABLE_LIMITS), {
      inputs: [...inputs, ...tables],
      outputs: kept,
    });
    if (!variant.backward) continue;
    const names = [...Object.keys(record.outputs), ...Object.keys(record.residuals ?? {})];
    const read = kept.filter((_, k) => record.backwardReads?.includes(names[k]!) ?? true);
    const backward: KernelCase<unknown> = { ...kase, cotangents: new Set(Object.keys(record.outputs)) };
    checkProgram(`${law}: ${variant.name} backward`, variant.backward(backward, PORTABLE_LIMITS), {
      inputs: [...inputs, ...read, ...outputs, ...tables],
      outputs: [...present].flatMap((name, k) => (isReal({ dtype: typeOf(record, sample, name) }) ? [inputs[k]!] : [])),
    });
  }
}

function outputsOf({ kernel }: Subject, sample: Sample, inputs: Named): Tensor[] {
  const outputs = kernel(tensorsOf(inputs), sample.options);
  return Object.keys(kernel.record.outputs).map((name) => outputs[name]!);
}

/** Sum of some outputs times fixed random weights. */
function loss(
  { kernel }: Subject,
  sample: Sample,
  inputs: Readonly<Record<string, Tensor>>,
  wanted: readonly string[],
): Tensor {
  const outputs = kernel(inputs, sample.options);
  return wanted
    .map((name) => sum(mul(outputs[name]!, toTensor(randomValues(keyAt(key(2), name), outputs[name]!.shape)))))
    .reduce((a, b) => add(a, b));
}

const isReal = ({ dtype }: { readonly dtype: DType }): boolean => dtype === "f32" || dtype === "f16";

/** Gradients of {@link loss} with respect to all f32 and f16 inputs. */
function gradientsOf(subject: Subject, sample: Sample, inputs: Named, wanted: readonly string[]): Tensor[] {
  const all = tensorsOf(inputs);
  const active = Object.fromEntries(Object.entries(all).filter(([, x]) => isReal(x)));
  // times 1: each gets memory of its own
  return leavesOf(
    grad((given: Readonly<Record<string, Tensor>>) => loss(subject, sample, { ...all, ...given }, wanted))(active),
  ).map((g) => mul(g, 1));
}

function compare(
  { tally }: Subject,
  law: string,
  actual: readonly HostValues[],
  expected: readonly HostValues[],
  names: readonly string[],
  relative: number,
): void {
  expected.forEach(({ data, shape, dtype }, k) => {
    const { ratio } = assertClose(
      `${law}, ${names[k]}`,
      actual[k]!.data,
      data,
      toleranceOfScale(data, dtype === "f16" ? Math.max(relative, HALF_ULP) : relative),
      shape,
    );
    tally.worst = Math.max(tally.worst, ratio);
  });
}

/** Values and gradients on the device are the reference's. */
async function agrees(subject: Subject, sample: Sample): Promise<void> {
  const { oracle, device, kernel, options, tally } = subject;
  tally.cases++;
  const law = lawOf(subject, sample);
  const inputs = inputsOf(subject, sample);
  const names = Object.keys(kernel.record.outputs);
  await whenLoaded(() => checkVariants(subject, sample));
  await attempt(law, async () => {
    await assertVariant(subject, law, () => outputsOf(subject, sample, inputs));
    const expected = await evaluate(oracle, () => outputsOf(subject, sample, inputs));
    compare(
      subject,
      `${law}: ${device.name} = reference`,
      await evaluate(device, () => outputsOf(subject, sample, inputs)),
      expected,
      names,
      options.relative ?? 2e-5,
    );
    const active = Object.keys(inputs).filter((name) => isReal(inputs[name]!));
    for (const wanted of names.length > 1 ? [names, ...names.map((name) => [name])] : [names]) {
      const exact = await evaluate(oracle, () => gradientsOf(subject, sample, inputs, wanted));
      const actual = await evaluate(device, () => gradientsOf(subject, sample, inputs, wanted));
      compare(
        subject,
        `${law}: gradient of ${wanted.join(" and ")} on ${device.name} = reference`,
        actual,
        exact,
        active,
        options.gradientRelative ?? 1e-4,
      );
    }
  });
}

async function assertVariant(
  { device, options: { variant } }: Subject,
  law: string,
  build: () => Tensor[],
): Promise<void> {
  if (variant === undefined) return;
  const plan = await explain(build(), { device });
  if (!plan.includes(`(${variant})`))
    throw new LawError(`${law}: variant ${variant} runs`, `got the plan ${plan.split("\n").slice(0, 4).join("; ")}`);
}

/** The reference's gradients are finite differences, through every input and output. */
async function derivatives(subject: Subject, sample: Sample): Promise<void> {
  const inputs = inputsOf(subject, sample);
  const names = Object.keys(inputs);
  const law = lawOf(subject, sample);
  await attempt(law, () =>
    checkDerivatives({
      law,
      names,
      inputs: Object.values(inputs),
      device: subject.oracle,
      loss: (given) =>
        loss(
          subject,
          sample,
          Object.fromEntries(names.map((name, k) => [name, given[k]!])),
          Object.keys(subject.kernel.record.outputs),
        ),
    }),
  );
}

/** L1 and then L2 elements from the carried state are L1 + L2 elements. */
async function carries(subject: Subject, sample: Sample): Promise<void> {
  const { kernel, device, oracle, options } = subject;
  const { record } = kernel;
  const states = options.states ?? statesOf(record);
  if (states.length === 0) return;
  const law = lawOf(subject, sample);
  const inputs = inputsOf(subject, sample);
  const L = sample.dims.L!;
  const backward = (sample.options as { readonly reverse?: boolean } | undefined)?.reverse === true;
  const outputs = Object.entries(record.outputs);
  const whole = await evaluate(oracle, () => outputsOf(subject, sample, inputs));
  for (const cut of [1, 37, 64]) {
    const [early, late] = backward
      ? ([
          [cut, L],
          [0, cut],
        ] as const)
      : ([
          [0, cut],
          [cut, L],
        ] as const);
    const actual = await attempt(law, () =>
      evaluate(device, () => {
        const all = tensorsOf(inputs);
        const part = (
          [start, end]: readonly [number, number],
          carried: Readonly<Record<string, Tensor>>,
        ): Readonly<Record<string, Tensor>> =>
          kernel(
            {
              ...Object.fromEntries(
                Object.entries(all).map(([name, x]) => [name, cutLength(record.inputs[name]!, x, start, end)]),
              ),
              ...carried,
            },
            sample.options,
          );
        const first = part(early, {});
        const second = part(late, Object.fromEntries(states.map(([input, output]) => [input, first[output]!])));
        return outputs.map(([name, axes]) => {
          const axis = letters(axes).indexOf("L");
          return mul(
            axis < 0
              ? second[name]!
              : concat(backward ? [second[name]!, first[name]!] : [first[name]!, second[name]!], axis),
            1,
          );
        });
      }),
    );
    compare(
      subject,
      `${law}: ${cut} and then ${L - cut} elements from the carried state = ${L} at once`,
      actual,
      whole,
      outputs.map(([name]) => name),
      options.relative ?? 2e-5,
    );
  }
}

const tensorsOf = (inputs: Named): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, toTensor(x)]));

function cutLength(axes: string, x: Tensor, start: number, end: number): Tensor {
  const axis = letters(axes).indexOf("L");
  return axis < 0 ? x : sliceAxis(x, axis, start, end);
}

function extentOf({ name, dims }: Sample, letter: string): number {
  const extent = dims[letter];
  if (extent === undefined)
    throw new RangeError(
      `checkKernel: expected an extent of axis ${letter} in sample ${name}, got ${JSON.stringify(dims)}; add it to dims`,
    );
  return extent;
}

/** h0 and hT, S0 and ST, h0Im and hTIm, ... */
function statesOf(record: AnyKernel["record"]): (readonly [string, string])[] {
  return Object.keys(record.inputs).flatMap((input) => {
    const output = input.replace("0", "T");
    return output !== input && output in record.outputs ? [[input, output] as const] : [];
  });
}
