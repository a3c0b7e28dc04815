/**
 * Fused recurrences as WebAssembly: `form.ts` brings the kernel into the renderer's form, `plan.ts` cuts it up, `unit.ts`
 * and `chunk.ts` go through the chunks of a unit, `sweep.ts` runs the states through a chunk and `stage.ts` writes what
 * comes before and after. Where the other axes give too few units, the steps are cut into segments: their ends and products
 * first, then the states between them, then the segments.
 */
import type { Affine, LoopKernel, Scalar } from "../../../../ir/loop.js";
import { onDemand } from "../../../../graph/on-demand.js";
import type { ScanKernel } from "../../../../ir/scan-kernel.js";
import { buildModule, type WasmFunction } from "../../wasm/emitter.js";
import { rewriting } from "../../../../ir/interning.js";
import { scanForm, sharedArgument, type ScanForm, type SumOutput } from "./form.js";
import { plainScan } from "./plain.js";
import { planScan, readsAcross, type ScanPlan } from "./plan.js";
import {
  carryFunction,
  finishFunction,
  flushLanesFunction,
  flushVectorsFunction,
  initialFunction,
  stageFunction,
} from "./stage.js";
import { sweepFunction, type Sweep } from "./sweep.js";
import type { SweepParts } from "./chunk.js";
import { unitFunction } from "./unit.js";
import { renderPhase, type Binding } from "../../loops/phase.js";
import { planLoop } from "../../loops/plan.js";
import { nodesOf, product, simplifyLoop } from "../../../../ir/simplify.js";
import type { CpuPhase, CpuProgram } from "../../program.js";

const plainScans = onDemand(() => import("../program.js"));

/** State updates that make a claim's overhead vanish. */
const UPDATES_PER_CLAIM = 8192;
/** Vector operations of a phase that adds partial sums, for the same reason. */
const WORK_PER_CLAIM = 16384;

/** true, or why the kernel cannot be rendered, or is better not fused. */
export function supportsScan(kernel: ScanKernel): true | string {
  const obstacle = obstacleOf(kernel);
  if (obstacle !== undefined) return obstacle;
  if (plainScan(kernel) !== undefined || !readsAcross(planScan(scanForm(kernel)))) return true;
  return `what [${kernel.extents.join()}] reads is contiguous along axis ${kernel.along} of the recurrence only, where a scan of its own is faster`;
}

function obstacleOf(kernel: ScanKernel): string | undefined {
  if (product(kernel.extents) === 0) return `an axis of [${kernel.extents.join()}] is empty`;
  const other = kernel.sums.find((sum) => sum.value.dtype !== "f32");
  return other && `a sum is of ${other.value.dtype}, and only f32 is summed`;
}

/**
 * The program of a fused recurrence.
 *
 * @throws TypeError for an empty axis, or a sum of anything but f32.
 */
