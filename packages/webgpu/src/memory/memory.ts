/**
 * GPU buffers. One that is given back is kept for the next request of its size: the queue runs in order, so it may be
 * written again at once. Beyond the highest use so far, buffers long unused are destroyed; when the adapter is out of
 * memory, all that are unused are, and the request is made once more.
 */
import { LimitError } from "@seqmix/tensor";
import { USAGE } from "../device/adapter.js";
import type { Loss } from "../device/loss.js";

/** Memory on the GPU. */
export interface Block {
  /** Another one if the first was refused; fixed once the block is granted. */
  readonly buffer: GPUBuffer;
  /** Capacity; what was asked for, rounded up by at most an eighth. */
  readonly bytes: number;
  /** Tells blocks apart for as long as the device lives. */
  readonly number: number;
}

export interface GpuMemory {
  /**
   * A block, to be used once it is granted.
   * @param contents What is in it.
   * @param before Blocks that served the same end: the first of them that is free, so that bind groups made for it serve again.
   * @throws LimitError if no buffer can be so large.
   */
  take(bytes: number, contents?: AllowSharedBufferSource, before?: readonly Block[]): Block;
  give(block: Block): void;
  /** Resolves when the GPU has granted the blocks. @throws LimitError if it refused one even after all free memory was destroyed. */
  granted(blocks: Iterable<Block>): Promise<void>;
  /** Bytes taken, the most so far, and bytes of all buffers. */
  readonly taken: { readonly bytes: number; readonly peak: number; readonly reserved: number };
}

/** What bounds the memory. */
export interface MemoryLimits {
  /** Bytes of one buffer: maxBufferSize. */
  readonly buffer: number;
  /** Bytes of all buffers; a number that pretends a smaller adapter, for tests. */
  readonly memory: number;
}

/** Free bytes that are always kept. Beyond them, what fits under the highest use so far: making a large buffer takes longer than filling it. */
const KEPT = 256 << 20;

interface OwnBlock extends Block {
  buffer: GPUBuffer;
  /** given: back before the adapter answered. */
  state: "asked" | "granted" | "refused" | "given";
  /** What to write into it once it is granted. */
  contents?: AllowSharedBufferSource | undefined;
}

/** A block that the adapter has not answered for. */
interface Request {
  readonly block: OwnBlock;
  readonly refused: Promise<boolean>;
}

