/**
 * Renders any {@link LoopKernel} as WebAssembly with SIMD: `loop-simplify` makes loops few and long, `loop-plan`
 * chooses the vector axis, `loop-phase` writes the loops and `loop-values` what happens in them. A reduction to
 * few outputs becomes two phases, through partial results in shared memory whose number depends on the sizes only.
 * Buffers are below 2 GiB. Without reductions, an output may lie in the memory of an input that is only loaded at the
 * element being written: all values of a point are computed before any is stored, and no point is computed twice.
 */
import type { LoopKernel } from "../../../ir/loop.js";
import { buildModule } from "../wasm/emitter.js";
import { keptBytes, renderPhase, type Binding } from "./phase.js";
import { planLoop, type LoopPlan } from "./plan.js";
import { divideReduction, nodesOf, partForUnits, product, roots, simplifyLoop } from "../../../ir/simplify.js";
import { isRowKernel } from "../../../ir/row-stages.js";
import type { CpuPhase, CpuProgram } from "../program.js";

/** Vector operations that make a claim's overhead (0.1 us) negligible. */
const WORK_PER_CLAIM = 16384;
/** Rows read side by side, and elements of a matrix that no cache near the processor holds. */
const STREAM_ROWS = 16;
const LARGE = 2 << 20;

export function loopProgram(kernel: LoopKernel, memory: { readonly shared: boolean }): CpuProgram {
  const name = describe(kernel);
  if (product(kernel.extents) === 0)
    return { name, module: buildModule({ memory, functions: [] }), phases: [], scratchBytes: 0, sharedBytes: 0 };

  const simple = simplifyLoop(kernel);
  const inputs = kernel.inputs.map((_, k): Binding => ({ position: k, offset: 0 }));
  const outputs = kernel.outputs.map((_, k): Binding => ({ position: inputs.length + k, offset: 0 }));
  const plan = planLoop(simple);
  const length = isRowKernel(simple) ? undefined : partLength(simple, plan);
  const divided = length === undefined ? undefined : divideReduction(simple, length);
  if (divided === undefined) {
    const run = renderPhase({ name: "run", kernel: simple, plan, inputs, outputs });
    return {
      name,
      module: buildModule({ memory, functions: [run] }),
      phases: [phase("run", plan)],
      scratchBytes: keptBytes(simple, plan),
      sharedBytes: 0,
    };
  }

  const [first, second] = divided;
  const shared = inputs.length + outputs.length;
  const bytes = Math.ceil((4 * product(first.extents)) / 64) * 64;
  const partials = first.outputs.map((_, k): Binding => ({ position: shared, offset: 64 + k * bytes }));
  const firstPlan = planLoop(first),
    secondPlan = planLoop(second);
  const functions = [
    renderPhase({ name: "partial", kernel: first, plan: firstPlan, inputs, outputs: partials }),
    renderPhase({ name: "combine", kernel: second, plan: secondPlan, inputs: [...inputs, ...partials], outputs }),
  ];
  return {
    name,
    module: buildModule({ memory, functions }),
    phases: [phase("partial", firstPlan), phase("combine", secondPlan)],
    scratchBytes: 0,
    sharedBytes: 128 + partials.length * bytes,
  };
}

/**
 * How to divide a reduction. Across a large matrix, parts of few rows let memory be read in order; each
 * accumulator going down all rows would jump from page to page.
 */
function partLength(kernel: LoopKernel, plan: LoopPlan): number | undefined {
  const reduced = product(kernel.reduceExtents);
  if (plan.kind === "across" && reduced >= 16 * STREAM_ROWS && reduced * product(kernel.extents) >= LARGE)
    return STREAM_ROWS;
  return partForUnits(kernel, plan.units);
}

/** At least 8 claims where there is work for them, so that threads end at about the same time. */
function phase(run: string, { units, work }: LoopPlan): CpuPhase {
  const grain = Math.min(Math.ceil(WORK_PER_CLAIM / work), Math.ceil(units / 8));
  return { run, units, grain: units * work < 2 * WORK_PER_CLAIM ? units : Math.max(1, grain) };
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
