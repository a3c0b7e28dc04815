/**
 * Semiseparable recurrences as chunked matrix products: operands that are no plain arrays are laid out by loops, then each
 * head's chunks run on a thread (`walk`), with the states in the cache, and loops make the outputs of what they found.
 */
import type { ChunkedParts } from "../../../../ir/chunked-parts.js";
import type { LoopKernel } from "../../../../ir/loop.js";
import { simplifyLoop } from "../../../../ir/simplify.js";
import { keptBytes, renderPhase, type Binding } from "../../loops/phase.js";
import { planLoop } from "../../loops/plan.js";
import type { CpuPhase, CpuProgram } from "../../program.js";
import { buildModule, type WasmFunction } from "../../wasm/emitter.js";
import { placesOf } from "./arrays.js";
import { walkFunction } from "./walk.js";

/** Vector operations that make a claim's overhead vanish. */
const WORK_PER_CLAIM = 16384;
export function chunkedProgram(parts: ChunkedParts, memory: { readonly shared: boolean }): CpuProgram {
  const { form, operands, results, finals } = parts;
  const { kernel } = form;
  const places = placesOf(parts);
  const functions: WasmFunction[] = [];
  const phases: CpuPhase[] = [];
  let scratchBytes = 0;
  const define = (f: WasmFunction): number => functions.push(f) - 1;
  const inputs = kernel.inputs.map((_, k): Binding => ({ position: k, offset: 0 }));
  const run = (name: string, kernel: LoopKernel, from: readonly Binding[], to: readonly Binding[]): void => {
    const loop = simplifyLoop(kernel);
    const plan = planLoop(loop);
    define(renderPhase({ name, kernel: loop, plan, inputs: from, outputs: to }));
    scratchBytes = Math.max(scratchBytes, keptBytes(loop, plan));
    const { units, work } = plan;
    const grain = Math.max(1, Math.min(Math.ceil(WORK_PER_CLAIM / work), Math.ceil(units / 8)));
    phases.push({ run: name, units, grain });
  };
  operands.forEach((operand, k) => {
    if ("loop" in operand.from) run(`operand${k}`, operand.from.loop, inputs, [places.operands.get(operand)!]);
  });
  const walk = walkFunction("chunks", parts, places, define);
  define(walk.code);
  phases.push({ run: "chunks", units: walk.units, grain: 1 });
  const found = results.map((result): Binding => places.results.get(result)!);
  finals.forEach(({ loop, outputs }, k) =>
    run(
      `outputs${k}`,
      loop,
      [...inputs, ...found],
      outputs.map((output) => ({ position: inputs.length + output, offset: 0 })),
    ),
  );
  return {
    name: `chunked scan [${kernel.extents.join()}] along ${kernel.along}, ${form.decay.kind} decay, chunks of ${walk.steps}${form.seed ? " with adjoint" : ""}, ${kernel.outputs.length} output${kernel.outputs.length === 1 ? "" : "s"}`,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: Math.max(scratchBytes, walk.scratchBytes),
    sharedBytes: places.sharedBytes,
  };
}
