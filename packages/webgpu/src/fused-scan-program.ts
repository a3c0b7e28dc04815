/**
 * Fused recurrences as WGSL passes. The recurrence's axis is cut into segments that run side by side:
 * ends (what a segment does to a state, and to an adjoint), carry (the state before each segment), results; with an adjoint
 * (or sums over channels) a pass between stores the states before each chunk, from which the results pass
 * computes the others again. Sums over axes that no thread has for itself go through partial sums to a loop of their own.
 */
import { nodesOf, product, type LoopKernel, type Scalar, type ScanKernel } from "@seqmix/tensor/backend";
import { carryPass } from "./fused-scan/carry.js";
import { chunkPass } from "./fused-scan/chunk.js";
import { inputsOf, rewriter } from "./fused-scan/expressions.js";
import { layoutOf, TUNING, type Group, type Layout, type Tuning } from "./fused-scan/layout.js";
import { stepOf, type Buffers } from "./fused-scan/scope.js";
import { streamPass } from "./fused-scan/stream.js";
import { loopProgram } from "./loop-program.js";
import { bytesOf, type BindingLimits, type GpuPass, type GpuProgram } from "./program.js";

/** true if the passes of a fused recurrence fit what a pass may bind, else why not. */
export function supportsScan(kernel: ScanKernel, limits: Pick<BindingLimits, "buffers" | "bytes">, tuning: Tuning = TUNING): true | string {
  if (product(kernel.extents) === 0) return "an axis has no points";
  const { passes, scratch } = fusedScanProgram(kernel, Infinity, tuning, limits.buffers);
  const most = Math.max(...passes.map(({ buffers }) => buffers.length));
  if (most > limits.buffers) return `needs ${most} buffers in a pass, the adapter has ${limits.buffers}`;
  const sizes = [...kernel.inputs.map(({ size }) => bytesOf(size)), ...kernel.outputs.map(({ keeps }) => bytesOf(product(keeps.map((axis) => kernel.extents[axis]!)))), ...scratch];
  const largest = Math.max(...sizes);
  return largest <= limits.bytes || `needs a buffer of ${largest} bytes, the adapter binds ${limits.bytes}`;
}

/**
 * The program of a fused recurrence.
 * @param maxBuffers Buffers a pass may bind.
 * @param wanted Buffers to aim for where more would be allowed.
 * @throws TypeError where {@link supportsScan} says no.
 */
export function fusedScanProgram(kernel: ScanKernel, maxBuffers: number, tuning: Tuning = TUNING, wanted = maxBuffers): GpuProgram {
  const layout = layoutOf(kernel, tuning);
  const { complex, linear, rows, segments, gridSize, C, L, T, chunked, groups, W, segment } = layout;
  const words = complex ? 2 : 1;
  const scratch: number[] = [];
  const first = kernel.inputs.length + kernel.outputs.length;
  const block = (elements: number): number => first + scratch.push(bytesOf(elements)) - 1;
  const many = segments > 1;

  let partialCount = 0;
  const offsets = new Map<Group, number>();
  for (const group of groups) {
    if (group.direct) continue;
    offsets.set(group, partialCount);
    partialCount += group.sums.length * group.partials * group.keptSize;
  }
  const buffers: Buffers = {
    outputs: kernel.inputs.length,
    ends: many ? block(segments * rows * words) : -1,
    decays: many ? block(linear ? segments * gridSize * C : segments * rows * words) : -1,
    adjoints: many && kernel.adjoint ? block(segments * rows * words) : -1,
    starts: chunked ? block(Math.ceil(L / T) * rows * words) : -1,
    partials: partialCount > 0 ? block(partialCount) : -1,
  };
  const passes: GpuPass[] = [];
  if (many) passes.push(streamPass(layout, "ends", [], offsets, buffers, tuning.ahead), carryPass(layout, buffers));
  if (chunked) passes.push(streamPass(layout, "starts", [], offsets, buffers, tuning.ahead));
  for (const batch of batches(layout, wanted, offsets)) passes.push(chunked ? chunkPass(layout, batch, offsets, buffers) : streamPass(layout, "results", batch, offsets, buffers, tuning.ahead));
  for (const group of groups) if (!group.direct) passes.push(...tailPasses({ ...layout, kernel }, group, offsets.get(group)!, partialCount, buffers, wanted, scratch));
  const most = Math.max(...passes.map((pass) => pass.buffers.length));
  if (most > maxBuffers) throw new TypeError(`webgpu: expected a recurrence whose passes bind at most ${maxBuffers} buffers, got one that binds ${most}; compute parts of it before`);
  return { name: `fused scan [${kernel.extents.join()}] along ${kernel.along}, ${segments} segment${many ? "s" : ""} of ${segment}, chunks of ${T}, ${W} threads`, passes, scratch };
}

