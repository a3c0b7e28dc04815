/** The program of a scan step: products of matrices where the recurrence is semiseparable and large, else the states step by step. */
import {
  nodesOf,
  onDemand,
  product,
  scanPasses,
  type PlanOptions,
  type Scalar,
  type ScanKernel,
} from "@seqmix/tensor/backend";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { tooFew } from "./chunked/few.js";
import { rewriter } from "./fused/expressions.js";
import { fusedScanProgram, largestOf, supportsScan, takesTotalsInPass } from "./fused/program.js";
import type { Tuning } from "./fused/tuning.js";

const worth = onDemand(() => import("./chunked/worth.js"));
const chunked = onDemand(() => import("./chunked/index.js"));
const parts = onDemand(() => import("./in-parts.js"));

/** What the planner may do with recurrences. @param limits What a pass may bind. @param tuning Sizes of fused recurrences. */
export const scanSupport = (limits: GpuLimits, tuning: Tuning): NonNullable<PlanOptions["scans"]> => ({
  passes: scanPasses,
  maxBuffers: limits.buffers,
  accepts: (kernel) => supportsRecurrence(kernel, limits, tuning),
  anyBuffers: (kernel) => runsInChunks(kernel, limits),
  totals: (kernel) => takesTotals(kernel, limits, tuning),
});

/** Whether the recurrence runs as products of matrices. */
const runsInChunks = (kernel: ScanKernel, limits: GpuLimits): boolean => typeof inChunks(kernel, limits) !== "string";

/** true if the passes fit what a pass may bind, else why not. */
function supportsRecurrence(kernel: ScanKernel, limits: GpuLimits, tuning: Tuning): true | string {
  if (runsInChunks(kernel, limits)) return true;
  const answer = supportsScan(kernel, limits, tuning);
  return answer === true || inParts(kernel, limits, tuning) !== undefined || answer;
}

/** The recurrence cut into several, where operands or scratch exceed what a pass may bind. */
function inParts(kernel: ScanKernel, limits: GpuLimits, tuning: Tuning): GpuProgram | undefined {
  if (product(kernel.extents) === 0 || supportsScan(kernel, { ...limits, bytes: Infinity }, tuning) !== true)
    return undefined;
  return parts().scanInParts(kernel, limits, (part) =>
    runsInChunks(part, limits) || supportsScan(part, limits, tuning) === true
      ? recurrenceProgram(part, limits, tuning)
      : undefined,
  );
}

/** @throws TypeError where {@link supportsRecurrence} says no. */
export function recurrenceProgram(kernel: ScanKernel, limits: GpuLimits, tuning: Tuning): GpuProgram {
  const chunked = inChunks(kernel, limits, () => {
    const few = { ...tuning, threads: 1 };
    return supportsScan(kernel, limits, few) === true ? fusedScanProgram(kernel, limits.buffers, few) : undefined;
  });
  if (typeof chunked !== "string") return chunked;
  const program = fusedScanProgram(kernel, limits.buffers, tuning);
  if (largestOf(kernel, program) > limits.bytes) return inParts(kernel, limits, tuning)!;
  return { ...program, name: `${program.name}; no chunks, since ${chunked}` };
}

/** Whether the passes take the kernel's totals as they go. */
const takesTotals = (kernel: ScanKernel, limits: GpuLimits, tuning: Tuning): boolean =>
  takesTotalsInPass(kernel, limits.buffers, tuning) &&
  supportsScan(kernel, limits, tuning) === true &&
  !runsInChunks(withoutTotals(kernel), limits);

/** The kernel without its totals and the outputs that hold them. */
function withoutTotals(kernel: ScanKernel): ScanKernel {
  const left = kernel.sums.flatMap(({ of }, k) => (of ? [] : [k]));
  const isTotal = (x: Scalar): boolean => x.op === "reduced" && !left.includes(x.reduction);
  const renumbered = rewriter(
    (index) => index,
    (x) => (x.op === "reduced" ? { ...x, reduction: left.indexOf(x.reduction) } : undefined),
  );
  return {
    ...kernel,
    sums: left.map((k) => kernel.sums[k]!),
    outputs: kernel.outputs
      .filter(({ value }) => ![...nodesOf([value])].some(isTotal))
      .map((output) => ({ ...output, value: renumbered(output.value) })),
  };
}

/** The program in chunks, or why there is none. @param stepByStep See {@link chunkedProgram}. */
function inChunks(
  kernel: ScanKernel,
  limits: GpuLimits,
  stepByStep?: () => GpuProgram | undefined,
): GpuProgram | string {
  if (kernel.sums.some(({ of }) => of)) return "it has totals";
  const few = tooFew(kernel);
  if (few) return few;
  const found = worth().worthChunks(kernel);
  if (typeof found === "string") return found;
  const { chunkedForm, chunkedProgram } = chunked();
  const form = chunkedForm(found);
  if (typeof form === "string") return form;
  const program = chunkedProgram(form, limits, undefined, stepByStep);
  const largest = Math.max(...program.scratch, ...kernel.inputs.map(({ size, dtype }) => bytesOf(size, dtype)));
  const most = Math.max(
    ...program.passes.map(({ buffers }) => buffers.filter(({ access }) => access !== "uniform").length),
  );
  if (most > limits.buffers) return `they need ${most} buffers in a pass, the adapter has ${limits.buffers}`;
  return largest <= limits.bytes
    ? program
    : `they need a buffer of ${largest} bytes, the adapter binds ${limits.bytes}`;
}
