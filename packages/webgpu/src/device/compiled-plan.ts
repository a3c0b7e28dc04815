/** A graph's plan with its programs, and the memory results may take over. */
import {
  makePlan,
  scanPasses,
  storedInF32,
  takeovers,
  firstOfSlots,
  type Graph,
  type Plan,
  type PlanOptions,
  type SequentialScanAttributes,
  type Step,
} from "@seqmix/tensor/backend";
import { prepare, type Dispatch, type Encode } from "./commands.js";
import type { Block } from "../memory/memory.js";
import { recurrenceProgram, runsInChunks, supportsRecurrence } from "../scans/recurrence.js";
import type { Tuning } from "../scans/fused/tuning.js";
import { loopProgram } from "../loops/program.js";
import { gpuVariantOf, nativeProgram } from "../native/programs.js";
import { sequenceProgram } from "../native/sequence.js";
import type { Pipelines } from "./pipelines.js";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { placeTemporaries, type Temporaries } from "../memory/temporaries.js";

export interface CompiledPlan {
  readonly plan: Plan;
  readonly programs: readonly GpuProgram[];
  readonly temporaries: Temporaries;
  /** By root, the leaf slots it may be written over. */
  readonly candidates: readonly (readonly number[])[];
  /** By root, whether it takes the memory of its slot; the others are copies. */
  readonly isFirst: readonly boolean[];
  /** Memory of earlier runs. */
  readonly earlier: EarlierBlocks;
  /** The steps ready to run, if roots lie in the memory of the given leaves (by root slot). */
  ready(over: ReadonlyMap<number, number>): Promise<Ready>;
}

/**
 * The blocks that earlier runs took for each root and temporary. The next run takes the same ones where it can: otherwise
 * the blocks of a size would change places from run to run, and every kernel would need new bind groups.
 */
export class EarlierBlocks {
  readonly #blocks = new Map<string, Block[]>();

  /** Those of a place, the last used first. */
  of(place: string): readonly Block[] {
    return this.#blocks.get(place) ?? [];
  }

  note(place: string, block: Block): void {
    const list = this.of(place);
    if (list[0] !== block) this.#blocks.set(place, [block, ...list.filter((each) => each !== block)].slice(0, KEPT));
  }
}

/** A plan's steps with their pipelines. */
export interface Ready {
  /** By step, the dispatches on memory given by slot, and on the blocks borrowed for temporaries. */
  dispatches(blocks: readonly Block[], borrowed: readonly Block[]): readonly (readonly Dispatch[])[];
}

/** Placements of the results, and memories of a run, whose commands are kept: a training step meets the same again after a step or two. */
const KEPT = 8;

/** Native ops whose programs compute what comes behind them as they store. */
const EPILOGUES: ReadonlySet<string> = new Set(["matmul"]);
/** Additions that take no longer than reading a number. */
const COMPUTED_AGAIN = 32;
/** Ops that a device without them unrolls. */
const NATIVES: ReadonlySet<string> = new Set(["sequentialScan"]);

/** What this device asks of a plan. */
export const planOptions = (fuse: boolean, limits: GpuLimits, tuning: Tuning): PlanOptions => ({
  device: "webgpu",
  fuse,
  maxBuffers: limits.buffers,
  maxBindingBytes: limits.bytes,
  computedAgain: COMPUTED_AGAIN,
  epilogues: EPILOGUES,
  natives: NATIVES,
  scans: {
    passes: scanPasses,
    maxBuffers: limits.buffers,
    accepts: (kernel) => supportsRecurrence(kernel, limits, tuning),
    anyBuffers: (kernel) => runsInChunks(kernel, limits),
  },
  limits,
});

/** @param limits What a pass may bind. @param tuning Sizes of fused recurrences. */
export function compilePlan(
  { roots, leaves }: Graph,
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
  gpu: GPUDevice,
  pipelines: Pipelines,
): CompiledPlan {
  const { plan, programs } = programsOf({ roots, leaves }, fuse, limits, tuning);
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

  const temporaries = placeTemporaries(plan, programs);
  const placements = new Map<string, Promise<Ready>>();
  const readyOver = async (over: ReadonlyMap<number, number>): Promise<Ready> => {
    const steps = await Promise.all(plan.steps.map((step, k) => stepOver(step, k, over)));
    return { dispatches: dispatchesOf(plan, temporaries, steps) };
  };
  return {
    plan,
    programs,
    temporaries,
    candidates: withoutConflicts(plan, programs),
    isFirst: firstOfSlots(plan),
    earlier: new EarlierBlocks(),
    ready: (over) => {
      const key = [...over].join(";");
      const found = placements.get(key) ?? readyOver(over);
      placements.delete(key);
      placements.set(key, found);
      found.catch(() => placements.delete(key));
      if (placements.size > KEPT) placements.delete(placements.keys().next().value!);
      return found;
    },
  };
}

