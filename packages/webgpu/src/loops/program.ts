/** Programs of loop kernels: which form, whether to divide a reduction, and the passes that come of it. */
import {
  divideReduction,
  isRowKernel,
  nodesOf,
  onDemand,
  product,
  roots,
  simplifyLoop,
  type LoopKernel,
} from "@seqmix/tensor/backend";
import { fitsBuffers, largestOf, type NumberedKernel } from "./numbered.js";
import { bytesOf, type GpuLimits, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { sharedBy } from "./columns.js";
import type { LoopForm } from "./text.js";
import { loopPasses } from "./passes.js";
import { rowPass } from "../rows/text.js";

const fit = onDemand(() => import("./fit-buffers.js"));
const narrow = onDemand(() => import("./narrow.js"));

/** Threads that keep a large GPU busy. */
const FULL = 32768;
/** A reduction below this is too short to share among the threads of a workgroup, and where they would be too few otherwise. */
const SHORT = 64,
  SHORT_OF_FEW = 16;
/** Elements of a part of a divided reduction: for one thread, and for a workgroup. */
const SERIAL_PART = 64,
  ROW_PART = 4096;

/**
 * @param aliases By input, the output whose memory it is.
 * @param limits What a pass may bind.
 */
export function loopProgram(kernel: LoopKernel, limits: GpuLimits, aliases?: ReadonlyMap<number, number>): GpuProgram {
  const name = describe(kernel);
  if (product(kernel.extents) === 0) return { name, passes: [], scratch: [] };
  const sizes: number[] = [];
  const first: NumberedKernel = {
    kernel: simplifyLoop(kernel),
    inputs: kernel.inputs.map((_, k) => k),
    outputs: kernel.outputs.map((_, k) => kernel.inputs.length + k),
  };
  const store = (size: number): number => kernel.inputs.length + kernel.outputs.length + sizes.push(size) - 1;
  // The planner makes no row kernel of more buffers than a pass may bind, or of larger ones.
  const passes = isRowKernel(first.kernel)
    ? [rowPass(first.kernel, first, limits.threads)]
    : fitting(first, limits.buffers, store).flatMap((part) =>
        bytesOf(largestOf(part.kernel)) > limits.bytes && !aliases
          ? passesOfLarge(part, limits, store)
          : passesOf(part, limits, store, aliases),
      );
  return {
    name: `${name}${passes.length > 1 ? `, ${passes.length} passes` : ""}`,
    passes,
    scratch: sizes.map((size) => bytesOf(size)),
  };
}

/** The kernel, or several where it reads more buffers than a pass may bind. */
const fitting = (kernel: NumberedKernel, limit: number, store: (size: number) => number): NumberedKernel[] =>
  fitsBuffers(kernel.kernel, limit) ? [kernel] : fit().fitBuffers(kernel, limit, store);

/** Of a kernel beyond a binding: several where none of its parts can be bound. */
function passesOfLarge(whole: NumberedKernel, limits: GpuLimits, store: (size: number) => number): GpuPass[] {
  const { fits, narrowed } = narrow();
  const part = { ...whole, kernel: simplifyLoop(whole.kernel) };
  const { partLength } = chooseForm(part.kernel, limits);
  const divided = partLength === undefined ? undefined : divideReduction(part.kernel, partLength);
  if ((divided ?? [part.kernel]).every((kernel) => fits(simplifyLoop(kernel), limits)))
    return passesOf(part, limits, store);
  return narrowed(part, limits, store).flatMap(({ kernel, inputs, outputs }) => {
    const { form } = chooseForm(kernel, limits);
    return loopPasses(kernel, form, { inputs, outputs }, threadsFor(kernel, form), limits);
  });
}

function passesOf(
  part: NumberedKernel,
  limits: GpuLimits,
  store: (size: number) => number,
  aliases?: ReadonlyMap<number, number>,
): GpuPass[] {
  const { kernel, inputs, outputs } = part;
  const { form, partLength } = chooseForm(kernel, limits);
  const divided = partLength === undefined ? undefined : divideReduction(kernel, partLength);
  if (!divided)
    return loopPasses(kernel, form, { inputs, outputs, ...(aliases && { aliases }) }, threadsFor(kernel, form), limits);
  const partials = divided[0].outputs.map(() => store(product(divided[0].extents)));
  const passOf = (k: 0 | 1, from: readonly number[], to: readonly number[]): GpuPass[] => {
    const simple = simplifyLoop(divided[k]);
    const { form } = chooseForm(simple, limits);
    return loopPasses(simple, form, { inputs: from, outputs: to }, threadsFor(simple, form), limits);
  };
  return [...passOf(0, inputs, partials), ...passOf(1, [...inputs, ...partials], outputs)];
}

/** How to run a kernel, and the length of the parts its reduction is to be divided into. */
function chooseForm(kernel: LoopKernel, limits: GpuLimits): { readonly form: LoopForm; readonly partLength?: number } {
  if (kernel.reductions.length === 0) return { form: "map" };
  const outputs = product(kernel.extents);
  const reduced = product(kernel.reduceExtents);
  const longest = Math.max(...kernel.reduceExtents);
  // an operand beyond one binding is read a binding at a time, and each time the device is to be kept busy
  const bindings = Math.ceil(Math.max(1, ...kernel.inputs.map(({ size }) => bytesOf(size))) / limits.bytes);
  const parts = (wanted: number, smallest: number): number | undefined => {
    const count = Math.min(wanted, Math.floor(reduced / smallest), longest);
    return count < 2 ? undefined : Math.ceil(Math.ceil(longest / count) / 4) * 4;
  };
  if (reduced >= (outputs < FULL / 2 ? SHORT_OF_FEW : SHORT) && !readsAcross(kernel)) {
    const partLength = outputs < 256 ? parts(Math.ceil((512 * bindings) / outputs), ROW_PART) : undefined;
    return { form: "rows", ...(partLength !== undefined && { partLength }) };
  }
  const across = readsAcross(kernel) && outputs < 8 * FULL && sharedBy(kernel, limits) !== undefined;
  const partLength =
    outputs < FULL / 2
      ? parts(Math.ceil((FULL * bindings) / outputs), SERIAL_PART)
      : bindings > 1 && reducesOutermost(kernel)
        ? parts(2 * bindings, 1)
        : undefined;
  return { form: across ? "columns" : "serial", ...(partLength !== undefined && { partLength }) };
}

/** Whether neighbouring outputs read neighbouring elements, and neighbours in the reduction do not. */
function readsAcross({ extents, reduceExtents, reductions }: LoopKernel): boolean {
  if (extents.length === 0) return false;
  let balance = 0;
  for (const node of nodesOf(reductions.map((r) => r.value))) {
    if (node.op !== "load") continue;
    // what all of a reduction reads is read once
    if (node.index.coefficients.slice(extents.length).every((c) => c === 0)) continue;
    if (Math.abs(node.index.coefficients[extents.length - 1]!) === 1) balance++;
    if (Math.abs(node.index.coefficients[extents.length + reduceExtents.length - 1]!) === 1) balance--;
  }
  return balance > 0;
}

/** Whether neighbours in the reduction are further apart than any outputs: only parts of the reduction read parts of the memory. */
function reducesOutermost({ extents, reductions }: LoopKernel): boolean {
  const loads = [...nodesOf(reductions.map((r) => r.value))].filter((node) => node.op === "load");
  const furthest = (coefficients: readonly number[]): number => Math.max(0, ...coefficients.map(Math.abs));
  return loads.some(
    ({ index: { coefficients } }) =>
      furthest(coefficients.slice(extents.length)) > furthest(coefficients.slice(0, extents.length)),
  );
}

function threadsFor(kernel: LoopKernel, form: LoopForm): number {
  if (form === "rows") {
    const reduced = product(kernel.reduceExtents);
    // many short rows go together
    return reduced >= 1024 || (reduced <= 256 && product(kernel.extents) >= 1 << 16) ? 256 : 64;
  }
  return product(kernel.extents) >= 1 << 19 ? 256 : 64;
}

function describe(kernel: LoopKernel): string {
  const loads = [...nodesOf(roots(kernel))].filter((node) => node.op === "load").length;
  const stores = kernel.outputs.length;
  const reduce =
    kernel.reductions.length === 0
      ? ""
      : ` ${kernel.reductions.map((r) => r.combine).join(" ")} [${kernel.reduceExtents.join()}]`;
  return `loop [${kernel.extents.join()}]${reduce} ${loads} load${loads === 1 ? "" : "s"} ${stores} store${stores === 1 ? "" : "s"}`;
}
