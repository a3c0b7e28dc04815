/**
 * The CPU device's one WebAssembly memory and the allocator of its blocks.
 *
 * Freed blocks merge with their free neighbours and are handed out again before any page that was never
 * touched (the first touch of a page is five times as slow as later ones), and those before the memory grows.
 */
import { LimitError } from "../../../graph/errors.js";

const PAGE = 65536;
/** One page short of 4 GiB: every address and every length stays below 2^32, also in typed arrays. */
const LARGEST_PAGES = 65535;
const ALIGNMENT = 64;
/** Readable bytes below the first and above the last block. */
const MARGIN = 64;
/** Two free blocks of one class differ by less than a quarter. */
const CLASSES_PER_OCTAVE = 4;
const CLASSES = 32 * CLASSES_PER_OCTAVE;
/** How many blocks of the request's own class are tried before a larger class is taken. */
const TRIES = 8;

export interface MemoryOptions {
  /** Whether threads may share the memory; default: if the environment allows it. */
  readonly shared?: boolean;
  /** Default: as much as the environment grants, 4 GiB at most. */
  readonly maximumBytes?: number;
}

export interface MemoryCounters {
  /** Blocks in use. */
  readonly buffers: number;
  /** Bytes asked for by the blocks in use. */
  readonly bytes: number;
  /** The largest `bytes` so far. */
  readonly peakBytes: number;
}

/** Whether shared memories can be made here and handed to workers. */
export function sharedMemoryUsable(): boolean {
  const scope = globalThis as { SharedArrayBuffer?: unknown; crossOriginIsolated?: boolean };
  return typeof scope.SharedArrayBuffer === "function" && scope.crossOriginIsolated !== false;
}

export class DeviceMemory {
  readonly memory: WebAssembly.Memory;
  readonly shared: boolean;
  readonly #maximumBytes: number;
  /** Bytes asked for, by address. */
  readonly #used = new Map<number, number>();
  /** Addresses of blocks the device keeps for itself, not counted. */
  readonly #internal = new Set<number>();
  /** End of each free block by its start, and the reverse. */
  readonly #freeEnd = new Map<number, number>();
  readonly #freeStart = new Map<number, number>();
  readonly #classes: Set<number>[] = Array.from({ length: CLASSES }, () => new Set<number>());
  /** Nothing from here on was ever handed out. */
  #top = MARGIN;
  #buffers = 0;
  #bytes = 0;
  #peakBytes = 0;
  #u8 = new Uint8Array(0);
  #i32 = new Int32Array(0);
  #f32 = new Float32Array(0);

  constructor(options: MemoryOptions = {}) {
    const shared = options.shared ?? sharedMemoryUsable();
    const pages = Math.ceil((options.maximumBytes ?? LARGEST_PAGES * PAGE) / PAGE);
    const [memory, maximum] = createMemory(shared, Math.max(1, Math.min(LARGEST_PAGES, pages)));
    this.memory = memory;
    this.shared = shared;
    this.#maximumBytes = maximum * PAGE;
  }

