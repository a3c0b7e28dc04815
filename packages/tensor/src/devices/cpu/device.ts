/** The CPU device: WebAssembly SIMD programs over one memory, on worker threads where there are any. */
import type { Device, DeviceBuffer } from "../device.js";
import { BYTES_PER_ELEMENT, isReal, type DType, type HostArray } from "../../graph/dtype.js";
import { assertSettings } from "../../graph/assert.js";
import { DisposedError } from "../../graph/errors.js";
import { bufferOn } from "../placement.js";
import { layOut } from "../../plan/arena.js";
import { letTurn, turning } from "../turns.js";
import { storedInF32 } from "../../plan/half-storage.js";
import { firstOfSlots, takeovers } from "../../plan/donation.js";
import type { SequentialScanAttributes } from "../../ops/sequential-scan.js";
import type { Plan, Step } from "../../plan/plan.js";
import { whenLoaded } from "../../graph/on-demand.js";
import { makePlan } from "../../plan/planner.js";
import { mayRecur } from "../../plan/scan-levels.js";
import type { PlanOptions } from "../../plan/draft.js";
import type { Graph } from "../../plan/signature.js";
import type { Tensor } from "../../graph/tensor.js";
import { DeviceMemory } from "./memory/memory.js";
import type { CompiledPlan, Runner } from "./compiled.js";
import { execute, type CpuBuffer } from "./execute.js";
import { makePrograms } from "./prepared.js";
import { ThreadPool } from "./threads/pool.js";

/** Settings of the CPU device. */
export interface CpuOptions {
  /** Threads that work, the calling one included; by default all cores, or one where memory cannot be shared (a page that is not cross-origin isolated). */
  readonly threads?: number;
}

/** Ops that a device without them unrolls. */
const NATIVES = new Set(["sequentialScan"]);
/** Plans kept, the least recently used are dropped. */
const CACHED_PLANS = 256;
/** A kernel may bind as many buffers as it likes; more live pointers than this spill. */
const MAX_BUFFERS = 16;

/** What this device asks of the plan of a graph. A page loads the programs of recurrences when a graph may have one. */
async function planOptions({ roots }: Graph, fuse: boolean): Promise<PlanOptions> {
  const options = { device: "cpu", fuse, maxBuffers: MAX_BUFFERS, natives: NATIVES } as const;
  if (!mayRecur(roots)) return options;
  const { scanSupport } = await import("./scans/recurrences.js");
  return { ...options, scans: scanSupport(MAX_BUFFERS) };
}

/** The plan as this device runs it: recurrences keep some states for their gradients. */
async function ownPlan(plan: Plan): Promise<Plan> {
  if (!plan.steps.some((step) => step.kind === "scan" && step.kernel.adjoint)) return plan;
  const { withKeptStates } = await import("./scans/recurrences.js");
  return whenLoaded(() => withKeptStates(plan));
}

let standard: Device | undefined;

/**
 * The CPU device. Without options all callers share one; with options each call makes a new one.
 * Works in Node and in pages; threads need shared memory.
 */
export function cpu(options?: CpuOptions): Device {
  return options !== undefined ? makeDevice(options) : (standard ??= makeDevice({}));
}

