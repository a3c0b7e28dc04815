/** One run of a compiled plan. */
import { BYTES_PER_ELEMENT, type DType } from "../../graph/dtype.js";
import type { Tensor } from "../../graph/tensor.js";
import type { DeviceBuffer } from "../device.js";
import type { CompiledPlan } from "./compiled.js";
import type { DeviceMemory } from "./memory/memory.js";

export interface CpuBuffer extends DeviceBuffer {
  readonly address: number;
}

/** What a run takes of its device. */
interface Surroundings {
  readonly memory: DeviceMemory;
  /** The live memory of a tensor. */
  readonly bufferOf: (x: Tensor) => CpuBuffer;
  readonly allocate: (dtype: DType, size: number) => CpuBuffer;
  readonly release: (buffer: CpuBuffer) => void;
}

/** @returns The memory of the roots; that of donated leaves is taken over where it can be. */
export function execute(
  { memory, bufferOf, allocate, release }: Surroundings,
  { plan, arena, takeovers: candidates, runners, isFirst }: CompiledPlan,
  leaves: readonly Tensor[],
  donated: readonly DeviceBuffer[],
): readonly CpuBuffer[] {
  const addresses = new Array<number>(plan.slots.length).fill(0);
  leaves.forEach((x, slot) => (addresses[slot] = bufferOf(x).address));
  for (const { slot, tensor } of plan.constants) addresses[slot] = bufferOf(tensor).address;
  const arenaAddress = memory.allocate(arena.bytes);
  arena.offsets.forEach((offset, slot) => {
    if (offset !== undefined) addresses[slot] = arenaAddress + offset;
  });
  const results: CpuBuffer[] = [];
  const takenOver: CpuBuffer[] = [];
  const free = new Set(donated.filter((buffer) => !buffer.released));
  /** A new buffer in the memory of a donated leaf. */
  const takeOver = (slots: readonly number[], dtype: DType): CpuBuffer | undefined => {
    for (const slot of slots) {
      const buffer = bufferOf(leaves[slot]!);
      if (!free.delete(buffer)) continue;
      takenOver.push(buffer);
      return { dtype, size: buffer.size, released: false, address: buffer.address };
    }
    return undefined;
  };
  try {
    // The first root of a slot takes its memory; a root that is a leaf, or a second one, is a copy.
    const copies: { from: number; to: CpuBuffer }[] = [];
    plan.roots.forEach((slot, k) => {
      const { dtype, size } = plan.slots[slot]!;
      const buffer = (isFirst[k] && takeOver(candidates[k]!, dtype)) || allocate(dtype, size);
      results.push(buffer);
      if (isFirst[k]) addresses[slot] = buffer.address;
      else copies.push({ from: addresses[slot]!, to: buffer });
    });
    plan.steps.forEach(({ inputs, outputs }, k) =>
      runners[k]!.run([...inputs, ...outputs].map((slot) => addresses[slot]!)),
    );
    for (const { from, to } of copies) memory.u8.copyWithin(to.address, from, from + to.size * BYTES_PER_ELEMENT);
    for (const buffer of takenOver) buffer.released = true;
    return results;
  } catch (error) {
    // What was to be written over still belongs to its tensor.
    for (const buffer of results) if (takenOver.every(({ address }) => address !== buffer.address)) release(buffer);
    throw error;
  } finally {
    memory.free(arenaAddress);
  }
}
