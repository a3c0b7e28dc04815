/** A graph's plan with its programs, and the memory results may take over. */
import {
  makePlan,
  mayRecur,
  onDemand,
  storedInF32,
  takeovers,
  firstOfSlots,
  type Graph,
  type Plan,
  type PlanOptions,
  type SequentialScanAttributes,
  type Step,
} from "@seqmix/tensor/backend";
import type { Tensor } from "@seqmix/tensor";
import { prepare, type Dispatch, type Encode } from "./commands.js";
import type { Block } from "../memory/memory.js";
import type { Tuning } from "../scans/fused/tuning.js";
import { loopProgram } from "../loops/program.js";
import { gpuVariantOf, nativeProgram } from "../native/programs.js";
import { runTogether } from "../loops/together.js";
import { groupSteps, type Grouped } from "./groups.js";
import { sumWhereRead } from "./sum-where-read.js";
import type { Pipelines } from "./pipelines.js";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { placeTemporaries, type Temporaries } from "../memory/temporaries.js";

export interface CompiledPlan {
  readonly plan: Plan;
  readonly programs: readonly GpuProgram[];
  /** By step, the steps of the group that it is the first of; the others have none. */
  readonly members: readonly (readonly number[])[];
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
  /** By step, the dispatches on memory given by slot, and on the blocks borrowed for temporaries; a group's are with its first step. */
  dispatches(blocks: readonly Block[], borrowed: readonly Block[]): readonly (readonly Dispatch[])[];
}

/** Placements of the results, and memories of a run, whose commands are kept: a training step meets the same again after a step or two. */
const KEPT = 8;

/** Native ops whose programs compute what comes behind them as they store. */
const EPILOGUES: ReadonlySet<string> = new Set(["matmul"]);
/** Additions that take no longer than reading a number. */
const COMPUTED_AGAIN = 24;
/** Operands that a step of a sequence reads again rather than wait for another kernel, thousands of times over. */
const OF_A_STEP = 8;
/** Ops that a device without them unrolls. */
const NATIVES: ReadonlySet<string> = new Set(["sequentialScan"]);

const recurrences = onDemand(() => import("../scans/recurrence.js"));
const sequences = onDemand(() => import("../native/sequence.js"));

/** What this device asks of the plan of a graph: programs of recurrences are loaded when one may have any. */
export const planOptions = (
  roots: readonly Tensor[],
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
): PlanOptions => ({
  device: "webgpu",
  fuse,
  maxBuffers: limits.buffers,
  maxBindingBytes: limits.bytes,
  computedAgain: COMPUTED_AGAIN,
  together: true,
  epilogues: EPILOGUES,
  natives: NATIVES,
  ...(mayRecur(roots) && { scans: recurrences().scanSupport(limits, tuning) }),
  limits,
});

