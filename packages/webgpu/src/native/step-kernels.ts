/** The kernels of a sequence's step: as few as may be, since each is run again in every step. */
import { matmulSpecOf, type LoopKernel, type Plan } from "@seqmix/tensor/backend";
import type { GpuLimits, GpuProgram } from "@seqmix/tensor/wgsl";
import { loopProgram } from "../loops/program.js";
import { productLoopProgram } from "../matmul/product-loop.js";

/** A program on slots of the step's plan. */
export interface StepKernel {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly program: GpuProgram;
  /** Of a loop. */
  readonly loop?: LoopKernel;
}

/**
 * Loops store some results twice, and a product of few rows that only a loop reads is taken in the loop's pass.
 * @param again Slots to be stored twice.
 * @returns The kernels in order, and by slot a number beyond those of the plan where it is stored a second time, if it is.
 */
export function stepKernels(
  plan: Plan,
  programs: readonly GpuProgram[],
  again: readonly number[],
  limits: GpuLimits,
): { readonly kernels: readonly StepKernel[]; readonly seconds: ReadonlyMap<number, number> } {
  const seconds = new Map<number, number>();
  const kernels = plan.steps.map((step, k): StepKernel => {
    const { inputs, outputs } = step;
    if (step.kind !== "loop") return { inputs, outputs, program: programs[k]! };
    const twice = outputs.filter((slot) => again.includes(slot));
    const own = { inputs, outputs, program: programs[k]!, loop: step.kernel };
    const loop = {
      ...step.kernel,
      outputs: [...step.kernel.outputs, ...twice.map((slot) => step.kernel.outputs[outputs.indexOf(slot)]!)],
    };
    const single = programs[k]!.passes.length === 1 && step.kernel.reductions.length === 0;
    if (twice.length === 0 || !single || inputs.length + loop.outputs.length > limits.buffers) return own;
    const copies = twice.map((slot) => {
      seconds.set(slot, plan.slots.length + seconds.size);
      return seconds.get(slot)!;
    });
    return { inputs, outputs: [...outputs, ...copies], program: loopProgram(loop, limits), loop };
  });
  return { kernels: withProducts(plan, kernels, limits), seconds };
}

/** Loops take the products in that only they read. */
function withProducts(plan: Plan, kernels: readonly StepKernel[], limits: GpuLimits): StepKernel[] {
  const taken = new Set<number>();
  const joined = kernels.map((kernel) => {
    for (const [input, slot] of kernel.inputs.entries()) {
      const k = plan.steps.findIndex(({ outputs }) => outputs.includes(slot));
      const step = plan.steps[k];
      const isRead = kernels.filter(({ inputs }) => inputs.includes(slot)).length > 1 || plan.roots.includes(slot);
      if (!kernel.loop || step?.kind !== "native" || step.call.op !== "matmul" || step.call.epilogue || isRead)
        continue;
      const program = productLoopProgram({ spec: matmulSpecOf(step.call), kernel: kernel.loop, input }, limits);
      if (!program) continue;
      taken.add(k);
      return { inputs: [...step.inputs, ...kernel.inputs], outputs: kernel.outputs, program };
    }
    return kernel;
  });
  return joined.filter((_, k) => !taken.has(k));
}
