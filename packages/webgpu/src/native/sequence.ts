/**
 * A step's plan repeated along a sequence, as one program: the passes of the step again and again on memory of their own,
 * between passes that copy a step's part of the inputs there and of the outputs back. The host does nothing in between.
 */
import { LimitError } from "@seqmix/tensor";
import { firstOfSlots, type NativeCall, type Plan, type SequentialScanAttributes } from "@seqmix/tensor/backend";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  widthOf,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";

const THREADS = 64;

/** Copies words of one buffer into another, from one place to another. */
function copyPass(
  from: number,
  to: number,
  words: number,
  start: { readonly from: number; readonly to: number },
): GpuPass {
  const parameters = { source_at: start.from, target_at: start.to, words };
  const code = `${declare(0, "source", "read", "u32")}${declare(1, "target_", "read_write", "u32")}${declareParameters(2, parameters)}${entryPoint(
    THREADS,
    `let word = i32(group) * ${THREADS} + i32(thread);
if (word < p.words) { target_[p.target_at + word] = source[p.source_at + word]; }`,
  )}`;
  return {
    code,
    parameters,
    buffers: [
      { buffer: from, access: "read" },
      { buffer: to, access: "read_write" },
    ],
    groups: Math.ceil(words / THREADS),
  };
}

/** Words of a step's part of a sequence. @throws LimitError if it is no whole number of them. */
function wordsOf({ size, dtype }: NativeCall["outputs"][number] & { readonly size: number }): number {
  const bytes = size * widthOf(dtype);
  if (bytes % 4 !== 0)
    throw new LimitError(
      `webgpu: expected an even number of f16 elements a step of sequentialScan, got ${size}; cast them to f32`,
    );
  return bytes / 4;
}

/** Buffers: states at the start, step inputs, constants; last states, outputs, states before each step. */
export function sequenceProgram(call: NativeCall, plan: Plan, programs: readonly GpuProgram[]): GpuProgram {
  const { body, states, steps, length, reverse, history } = call.attributes as SequentialScanAttributes;
  if (plan.constants.length > 0)
    throw new LimitError("webgpu: expected a step of sequentialScan without tables of its own; run it on the cpu");
  const scratch: number[] = [];
  const count = body.inputs.length + call.outputs.length;
  const block = (bytes: number): number => count + scratch.push(bytes) - 1;
  const blockFor = ({ size, dtype }: { size: number; dtype: NativeCall["outputs"][number]["dtype"] }): number =>
    block(bytesOf(size, dtype));
  const banks = body.inputs.slice(0, states).map((x) => [blockFor(x), blockFor(x)] as const);
  const now = body.inputs.slice(states, states + steps).map(blockFor);
  const made = body.results.slice(states).map(blockFor);
  const isFirst = firstOfSlots(plan);
  const roots = new Map(plan.roots.flatMap((slot, k) => (isFirst[k] ? [[slot, k] as const] : [])));
  const temporaries = plan.slots.map((slot, k) =>
    k < plan.leafCount || roots.has(k) ? undefined : block(bytesOf(slot.size, slot.dtype)),
  );
  const own = programs.map((program) => program.scratch.map(block));

  const passes: GpuPass[] = [];
  for (let n = 0; n < length; n++) {
    const t = reverse ? length - 1 - n : n;
    const current = (k: number): number => (n === 0 ? k : banks[k]![(n - 1) % 2]!);
    const next = (k: number): number => (n === length - 1 ? body.inputs.length + k : banks[k]![n % 2]!);
    const result = (k: number): number => (k < states ? next(k) : made[k - states]!);
    const bufferOf = (slot: number): number => {
      if (slot < plan.leafCount) {
        const place = body.places[slot]!;
        return place < states ? current(place) : place < states + steps ? now[place - states]! : place;
      }
      const root = roots.get(slot);
      return root === undefined ? temporaries[slot]! : result(root);
    };
    body.inputs.slice(states, states + steps).forEach((x, k) => {
      const words = wordsOf(x);
      if (words > 0) passes.push(copyPass(states + k, now[k]!, words, { from: t * words, to: 0 }));
    });
    body.inputs.slice(0, history ? states : 0).forEach((x, k) => {
      const words = wordsOf(x);
      const before = body.inputs.length + body.results.length + k;
      if (words > 0) passes.push(copyPass(current(k), before, words, { from: 0, to: t * words }));
    });
    plan.steps.forEach((step, k) => {
      const buffers = [...[...step.inputs, ...step.outputs].map(bufferOf), ...own[k]!];
      for (const pass of programs[k]!.passes)
        passes.push({ ...pass, buffers: pass.buffers.map((b) => ({ ...b, buffer: buffers[b.buffer]! })) });
    });
    body.results.forEach((x, k) => {
      const words = wordsOf(x);
      if (words === 0) return;
      if (!isFirst[k]) passes.push(copyPass(bufferOf(plan.roots[k]!), result(k), words, { from: 0, to: 0 }));
      if (k >= states)
        passes.push(copyPass(made[k - states]!, body.inputs.length + k, words, { from: 0, to: t * words }));
    });
  }
  return { name: `${length} times: ${programs.map(({ name }) => name).join(", ")}`, passes, scratch };
}
