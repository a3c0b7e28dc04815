/** The kernels of a sequence's step: as few as may be, since each is run again in every step. */
import {
  matmulSpecOf,
  product,
  rewriting,
  type Epilogue,
  type LoopKernel,
  type Plan,
  type Scalar,
  type Step,
} from "@seqmix/tensor/backend";
import type { GpuLimits, GpuProgram } from "@seqmix/tensor/wgsl";
import { loopProgram } from "../loops/program.js";
import { productLoopProgram } from "../matmul/product-loop.js";
import { fitsBindings } from "../matmul/spans.js";

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
    if (step.kind !== "loop") return storedTwice(step) ?? { inputs, outputs, program: programs[k]! };
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

  /** A product of few rows with what is computed from it, as a loop behind it. */
  function storedTwice(step: Step): StepKernel | undefined {
    if (step.kind !== "native" || step.call.op !== "matmul" || !step.call.epilogue) return undefined;
    const [slot] = step.outputs as [number];
    const kernel = loopBehind(step.call.epilogue, again.includes(slot) ? 2 : 1);
    const spec = matmulSpecOf(step.call);
    const program = fitsBindings(spec, limits.bytes) && productLoopProgram({ spec, kernel, input: 0 }, limits);
    if (!program) return undefined;
    if (again.includes(slot)) seconds.set(slot, plan.slots.length + seconds.size);
    const [a, b, ...others] = step.inputs as [number, number, ...number[]];
    // the loop does not read the product from memory: any slot stands for it
    return {
      inputs: [a, b, a, ...others],
      outputs: [slot, ...(again.includes(slot) ? [seconds.get(slot)!] : [])],
      program,
    };
  }
}

/** What is computed from a product, as a loop whose first input it is. */
function loopBehind({ extents, inputs, value, dtype }: Epilogue, times: number): LoopKernel {
  const coefficients = extents.map((_, axis) => product(extents.slice(axis + 1)));
  const taken: Scalar = { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients } };
  const behind = rewriting(
    (index) => index,
    (node) => (node.op === "reduced" ? taken : undefined),
    (node) => (node.op === "load" && node !== taken ? { ...node, input: node.input + 1 } : node),
  )(value);
  return {
    extents,
    reduceExtents: [],
    inputs: [{ dtype: "f32", size: product(extents) }, ...inputs],
    reductions: [],
    outputs: Array.from({ length: times }, () => ({ dtype, value: behind })),
  };
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
      const spec = matmulSpecOf(step.call);
      // a weight beyond a binding is multiplied part by part
      const program =
        fitsBindings(spec, limits.bytes) && productLoopProgram({ spec, kernel: kernel.loop, input }, limits);
      if (!program) continue;
      taken.add(k);
      return { inputs: [...step.inputs, ...kernel.inputs], outputs: kernel.outputs, program };
    }
    return kernel;
  });
  return joined.filter((_, k) => !taken.has(k));
}
