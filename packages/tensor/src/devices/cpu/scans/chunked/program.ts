/**
 * Semiseparable recurrences as chunked matrix products: operands that are no plain arrays are laid out by loops, then each
 * head's chunks run on a thread (`walk`), with the states in the cache, and loops make the outputs of what they found.
 */
import type { ChunkedParts, Operand, Result } from "../../../../ir/chunked-parts.js";
import { checked, checkLoop, chunkChecks } from "../../../../ir/chunk-checks.js";
import type { LoopKernel } from "../../../../ir/loop.js";
import { product, simplifyLoop } from "../../../../ir/simplify.js";
import { keptBytes, renderPhase, type Binding } from "../../loops/phase.js";
import { planLoop } from "../../loops/plan.js";
import type { CpuPhase, CpuProgram } from "../../program.js";
import { buildModule, type WasmFunction } from "../../wasm/emitter.js";
import { placesOf } from "./arrays.js";
import { stepsOf, walkFunction } from "./walk.js";

export { needsChecks } from "../../../../ir/chunk-checks.js";

/** Vector operations that make a claim's overhead vanish. */
const WORK_PER_CLAIM = 16384;

/** @param instead What runs where chunks do not say what the recurrence does; without it nothing is looked at. */
export function chunkedProgram(
  parts: ChunkedParts,
  memory: { readonly shared: boolean },
  instead?: CpuProgram,
): CpuProgram {
  const { form, operands, results, finals } = parts;
  const { kernel } = form;
  const checks = instead ? chunkChecks(parts, stepsOf(form)) : [];
  const rows = checks.map(({ of }) => rowsOf(of, kernel.extents));
  const places = placesOf(parts, [...rows, ...checks.map(() => 1)]);
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
  checks.forEach((check, k) => {
    const { index, ...from } = (places.operands.get(check.of as Operand) ?? places.results.get(check.of as Result))!;
    const size = sizeOfArray(check.of, kernel);
    const array = checked(check, index, size, kernel.extents);
    const [flags, any] = [places.flags[k]!, places.flags[checks.length + k]!];
    const before = k === 0 ? [] : [places.flags[checks.length + k - 1]!];
    const isLast = k === checks.length - 1;
    run(`check${k}`, checkLoop(array, keptAxes(check.of), true), [from], [flags]);
    const row = { index: { offset: 0, coefficients: [1] }, extents: [rows[k]!], size: rows[k]!, most: 0 };
    run(`any${k}`, checkLoop(row, 0, k === 0), [flags, ...before], [isLast ? { ...any, offset: 0 } : any]);
  });
  return {
    ...(instead && checks.length > 0 && { instead }),
    name: `chunked scan [${kernel.extents.join()}] along ${kernel.along}, ${form.decay.kind} decay, chunks of ${walk.steps}${form.seed ? " with adjoint" : ""}, ${kernel.outputs.length} output${kernel.outputs.length === 1 ? "" : "s"}`,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: Math.max(scratchBytes, walk.scratchBytes),
    sharedBytes: places.sharedBytes,
  };
}

/** Axes of an array over which a check has a number for each point: threads share these. */
const keptAxes = (of: Operand | Result): number => Math.max(0, ("layout" in of ? of.layout.axes : of.axes).length - 2);
const rowsOf = (of: Operand | Result, extents: readonly number[]): number =>
  product(("layout" in of ? of.layout.axes : of.axes).slice(0, keptAxes(of)).map((axis) => extents[axis]!));

const sizeOfArray = (of: Operand | Result, { inputs }: ChunkedParts["form"]["kernel"]): number =>
  "layout" in of ? of.layout.size : "input" in of.from ? inputs[of.from.input]!.size : of.from.layout.size;