export function fusedScanProgram(kernel: ScanKernel, memory: { readonly shared: boolean }): CpuProgram {
  const obstacle = obstacleOf(kernel);
  if (obstacle !== undefined)
    throw new TypeError(`cpu: expected a recurrence that can be fused, but ${obstacle}; run its operations one by one`);
  const plain = plainScan(kernel);
  if (plain !== undefined) return plainScans().scanProgram(plain.spec, memory, plain.places);
  const form = scanForm(kernel);
  const plan = planScan(form);
  const functions: WasmFunction[] = [];
  const define = (f: WasmFunction): number => functions.push(f) - 1;
  const sweeps = (kind: Sweep["kind"]): SweepParts => {
    const make = (copies: number, unroll: number): number =>
      define(sweepFunction(`${kind}${copies * unroll}`, plan, { kind, copies, unroll }));
    const full = make(plan.copies, plan.unroll);
    if (plan.points > 1) {
      const rest = form.extents[plan.inner.at(-1)!]! % plan.copies;
      return { full, rest: rest === 0 ? undefined : make(rest, 1) };
    }
    const lanes = 4 * plan.unroll,
      extent = form.extents[plan.vector]!;
    const whole = plan.unroll === 1 || (extent % lanes === 0 && plan.groups % plan.unroll === 0);
    return { full, rest: whole ? undefined : make(1, 1) };
  };
  const initial = form.initial === undefined ? undefined : define(initialFunction("initial", plan));
  const stage = (name: string, staged: readonly Scalar[]): number | undefined =>
    plan.recordBytes === 0 ? undefined : define(stageFunction(name, plan, staged));
  const stageAll = stage("stage", plan.staged);
  const advances = form.seed !== undefined && form.kept === undefined;
  const stageForward = advances ? stage("stageForward", plan.stagedForward) : undefined;
  const shared = {
    initial,
    stage: stageAll,
    stageForward,
    finish: plan.local.length === 0 ? undefined : define(finishFunction("finish", plan)),
    flushVectors: plan.partials.some((p) => p.keepsVector)
      ? define(flushVectorsFunction("flushVectors", plan))
      : undefined,
    flushLanes: plan.partials.some((p) => !p.keepsVector) ? define(flushLanesFunction("flushLanes")) : undefined,
  };
  const phases: CpuPhase[] = [];
  const units = product(plan.outer.map((axis) => form.extents[axis]!)) * plan.blocks;
  const grain = Math.max(1, Math.floor(UPDATES_PER_CLAIM / (plan.segmentSteps * plan.groups * 4 * plan.points)));
  if (plan.segments > 1) {
    define(unitFunction(
      "ends",
      plan,
      { ...shared, finish: undefined, forward: sweeps("ends"), backward: undefined },
      true,
    ));
    phases.push({ run: "ends", units: units * plan.segments, grain });
    define(carryFunction("carry", plan));
    phases.push({ run: "carry", units, grain: 1 });
  }
  const adjoint = plan.seed !== undefined;
  const forward = advances ? sweeps("advance") : adjoint ? undefined : sweeps("forward");
  define(unitFunction("scan", plan, { ...shared, forward, backward: adjoint ? sweeps("backward") : undefined }, false));
  phases.push({ run: "scan", units: units * plan.segments, grain });
  groupsOf(plan.combined).forEach((outputs, k) => {
    const { run, phase } = combine(`sum${k}`, kernel, plan, outputs);
    define(run);
    phases.push(phase);
  });
  return {
    name: `fused scan [${kernel.extents.join()}] along ${kernel.along}${adjoint ? " with adjoint" : ""}${form.complex ? " complex" : ""}${keptOf(form)}, ${kernel.outputs.length} output${kernel.outputs.length === 1 ? "" : "s"}`,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: plan.at.bytes,
    sharedBytes: plan.sharedBytes,
  };
}

const keptOf = ({ kept, seed }: ScanForm): string =>
  kept === undefined ? "" : `, states ${seed === undefined ? "kept" : "given"} every ${kept.every} steps`;

/** Outputs over the same axes are computed together. */
function groupsOf(outputs: readonly SumOutput[]): readonly (readonly SumOutput[])[] {
  const groups = new Map<string, SumOutput[]>();
  for (const o of outputs) {
    const key = `${o.step} ${o.keeps.join()}`;
    groups.set(key, [...(groups.get(key) ?? []), o]);
  }
  return [...groups.values()];
}