function makeDevice(options: CpuOptions): Device {
  assertSettings("cpu", options, { threads: { from: 1, whole: true } });
  const memory = new DeviceMemory();
  const pool = new ThreadPool(memory, options);
  const prepare = makePrograms(memory, pool);
  const plans = new Map<string, CompiledPlan>();
  let collected = 0;

  const allocate = (dtype: DType, size: number): CpuBuffer => ({
    dtype,
    size,
    released: false,
    address: memory.allocate(size * BYTES_PER_ELEMENT),
  });
  const live = (buffer: DeviceBuffer): CpuBuffer => {
    if (buffer.released)
      throw new DisposedError(
        "cpu: expected live memory, got a buffer that was released; keep its tensor until it is no longer used",
      );
    return buffer as CpuBuffer;
  };

  const compilePlan = async (graph: Graph, fuse: boolean): Promise<CompiledPlan> => {
    const options = await planOptions(graph, fuse);
    const made = await whenLoaded(() => makePlan(graph.roots, graph.leaves, options));
    const plan = await ownPlan(storedInF32(made));
    const runners: Runner[] = [];
    for (const step of plan.steps) runners.push(await runnerOf(step, fuse));
    return { plan, arena: layOut(plan), takeovers: takeovers(plan), runners, isFirst: firstOfSlots(plan) };
  };
  const planFor = async (graph: Graph, fuse: boolean): Promise<CompiledPlan> => {
    const name = `${fuse}\n${graph.key}`;
    const compiled = plans.get(name) ?? (await compilePlan(graph, fuse));
    plans.delete(name);
    plans.set(name, compiled);
    if (plans.size > CACHED_PLANS) plans.delete(plans.keys().next().value!);
    return compiled;
  };

  const runnerOf = async (step: Step, fuse: boolean): Promise<Runner> => {
    if (step.kind === "native" && step.call.op === "sequentialScan") {
      const { body } = step.call.attributes as SequentialScanAttributes;
      const addressOf = (x: Tensor): number => bufferOf(x).address;
      const { sequenceRunner } = await import("./sequence.js");
      return sequenceRunner(step.call, await planFor(body.graph, fuse), { memory, addressOf });
    }
    const { starts, ...prepared } = await prepare(step);
    const moved = starts.some((start) => start !== 0);
    return {
      name: prepared.program.name,
      run: (addresses) =>
        pool.run(prepared, moved ? addresses.map((address, k) => address + (starts[k] ?? 0)) : addresses),
    };
  };

  const bufferOf = (x: Tensor): CpuBuffer => live(bufferOn(x, device, "cpu"));
  const surroundings = { memory, bufferOf, allocate, release: (buffer: CpuBuffer) => device.release(buffer) };

  const device: Device = {
    name: "cpu",
    description: `WebAssembly SIMD, ${pool.threads} thread${pool.threads === 1 ? "" : "s"}`,
    upload(data, dtype) {
      const buffer = allocate(dtype, data.length);
      write(memory, buffer, data);
      return buffer;
    },
    async download(buffer) {
      const data = read(memory, live(buffer));
      await letTurn();
      return data;
    },
    peek: (buffer) => (buffer.released ? undefined : read(memory, buffer as CpuBuffer)),
    release(buffer, how) {
      if (buffer.released) return;
      buffer.released = true;
      if (how?.collected) collected++;
      memory.free((buffer as CpuBuffer).address);
    },
    async prepare(graph, { fuse }) {
      const compiled = await planFor(graph, fuse);
      return { run: async (leaves, donated) => turning(execute(surroundings, compiled, leaves, donated)) };
    },
    run: async (graph, runOptions) =>
      turning(execute(surroundings, await planFor(graph, runOptions.fuse), graph.leaves, runOptions.donated)),
    async explain(graph, { memory: withMemory = false, passes = false } = {}) {
      if (passes) {
        const { showPasses } = await import("../../plan/show.js");
        const options = await planOptions(graph, true);
        return whenLoaded(() => showPasses(graph.roots, graph.leaves, options));
      }
      const { plan, runners } = await planFor(graph, true);
      return [
        ...(await Promise.all(plan.steps.map((step, k) => describe(step, runners[k]!)))),
        ...plan.notes.map((note) => `# ${note}`),
        ...(withMemory ? (await import("../../plan/show.js")).describePeak(plan) : []),
      ].join("\n");
    },
    memory: () => ({ ...memory.counters, collected }),
    close: async () => {
      pool.close();
      plans.clear();
      if (standard === device) standard = undefined;
    },
  };

  return device;
}

async function describe(step: Step, runner: Runner): Promise<string> {
  const hasVariant = step.kind === "native" && step.call.op.startsWith("kernel");
  const variant = hasVariant ? ` (${(await import("./native/programs.js")).cpuVariantOf(step.call).name})` : "";
  return `${step.name}${variant}: ${runner.name}`;
}

function write(memory: DeviceMemory, { dtype, address, size }: CpuBuffer, data: HostArray): void {
  const view = (isReal(dtype) ? memory.f32 : memory.i32).subarray(address / 4, address / 4 + size);
  if (dtype === "bool") for (let i = 0; i < size; i++) view[i] = data[i] === 0 ? 0 : 1;
  else view.set(data);
}

function read(memory: DeviceMemory, { dtype, address, size }: CpuBuffer): HostArray {
  const view = (isReal(dtype) ? memory.f32 : memory.i32).subarray(address / 4, address / 4 + size);
  // slice() of a view of shared memory would share it: copy into arrays of our own.
  if (isReal(dtype)) return Float32Array.from(view);
  return dtype === "i32" ? Int32Array.from(view) : Uint8Array.from(view);
}
