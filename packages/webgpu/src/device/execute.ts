/** Runs a compiled plan: memory for what it makes, and its dispatches, submitted together but for very many. */
import type { DeviceBuffer, Tensor } from "@seqmix/tensor";
import { bufferOn } from "@seqmix/tensor/backend";
import { bytesOf } from "@seqmix/tensor/wgsl";
import type { Block, GpuMemory } from "../memory/memory.js";
import type { Buffers, GpuBuffer } from "./buffers.js";
import { encodeInto, type Dispatch } from "./commands.js";
import type { CompiledPlan, Ready } from "./compiled-plan.js";
import type { WebGpuDevice } from "./contract.js";
import type { Loss } from "./loss.js";

/** Runs the host may be ahead of the GPU. */
const AHEAD = 3;
/** Dispatches that are submitted together: of many thousands, the GPU is to run the first while the host writes the others. */
const AT_ONCE = 512;

export interface Surroundings {
  readonly device: WebGpuDevice;
  readonly pool: GpuMemory;
  readonly buffers: Buffers;
  readonly loss: Loss;
  /** Runs that were submitted. */
  readonly submitted: Promise<unknown>[];
}

/** A run's memory by slot, and what becomes of it. */
interface Run {
  readonly blocks: Block[];
  readonly results: GpuBuffer[];
  /** Blocks of temporaries. */
  readonly borrowed: Block[];
  /** Donated buffers whose memory results have. */
  readonly takenOver: DeviceBuffer[];
  /** Roots that are copies. */
  readonly copies: { readonly from: number; readonly to: GpuBuffer }[];
}

/** @param donated Buffers whose memory the results may take over. */
export async function execute(
  surroundings: Surroundings,
  compiled: CompiledPlan,
  leaves: readonly Tensor[],
  donated: readonly DeviceBuffer[],
): Promise<readonly GpuBuffer[]> {
  const { device, pool, buffers, loss, submitted } = surroundings;
  const { plan } = compiled;
  loss.check();
  const blocks = new Array<Block>(plan.slots.length);
  leaves.forEach((x, slot) => (blocks[slot] = buffers.usable(bufferOn(x, device, "webgpu")).block));
  for (const { slot, tensor } of plan.constants)
    blocks[slot] = buffers.usable(bufferOn(tensor, device, "webgpu")).block;
  const given = [...blocks.slice(0, plan.leafCount), ...plan.constants.map(({ slot }) => blocks[slot]!)];
  const over = takeOver(compiled, blocks, donated);
  const steps = await compiled.ready(over);

  const run: Run = { blocks, results: [], borrowed: [], takenOver: [], copies: [] };
  try {
    placeResults(surroundings, compiled, run, over, donated);
    await loss.wait(pool.granted([...given, ...run.results.map(({ block }) => block), ...run.borrowed]));
    submit(surroundings, compiled, run, steps);
  } catch (error) {
    for (const buffer of run.results)
      if (run.takenOver.every((old) => (old as GpuBuffer).block !== buffer.block)) buffers.release(buffer);
      else buffers.forget(buffer);
    throw error;
  } finally {
    for (const block of run.borrowed) pool.give(block);
  }
  for (const buffer of run.takenOver) buffers.forget(buffer);
  submitted.push(device.gpu.queue.onSubmittedWorkDone());
  if (submitted.length > AHEAD) await loss.wait(submitted.shift()!);
  loss.check();
  return run.results;
}

/** By root slot, the leaf slot whose donated memory it is written over. */
function takeOver(
  { plan, candidates, isFirst }: CompiledPlan,
  blocks: readonly Block[],
  donated: readonly DeviceBuffer[],
): ReadonlyMap<number, number> {
  const over = new Map<number, number>();
  const free = new Set(donated.flatMap((buffer) => (buffer.released ? [] : [(buffer as GpuBuffer).block])));
  plan.roots.forEach((slot, k) => {
    const leaf = isFirst[k] ? candidates[k]!.find((each) => free.has(blocks[each]!)) : undefined;
    if (leaf === undefined) return;
    over.set(slot, leaf);
    free.delete(blocks[leaf]!);
  });
  return over;
}

/** The first root of a slot takes its memory; a root that is a leaf, or a second one, is a copy. */
function placeResults(
  { pool, buffers }: Surroundings,
  { plan, temporaries, isFirst, earlier }: CompiledPlan,
  { blocks, results, borrowed, takenOver, copies }: Run,
  over: ReadonlyMap<number, number>,
  donated: readonly DeviceBuffer[],
): void {
  const again = (place: string, bytes: number): Block => {
    const block = pool.take(bytes, undefined, earlier.of(place));
    earlier.note(place, block);
    return block;
  };
  const owners = new Map(donated.map((buffer) => [(buffer as GpuBuffer).block, buffer]));
  plan.roots.forEach((slot, k) => {
    const { dtype, size } = plan.slots[slot]!;
    const leaf = over.get(slot);
    if (isFirst[k] && leaf !== undefined) {
      blocks[slot] = blocks[leaf]!;
      takenOver.push(owners.get(blocks[leaf]!)!);
      results.push(buffers.register(dtype, size, blocks[slot]));
      return;
    }
    const buffer = buffers.register(dtype, size, again(`root ${k}`, bytesOf(size, dtype)));
    results.push(buffer);
    if (isFirst[k]) blocks[slot] = buffer.block;
    else copies.push({ from: slot, to: buffer });
  });
  temporaries.blocks.forEach((bytes, k) => borrowed.push(again(`temporary ${k}`, bytes)));
  temporaries.slots.forEach((block, slot) => {
    if (block !== undefined) blocks[slot] = borrowed[block]!;
  });
  for (let slot = 0; slot < blocks.length; slot++) blocks[slot] ??= buffers.nothing;
}

function submit(
  { device: { gpu, recorder } }: Surroundings,
  { plan, programs, members }: CompiledPlan,
  { blocks, borrowed, copies }: Run,
  steps: Ready,
): void {
  const all = steps.dispatches(blocks, borrowed);
  let encoder = gpu.createCommandEncoder();
  const take = (dispatches: readonly Dispatch[], pass: GPUComputePassEncoder): void => {
    encodeInto(pass, dispatches);
    pass.end();
  };
  if (recorder)
    all.forEach((dispatches, k) => {
      const together = members[k]!.map((step) => plan.steps[step]!);
      if (together.length > 0) take(dispatches, recorder.begin(encoder, together, programs[k]!.name, plan.slots));
    });
  else {
    const flat = all.flat();
    for (let from = 0; from < flat.length; from += AT_ONCE) {
      if (from > 0) {
        gpu.queue.submit([encoder.finish()]);
        encoder = gpu.createCommandEncoder();
      }
      take(flat.slice(from, from + AT_ONCE), encoder.beginComputePass());
    }
  }
  for (const { from, to } of copies)
    encoder.copyBufferToBuffer(blocks[from]!.buffer, 0, to.block.buffer, 0, bytesOf(to.size, to.dtype));
  gpu.queue.submit([encoder.finish()]);
}