  get counters(): MemoryCounters {
    return { buffers: this.#buffers, bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  /** Bytes the memory has grown to. */
  get grownBytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** The whole memory as bytes. Fetch it anew after any allocation: growth makes old views short or detached. */
  get u8(): Uint8Array {
    if (this.#u8.buffer !== this.memory.buffer) this.#u8 = new Uint8Array(this.memory.buffer);
    return this.#u8;
  }

  /** The whole memory as i32; fetch it anew after any allocation. */
  get i32(): Int32Array {
    if (this.#i32.buffer !== this.memory.buffer) this.#i32 = new Int32Array(this.memory.buffer);
    return this.#i32;
  }

  /** The whole memory as f32; fetch it anew after any allocation. */
  get f32(): Float32Array {
    if (this.#f32.buffer !== this.memory.buffer) this.#f32 = new Float32Array(this.memory.buffer);
    return this.#f32;
  }

  /**
   * The address of a new block, a multiple of 64, with at least 64 readable bytes beyond either end.
   * Its contents are arbitrary. Internal blocks are left out of the counters.
   */
  allocate(bytes: number, internal = false): number {
    const size = blockSize(bytes);
    const address = this.#takeFree(size) ?? this.#takeFresh(size);
    if (address === undefined) throw this.#exhausted(bytes);
    this.#used.set(address, bytes);
    if (internal) {
      this.#internal.add(address);
    } else {
      this.#buffers += 1;
      this.#bytes += bytes;
      this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    }
    return address;
  }

  free(address: number): void {
    const bytes = this.#used.get(address);
    if (bytes === undefined)
      throw new RangeError(`Expected the address of a block in use, got ${address}: free each block once.`);
    this.#used.delete(address);
    if (!this.#internal.delete(address)) {
      this.#buffers -= 1;
      this.#bytes -= bytes;
    }
    let start = address;
    let end = address + blockSize(bytes);
    const below = this.#freeStart.get(start);
    if (below !== undefined) {
      this.#removeFree(below, start);
      start = below;
    }
    const above = this.#freeEnd.get(end);
    if (above !== undefined) {
      this.#removeFree(end, above);
      end = above;
    }
    this.#addFree(start, end);
  }

  /** The largest block `allocate` could return now, in bytes. */
  get availableBytes(): number {
    let largest = this.#maximumBytes - MARGIN - (this.#freeStart.get(this.#top) ?? this.#top);
    for (const [start, end] of this.#freeEnd) largest = Math.max(largest, end - start);
    return Math.max(0, largest);
  }

  #takeFree(size: number): number | undefined {
    const own = sizeClass(size);
    let tries = TRIES;
    for (const start of this.#classes[own] ?? []) {
      const end = this.#freeEnd.get(start) ?? start;
      if (end - start >= size) return this.#split(start, end, size);
      if (--tries === 0) break;
    }
    for (let index = own + 1; index < CLASSES; index++) {
      for (const start of this.#classes[index] ?? [])
        return this.#split(start, this.#freeEnd.get(start) ?? start, size);
    }
    return undefined;
  }

  #split(start: number, end: number, size: number): number {
    this.#removeFree(start, end);
    if (start + size < end) this.#addFree(start + size, end);
    return start;
  }

  /** From the never used end of the memory, with the free block below it if there is one. */
  #takeFresh(size: number): number | undefined {
    const below = this.#freeStart.get(this.#top);
    const start = below ?? this.#top;
    if (!this.#reach(start + size + MARGIN)) {
      // The few tries above may have missed a block of the request's own class.
      for (const [free, end] of this.#freeEnd) if (end - free >= size) return this.#split(free, end, size);
      return undefined;
    }
    if (below !== undefined) this.#removeFree(below, this.#top);
    this.#top = start + size;
    return start;
  }

  /** Grows the memory to at least `bytes`, by a quarter where possible. */
  #reach(bytes: number): boolean {
    const now = this.grownBytes;
    if (bytes <= now) return true;
    if (bytes > this.#maximumBytes) return false;
    const generous = Math.min(this.#maximumBytes, Math.max(bytes, now + now / 4, now + 256 * PAGE));
    return grow(this.memory, generous - now) || grow(this.memory, bytes - now);
  }

  #addFree(start: number, end: number): void {
    this.#freeEnd.set(start, end);
    this.#freeStart.set(end, start);
    this.#classes[sizeClass(end - start)]?.add(start);
  }

  #removeFree(start: number, end: number): void {
    this.#freeEnd.delete(start);
    this.#freeStart.delete(end);
    this.#classes[sizeClass(end - start)]?.delete(start);
  }

  #exhausted(bytes: number): LimitError {
    return new LimitError(
      `Expected a buffer that fits the cpu device's memory of ${this.#maximumBytes} bytes, got a request for ${bytes} bytes ` +
        `with ${this.availableBytes} bytes available (${this.#bytes} in use by ${this.#buffers} buffers): dispose tensors or use smaller ones.`,
    );
  }
}

function blockSize(bytes: number): number {
  return Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
}

/** Grows with the size; sizes of a larger class are larger. */
function sizeClass(size: number): number {
  const octave = 31 - Math.clz32(Math.min(size, 0xffffffff));
  const within = Math.floor((size / 2 ** octave - 1) * CLASSES_PER_OCTAVE);
  return octave * CLASSES_PER_OCTAVE + within;
}

function grow(memory: WebAssembly.Memory, bytes: number): boolean {
  try {
    memory.grow(Math.ceil(bytes / PAGE));
    return true;
  } catch {
    return false;
  }
}

/** The memory and its maximum in pages, which is halved until the environment grants it. */
function createMemory(shared: boolean, maximum: number): readonly [WebAssembly.Memory, number] {
  try {
    return [new WebAssembly.Memory({ initial: Math.min(16, maximum), maximum, shared }), maximum];
  } catch (cause) {
    if (maximum > 16) return createMemory(shared, Math.floor(maximum / 2));
    throw new LimitError(
      "Expected a WebAssembly memory of 1 MiB, got none from the environment: close other tabs or programs.",
      { cause },
    );
  }
}
