/**
 * Small products with k in parts whose partial products are summed by the kernels that read the result: where a step has
 * many small kernels, as in decoding, a sum of its own takes longer than it computes. Readers that would read the parts too
 * often, or are no loops, read the sum; it runs beside a loop that does without it.
 */
import { product, rewriting, roots, type LoopKernel, type Plan, type Scalar, type Step } from "@seqmix/tensor/backend";
import type { GpuProgram } from "@seqmix/tensor/wgsl";
import { loadsOf } from "../loops/text.js";

/** Elements of all parts, and kernels from the product to a reader: partial products take more memory than their sum. */
const MOST_PARTIAL = 1 << 21,
  NEAR = 8;
/** How often a reader, and all that read parts, may read an element of the result. */
const MOST_READINGS = 2,
  MOST_IN_ALL = 3;

type LoopStep = Step & { readonly kind: "loop" };

/** A product whose parts are read, the loops that read them, and whether others need the sum. */
interface Opened {
  readonly maker: number;
  readonly slot: number;
  readonly parts: number;
  readonly loops: readonly number[];
  readonly others: readonly number[];
}

/** @param programOf The program of a step that has changed. */
export function sumWhereRead(
  plan: Plan,
  programs: readonly GpuProgram[],
  programOf: (step: Step) => GpuProgram,
): { readonly plan: Plan; readonly programs: readonly GpuProgram[] } {
  const opened = openedOf(plan, programs);
  if (opened.length === 0) return { plan, programs };
  const steps = plan.steps.map((step, k) => ({ step, program: programs[k]! }));
  const slots = [...plan.slots];
  const sums = new Map<number, Step>();
  for (const { maker, slot, parts, loops, others } of opened) {
    const whole = slots[slot]!;
    slots[slot] = { ...whole, size: parts * whole.size, shape: [parts, ...whole.shape], parts };
    steps[maker]!.program = withoutSum(programs[maker]!, plan.steps[maker]!.inputs.length);
    for (const k of loops) {
      const step = steps[k]!.step as LoopStep;
      steps[k]!.step = { ...step, kernel: withSums(step.kernel, step.inputs.indexOf(slot), parts) };
    }
    if (others.length === 0) continue;
    const sum = slots.push(whole) - 1;
    sums.set(maker, {
      kind: "loop",
      name: "sum",
      kernel: sumKernel(whole.size, parts),
      inputs: [slot],
      outputs: [sum],
    });
    for (const k of others) {
      const { step } = steps[k]!;
      steps[k]!.step = { ...step, inputs: step.inputs.map((each) => (each === slot ? sum : each)) };
    }
  }
  const changed = new Set(opened.flatMap(({ loops }) => loops));
  const all = steps.flatMap(({ step, program }, k) => {
    const sum = sums.get(k);
    return [
      { step, program: changed.has(k) ? programOf(step) : program },
      ...(sum ? [{ step: sum, program: programOf(sum) }] : []),
    ];
  });
  return { plan: { ...plan, slots, steps: all.map(({ step }) => step) }, programs: all.map(({ program }) => program) };
}

function openedOf({ steps, slots, roots: asked }: Plan, programs: readonly GpuProgram[]): Opened[] {
  const isRoot = new Set(asked);
  const readers = new Map<number, number[]>();
  steps.forEach(({ inputs }, k) => {
    for (const slot of new Set(inputs)) readers.set(slot, [...(readers.get(slot) ?? []), k]);
  });
  return programs.flatMap(({ parts }, maker): Opened[] => {
    const [slot] = steps[maker]!.outputs as [number];
    const own = readers.get(slot) ?? [];
    if (parts === undefined || isRoot.has(slot) || parts * slots[slot]!.size > MOST_PARTIAL) return [];
    const { size } = slots[slot]!;
    const readings = new Map<number, number>();
    for (const k of own) {
      const step = steps[k]!;
      const count =
        step.kind === "loop" && k - maker <= NEAR ? readingsOf(step.kernel, step.inputs.indexOf(slot)) : Infinity;
      if (count <= MOST_READINGS * size) readings.set(k, count);
    }
    const others = own.filter((k) => !readings.has(k));
    const loops = [...readings.keys()].filter(
      (k) => others.length === 0 || (steps[k] as LoopStep).kernel.reductions.length === 0,
    );
    const inAll = loops.reduce((sum, k) => sum + readings.get(k)!, 0);
    if (loops.length === 0 || inAll > MOST_IN_ALL * size) return [];
    return [{ maker, slot, parts, loops, others: own.filter((k) => !loops.includes(k)) }];
  });
}

/** How many elements of an input a kernel reads in all: what does not follow its reductions once a point. Infinity for gathers. */
function readingsOf(kernel: LoopKernel, input: number): number {
  const { extents, reduceExtents } = kernel;
  return loadsOf(roots(kernel))
    .filter((load) => load.input === input)
    .reduce((sum, { index, gather }) => {
      const along = index.coefficients.some((c, axis) => axis >= extents.length && c !== 0);
      return sum + (gather ? Infinity : product(extents) * (along ? product(reduceExtents) : 1));
    }, 0);
}

const sumOf = (parts: number, load: (part: number) => Scalar): Scalar =>
  Array.from({ length: parts }, (_, part) => load(part)).reduce((x, y): Scalar => ({
    op: "add",
    dtype: "f32",
    args: [x, y],
  }));

/** The sum of parts that lie one behind the other. */
const sumKernel = (size: number, parts: number): LoopKernel => ({
  extents: [size],
  reduceExtents: [],
  inputs: [{ dtype: "f32", size: parts * size }],
  reductions: [],
  outputs: [
    {
      dtype: "f32",
      value: sumOf(parts, (part) => ({
        op: "load",
        dtype: "f32",
        input: 0,
        index: { offset: part * size, coefficients: [1] },
      })),
    },
  ],
});

/** The kernel that reads an input's parts in the place of their sum. */
function withSums(kernel: LoopKernel, input: number, parts: number): LoopKernel {
  const { size } = kernel.inputs[input]!;
  const summed = rewriting(
    (index) => index,
    (node) =>
      node.op === "load" && node.input === input
        ? sumOf(parts, (part) => ({ ...node, index: { ...node.index, offset: node.index.offset + part * size } }))
        : undefined,
  );
  return {
    ...kernel,
    inputs: kernel.inputs.map((each, k) => (k === input ? { ...each, size: parts * size } : each)),
    reductions: kernel.reductions.map((each) => ({ ...each, value: summed(each.value) })),
    outputs: kernel.outputs.map((each) => ({ ...each, value: summed(each.value) })),
  };
}

/** The program whose first temporary block is its result. */
function withoutSum({ name, passes, scratch }: GpuProgram, inputs: number): GpuProgram {
  const moved = (buffer: number): number => (buffer > inputs ? buffer - 1 : buffer);
  return {
    name: `${name}, summed where they are read`,
    passes: passes.slice(0, -1).map((pass) => ({
      ...pass,
      buffers: pass.buffers.map((binding) => ({ ...binding, buffer: moved(binding.buffer) })),
    })),
    scratch: scratch.slice(1),
  };
}
