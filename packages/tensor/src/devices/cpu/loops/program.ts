/**
 * Renders any {@link LoopKernel} as WebAssembly with SIMD: `ir/simplify.ts` makes loops few and long, `plan.ts`
 * chooses the vector axis, `phase.ts` writes the loops and `values.ts` what happens in them. A reduction to
 * few outputs becomes two phases, through partial results in shared memory whose number depends on the sizes only.
 * Buffers are below 2 GiB. Without reductions, an output may lie in the memory of an input that is only loaded at the
 * element being written: all values of a point are computed before any is stored, and no point is computed twice.
 */
import type { LoopKernel } from "../../../ir/loop.js";
import { buildModule } from "../wasm/emitter.js";
import { keptBytes, reductions, renderPhase, type Binding } from "./phase.js";
import { planLoop, type LoopPlan } from "./plan.js";
import { nodesOf, product, roots, simplifyLoop } from "../../../ir/simplify.js";
import type { CpuPhase, CpuProgram } from "../program.js";

/** Vector operations that make a claim's overhead (0.1 us) negligible. */
const WORK_PER_CLAIM = 16384;

export function loopProgram(kernel: LoopKernel, memory: { readonly shared: boolean }): CpuProgram {
  const name = describe(kernel);
  if (product(kernel.extents) === 0)
    return { name, module: buildModule({ memory, functions: [] }), phases: [], scratchBytes: 0, sharedBytes: 0 };

  const simple = simplifyLoop(kernel);
  const plan = planLoop(simple);
  const inputs = kernel.inputs.map((_, k): Binding => ({ position: k, offset: 0 }));
  const outputs = kernel.outputs.map((_, k): Binding => ({ position: inputs.length + k, offset: 0 }));
  const divided = plan.kind === "map" ? undefined : reductions().dividedLoop(simple, plan);
  if (divided) return { name, ...inTwo(divided, inputs, outputs, memory) };
  const run = renderPhase({ name: "run", kernel: simple, plan, inputs, outputs });
  return {
    name,
    module: buildModule({ memory, functions: [run] }),
    phases: [phase("run", plan)],
    scratchBytes: keptBytes(simple, plan),
    sharedBytes: 0,
  };
}

/** Parts of a reduction, then what they come to, through partial results in shared memory. */
function inTwo(
  [first, second]: readonly [LoopKernel, LoopKernel],
  inputs: readonly Binding[],
  outputs: readonly Binding[],
  memory: { readonly shared: boolean },
): Omit<CpuProgram, "name"> {
  const shared = inputs.length + outputs.length;
  const bytes = Math.ceil((4 * product(first.extents)) / 64) * 64;
  const partials = first.outputs.map((_, k): Binding => ({ position: shared, offset: 64 + k * bytes }));
  const [firstPlan, secondPlan] = [planLoop(first), planLoop(second)];
  const functions = [
    renderPhase({ name: "partial", kernel: first, plan: firstPlan, inputs, outputs: partials }),
    renderPhase({ name: "combine", kernel: second, plan: secondPlan, inputs: [...inputs, ...partials], outputs }),
  ];
  return {
    module: buildModule({ memory, functions }),
    phases: [phase("partial", firstPlan), phase("combine", secondPlan)],
    scratchBytes: 0,
    sharedBytes: 128 + partials.length * bytes,
  };
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
