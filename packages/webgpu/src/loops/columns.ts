/**
 * Reductions of which neighbouring outputs read neighbouring elements, sums over the positions of a batch for example: a
 * workgroup takes some neighbouring outputs, and of each several threads take every so manieth element of the reduction's
 * longest axis. What they have meets in workgroup memory, always in the same order.
 */
import { product, type LoopKernel } from "@seqmix/tensor/backend";
import { entryPoint, type GpuLimits, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../wgsl/functions.js";
import {
  accumulate,
  axisNames,
  fromFirst,
  nameBuffers,
  pointFunction,
  split,
  storeOutputs,
  type LoopBuffers,
} from "./text.js";

/** Outputs of a workgroup: what memory reads at once. */
const WIDE = 32;
/** Threads that share an output: the first that the adapter has and that have something to do each. */
const SHARED = [16, 8] as const;

/** How many threads share an output; undefined where sharing is not worth while, or there is too little memory. */
export const sharedBy = (
  { reduceExtents, reductions }: LoopKernel,
  { threads, workgroupBytes }: Pick<GpuLimits, "threads" | "workgroupBytes">,
): number | undefined =>
  SHARED.find(
    (shared) =>
      Math.max(...reduceExtents) >= 2 * shared &&
      WIDE * shared <= threads &&
      4 * WIDE * shared * reductions.length <= workgroupBytes,
  );

/** @param kernel Simplified, of at least one point, with a reduction. @param shared As {@link sharedBy} says. */
export function columnsPass(kernel: LoopKernel, buffers: LoopBuffers, shared: number): GpuPass {
  const { extents, reduceExtents, reductions } = kernel;
  const functions = new Set<string>();
  const layout = { width: 1, axis: extents.length + reduceExtents.length - 1, vectors: [] } as const;
  const names = nameBuffers(kernel, buffers, layout);
  const threads = WIDE * shared;
  const context = { kernel, buffers, layout, names, functions, threads };
  const point = pointFunction(
    reductions.map(({ value }) => ({ dtype: value.dtype, value })),
    context,
  );
  const { start, add, combine } = accumulate(context, point.result);
  const total = product(extents);
  const groups = Math.ceil(total / WIDE);
  const longest = reduceExtents.indexOf(Math.max(...reduceExtents));
  const depth = reduceExtents.length;
  const loops = reduceExtents.map((extent, k) =>
    k === longest
      ? `for (var j${k} = i32(part); j${k} < ${extent}; j${k} += ${shared}) {`
      : `for (var j${k} = 0; j${k} < ${extent}; j${k}++) {`,
  );
  const meeting = [
    ...reductions.map((_, k) => `shared${k}[thread] = r${k};`),
    "workgroupBarrier();",
    `if ((part != 0u) | (group * ${WIDE}u + lane >= ${total}u)) { return; }`,
    `for (var q = ${WIDE}u; q < ${threads}u; q += ${WIDE}u) {`,
    ...reductions.map((_, k) => `  r${k} = ${combine(k, `r${k}`, `shared${k}[q + lane]`)};`),
    "}",
  ];
  const stores = storeOutputs(
    context,
    reductions.map((_, k) => `r${k}`),
  );
  const lines = [
    `if (group >= ${groups}u) { return; }`,
    `let lane = thread % ${WIDE}u;`,
    `let part = thread / ${WIDE}u;`,
    // An output beyond the last is computed as the last one, and not stored.
    `let at = min(group * ${WIDE}u + lane, ${total - 1}u);`,
    ...split(fromFirst("at", context), extents, axisNames(kernel)),
    ...start,
    ...loops.map((line, k) => "  ".repeat(k) + line),
    ...add(point.call(0)).map((line) => "  ".repeat(depth) + line),
    ...loops.map((_, k) => `${"  ".repeat(depth - 1 - k)}}`),
    ...meeting,
    ...stores,
  ];
  const memory = reductions.map((r, k) => `var<workgroup> shared${k}: array<${r.value.dtype}, ${threads}>;\n`).join("");
  return {
    code: names.declarations + functionTexts(functions) + memory + point.text + entryPoint(threads, lines.join("\n")),
    buffers: names.bindings,
    groups,
  };
}
