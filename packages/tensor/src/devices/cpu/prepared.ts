/** Steps of a plan as programs: equal ones, and those that differ in where they begin to read, share one. */
import { structureKey } from "../../ir/structure-key.js";
import type { Affine, LoopKernel, Scalar } from "../../ir/loop.js";
import { nodesOf, roots } from "../../ir/simplify.js";
import type { NativeCall, Step } from "../../plan/plan.js";
import { BYTES_PER_ELEMENT } from "../../graph/dtype.js";
import { whenLoaded } from "../../graph/on-demand.js";
import { loopProgram } from "./loops/program.js";
import type { DeviceMemory } from "./memory/memory.js";
import type { CpuProgram } from "./program.js";
import type { Prepared, ThreadPool } from "./threads/pool.js";

/** A step ready to run. */
export interface PreparedStep extends Prepared {
  /** Bytes from the start of each input to where the program takes it to start. */
  readonly starts: readonly number[];
}

/** Programs kept; the least recently used are dropped. */
const CACHED = 4096;

export function makePrograms(memory: DeviceMemory, pool: ThreadPool): (step: Step) => Promise<PreparedStep> {
  const known = new Map<string, Prepared>();
  return async (step) => {
    const { text, starts, program } = programOf(step, memory);
    const key = structureKey(text);
    const prepared = known.get(key) ?? pool.prepare(await program());
    known.delete(key);
    known.set(key, prepared);
    if (known.size > CACHED) known.delete(known.keys().next().value!);
    return { ...prepared, starts };
  };
}

interface Described {
  /** What the program is made of. */
  readonly text: unknown;
  readonly starts: readonly number[];
  readonly program: () => CpuProgram | Promise<CpuProgram>;
}

function programOf(step: Step, memory: DeviceMemory): Described {
  if (step.kind === "scan")
    return {
      text: step.kernel,
      starts: [],
      program: async () => (await import("./scans/recurrences.js")).recurrenceProgram(step.kernel, memory),
    };
  if (step.kind === "loop") {
    const starts = startsOf(step.kernel);
    const kernel = starts.some((start) => start !== 0) ? begunAt(step.kernel, starts) : step.kernel;
    return { text: kernel, starts: inBytes(starts), program: () => whenLoaded(() => loopProgram(kernel, memory)) };
  }
  const starts = step.call.inputs.map(({ offset }) => offset);
  const call: NativeCall = { ...step.call, inputs: step.call.inputs.map((operand) => ({ ...operand, offset: 0 })) };
  return {
    text: call,
    starts: inBytes(starts),
    program: async () => (await import("./native/programs.js")).nativeProgram(call, memory),
  };
}

const inBytes = (starts: readonly number[]): number[] => starts.map((start) => BYTES_PER_ELEMENT * start);

/** The least offset of each input's loads. */
function startsOf(kernel: LoopKernel): number[] {
  const starts = kernel.inputs.map(() => Infinity);
  for (const node of nodesOf(roots(kernel)))
    if (node.op === "load") starts[node.input] = Math.min(starts[node.input]!, node.index.offset);
  return starts.map((start) => (start > 0 && start < Infinity ? start : 0));
}

/** The kernel with loads counted from there on. */
function begunAt(kernel: LoopKernel, starts: readonly number[]): LoopKernel {
  const moved = new Map<Scalar, Scalar>();
  const from = (index: Affine, input: number): Affine => ({ ...index, offset: index.offset - starts[input]! });
  const move = (node: Scalar): Scalar => {
    let result = moved.get(node);
    if (!result) moved.set(node, (result = rebuild(node)));
    return result;
  };
  const rebuild = (node: Scalar): Scalar => {
    if (node.op === "load")
      return {
        ...node,
        index: from(node.index, node.input),
        ...(node.gather && { gather: node.gather.map((g) => ({ ...g, value: move(g.value) })) }),
      };
    if (node.op === "guard") return { ...node, value: move(node.value) };
    return "args" in node ? { ...node, args: node.args.map(move) } : node;
  };
  return {
    ...kernel,
    reductions: kernel.reductions.map((each) => ({ ...each, value: move(each.value) })),
    outputs: kernel.outputs.map((each) => ({ ...each, value: move(each.value) })),
  };
}
