/** A graph's plan with its programs, and the memory results may take over. */
import { makePlan, storedInF32, takeovers, type Graph, type Plan, type Step } from "@seqmix/tensor/backend";
import { prepare, type Encode } from "./commands.js";
import { recurrenceProgram, runsInChunks, supportsRecurrence } from "../scans/recurrence.js";
import type { Tuning } from "../scans/fused/tuning.js";
import { loopProgram } from "../loops/program.js";
import { gpuVariantOf, nativeProgram } from "../native/programs.js";
import type { Pipelines } from "./pipelines.js";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { placeTemporaries, type Temporaries } from "../memory/temporaries.js";

export interface CompiledPlan {
  readonly plan: Plan;
  readonly programs: readonly GpuProgram[];
  readonly temporaries: Temporaries;
  /** By root, the leaf slots it may be written over. */
  readonly candidates: readonly (readonly number[])[];
  /** The steps ready to run, if roots lie in the memory of the given leaves (by root slot). */
  ready(over: ReadonlyMap<number, number>): Promise<readonly Encode[]>;
}

/** Native ops whose programs compute what comes behind them as they store. */
const EPILOGUES: ReadonlySet<string> = new Set(["matmul"]);

/** @param limits What a pass may bind. @param tuning Sizes of fused recurrences. */
export function compilePlan(
  { roots, leaves }: Graph,
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
  gpu: GPUDevice,
  pipelines: Pipelines,
): CompiledPlan {
  const made = makePlan(roots, leaves, {
    device: "webgpu",
    fuse,
    maxBuffers: limits.buffers,
    maxBindingBytes: limits.bytes,
    epilogues: EPILOGUES,
    scans: {
      maxBuffers: limits.buffers,
      accepts: (kernel) => supportsRecurrence(kernel, limits, tuning),
      anyBuffers: (kernel) => runsInChunks(kernel, limits),
    },
    limits,
  });
  const plan = limits.storesHalf ? made : storedInF32(made);
  const programs = plan.steps.map((step) =>
    step.kind === "loop"
      ? loopProgram(step.kernel, limits)
      : step.kind === "scan"
        ? recurrenceProgram(step.kernel, limits, tuning)
        : nativeProgram(step.call, limits),
  );
  const prepared = new Map<string, Promise<Encode>>();

  const stepOver = (step: Step, k: number, over: ReadonlyMap<number, number>): Promise<Encode> => {
    const aliases = aliasesOf(step, over);
    const key = `${k}:${[...aliases].join(";")}`;
    let encode = prepared.get(key);
    if (!encode) {
      const program =
        aliases.size > 0 && step.kind === "loop" ? loopProgram(step.kernel, limits, aliases) : programs[k]!;
      const bytes = [
        ...[...step.inputs, ...step.outputs].map((slot) => bytesOf(plan.slots[slot]!.size, plan.slots[slot]!.dtype)),
        ...program.scratch,
      ];
      prepared.set(key, (encode = prepare(step.name, program, bytes, limits.bytes, gpu, pipelines)));
      encode.catch(() => prepared.delete(key));
    }
    return encode;
  };

  return {
    plan,
    programs,
    temporaries: placeTemporaries(plan, programs),
    candidates: withoutConflicts(plan, programs),
    ready: (over) => Promise.all(plan.steps.map((step, k) => stepOver(step, k, over))),
  };
}

/** A step as `explain` names it: a kernel record with its variant. */
export function nameOf(step: Step, limits: GpuLimits): string {
  const isRecord = step.kind === "native" && step.call.op.startsWith("kernel");
  return isRecord ? `${step.name} (${gpuVariantOf(step.call, limits).name})` : step.name;
}

/** By input of a step, the output written over it in the same dispatch. */
function aliasesOf({ inputs, outputs }: Step, over: ReadonlyMap<number, number>): ReadonlyMap<number, number> {
  const aliases = new Map<number, number>();
  outputs.forEach((slot, output) => {
    const input = inputs.indexOf(over.get(slot) ?? -1);
    if (input >= 0) aliases.set(input, output);
  });
  return aliases;
}

/** A pass binds a buffer once: a result over an input of its own step needs one pass and one element type. */
function withoutConflicts(plan: Plan, programs: readonly GpuProgram[]): readonly (readonly number[])[] {
  return takeovers(plan).map((leaves, k) => {
    const root = plan.roots[k]!;
    const made = plan.steps.findIndex(({ outputs }) => outputs.includes(root));
    return leaves.filter(
      (leaf) =>
        !plan.steps[made]!.inputs.includes(leaf) ||
        (programs[made]!.passes.length === 1 && plan.slots[leaf]!.dtype === plan.slots[root]!.dtype),
    );
  });
}
