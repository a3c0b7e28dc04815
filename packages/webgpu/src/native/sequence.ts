/**
 * A step's plan repeated along a sequence, as one program: the passes of the step again and again, on windows of the inputs
 * and outputs where those may be bound, else on memory of their own; between the steps one pass copies what has no window.
 * The host does nothing in between.
 */
import { LimitError, sizeOf } from "@seqmix/tensor";
import { firstOfSlots, type NativeCall, type Plan, type SequentialScanAttributes } from "@seqmix/tensor/backend";
import {
  bytesOf,
  widthOf,
  WINDOW_ALIGNMENT,
  type GpuBinding,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";
import { copyPasses, type Copy } from "./copies.js";
import { stepKernels, type StepKernel } from "./step-kernels.js";

/** Where a tensor of a step lies. */
type Place = Omit<GpuBinding, "access">;

/** Words of a step's part of a sequence. @throws LimitError if it is no whole number of them. */
function wordsOf({ size, dtype }: { readonly size: number; readonly dtype: NativeCall["outputs"][number]["dtype"] }) {
  const bytes = size * widthOf(dtype);
  if (bytes % 4 !== 0)
    throw new LimitError(
      `webgpu: expected an even number of f16 elements a step of sequentialScan, got ${size}; cast them to f32`,
    );
  return bytes / 4;
}

/** Buffers: states at the start, step inputs, constants; last states, outputs, states before each step. */
export function sequenceProgram(
  call: NativeCall,
  plan: Plan,
  programs: readonly GpuProgram[],
  limits: GpuLimits,
): GpuProgram {
  const { body, states, steps, length, reverse, history } = call.attributes as SequentialScanAttributes;
  if (plan.constants.length > 0)
    throw new LimitError("webgpu: expected a step of sequentialScan without tables of its own; run it on the cpu");
  const scratch: number[] = [];
  const count = body.inputs.length + call.outputs.length;
  const block = (bytes: number): number => count + scratch.push(bytes) - 1;
  const blockFor = ({ size, dtype }: Pick<Plan["slots"][number], "size" | "dtype">): number =>
    block(bytesOf(size, dtype));
  const banks = body.inputs.slice(0, states).map((x) => [blockFor(x), blockFor(x)] as const);
  const now = body.inputs.slice(states, states + steps).map((x, k) => alongSequence(states + k, x, blockFor));
  const made = body.results.slice(states).map((x, k) => alongSequence(body.inputs.length + states + k, x, blockFor));
  const { kernels, stored } = kernelsOf(plan, programs, call.attributes as SequentialScanAttributes, limits);
  const kept = body.inputs.slice(0, history ? states : 0).map((x, k) => ({
    buffer: body.inputs.length + body.results.length + k,
    words: wordsOf(x),
    output: plan.roots.indexOf(plan.roots[k]!, states) - states,
    byKernel: [...stored.values()].includes(k),
  }));
  const isFirst = firstOfSlots(plan);
  const roots = new Map(plan.roots.flatMap((slot, k) => (isFirst[k] ? [[slot, k] as const] : [])));
  const temporaries = plan.slots.map((slot, k) => (k < plan.leafCount || roots.has(k) ? undefined : blockFor(slot)));
  const own = kernels.map(({ program }) => program.scratch.map(block));

  const sizes = [...call.inputs, ...call.outputs].map(({ shape, dtype }) => bytesOf(sizeOf(shape), dtype));
  const copied = (some: readonly Copy[]): GpuPass[] =>
    copyPasses(some, (buffer) => sizes[buffer] ?? scratch[buffer - count]!, limits.bytes);
  const passes: GpuPass[] = [];
  // what follows a step is copied along with what comes before the next one
  let copies: Copy[] = [];
  const at = (n: number): number => (reverse ? length - 1 - n : n);
  for (let n = 0; n < length; n++) {
    const t = at(n);
    const current = (k: number): Place => ({ buffer: n === 0 ? k : banks[k]![(n - 1) % 2]! });
    const next = (k: number): Place => ({ buffer: n === length - 1 ? body.inputs.length + k : banks[k]![n % 2]! });
    const result = (k: number): Place => (k < states ? next(k) : made[k - states]!.place(t));
    /** Where a state is stored a second time: as an output, or before the next step, of which the last step has none. */
    const second = (k: number): Place => {
      if (k >= states) return result(k);
      const { buffer, words } = kept[k]!;
      return n === length - 1
        ? { buffer: banks[k]![n % 2]! }
        : { buffer, window: { from: 4 * words * at(n + 1), bytes: 4 * words } };
    };
    const placeOf = (slot: number): Place => {
      if (slot < plan.leafCount) {
        const place = body.places[slot]!;
        return place < states
          ? current(place)
          : place < states + steps
            ? now[place - states]!.place(t)
            : { buffer: place };
      }
      if (stored.has(slot)) return second(stored.get(slot)!);
      const root = roots.get(slot);
      return root === undefined ? { buffer: temporaries[slot]! } : result(root);
    };
    copies.push(...now.flatMap((each) => each.copiesIn(t)));
    kept.forEach(({ buffer: to, words, output, byKernel }, k) => {
      if (n === 0 || (output < 0 && !byKernel))
        copies.push({ from: current(k).buffer, to, words, fromAt: 0, toAt: t * words });
    });
    passes.push(...copied(copies));
    kernels.forEach(({ inputs, outputs, program }, k) => {
      const places = [...[...inputs, ...outputs].map(placeOf), ...own[k]!.map((buffer) => ({ buffer }))];
      for (const pass of program.passes)
        passes.push({ ...pass, buffers: pass.buffers.map((each) => bound(each, places[each.buffer]!)) });
    });
    const isStored = new Set(stored.values());
    copies = body.results.flatMap((x, k): Copy[] => {
      const out = k < states ? [] : made[k - states]!.copiesOut(t);
      if (isFirst[k] || isStored.has(k)) return out;
      const [from, to] = [placeOf(plan.roots[k]!), result(k)];
      return [
        { from: from.buffer, to: to.buffer, words: wordsOf(x), fromAt: startOf(from), toAt: startOf(to) },
        ...out,
      ];
    });
  }
  // A state that is put out was before the next step what it is behind this one.
  for (const { buffer: to, words, output } of kept)
    if (output >= 0)
      copies.push({
        from: body.inputs.length + states + output,
        to,
        words: (length - 1) * words,
        fromAt: reverse ? words : 0,
        toAt: reverse ? 0 : words,
      });
  passes.push(...copied(copies));
  return { name: `${length} times: ${kernels.map(({ program }) => program.name).join(", ")}`, passes, scratch };
}

/** The kernels of a step; by number of a slot beyond the plan's, the result that a kernel stores there: an output, or a state before the next step. */
function kernelsOf(
  plan: Plan,
  programs: readonly GpuProgram[],
  { body, states, history }: SequentialScanAttributes,
  limits: GpuLimits,
): { readonly kernels: readonly StepKernel[]; readonly stored: ReadonlyMap<number, number> } {
  const isFirst = firstOfSlots(plan);
  const wanted = new Map<number, number>();
  plan.roots.slice(0, states).forEach((slot, k) => {
    const output = plan.roots.indexOf(slot, states);
    const whole = (4 * wordsOf(body.inputs[k]!)) % WINDOW_ALIGNMENT === 0;
    if (isFirst[k] && output >= 0) wanted.set(slot, output);
    else if (isFirst[k] && history && whole) wanted.set(slot, k);
  });
  const { kernels, seconds } = stepKernels(plan, programs, [...wanted.keys()], limits);
  return { kernels, stored: new Map([...seconds].map(([slot, number]) => [number, wanted.get(slot)!])) };
}

/** First word of a place. */
const startOf = ({ window }: Place): number => (window?.from ?? 0) / 4;

/** A binding of a step's program on the memory that it has there. */
function bound({ access, window }: GpuBinding, { buffer, window: outer }: Place): GpuBinding {
  if (!outer) return { buffer, access, ...(window && { window }) };
  return { buffer, access, window: window ? { from: outer.from + window.from, bytes: window.bytes } : outer };
}

/** A step's part of a sequence in a buffer: a window of it, or a block of its own with copies. */
function alongSequence(
  buffer: number,
  x: Pick<Plan["slots"][number], "size" | "dtype">,
  blockFor: (x: Pick<Plan["slots"][number], "size" | "dtype">) => number,
): {
  place(t: number): Place;
  copiesIn(t: number): Copy[];
  copiesOut(t: number): Copy[];
} {
  const words = wordsOf(x);
  const bytes = 4 * words;
  if (bytes > 0 && bytes % WINDOW_ALIGNMENT === 0)
    return { place: (t) => ({ buffer, window: { from: t * bytes, bytes } }), copiesIn: () => [], copiesOut: () => [] };
  const own = blockFor(x);
  return {
    place: () => ({ buffer: own }),
    copiesIn: (t) => [{ from: buffer, to: own, words, fromAt: t * words, toAt: 0 }],
    copiesOut: (t) => [{ from: own, to: buffer, words, fromAt: 0, toAt: t * words }],
  };
}
