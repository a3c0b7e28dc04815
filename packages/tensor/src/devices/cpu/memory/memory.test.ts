import { describe, expect, it } from "vitest";
import { LimitError } from "../../../graph/errors.js";
import { DeviceMemory } from "./memory.js";

const MIB = 2 ** 20;

/** Deterministic numbers in [0, 1). */
function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

describe("DeviceMemory", () => {
  it("aligns blocks to 64 bytes and leaves 64 readable bytes at both ends", () => {
    for (const shared of [true, false]) {
      const memory = new DeviceMemory({ shared });
      for (const bytes of [0, 1, 64, 65, 1000, 5 * MIB, 100 * MIB]) {
        const address = memory.allocate(bytes);
        expect(address % 64).toBe(0);
        expect(address).toBeGreaterThanOrEqual(64);
        expect(address + bytes + 64).toBeLessThanOrEqual(memory.memory.buffer.byteLength);
      }
      expect(memory.memory.buffer instanceof SharedArrayBuffer).toBe(shared);
    }
  });

  it("never hands out overlapping blocks and merges all that is freed", () => {
    const memory = new DeviceMemory({ maximumBytes: 64 * MIB });
    const random = generator(7);
    const live = new Map<number, number>();
    let expected = 0;
    for (let step = 0; step < 20_000; step++) {
      if (live.size > 0 && random() < 0.5) {
        const address = [...live.keys()][Math.floor(random() * live.size)] as number;
        expected -= live.get(address) as number;
        live.delete(address);
        memory.free(address);
      } else if (live.size < 100) {
        const bytes = Math.floor(2 ** (random() * 17));
        const address = memory.allocate(bytes);
        live.set(address, bytes);
        expected += bytes;
      }
      if (step % 500 === 0) {
        const blocks = [...live].sort(([a], [b]) => a - b);
        blocks.forEach(([address, bytes], i) =>
          expect(address + bytes).toBeLessThanOrEqual(blocks[i + 1]?.[0] ?? Infinity),
        );
        expect(memory.counters).toMatchObject({ buffers: live.size, bytes: expected });
      }
    }
    const grown = memory.grownBytes;
    for (const address of live.keys()) memory.free(address);
    expect(memory.counters.bytes).toBe(0);
    expect(memory.counters.peakBytes).toBeGreaterThan(0);
    memory.free(memory.allocate(grown - 128));
    expect(memory.grownBytes).toBe(grown);
  });

  it("reuses freed blocks before it takes fresh ones", () => {
    const memory = new DeviceMemory();
    const first = memory.allocate(4 * MIB);
    memory.allocate(64);
    memory.free(first);
    expect(memory.allocate(3 * MIB)).toBe(first);
    expect(memory.allocate(MIB)).toBe(first + 3 * MIB);
  });

  it("names the bytes asked for and available when exhausted, and stays usable", () => {
    const memory = new DeviceMemory({ maximumBytes: 16 * MIB });
    const address = memory.allocate(12 * MIB);
    const available = memory.availableBytes;
    expect(available).toBe(4 * MIB - 128);
    expect(() => memory.allocate(8 * MIB)).toThrow(LimitError);
    expect(() => memory.allocate(8 * MIB)).toThrow(new RegExp(`${8 * MIB} bytes.*${available} bytes available`));
    memory.free(memory.allocate(available));
    expect(() => memory.allocate(2 ** 40)).toThrow(LimitError);
    memory.free(address);
    memory.free(memory.allocate(16 * MIB - 128));
    expect(memory.counters).toEqual({ buffers: 0, bytes: 0, peakBytes: 16 * MIB - 128 });
  });

  it("refuses to free what is not in use", () => {
    const memory = new DeviceMemory();
    const address = memory.allocate(10);
    memory.free(address);
    expect(() => memory.free(address)).toThrow(RangeError);
  });

  it("addresses up to 4 GiB", () => {
    const memory = new DeviceMemory();
    if (memory.availableBytes < 2 ** 32 - 2 * 65536) return;
    const low = memory.allocate(2 ** 31 + 2 ** 30);
    const high = memory.allocate(2 ** 29);
    expect(high).toBeGreaterThan(2 ** 31);
    memory.f32[high / 4] = 1.5;
    expect(new Float32Array(memory.memory.buffer, high, 1)[0]).toBe(1.5);
    memory.free(low);
    memory.free(high);
  });

  it("keeps internal blocks out of the counters", () => {
    const memory = new DeviceMemory();
    const address = memory.allocate(100, true);
    expect(memory.counters).toEqual({ buffers: 0, bytes: 0, peakBytes: 0 });
    memory.free(address);
    expect(memory.counters).toEqual({ buffers: 0, bytes: 0, peakBytes: 0 });
  });
});