/** @param poison Fill whatever is handed out with NaN, of f32 and of f16, to find programs that read what they never wrote. */
export function makeMemory(
  gpu: GPUDevice,
  limits: MemoryLimits,
  loss: Loss,
  { poison }: { readonly poison: boolean },
): GpuMemory {
  const free = new Map<number, OwnBlock[]>();
  /** Free blocks in the order they were given back. */
  const order = new Set<OwnBlock>();
  const taken = { bytes: 0, peak: 0, reserved: 0 };
  let freeBytes = 0;
  let numbers = 0;
  let requests: Request[] = [];
  /** Answers are settled one after another. */
  let settled: Promise<void> = Promise.resolve();

  /** A new buffer, and whether the adapter refused it. */
  const create = (bytes: number): { buffer: GPUBuffer; refused: Promise<boolean> } => {
    const usage = USAGE.storage | USAGE.uniform | USAGE.copySource | USAGE.copyDestination;
    const pretended = taken.reserved + bytes > limits.memory;
    taken.reserved += bytes;
    gpu.pushErrorScope("out-of-memory");
    const buffer = gpu.createBuffer({ size: pretended ? 16 : bytes, usage });
    return { buffer, refused: gpu.popErrorScope().then((error) => pretended || error !== null) };
  };
  const discard = (block: OwnBlock): void => {
    taken.reserved -= block.bytes;
    block.buffer.destroy();
  };
  const destroyFree = (block: OwnBlock): void => {
    order.delete(block);
    const list = free.get(block.bytes)!;
    list.splice(list.indexOf(block), 1);
    freeBytes -= block.bytes;
    discard(block);
  };
  const fill = ({ buffer, bytes }: Block, contents: AllowSharedBufferSource | undefined): void => {
    if (poison) gpu.queue.writeBuffer(buffer, 0, new Uint32Array(bytes / 4).fill(0x7fc07fc0));
    if (contents) gpu.queue.writeBuffer(buffer, 0, contents);
  };

  /** Resolves when the GPU is done and has let go of what was destroyed, which it does with the submit after. */
  const drained = async (): Promise<void> => {
    gpu.queue.submit([]);
    await loss.wait(gpu.queue.onSubmittedWorkDone());
  };

  /** Waits for answers. A refused request is made once more after all submitted work is done and everything free is destroyed. */
  const settle = async (answers: readonly Request[]): Promise<void> => {
    for (const { block, refused } of answers) {
      let isRefused = await loss.wait(refused);
      if (isRefused && block.state === "asked") {
        discard(block);
        await drained();
        for (const idle of order) destroyFree(idle);
        await drained();
        const again = create(block.bytes);
        block.buffer = again.buffer;
        isRefused = await loss.wait(again.refused);
        if (isRefused || block.state !== "asked") discard(block);
      }
      if (block.state !== "asked") continue;
      if (isRefused) {
        block.state = "refused";
        taken.bytes -= block.bytes;
        continue;
      }
      block.state = "granted";
      fill(block, block.contents);
      block.contents = undefined;
    }
    if (answers.every(({ block }) => block.state === "granted")) taken.peak = Math.max(taken.peak, taken.bytes);
  };

  return {
    taken,
    take(wanted, contents, before = []) {
      if (wanted > limits.buffer)
        throw new LimitError(
          `webgpu: expected at most ${limits.buffer} bytes in a tensor (maxBufferSize of this adapter), got ${wanted}; use smaller batches`,
        );
      const bytes = Math.min(rounded(wanted), Math.floor(limits.buffer / 16) * 16);
      const same = before.find((each) => each.bytes === bytes && order.has(each as OwnBlock)) as OwnBlock | undefined;
      const list = free.get(bytes);
      let block = same ? list!.splice(list!.indexOf(same), 1)[0] : list?.pop();
      if (block) {
        order.delete(block);
        freeBytes -= bytes;
        fill(block, contents);
      } else {
        const { buffer, refused } = create(bytes);
        block = { buffer, bytes, number: numbers++, state: "asked", contents };
        requests.push({ block, refused });
      }
      taken.bytes += bytes;
      if (requests.length === 0) taken.peak = Math.max(taken.peak, taken.bytes);
      return block;
    },
    give(given) {
      const block = given as OwnBlock;
      if (block.state !== "refused") taken.bytes -= block.bytes;
      if (block.state !== "granted") {
        if (block.state === "asked") discard(block);
        block.state = "given";
        return;
      }
      let list = free.get(block.bytes);
      if (!list) free.set(block.bytes, (list = []));
      list.push(block);
      order.add(block);
      freeBytes += block.bytes;
      for (const oldest of order) {
        if (freeBytes <= Math.max(KEPT, taken.peak - taken.bytes)) break;
        destroyFree(oldest);
      }
    },
    async granted(given) {
      const blocks = [...given] as OwnBlock[];
      // what was refused to an earlier run, e.g. an operand from the host, is asked for again
      for (const block of new Set(blocks)) {
        if (block.state !== "refused") continue;
        const { buffer, refused } = create(block.bytes);
        Object.assign(block, { buffer, state: "asked" });
        taken.bytes += block.bytes;
        requests.push({ block, refused });
      }
      const answers = requests;
      requests = [];
      settled = settled.then(() => settle(answers));
      const mine = settled;
      settled = settled.catch(() => {});
      await mine;
      for (const block of blocks) {
        if (block.state === "refused")
          throw new LimitError(
            `webgpu: expected ${block.bytes} bytes of GPU memory, but the adapter is out of memory (this device holds ${taken.bytes} bytes); dispose tensors or use smaller batches`,
          );
      }
    },
  };
}

/** Up to the next multiple of an eighth of the power of two below it, and of 256 bytes. */
function rounded(bytes: number): number {
  const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 3));
  return Math.ceil(bytes / step) * step;
}
