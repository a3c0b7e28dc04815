/**
 * Fused recurrences as WGSL passes. The recurrence's axis is cut into segments that run side by side:
 * ends (what a segment does to a state, and to an adjoint), carry (the state before each segment), results; with an adjoint
 * (or sums over channels) the results pass goes through chunks backwards and computes the states in them again. Sums over
 * axes that no thread has for itself go through partial sums to a loop of their own. Where the channels are many, threads share
 * them instead, see `lanes.ts`: no segments then.
 */
import { nodesOf, onDemand, product, type Scalar, type ScanKernel } from "@seqmix/tensor/backend";
import { carryPass } from "./carry.js";
import { chunkPass } from "./chunk.js";
import { inputsOf } from "./expressions.js";
import { layoutOf, takesTotals, type Group, type Layout } from "./layout.js";
import { outputValues, sumValues, type Buffers } from "./scope.js";
import { streamPass } from "./stream.js";
import { inRows, inStates, tailPasses } from "./tails.js";
import { TUNING, type Tuning } from "./tuning.js";
import { bytesOf, type GpuLimits, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";

const lanes = onDemand(() => import("./lanes-program.js"));

/** true if the passes of a fused recurrence fit what a pass may bind, else why not. */
export function supportsScan(
  kernel: ScanKernel,
  limits: Pick<GpuLimits, "buffers" | "bytes">,
  tuning: Tuning = TUNING,
): true | string {
  if (product(kernel.extents) === 0) return "an axis has no points";
  const program = fusedScanProgram(kernel, Infinity, tuning, limits.buffers);
  const most = Math.max(...program.passes.map(({ buffers }) => buffers.length));
  if (most > limits.buffers) return `needs ${most} buffers in a pass, the adapter has ${limits.buffers}`;
  const largest = largestOf(kernel, program);
  return largest <= limits.bytes || `needs a buffer of ${largest} bytes, the adapter binds ${limits.bytes}`;
}

/** Bytes of the largest buffer that a kernel's program binds. */
export const largestOf = (kernel: ScanKernel, { scratch }: GpuProgram): number =>
  Math.max(
    ...kernel.inputs.map(({ size }) => bytesOf(size)),
    ...kernel.outputs.map(({ keeps }) => bytesOf(product(keeps.map((axis) => kernel.extents[axis]!)))),
    ...scratch,
  );

/** Whether the pass of the results takes the kernel's totals as it goes, which has to be one. */
export function takesTotalsInPass(kernel: ScanKernel, buffers: number, tuning: Tuning = TUNING): boolean {
  return [{}, ...tuning.frugal].every((sizes) => {
    const layout = layoutOf(kernel, { ...tuning, ...sizes });
    return takesTotals(layout) && batches(layout, buffers, new Map()).length === 1;
  });
}

/**
 * The program of a fused recurrence.
 * @param maxBuffers Buffers a pass may bind.
 * @param wanted Buffers to aim for where more would be allowed.
 * @throws TypeError where {@link supportsScan} says no.
 */
export function fusedScanProgram(
  kernel: ScanKernel,
  maxBuffers: number,
  tuning: Tuning = TUNING,
  wanted = maxBuffers,
): GpuProgram {
  const bound = [
    ...kernel.inputs.map(({ size }) => size),
    ...kernel.outputs.map(({ keeps }) => product(keeps.map((axis) => kernel.extents[axis]!))),
  ].reduce((total, size) => total + bytesOf(size), 0);
  const inLanes = mayShare(kernel, tuning)
    ? lanes().lanesProgram(kernel, tuning, Math.min(maxBuffers, wanted))
    : undefined;
  if (inLanes && scratchOf(inLanes) <= Math.max(LEAST_SCRATCH, LANES_SHARE * bound)) return inLanes;
  const allowed = Math.max(LEAST_SCRATCH, SCRATCH_SHARE * bound);
  let best: GpuProgram | undefined;
  for (const sizes of [{}, ...tuning.frugal]) {
    const program = programOf(kernel, maxBuffers, { ...tuning, ...sizes }, wanted);
    const scratch = scratchOf(program);
    if (!best || scratch < scratchOf(best)) best = program;
    if (scratch <= allowed) break;
  }
  return best!;
}

/** Whether a kernel is worth asking for threads that share channels: the adapter exchanges values among threads, and it has states enough. */
const mayShare = ({ extents, along, decay }: ScanKernel, { subgroup, lanes: { least, own } }: Tuning): boolean =>
  subgroup > 1 && decay.length === 1 && product(extents) / extents[along]! >= least * own;

/** Bytes of scratch memory that are no matter, and the share of what a kernel reads and writes that it may take beyond. */
const LEAST_SCRATCH = 128 * 2 ** 20,
  SCRATCH_SHARE = 0.08,
  /** Where states are kept instead of being found again. */
  LANES_SHARE = 0.35;

const scratchOf = ({ scratch }: GpuProgram): number => scratch.reduce((total, bytes) => total + bytes, 0);

function programOf(kernel: ScanKernel, maxBuffers: number, tuning: Tuning, wanted: number): GpuProgram {
  const whole = layoutOf(kernel, tuning);
  // Of several results passes, a later one reads what a segment begins with again.
  const layout: Layout =
    batches(whole, wanted, new Map()).length > 1
      ? { ...whole, groups: whole.groups.map((group) => ({ ...group, inStates: undefined })) }
      : whole;
  const { complex, linear, exponents, rows, segments, gridSize, C, T, chunked, groups, W, segment } = layout;
  const words = complex ? 2 : 1;
  const scratch: number[] = [];
  const first = kernel.inputs.length + kernel.outputs.length;
  const block = (elements: number): number => first + scratch.push(bytesOf(elements)) - 1;
  const many = segments > 1;

  let partialCount = 0;
  const offsets = new Map<Group, number>();
  for (const group of groups) {
    if (group.direct || group.finished || group.inStates) continue;
    offsets.set(group, partialCount);
    partialCount += group.sums.length * group.partials * group.keptSize;
  }
  const buffers: Buffers = {
    outputs: kernel.inputs.length,
    ends: many ? block(segments * rows * words) : -1,
    decays: many ? block(linear ? segments * gridSize * C : segments * rows * (exponents ? words + 1 : words)) : -1,
    adjoints: many && kernel.adjoint ? block(segments * rows * words) : -1,
    partials: partialCount > 0 ? block(partialCount) : -1,
  };
  const passes: GpuPass[] = [];
  if (many) passes.push(streamPass(forEnds(layout, tuning), "ends", [], offsets, buffers), carryPass(layout, buffers));
  for (const batch of batches(layout, wanted, offsets))
    passes.push(
      chunked ? chunkPass(layout, batch, offsets, buffers) : streamPass(layout, "results", batch, offsets, buffers),
    );
  for (const group of groups)
    if (!group.direct && !group.finished)
      passes.push(
        ...tailPasses(
          { ...layout, kernel },
          group,
          group.inStates
            ? inStates(layout, group, buffers)
            : inRows(layout, group, offsets.get(group)!, partialCount, buffers),
          buffers,
          wanted,
          scratch,
        ),
      );
  const most = Math.max(...passes.map((pass) => pass.buffers.length));
  if (most > maxBuffers)
    throw new TypeError(
      `webgpu: expected a recurrence whose passes bind at most ${maxBuffers} buffers, got one that binds ${most}; compute parts of it before`,
    );
  return {
    name: `fused scan [${kernel.extents.join()}] along ${kernel.along}, ${segments} segment${many ? "s" : ""} of ${segment}, chunks of ${T}, ${W} threads`,
    passes,
    scratch,
  };
}

/** The layout with the sizes of a pass that runs through segments, which has no sums over channels to take. */
function forEnds(layout: Layout, { workgroup, stage }: Tuning): Layout {
  const { chunked, C, segment } = layout;
  if (!chunked) return layout;
  const W = Math.min(workgroup, 2 ** Math.ceil(Math.log2(C)));
  return { ...layout, W, channelBlocks: Math.ceil(C / W), T: segment % stage === 0 ? stage : layout.T };
}

/** Groups in as few passes as bind no more than `limit` buffers; outputs of a group may come apart. */
function batches(layout: Layout, limit: number, offsets: Map<Group, number>): Group[][] {
  const { kernel, groups, segments, chunked } = layout;
  const base = [
    ...kernel.decay,
    ...kernel.drive,
    ...(kernel.adjoint?.seed ?? []),
    ...(segments > 1 ? [] : (kernel.initial ?? [])),
  ];
  const carried = segments > 1 ? (chunked && kernel.adjoint ? 2 : 1) : 0;
  const stored = ({ direct, finished }: Group): boolean => direct || finished;
  const isPartial = (group: Group): boolean => !stored(group) && !group.inStates;
  const count = (batch: readonly Group[]): number => {
    const values = batch.flatMap((group) => [
      ...sumValues(kernel, [group]),
      ...(stored(group) ? outputValues(kernel, [group]) : []),
    ]);
    return (
      inputsOf([...base, ...values]).length +
      carried +
      batch.reduce((sum, group) => sum + (stored(group) ? group.outputs.length : 0), 0) +
      (batch.some(isPartial) ? 1 : 0)
    );
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
    if (
      count([...batch, group]) <= limit ||
      (!stored(group) && group.sums.length <= 1) ||
      (stored(group) && group.outputs.length <= 1)
    )
      add(group);
    else if (stored(group)) {
      // outputs in one pass stay one group: sums that they share are computed once
      const some = (outputs: readonly number[]): Group => ({
        ...group,
        outputs,
        sums: group.sums.filter((j) => outputs.some((k) => uses(kernel.outputs[k]!.value, j))),
      });
      let taken: readonly number[] = [];
      for (const k of group.outputs) {
        const more = some([...taken, k]);
        if (taken.length > 0 && count([...batch.slice(0, -1), more]) <= limit) batch[batch.length - 1] = more;
        else add(some([k]));
        taken = batch.at(-1)!.outputs;
      }
    } else
      group.sums.forEach((j, at) => {
        const part: Group = { ...group, sums: [j], outputs: [] };
        offsets.set(part, (offsets.get(group) ?? 0) + at * group.partials * group.keptSize);
        add(part);
      });
  }
  if (batch.length > 0) all.push(batch);
  return all;
}

const uses = (value: Scalar, sum: number): boolean =>
  [...nodesOf([value])].some((node) => node.op === "reduced" && node.reduction === sum);