/** Groups in as few passes as bind no more than `limit` buffers; outputs of a group may come apart. */
function batches(layout: Layout, limit: number, offsets: Map<Group, number>): Group[][] {
  const { kernel, groups, segments, chunked } = layout;
  const base = [...kernel.decay, ...kernel.drive, ...(kernel.adjoint?.seed ?? []), ...(segments > 1 || chunked ? [] : (kernel.initial ?? []))];
  const carried = (chunked ? 1 : 0) + (segments > 1 ? (chunked ? (kernel.adjoint ? 1 : 0) : 1) : 0);
  const count = (batch: readonly Group[]): number => {
    const values = batch.flatMap(({ sums, outputs, direct }) => [...sums.map((j) => kernel.sums[j]!.value), ...(direct ? outputs.map((k) => kernel.outputs[k]!.value) : [])]);
    return inputsOf([...base, ...values]).length + carried + batch.reduce((sum, { direct, outputs }) => sum + (direct ? outputs.length : 0), 0) + (batch.some(({ direct }) => !direct) ? 1 : 0);
  };
  const all: Group[][] = [];
  let batch: Group[] = [];
  const add = (group: Group): void => {
    if (batch.length > 0 && count([...batch, group]) > limit) {
      all.push(batch);
      batch = [];
    }
    batch.push(group);
  };
  for (const group of groups) {
    if (count([...batch, group]) <= limit || (!group.direct && group.sums.length <= 1) || (group.direct && group.outputs.length === 1)) add(group);
    else if (group.direct) {
      // outputs in one pass stay one group: sums that they share are computed once
      const some = (outputs: readonly number[]): Group => ({ ...group, outputs, sums: group.sums.filter((j) => outputs.some((k) => uses(kernel.outputs[k]!.value, j))) });
      let taken: readonly number[] = [];
      for (const k of group.outputs) {
        const more = some([...taken, k]);
        if (taken.length > 0 && count([...batch.slice(0, -1), more]) <= limit) batch[batch.length - 1] = more;
        else add(some([k]));
        taken = batch.at(-1)!.outputs;
      }
    } else group.sums.forEach((j, at) => {
      const part: Group = { ...group, sums: [j], outputs: [] };
      offsets.set(part, offsets.get(group)! + at * group.partials * group.keptSize);
      add(part);
    });
  }
  if (batch.length > 0) all.push(batch);
  return all;
}

const uses = (value: Scalar, sum: number): boolean => [...nodesOf([value])].some((node) => node.op === "reduced" && node.reduction === sum);

/** Outputs from partial sums [sums, partials, kept], as a loop. */
function tailPasses({ kernel, L }: Layout, group: Group, offset: number, size: number, buffers: Buffers, limit: number, scratch: number[]): readonly GpuPass[] {
  const { keeps, partials, keptSize } = group;
  const { extents, along, inputs, reverse } = kernel;
  const kept = keeps.map((axis) => extents[axis]!);
  const step = group.step === "each" ? 0 : stepOf(group.step, { L } as Layout);
  const time = reverse ? L - 1 - step : step;
  const strides = kept.map((_, k) => product(kept.slice(k + 1)));
  const order = new Map(group.sums.map((j, at) => [j, at]));
  const rewrite = rewriter(
    ({ offset, coefficients }) => ({ offset: offset + (group.step === "each" ? 0 : coefficients[along]! * time), coefficients: [...keeps.map((axis) => coefficients[axis]!), 0] }),
    (node) => (node.op === "reduced" ? { ...node, reduction: order.get(node.reduction)! } : undefined),
  );
  const loop: LoopKernel = {
    extents: kept,
    reduceExtents: [partials],
    inputs: [...inputs, { dtype: "f32", size }],
    reductions: group.sums.map((_, at) => ({ combine: "sum", value: { op: "load", dtype: "f32", input: inputs.length, index: { offset: offset + at * partials * keptSize, coefficients: [...strides, keptSize] } } })),
    outputs: group.outputs.map((k) => ({ dtype: kernel.outputs[k]!.dtype, value: rewrite(kernel.outputs[k]!.value) })),
  };
  const program = loopProgram(loop, { buffers: limit, bytes: Infinity, threads: 256, workgroupBytes: 16384 });
  const firstScratch = kernel.inputs.length + kernel.outputs.length + scratch.length;
  scratch.push(...program.scratch);
  const outside = inputs.length + 1;
  const numberOf = (buffer: number): number => (buffer < inputs.length ? buffer : buffer === inputs.length ? buffers.partials : buffer < outside + group.outputs.length ? buffers.outputs + group.outputs[buffer - outside]! : firstScratch + buffer - outside - group.outputs.length);
  return program.passes.map((pass) => ({ ...pass, buffers: pass.buffers.map(({ buffer, access }) => ({ buffer: numberOf(buffer), access })) }));
}