/** To be called in `whenLoaded`. @param limits What a pass may bind. @param tuning Sizes of fused recurrences. */
export function compilePlan(
  { roots, leaves }: Graph,
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
  gpu: GPUDevice,
  pipelines: Pipelines,
): CompiledPlan {
  const { plan, programs, groups } = grouped(programsOf({ roots, leaves }, fuse, limits, tuning), fuse);
  const prepared = new Map<string, Promise<Encode>>();

  const members: number[][] = plan.steps.map(() => []);
  let first = 0;
  plan.steps.forEach((_, k) => {
    if (groups[k] !== groups[first]) first = k;
    members[first]!.push(k);
  });
  const groupOver = (first: number, over: ReadonlyMap<number, number>): Promise<Encode> => {
    const steps = members[first]!;
    const aliases = steps.map((k) => aliasesOf(plan.steps[k]!, over));
    const key = `${first}:${aliases.map((each) => [...each].join(";")).join("|")}`;
    let encode = prepared.get(key);
    if (!encode) {
      const own = steps.map((k, q) => {
        const step = plan.steps[k]!;
        return aliases[q]!.size > 0 && step.kind === "loop"
          ? loopProgram(step.kernel, limits, aliases[q])
          : programs[k]!;
      });
      prepared.set(key, (encode = prepareGroup(plan, steps, own, limits, gpu, pipelines)));
      encode.catch(() => prepared.delete(key));
    }
    return encode;
  };

  const temporaries = placeTemporaries(plan, programs, groups);
  const placements = new Map<string, Promise<Ready>>();
  const readyOver = async (over: ReadonlyMap<number, number>): Promise<Ready> => {
    const encoders = await Promise.all(
      members.map((steps, k) => (steps.length === 0 ? undefined : groupOver(k, over))),
    );
    return { dispatches: dispatchesOf(plan, temporaries, members, encoders) };
  };
  return {
    plan,
    programs,
    members,
    temporaries,
    candidates: withoutConflicts(plan, programs, groups),
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

/** One step's program, or those of a group: passes of the same number run together. */
function prepareGroup(
  plan: Plan,
  steps: readonly number[],
  programs: readonly GpuProgram[],
  limits: GpuLimits,
  gpu: GPUDevice,
  pipelines: Pipelines,
): Promise<Encode> {
  const slotsOf = (k: number): readonly number[] => [...plan.steps[k]!.inputs, ...plan.steps[k]!.outputs];
  const bytes = [
    ...steps.flatMap(slotsOf).map((slot) => bytesOf(plan.slots[slot]!.size, plan.slots[slot]!.dtype)),
    ...programs.flatMap(({ scratch }) => scratch),
  ];
  const [first] = steps as [number];
  const program = programs.length === 1 ? programs[0]! : programOfGroup(steps.map(slotsOf), programs, limits);
  return prepare(plan.steps[first]!.name, program, bytes, limits.bytes, gpu, pipelines);
}

/** Its buffers: those of all steps, then the scratch of all steps. A slot that several have is the first one's buffer. */
function programOfGroup(
  slots: readonly (readonly number[])[],
  programs: readonly GpuProgram[],
  limits: GpuLimits,
): GpuProgram {
  const all = slots.flat();
  let scratchBefore = all.length;
  const numbered = programs.map(({ passes, scratch }, q) => {
    const own = slots[q]!;
    const startOfScratch = scratchBefore;
    scratchBefore += scratch.length;
    const numberOf = (buffer: number): number =>
      buffer < own.length ? all.indexOf(own[buffer]!) : startOfScratch + buffer - own.length;
    return {
      passes: passes.map((pass) => ({
        ...pass,
        buffers: pass.buffers.map((b) => ({ ...b, buffer: numberOf(b.buffer) })),
      })),
    };
  });
  return {
    name: `${programs.length} kernels, the first ${programs[0]!.name}`,
    passes: programs[0]!.passes.flatMap((_, k) =>
      runTogether(
        numbered.map(({ passes }) => passes[k]!),
        limits,
      ),
    ),
    scratch: programs.flatMap(({ scratch }) => scratch),
  };
}

const grouped = (made: Pick<Grouped, "plan" | "programs">, fuse: boolean): Grouped =>
  fuse ? groupSteps(made.plan, made.programs) : { ...made, groups: made.plan.steps.map((_, k) => k) };

/** A graph's plan and the programs of its steps. */
function programsOf(
  { roots, leaves }: Pick<Graph, "roots" | "leaves">,
  fuse: boolean,
  limits: GpuLimits,
  tuning: Tuning,
  besideSmall?: number,
): { readonly plan: Plan; readonly programs: readonly GpuProgram[] } {
  const made = makePlan(roots, leaves, {
    ...planOptions(roots, fuse, limits, tuning),
    ...(besideSmall !== undefined && { besideSmall }),
  });
  const plan = limits.storesHalf ? made : storedInF32(made);
  const programOf = (step: Step): GpuProgram => {
    if (step.kind === "loop") return loopProgram(step.kernel, limits);
    if (step.kind === "scan") return recurrences().recurrenceProgram(step.kernel, limits, tuning);
    if (step.call.op !== "sequentialScan") return nativeProgram(step.call, limits);
    const { body } = step.call.attributes as SequentialScanAttributes;
    const inner = programsOf(body.graph, fuse, limits, tuning, OF_A_STEP);
    return sequences().sequenceProgram(step.call, inner.plan, inner.programs, limits);
  };
  const programs = plan.steps.map(programOf);
  return fuse ? sumWhereRead(plan, programs, programOf) : { plan, programs };
}

/** Dispatches of a run, kept for the next one on the same memory. */
function dispatchesOf(
  { steps }: Plan,
  { scratch, slots: temporary }: Temporaries,
  members: readonly (readonly number[])[],
  encoders: readonly (Encode | undefined)[],
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
      encoders.map(
        (encode, first) =>
          encode?.([
            ...members[first]!.flatMap((k) => [...steps[k]!.inputs, ...steps[k]!.outputs].map((slot) => blocks[slot]!)),
            ...members[first]!.flatMap((k) => scratch[k]!.map((block) => borrowed[block]!)),
          ]) ?? [],
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
function withoutConflicts(
  plan: Plan,
  programs: readonly GpuProgram[],
  groups: readonly number[],
): readonly (readonly number[])[] {
  const makers = new Map(plan.steps.flatMap(({ outputs }, k) => outputs.map((slot) => [slot, k] as const)));
  const asked = new Set(plan.roots);
  const leaves = Array.from({ length: plan.leafCount }, (_, leaf) => leaf).filter((leaf) => !asked.has(leaf));
  const [rootRanks, leafRanks] = [ranksOf(plan, plan.roots), ranksOf(plan, leaves)];
  return takeovers(plan, groups).map((leavesOf, k) => {
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
