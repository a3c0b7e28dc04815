import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import { afterEach, describe, expect, it } from "vitest";
import { DeviceError, KernelCompileError } from "../../../graph/errors.js";
import { buildModule, f32, f32x4, forLoop, functionBuilder, i32, unreachable, v128, when } from "../wasm/emitter.js";
import { DeviceMemory } from "../memory/memory.js";
import { ThreadPool } from "./pool.js";
import type { CpuProgram } from "../program.js";

const BLOCK = 64;

/** Two phases over blocks of 64 numbers: out = a + 1, then out = out * 2 with the blocks in reverse order. Traps at block `trap`. */
function twoPhases(blocks: number, options: { grain?: number; shared?: boolean; trap?: number } = {}): CpuProgram {
  const phase = (name: string, second: boolean) => {
    const f = functionBuilder(["i32", "i32", "i32", "i32"]);
    const [args, begin, end] = f.params;
    const [from, to, i] = [f.local("i32"), f.local("i32"), f.local("i32")];
    const start = second ? i32.sub(i32.const(blocks - 1), begin.get) : begin.get;
    const bytes = i32.mul(start, i32.const(4 * BLOCK));
    const value = (x: ReturnType<typeof v128.load>) =>
      second ? f32x4.mul(x, f32x4.const(2)) : f32x4.add(x, f32x4.const(1));
    return f.finish(name, [
      forLoop(begin, end, 1, [
        when(i32.eq(begin.get, i32.const(options.trap ?? -1)), unreachable()),
        from.set(i32.add(i32.load(args.get, second ? 4 : 0), bytes)),
        to.set(i32.add(i32.load(args.get, 4), bytes)),
        i.set(i32.const(0)),
        forLoop(i, 4 * BLOCK, 16, v128.store(i32.add(to.get, i.get), value(v128.load(i32.add(from.get, i.get))))),
      ]),
    ]);
  };
  return {
    name: "two phases",
    module: buildModule({
      memory: { shared: options.shared ?? true },
      functions: [phase("one", false), phase("two", true)],
    }),
    phases: ["one", "two"].map((run) => ({ run, units: blocks, grain: options.grain ?? 1 })),
    scratchBytes: 0,
    sharedBytes: 0,
  };
}

/** Every unit stores its number + shared[0] in its thread's scratch, copies that to output 0 and the scratch's address to output 1. */
function scratchProgram(units: number): CpuProgram {
  const first = functionBuilder(["i32", "i32", "i32", "i32"]);
  const setShared = first.finish("share", f32.store(i32.load(first.params[0].get, 8), f32.const(0.5)));
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, scratch] = f.params;
  const body = forLoop(begin, end, 1, [
    f32.store(scratch.get, f32.add(f32.convertI32(begin.get), f32.load(i32.load(args.get, 8)))),
    f32.store(i32.add(i32.load(args.get), i32.shl(begin.get, i32.const(2))), f32.load(scratch.get)),
    i32.store(i32.add(i32.load(args.get, 4), i32.shl(begin.get, i32.const(2))), scratch.get),
  ]);
  return {
    name: "scratch",
    module: buildModule({ memory: { shared: true }, functions: [setShared, f.finish("main", body)] }),
    phases: [
      { run: "share", units: 1, grain: 1 },
      { run: "main", units, grain: 3 },
    ],
    scratchBytes: 8192,
    sharedBytes: 4,
  };
}

const pools: ThreadPool[] = [];
function makePool(memory: DeviceMemory, threads: number): ThreadPool {
  const pool = new ThreadPool(memory, { threads });
  pools.push(pool);
  return pool;
}
afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function check(memory: DeviceMemory, pool: ThreadPool, program: CpuProgram, blocks: number, seed: number): void {
  const a = memory.allocate(4 * BLOCK * blocks);
  const out = memory.allocate(4 * BLOCK * blocks);
  memory.f32.fill(seed, a / 4, a / 4 + BLOCK * blocks);
  memory.f32.fill(NaN, out / 4, out / 4 + BLOCK * blocks);
  pool.run(pool.prepare(program), [a, out]);
  const result = memory.f32.subarray(out / 4, out / 4 + BLOCK * blocks);
  expect(result.every((x) => x === 2 * (seed + 1))).toBe(true);
  memory.free(a);
  memory.free(out);
}

