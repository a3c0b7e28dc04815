/**
 * Recurrences whose operands exceed what a pass may bind, cut along an axis that they do not run along: the points of that
 * axis have states of their own. A part binds windows of the operands where what it reads lies together, else it reads copies;
 * its results go where they belong, or beside those of the other parts until all are known.
 */
import { stridesOf } from "@seqmix/tensor";
import {
  nodesOf,
  product,
  type Affine,
  type LoopKernel,
  type Scalar,
  type ScanKernel,
  type ScanOutput,
} from "@seqmix/tensor/backend";
import { bytesOf, widthOf, WINDOW_ALIGNMENT, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { rewriter, scanRoots } from "./fused/expressions.js";
import { stepOf } from "./fused/scope.js";
import type { Layout } from "./fused/layout.js";
import { loopProgram } from "../loops/program.js";
import { joined, type Part } from "../native/parts.js";

/** Elements that windows of any type start at a multiple of. */
const STEP = WINDOW_ALIGNMENT / 2;
const upTo = (size: number): number => Math.ceil(size / STEP) * STEP;

type Load = Extract<Scalar, { readonly op: "load" }>;
type Place = Part["buffers"][number];

/** An axis, how many parts it is cut into, and how many of its points each has. */
interface Cut {
  readonly axis: number;
  readonly parts: number;
  readonly points: number;
}

/** What a part's kernel reads, in the place of a load of the whole kernel. */
type Source =
  | { readonly kind: "window"; readonly from: number; readonly size: number }
  /** A copy of what the loads read at these indices, over the axes that they depend on. */
  | { readonly kind: "copies"; readonly indices: readonly Affine[] };

/** A part's kernel, and how its inputs come about. */
interface PartKernel {
  readonly kernel: ScanKernel;
  /** By input of the whole kernel, and then by copy. */
  readonly windows: readonly (Place | undefined)[];
  readonly copies: readonly PartCopy[];
}

/** The loop that copies what loads of an input read. */
interface PartCopy {
  readonly loop: LoopKernel;
  readonly input: number;
  readonly size: number;
  /** Copies of one name have one size and may have one block. */
  readonly name: string;
}

/** What becomes of an output: a window of it is written, or parts lie beside each other until all are known. */
interface Target {
  readonly output: ScanOutput;
  /** What a part stores in its place. */
  readonly stored: readonly ScanOutput[];
  readonly kind: "window" | "beside" | "sums";
  /** Elements that a part stores of each, and from one part to the next. */
  readonly size: number;
  readonly stride: number;
  /** Sums that the stored ones are. */
  readonly sums: readonly number[];
}

/**
 * @param programOf The program of a part, if it fits.
 * @returns undefined if no cut makes it fit.
 */
export function scanInParts(
  kernel: ScanKernel,
  limits: GpuLimits,
  programOf: (kernel: ScanKernel) => GpuProgram | undefined,
): GpuProgram | undefined {
  if (kernel.keptStates || kernel.sums.some(({ of }) => of)) return undefined;
  const others = kernel.extents.flatMap((extent, axis) => (axis !== kernel.along && extent > 1 ? [axis] : []));
  for (const axis of others)
    for (const parts of divisorsOf(kernel.extents[axis]!)) {
      const cut = { axis, parts, points: kernel.extents[axis]! / parts };
      const program = inParts(kernel, cut, limits, limits.bytes, programOf);
      if (program) return program;
    }
  // one axis is not enough: all of the first one's points by themselves, and each cut along the next
  const [axis] = others;
  if (axis === undefined || others.length < 2) return undefined;
  const again = (part: ScanKernel): GpuProgram | undefined => programOf(part) ?? scanInParts(part, limits, programOf);
  return inParts(kernel, { axis, parts: kernel.extents[axis]!, points: 1 }, limits, Infinity, again);
}

const divisorsOf = (extent: number): number[] =>
  Array.from({ length: extent - 1 }, (_, k) => k + 2).filter((parts) => extent % parts === 0);

/** @param most Bytes of an operand that a part may read or write. */
function inParts(
  whole: ScanKernel,
  cut: Cut,
  limits: GpuLimits,
  most: number,
  programOf: (kernel: ScanKernel) => GpuProgram | undefined,
): GpuProgram | undefined {
  const targets = targetsOf(whole, cut);
  if (!targets || targets.some(({ size }) => bytesOf(size) > most)) return undefined;
  const firstBlock = whole.inputs.length + whole.outputs.length;
  const scratch: number[] = [];
  const block = (bytes: number): number => firstBlock + scratch.push(bytes) - 1;
  const blocks = targets.map(({ kind, stored, stride, output }) =>
    kind === "window"
      ? []
      : stored.map(({ dtype }) => block(cut.parts * stride * widthOf(kind === "sums" ? dtype : output.dtype))),
  );
  const parts: Part[] = [];
  const copies = new Map<string, Place>();
  const placeOf = ({ loop, size, name }: PartCopy): Place => {
    const bytes = bytesOf(size, loop.outputs[0]!.dtype);
    const place = copies.get(name) ?? { buffer: block(bytes), window: { from: 0, bytes } };
    copies.set(name, place);
    return place;
  };
  for (let part = 0; part < cut.parts; part++) {
    const own = partKernel(whole, cut, part, targets, most);
    const inner = own && programOf(own.kernel);
    if (!inner) return undefined;
    const copied = own.copies.map(placeOf);
    own.copies.forEach(({ loop, input }, k) =>
      parts.push({ program: loopProgram(loop, limits), buffers: [wholeOf(whole, input), copied[k]!] }),
    );
    const unread: Place = { buffer: 0, window: { from: 0, bytes: 4 } };
    parts.push({
      program: inner,
      buffers: [
        ...own.windows.map((place) => place ?? unread),
        ...copied,
        ...targets.flatMap(({ kind, stored, size, stride }, k) =>
          stored.map(({ dtype }, at) => ({
            buffer: kind === "window" ? whole.inputs.length + k : blocks[k]![at]!,
            window: { from: part * stride * widthOf(dtype), bytes: bytesOf(size, dtype) },
          })),
        ),
      ],
    });
  }
  targets.forEach((target, k) => {
    if (target.kind === "window") return;
    const loop = target.kind === "beside" ? sideBySide(whole, cut, target) : summed(whole, cut, target);
    const made = {
      buffer: whole.inputs.length + k,
      window: { from: 0, bytes: bytesOf(product(loop.extents), target.output.dtype) },
    };
    const stored = blocks[k]!.map((buffer) => ({ buffer, window: { from: 0, bytes: scratch[buffer - firstBlock]! } }));
    const read = target.kind === "beside" ? [] : whole.inputs.map((_, input) => wholeOf(whole, input));
    parts.push({ program: loopProgram(loop, limits), buffers: [...read, ...stored, made] });
  });
  return joined(
    `fused scan [${whole.extents.join()}] along ${whole.along}, cut along ${cut.axis}`,
    firstBlock,
    parts,
    scratch,
  );
}

const wholeOf = ({ inputs }: ScanKernel, input: number): Place => ({
  buffer: input,
  window: { from: 0, bytes: bytesOf(inputs[input]!.size, inputs[input]!.dtype) },
});

/** undefined if an output is neither of the parts nor a sum over them. */
function targetsOf({ extents, outputs }: ScanKernel, { axis, points }: Cut): readonly Target[] | undefined {
  const own = extents.with(axis, points);
  const targets = outputs.map((output): Target | undefined => {
    const { keeps, value, dtype } = output;
    const size = product(keeps.map((k) => own[k]!));
    if (keeps.includes(axis)) {
      const outermost = keeps.every((k) => k >= axis || extents[k] === 1);
      const kind = outermost && (size * widthOf(dtype)) % WINDOW_ALIGNMENT === 0 ? "window" : "beside";
      return { output, stored: [output], kind, size, stride: kind === "window" ? size : upTo(size), sums: [] };
    }
    const sums = [...new Set([...nodesOf([value])].flatMap((node) => (node.op === "reduced" ? [node.reduction] : [])))];
    if (sums.length === 0) return undefined;
    const stored = sums.map((reduction): ScanOutput => ({
      ...output,
      dtype: "f32",
      value: { op: "reduced", dtype: "f32", reduction },
    }));
    return { output, stored, kind: "sums", size, stride: upTo(size), sums };
  });
  return targets.every((target) => target !== undefined) ? targets : undefined;
}

/** undefined if it would read more of an operand than can be bound. */
function partKernel(
  whole: ScanKernel,
  { axis, points }: Cut,
  part: number,
  targets: readonly Target[],
  most: number,
): PartKernel | undefined {
  const extents = whole.extents.with(axis, points);
  const shifted = ({ offset, coefficients }: Affine): Affine => ({
    offset: offset + coefficients[axis]! * part * points,
    coefficients,
  });
  const loads = [...nodesOf(scanRoots(whole))].filter((node): node is Load => node.op === "load");
  const sources = whole.inputs.map(({ size }, input): Source | undefined => {
    const own = loads.filter((load) => load.input === input);
    if (bytesOf(size) <= most) return { kind: "window", from: 0, size };
    if (own.some(({ gather }) => gather)) return undefined;
    const [from, to] = spanOf(
      own.map(({ index }) => shifted(index)),
      extents,
      size,
    );
    const start = Math.floor(from / STEP) * STEP;
    if (bytesOf(to - start) <= most) return { kind: "window", from: start, size: to - start };
    const indices = [...new Map(own.map(({ index }) => [keyOf(index), index])).values()];
    const fits = indices.every((index) => bytesOf(sizeOfCopy(index, extents)) <= most);
    return fits ? { kind: "copies", indices } : undefined;
  });
  if (sources.includes(undefined)) return undefined;

  const inputs: { dtype: ScanKernel["inputs"][number]["dtype"]; size: number }[] = [];
  const windows: (Place | undefined)[] = [];
  whole.inputs.forEach(({ dtype, size }, input) => {
    const source = sources[input]!;
    // what only copies are read of is not bound
    inputs.push({ dtype, size: source.kind === "window" ? source.size : 1 });
    windows.push(
      source.kind === "window"
        ? {
            buffer: input,
            window: {
              from: source.from * widthOf(dtype),
              bytes: bytesOf(Math.min(source.size, size - source.from), dtype),
            },
          }
        : undefined,
    );
  });
  const copies: PartCopy[] = [];
  const numbers = new Map<string, { readonly input: number; readonly index: Affine }>();
  sources.forEach((source, input) => {
    if (source!.kind !== "copies") return;
    for (const index of source!.indices) {
      const { dtype, size: all } = whole.inputs[input]!;
      const size = sizeOfCopy(index, extents);
      const name = `${input} ${keyOf(index)}`;
      numbers.set(name, { input: inputs.length, index: indexInCopy(index, extents) });
      inputs.push({ dtype, size });
      copies.push({ loop: copyLoop(shifted(index), extents, dtype, all), input, size, name });
    }
  });
  const rewrite = rewriter(shifted, (node) => {
    if (node.op !== "load") return undefined;
    const source = sources[node.input]!;
    if (source.kind === "copies") return { ...node, ...numbers.get(`${node.input} ${keyOf(node.index)}`)! };
    if (node.gather) return undefined;
    const { offset, coefficients } = shifted(node.index);
    return { ...node, index: { offset: offset - source.from, coefficients } };
  });
  const both = <T extends readonly Scalar[]>(values: T): T => values.map(rewrite) as unknown as T;
  const kernel: ScanKernel = {
    ...whole,
    extents,
    inputs,
    decay: both(whole.decay),
    drive: both(whole.drive),
    ...(whole.initial && { initial: both(whole.initial) }),
    ...(whole.adjoint && { adjoint: { seed: both(whole.adjoint.seed) } }),
    sums: whole.sums.map((sum) => ({ ...sum, value: rewrite(sum.value) })),
    outputs: targets.flatMap(({ stored }) => stored.map((output) => ({ ...output, value: rewrite(output.value) }))),
  };
  return { kernel, windows, copies };
}

const keyOf = ({ offset, coefficients }: Affine): string => `${offset} ${coefficients.join()}`;

/** Elements [from, to) that loads read; guarded ones may reach beyond the buffer. */
function spanOf(indices: readonly Affine[], extents: readonly number[], size: number): readonly [number, number] {
  let [from, to] = [size, 0];
  for (const { offset, coefficients } of indices) {
    const reach = (sign: 1 | -1): number =>
      coefficients.reduce((sum, c, k) => sum + (Math.sign(c) === sign ? c * (extents[k]! - 1) : 0), offset);
    from = Math.min(from, reach(-1));
    to = Math.max(to, reach(1) + 1);
  }
  return [Math.max(0, Math.min(from, size - 1)), Math.max(1, Math.min(to, size))];
}

/** The axes that an index depends on. */
const axesOf = ({ coefficients }: Affine, extents: readonly number[]): number[] =>
  extents.flatMap((extent, axis) => (coefficients[axis] !== 0 && extent > 1 ? [axis] : []));

const sizeOfCopy = (index: Affine, extents: readonly number[]): number =>
  product(axesOf(index, extents).map((axis) => extents[axis]!));

function indexInCopy(index: Affine, extents: readonly number[]): Affine {
  const axes = axesOf(index, extents);
  const strides = stridesOf(axes.map((axis) => extents[axis]!));
  return { offset: 0, coefficients: extents.map((_, axis) => strides[axes.indexOf(axis)] ?? 0) };
}

/** What the loads at an index read, row-major over the axes that it depends on. */
function copyLoop(
  index: Affine,
  extents: readonly number[],
  dtype: ScanKernel["inputs"][number]["dtype"],
  size: number,
): LoopKernel {
  const axes = axesOf(index, extents);
  const at: Affine = { offset: index.offset, coefficients: axes.map((axis) => index.coefficients[axis]!) };
  const type = dtype === "f16" ? "f32" : dtype;
  const value: Scalar = {
    op: "guard",
    dtype: type,
    conditions: [{ index: at, lo: 0, hi: size }],
    value: { op: "load", dtype: type, input: 0, index: at },
    fill: 0,
  };
  return {
    extents: axes.map((axis) => extents[axis]!),
    reduceExtents: [],
    inputs: [{ dtype, size }],
    reductions: [],
    outputs: [{ dtype, value }],
  };
}

/** The parts [part, kept axes with the part's points] as one result. */
function sideBySide({ extents }: ScanKernel, { axis, parts, points }: Cut, { output, stride }: Target): LoopKernel {
  const { keeps, dtype } = output;
  const own = keeps.map((k) => (k === axis ? points : extents[k]!));
  const strides = stridesOf(own);
  const at = keeps.indexOf(axis);
  // the axis as one of parts and one of the points of a part
  const split = own.toSpliced(at, 1, parts, points);
  const type = dtype === "f16" ? "f32" : dtype;
  const index = { offset: 0, coefficients: strides.toSpliced(at, 1, stride, strides[at]!) };
  return {
    extents: split,
    reduceExtents: [],
    inputs: [{ dtype, size: parts * stride }],
    reductions: [],
    outputs: [{ dtype, value: { op: "load", dtype: type, input: 0, index } }],
  };
}

/** An output from the sums of all parts. */
function summed(
  { extents, along, inputs, reverse }: ScanKernel,
  { parts }: Cut,
  { output, sums, stride }: Target,
): LoopKernel {
  const { keeps, step, dtype, value } = output;
  const own = keeps.map((k) => extents[k]!);
  const L = extents[along]!;
  const taken = step === "each" ? 0 : stepOf(step, { L } as Layout);
  const time = reverse ? L - 1 - taken : taken;
  const rewrite = rewriter(
    ({ offset, coefficients }) => ({
      offset: offset + (step === "each" ? 0 : coefficients[along]! * time),
      coefficients: [...keeps.map((axis) => coefficients[axis]!), 0],
    }),
    (node) => (node.op === "reduced" ? { ...node, reduction: sums.indexOf(node.reduction) } : undefined),
  );
  return {
    extents: own,
    reduceExtents: [parts],
    inputs: [...inputs, ...sums.map(() => ({ dtype: "f32" as const, size: parts * stride }))],
    reductions: sums.map((_, k) => ({
      combine: "sum",
      value: {
        op: "load",
        dtype: "f32",
        input: inputs.length + k,
        index: { offset: 0, coefficients: [...stridesOf(own), stride] },
      },
    })),
    outputs: [{ dtype, value: rewrite(value) }],
  };
}
