/** Outputs from partial sums: loops behind the passes of a fused recurrence. */
import { stridesOf } from "@seqmix/tensor";
import { product, type Affine, type LoopKernel } from "@seqmix/tensor/backend";
import { bytesOf, type GpuPass } from "@seqmix/tensor/wgsl";
import { loopProgram } from "../../loops/program.js";
import { rewriter } from "./expressions.js";
import type { Group, Layout } from "./layout.js";
import { stepOf, type Buffers } from "./scope.js";

/** Where a group's partial sums lie: by sum, at which index over the kept axes and the axes that are summed. */
interface Partials {
  readonly reduce: readonly number[];
  readonly buffers: readonly { readonly buffer: number; readonly size: number }[];
  readonly sums: readonly { readonly input: number; readonly index: Affine }[];
}

/** Partial sums [sums, partials, kept] from an offset. */
export function inRows(
  { kernel: { extents } }: Layout,
  { sums, partials, keptSize, keeps }: Group,
  offset: number,
  size: number,
  { partials: buffer }: Buffers,
): Partials {
  const strides = stridesOf(keeps.map((axis) => extents[axis]!));
  return {
    reduce: [partials],
    buffers: [{ buffer, size }],
    sums: sums.map((_, at) => ({
      input: 0,
      index: { offset: offset + at * partials * keptSize, coefficients: [...strides, keptSize] },
    })),
  };
}

/** Partial sums in the place of states [segments, grid, N, C]. */
export function inStates(
  { kernel: { extents }, complex, segments, rows, grid, channel, register, N, C }: Layout,
  { inStates: places, keeps }: Group,
  buffers: Buffers,
): Partials {
  const words = complex ? 2 : 1;
  const strideOf = new Map<number, number>();
  const strides = (axes: readonly number[], unit: number): void =>
    stridesOf(axes.map((axis) => extents[axis]!)).forEach((stride, k) => strideOf.set(axes[k]!, stride * unit));
  strides(grid, N * C * words);
  strides(channel, words);
  if (register !== undefined) strideOf.set(register, C * words);
  const gone = grid.filter((axis) => !keeps.includes(axis));
  const coefficients = [
    ...keeps.map((axis) => strideOf.get(axis) ?? 0),
    rows * words,
    ...gone.map((axis) => strideOf.get(axis)!),
  ];
  const names = [...new Set(places!.map(({ buffer }) => buffer))];
  return {
    reduce: [segments, ...gone.map((axis) => extents[axis]!)],
    buffers: names.map((name) => ({ buffer: buffers[name], size: segments * rows * words })),
    sums: places!.map(({ buffer, part }) => ({
      input: names.indexOf(buffer),
      index: { offset: part === "im" ? 1 : 0, coefficients },
    })),
  };
}

/**
 * Outputs from partial sums, as a loop; where neighbours in memory are no neighbours in the outputs, the sums are taken in
 * the order of memory first.
 */
export function tailPasses(
  layout: Layout,
  group: Group,
  partials: Partials,
  buffers: Buffers,
  limit: number,
  scratch: number[],
): readonly GpuPass[] {
  const { kernel, L } = layout;
  const { keeps } = group;
  const { extents, along, inputs, reverse } = kernel;
  const [{ index: first }] = partials.sums as [Partials["sums"][number]];
  const order = keeps.map((_, k) => k).sort((i, j) => first.coefficients[j]! - first.coefficients[i]!);
  if (product(partials.reduce) > 1 && order.some((k, at) => k !== at)) {
    const ordered = order.map((k) => extents[keeps[k]!]!);
    const size = product(ordered);
    const loop: LoopKernel = {
      extents: ordered,
      reduceExtents: partials.reduce,
      inputs: partials.buffers.map((buffer) => ({ dtype: "f32", size: buffer.size })),
      reductions: partials.sums.map(({ input, index: { offset, coefficients } }) => ({
        combine: "sum",
        value: {
          op: "load",
          dtype: "f32",
          input,
          index: { offset, coefficients: [...order.map((k) => coefficients[k]!), ...coefficients.slice(keeps.length)] },
        },
      })),
      outputs: partials.sums.map((_, k) => ({ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: k } })),
    };
    const base = kernel.inputs.length + kernel.outputs.length;
    const own = partials.sums.map(() => base + scratch.push(bytesOf(size)) - 1);
    const strides = stridesOf(ordered);
    const turned: Partials = {
      reduce: [1],
      buffers: own.map((buffer) => ({ buffer, size })),
      sums: own.map((_, input) => ({
        input,
        index: { offset: 0, coefficients: [...keeps.map((_, k) => strides[order.indexOf(k)]!), 0] },
      })),
    };
    return [
      ...numbered(loop, [...partials.buffers.map(({ buffer }) => buffer), ...own], base, limit, scratch),
      ...tailPasses(layout, group, turned, buffers, limit, scratch),
    ];
  }
  const step = group.step === "each" ? 0 : stepOf(group.step, { L } as Layout);
  const time = reverse ? L - 1 - step : step;
  const reductionOf = new Map(group.sums.map((j, at) => [j, at]));
  const rewrite = rewriter(
    ({ offset, coefficients }) => ({
      offset: offset + (group.step === "each" ? 0 : coefficients[along]! * time),
      coefficients: [...keeps.map((axis) => coefficients[axis]!), ...partials.reduce.map(() => 0)],
    }),
    (node) => (node.op === "reduced" ? { ...node, reduction: reductionOf.get(node.reduction)! } : undefined),
  );
  const loop: LoopKernel = {
    extents: keeps.map((axis) => extents[axis]!),
    reduceExtents: partials.reduce,
    inputs: [...inputs, ...partials.buffers.map(({ size }) => ({ dtype: "f32" as const, size }))],
    reductions: partials.sums.map(({ input, index }) => ({
      combine: "sum",
      value: { op: "load", dtype: "f32", input: inputs.length + input, index },
    })),
    outputs: group.outputs.map((k) => ({ dtype: kernel.outputs[k]!.dtype, value: rewrite(kernel.outputs[k]!.value) })),
  };
  return numbered(
    loop,
    [
      ...inputs.map((_, k) => k),
      ...partials.buffers.map(({ buffer }) => buffer),
      ...group.outputs.map((k) => buffers.outputs + k),
    ],
    kernel.inputs.length + kernel.outputs.length,
    limit,
    scratch,
  );
}

/** The passes of a loop whose buffers have the given numbers in the whole program. */
function numbered(
  loop: LoopKernel,
  numbers: readonly number[],
  firstScratch: number,
  limit: number,
  scratch: number[],
): readonly GpuPass[] {
  const program = loopProgram(loop, { buffers: limit, bytes: Infinity, threads: 256, workgroupBytes: 16384 });
  const first = firstScratch + scratch.length;
  scratch.push(...program.scratch);
  return program.passes.map((pass) => ({
    ...pass,
    buffers: pass.buffers.map(({ buffer, access }) => ({
      buffer: numbers[buffer] ?? first + buffer - numbers.length,
      access,
    })),
  }));
}