describe("ThreadPool", () => {
  it("runs phases with barriers on one to four threads, 1000 times", async () => {
    for (const threads of [1, 2, 4]) {
      const memory = new DeviceMemory();
      const pool = makePool(memory, threads);
      expect(pool.threads).toBe(threads);
      for (let i = 0; i < 1000; i++) {
        const blocks = 1 + (i % 37);
        check(memory, pool, twoPhases(blocks, { grain: 1 + (i % 5) }), blocks, i);
        // Workers start, fall asleep and are caught on their way to sleep.
        if (i % 100 === 0) await sleep(i % 300 === 0 ? 20 : 0);
      }
    }
  });

  it("works in memory that is not shared, on one thread", () => {
    const memory = new DeviceMemory({ shared: false });
    const pool = makePool(memory, 4);
    expect(pool.threads).toBe(1);
    check(memory, pool, twoPhases(10, { shared: false }), 10, 3);
  });

  it("gives every thread its scratch and the program its shared block", async () => {
    const memory = new DeviceMemory();
    const pool = makePool(memory, 3);
    const out = memory.allocate(4 * 5000);
    const blocks = memory.allocate(4 * 5000);
    const seen = new Set<number>();
    for (let i = 0; i < 300 && seen.size < 3; i++) {
      memory.f32.fill(NaN, out / 4, out / 4 + 5000);
      pool.run(pool.prepare(scratchProgram(5000)), [out, blocks]);
      for (const block of memory.i32.subarray(blocks / 4, blocks / 4 + 5000)) seen.add(block);
      expect(memory.f32.subarray(out / 4, out / 4 + 5000).every((x, unit) => x === unit + 0.5)).toBe(true);
      await sleep(1);
    }
    expect([...seen].sort((x, y) => x - y).map((block, i, all) => block - (all[0] ?? 0) - 8192 * i)).toEqual([0, 0, 0]);
    memory.free(out);
    memory.free(blocks);
    expect(memory.counters.buffers).toBe(0);
  });

  it("follows the memory as it grows", async () => {
    const memory = new DeviceMemory();
    const pool = makePool(memory, 2);
    for (let i = 0; i < 20; i++) {
      memory.allocate(20 * 2 ** 20);
      check(memory, pool, twoPhases(200 + i), 200 + i, i);
      await sleep(2);
    }
  });

  it("reports a trap on any thread as an error and stays usable", async () => {
    const memory = new DeviceMemory();
    const pool = makePool(memory, 2);
    check(memory, pool, twoPhases(50), 50, 1);
    await sleep(50);
    const a = memory.allocate(4 * BLOCK * 4000);
    for (let trap = 0; trap < 4000; trap += 97) {
      const prepared = pool.prepare(twoPhases(4000, { trap }));
      expect(() => pool.run(prepared, [a, a])).toThrow(DeviceError);
      expect(() => pool.run(prepared, [a, a])).toThrow(/"two phases".*"one".*unreachable/);
    }
    check(memory, pool, twoPhases(50), 50, 2);
  });

  it("names a program that does not compile", () => {
    const pool = makePool(new DeviceMemory(), 1);
    expect(() => pool.prepare({ ...twoPhases(1), module: new Uint8Array([0, 1, 2]) })).toThrow(KernelCompileError);
  });

  it("runs two pools at once and refuses to run when closed", async () => {
    const devices = [2, 3].map((threads) => {
      const memory = new DeviceMemory();
      return { memory, pool: makePool(memory, threads) };
    });
    for (let i = 0; i < 200; i++) {
      for (const { memory, pool } of devices) check(memory, pool, twoPhases(20 + i), 20 + i, i);
      if (i % 50 === 0) await sleep(5);
    }
    const [first, second] = devices;
    first?.pool.close();
    expect(() => first?.pool.run(first.pool.prepare(twoPhases(1)), [64, 64])).toThrow(DeviceError);
    if (second !== undefined) check(second.memory, second.pool, twoPhases(9), 9, 9);
  });

  it("lets a process end by itself, open or closed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "seqmix-pool-"));
    try {
      const entry = join(folder, "entry.mjs");
      const here = import.meta.dirname;
      writeFileSync(
        entry,
        `
        export { DeviceMemory } from ${JSON.stringify(join(here, "../memory/memory.ts"))};
        export { ThreadPool } from ${JSON.stringify(join(here, "pool.ts"))};`,
      );
      await build({
        logLevel: "error",
        configFile: false,
        root: folder,
        build: {
          lib: { entry, formats: ["es"], fileName: () => "bundle.mjs" },
          outDir: join(folder, "out"),
          emptyOutDir: false,
        },
      });
      const { module, ...rest } = twoPhases(500);
      writeFileSync(
        join(folder, "out", "main.mjs"),
        `
        import { DeviceMemory, ThreadPool } from "./bundle.mjs";
        const memory = new DeviceMemory();
        const pool = new ThreadPool(memory, { threads: 2 });
        const program = { ...${JSON.stringify(rest)}, module: Uint8Array.from(${JSON.stringify([...module])}) };
        const a = memory.allocate(500 * 256), b = memory.allocate(500 * 256);
        const end = performance.now() + Number(process.argv[2]);
        do pool.run(pool.prepare(program), [a, b]); while (performance.now() < end);
        if (process.argv[3] === "wait") await new Promise((resolve) => setTimeout(resolve, 100));
        if (process.argv[3] === "close") pool.close();
        console.log(memory.f32[b / 4]);`,
      );
      for (const args of [
        ["0", "open"],
        ["100", "open"],
        ["100", "wait"],
        ["100", "close"],
      ]) {
        const output = execFileSync(process.execPath, [join(folder, "out", "main.mjs"), ...args], {
          timeout: 10_000,
          encoding: "utf8",
        });
        expect(output).toBe("2\n");
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
