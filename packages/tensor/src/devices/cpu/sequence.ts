/** Repeating a compiled step along a sequence, without a plan or a tensor a step. */
import { BYTES_PER_ELEMENT } from "../../graph/dtype.js";
import { sizeOf } from "../../graph/shape.js";
import type { Tensor } from "../../graph/tensor.js";
import type { SequentialScanAttributes } from "../../ops/sequential-scan.js";
import type { NativeCall } from "../../plan/plan.js";
import type { CompiledPlan, Runner } from "./compiled.js";
import type { DeviceMemory } from "./memory/memory.js";

/** What a recurrence needs of its device. */
export interface SequenceDevice {
  readonly memory: DeviceMemory;
  /** Address of a host constant that the step's plan brought in. */
  addressOf(constant: Tensor): number;
}

/** Bytes of every state, of every step's part of the inputs and outputs. */
const bytesOf = (shape: readonly number[]): number => BYTES_PER_ELEMENT * sizeOf(shape);

/** A runner over the addresses of start states, step inputs, constants; last states, outputs, states before each step. */
export function sequenceRunner(call: NativeCall, compiled: CompiledPlan, device: SequenceDevice): Runner {
  const { body, states, steps, length, reverse, history } = call.attributes as SequentialScanAttributes;
  const { plan, arena, runners, isFirst } = compiled;
  const { memory } = device;
  const sizes = body.inputs.map(({ shape }) => bytesOf(shape));
  const outputSizes = body.results.slice(states).map(({ shape }) => bytesOf(shape));
  const stateBytes = sizes.slice(0, states).map((bytes) => Math.ceil(bytes / 64) * 64 + 64);
  const bankBytes = stateBytes.reduce((sum, bytes) => sum + bytes, 64);
  const copy = (to: number, from: number, bytes: number): void => void memory.u8.copyWithin(to, from, from + bytes);

  const run = (addresses: readonly number[]): void => {
    const ends = addresses.slice(body.inputs.length);
    const slots = new Array<number>(plan.slots.length).fill(0);
    for (const { slot, tensor } of plan.constants) slots[slot] = device.addressOf(tensor);
    const block = memory.allocate(arena.bytes + 2 * bankBytes);
    arena.offsets.forEach((offset, slot) => {
      if (offset !== undefined) slots[slot] = block + offset;
    });
    /** Where the next state is written: in turn to one of two banks, at the end to the result. */
    const nextState = (n: number): number[] => {
      if (n === length - 1) return ends.slice(0, states);
      let at = block + arena.bytes + (n % 2) * bankBytes;
      return stateBytes.map((bytes) => (at += bytes) - bytes);
    };
    try {
      let current = addresses.slice(0, states);
      for (let n = 0; n < length; n++) {
        const t = reverse ? length - 1 - n : n;
        const inputs = addresses
          .slice(0, body.inputs.length)
          .map((address, k) => (k < states ? current[k]! : k < states + steps ? address + t * sizes[k]! : address));
        const next = nextState(n);
        const outputs = [...next, ...outputSizes.map((bytes, k) => ends[states + k]! + t * bytes)];
        if (history)
          current.forEach((from, k) => copy(ends[states + outputSizes.length + k]! + t * sizes[k]!, from, sizes[k]!));
        runStep(inputs, outputs, slots);
        current = next;
      }
    } finally {
      memory.free(block);
    }
  };

  /** One step from the inputs' addresses to the results'. */
  function runStep(inputs: readonly number[], outputs: readonly number[], slots: number[]): void {
    body.places.forEach((place, leaf) => (slots[leaf] = inputs[place]!));
    const copies: (readonly [to: number, slot: number, bytes: number])[] = [];
    plan.roots.forEach((slot, k) => {
      // A result that is an input, or another result, is a copy of it.
      if (isFirst[k]) slots[slot] = outputs[k]!;
      else copies.push([outputs[k]!, slot, k < states ? sizes[k]! : outputSizes[k - states]!]);
    });
    plan.steps.forEach((step, k) => runners[k]!.run([...step.inputs, ...step.outputs].map((slot) => slots[slot]!)));
    for (const [to, slot, bytes] of copies) copy(to, slots[slot]!, bytes);
  }
  return { name: `${length} times: ${runners.map(({ name }) => name).join(", ")}`, run };
}