/** Adds the units' partial sums in order: a loop over the axes kept, reducing those that units are divided along. */
function combine(
  name: string,
  kernel: ScanKernel,
  plan: ScanPlan,
  outputs: readonly SumOutput[],
): { readonly run: WasmFunction; readonly phase: CpuPhase } {
  const { form, blocks, segments, outer } = plan;
  const { extents, along } = form;
  const { keeps, step } = outputs[0]!;
  const length = extents[along]!;
  const keepsAlong = keeps.includes(along),
    keepsVector = keeps.includes(plan.vector);
  // Axes of the loop: those kept, then the unkept outer ones, segments and blocks of lanes.
  const outerReduced = outer.filter((axis) => !keeps.includes(axis));
  const reduceExtents = [
    ...outerReduced.map((axis) => extents[axis]!),
    ...(keepsAlong ? [] : [segments]),
    ...(keepsVector ? [] : [blocks]),
  ];
  const rank = keeps.length + reduceExtents.length;
  const segmentAxis = keeps.length + outerReduced.length,
    blockAxis = segmentAxis + (keepsAlong ? 0 : 1);

  const partialIndex = (sum: number): Affine => {
    const partial = plan.partials.find((p) => p.sum === sum)!;
    const coefficients = new Array<number>(rank).fill(0);
    const wide = keepsVector ? blocks * plan.groups * 4 : 1;
    let stride = partial.size,
      offset = 0;
    if (!keepsVector) {
      coefficients[blockAxis] = stride;
      stride *= blocks;
    }
    if (!keepsAlong) {
      coefficients[segmentAxis] = stride;
      stride *= segments;
    }
    [...outer].reverse().forEach((axis) => {
      coefficients[keeps.includes(axis) ? keeps.indexOf(axis) : keeps.length + outerReduced.indexOf(axis)] = stride;
      stride *= extents[axis]!;
    });
    if (keepsVector) coefficients[keeps.indexOf(plan.vector)] = 1;
    [...partial.kept].reduceRight((inside, axis) => {
      coefficients[keeps.indexOf(axis)] = inside;
      return inside * extents[axis]!;
    }, wide);
    if (keepsAlong) {
      // Partial sums lie in the order of the recurrence.
      const c = partial.points * wide;
      coefficients[keeps.indexOf(along)] = kernel.reverse ? -c : c;
      if (kernel.reverse) offset = (length - 1) * c;
    }
    return { offset, coefficients };
  };

  const sums = [
    ...new Set(
      outputs.flatMap((o) =>
        [...nodesOf([o.value])].flatMap((node) => (node.op === "reduced" ? [node.reduction] : [])),
      ),
    ),
  ];
  const at = (a: Affine): Affine => {
    const coefficients = new Array<number>(rank).fill(0);
    let offset = a.offset;
    a.coefficients.forEach((c, axis) => {
      const k = keeps.indexOf(axis);
      if (k >= 0) coefficients[k] = c;
      else if (axis === along) offset += c * ((step === "first") !== kernel.reverse ? 0 : length - 1);
    });
    return { offset, coefficients };
  };
  const value = rewriting(at, (node): Scalar | undefined =>
    node.op === "reduced" ? { ...node, reduction: sums.indexOf(node.reduction) } : undefined,
  );
  const inputs = kernel.inputs.length;
  const elements = (sum: number): number => {
    const partial = plan.partials.find((p) => p.sum === sum)!;
    return (
      partial.size *
      product(outer.map((axis) => extents[axis]!)) *
      (keepsAlong ? 1 : segments) *
      (keepsVector ? 1 : blocks)
    );
  };
  const loop: LoopKernel = simplifyLoop({
    extents: keeps.map((axis) => extents[axis]!),
    reduceExtents: sums.length === 0 ? [] : reduceExtents,
    inputs: [...kernel.inputs, ...sums.map((sum) => ({ dtype: "f32" as const, size: elements(sum) }))],
    reductions: sums.map((sum, k) => ({
      combine: "sum",
      value: { op: "load", dtype: "f32", input: inputs + k, index: partialIndex(sum) },
    })),
    outputs: outputs.map((o) => ({ dtype: o.dtype, value: value(kernel.outputs[o.output]!.value) })),
  });
  const bindings = [
    ...kernel.inputs.map((_, k): Binding => ({ position: k, offset: 0 })),
    ...sums.map((sum): Binding => ({
      position: sharedArgument(form),
      offset: plan.partials.find((p) => p.sum === sum)!.shared,
    })),
  ];
  const planned = planLoop(loop);
  const run = renderPhase({
    name,
    kernel: loop,
    plan: planned,
    inputs: bindings,
    outputs: outputs.map((o): Binding => ({ position: inputs + o.output, offset: 0 })),
  });
  return {
    run,
    phase: {
      run: name,
      units: planned.units,
      grain: Math.max(1, Math.min(Math.ceil(WORK_PER_CLAIM / planned.work), Math.ceil(planned.units / 8))),
    },
  };
}