/** A graph's plan and the programs of its steps. */
function programsOf(
  { roots, leaves }: Pick<Graph, "roots" | "leaves">,
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
): { readonly plan: Plan; readonly programs: readonly GpuProgram[] } {
  const made = makePlan(roots, leaves, planOptions(fuse, limits, tuning));
  const plan = limits.storesHalf ? made : storedInF32(made);
  const programOf = (step: Step): GpuProgram => {
    if (step.kind === "loop") return loopProgram(step.kernel, limits);
    if (step.kind === "scan") return recurrenceProgram(step.kernel, limits, tuning);
    if (step.call.op !== "sequentialScan") return nativeProgram(step.call, limits);
    const { body } = step.call.attributes as SequentialScanAttributes;
    const inner = programsOf(body.graph, fuse, limits, tuning);
    return sequenceProgram(step.call, inner.plan, inner.programs);
  };
  return { plan, programs: plan.steps.map(programOf) };
}

/** Dispatches of a run, kept for the next one on the same memory. */
function dispatchesOf(
  { steps }: Plan,
  { scratch, slots: temporary }: Temporaries,
  encoders: readonly Encode[],
): Ready["dispatches"] {
  const known = new Map<string, readonly (readonly Dispatch[])[]>();
  // The others are borrowed.
  const given = temporary.flatMap((block, slot) => (block === undefined ? [slot] : []));
  return (blocks, borrowed) => {
    let key = "";
    for (const slot of given) key += `${blocks[slot]!.number},`;
    for (const { number } of borrowed) key += `${number},`;
    const found =
      known.get(key) ??
      encoders.map((encode, k) =>
        encode([
          ...steps[k]!.inputs.map((slot) => blocks[slot]!),
          ...steps[k]!.outputs.map((slot) => blocks[slot]!),
          ...scratch[k]!.map((block) => borrowed[block]!),
        ]),
      );
    known.delete(key);
    known.set(key, found);
    if (known.size > KEPT) known.delete(known.keys().next().value!);
    return found;
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

/** Bytes from which memory that is taken over is worth more than bind groups that serve again. */
const LARGE = 1 << 24;

/**
 * A pass binds a buffer once: a result over an input of its own step needs one pass and one element type. A small result is
 * not written over what stands for another one of its size: they would go round, and no run would find the memory of the
 * one before.
 */
function withoutConflicts(plan: Plan, programs: readonly GpuProgram[]): readonly (readonly number[])[] {
  const makers = new Map(plan.steps.flatMap(({ outputs }, k) => outputs.map((slot) => [slot, k] as const)));
  const asked = new Set(plan.roots);
  const leaves = Array.from({ length: plan.leafCount }, (_, leaf) => leaf).filter((leaf) => !asked.has(leaf));
  const [rootRanks, leafRanks] = [ranksOf(plan, plan.roots), ranksOf(plan, leaves)];
  return takeovers(plan).map((leavesOf, k) => {
    const root = plan.roots[k]!;
    const made = makers.get(root) ?? -1;
    const { size, dtype } = plan.slots[root]!;
    return leavesOf.filter((leaf) => {
      if (plan.steps[made]!.inputs.includes(leaf))
        return programs[made]!.passes.length === 1 && plan.slots[leaf]!.dtype === dtype;
      return bytesOf(size, dtype) >= LARGE || rootRanks.get(root) === leafRanks.get(leaf);
    });
  });
}

/** The place of each slot among those of its size. */
function ranksOf({ slots }: Plan, some: readonly number[]): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  return new Map(
    some.map((slot) => {
      const { size } = slots[slot]!;
      const rank = counts.get(size) ?? 0;
      counts.set(size, rank + 1);
      return [slot, rank] as const;
    }),
  );
}
