/** The WebGPU device: plans as WGSL passes, one encoder and one submit a run. */
import { DisposedError, type DeviceBuffer, type DType, type HostArray, type Tensor } from "@seqmix/tensor";
import { bufferOn, fromHalfBits, toHalfBits, whenLoaded, type Graph } from "@seqmix/tensor/backend";
import { hasMatrixUnits, isSoftware, requestDevice } from "./adapter.js";
import { encodeInto } from "./commands.js";
import type { WebGpuDevice, WebGpuOptions } from "./contract.js";
import { planOptions, compilePlan, nameOf, type CompiledPlan } from "./compiled-plan.js";
import { tuningOf } from "../scans/fused/tuning.js";
import { watchLoss } from "./loss.js";
import { makeMemory, type Block } from "../memory/memory.js";
import { makePipelines } from "./pipelines.js";
import { bytesOf, widthOf, type GpuLimits } from "@seqmix/tensor/wgsl";
import { makeStaging } from "../memory/staging.js";

interface GpuBuffer extends DeviceBuffer {
  readonly block: Block;
}

/** Plans kept, the least recently used are dropped. */
const CACHED_PLANS = 256;
/** Runs the host may be ahead of the GPU. */
const AHEAD = 3;

/**
 * A new WebGPU device: Dawn in Node, `navigator.gpu` in pages. `description` says which adapter it found.
 * @throws DeviceError if there is no adapter.
 */
export async function webgpu(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const { products = "f32" } = options;
  const halfPrecision = options.halfPrecision ?? products === "tf32";
  const found = await requestDevice({ ...options, halfPrecision }, options.limits);
  const { gpu, adapter } = found;
  const loss = watchLoss(gpu);
  const { maxStorageBufferBindingSize = Infinity, maxBufferSize = Infinity, memory = Infinity } = options.limits ?? {};
  const bindingLimits: GpuLimits = {
    buffers: gpu.limits.maxStorageBuffersPerShaderStage,
    bytes: Math.min(gpu.limits.maxStorageBufferBindingSize, maxStorageBufferBindingSize),
    threads: gpu.limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: gpu.limits.maxComputeWorkgroupStorageSize,
    storesHalf: gpu.features.has("shader-f16"),
    matrixUnits: hasMatrixUnits(found),
    products,
  };
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const software = isSoftware(adapter.info);
  const tuning = tuningOf({
    software,
    subgroup:
      gpu.features.has("subgroups") && found.language.has("subgroup_id") && subgroupMinSize === subgroupMaxSize
        ? subgroupMinSize
        : 0,
    workgroupBytes: bindingLimits.workgroupBytes,
  });
  const pool = makeMemory(gpu, { buffer: Math.min(gpu.limits.maxBufferSize, maxBufferSize), memory }, loss, {
    poison: options.poison ?? false,
  });
  const staging = makeStaging(gpu, loss);
  const pipelines = makePipelines(gpu, loss);
  const plans = new Map<string, CompiledPlan>();
  const submitted: Promise<unknown>[] = [];
  /** Stands for tensors without elements that no step makes. */
  const nothing = pool.take(bytesOf(0));
  const live = { buffers: 0, bytes: 0, collected: 0 };

  /** How the elements of a tensor lie in memory. */
  const storedAs = (dtype: DType): DType => (dtype === "f16" && !bindingLimits.storesHalf ? "f32" : dtype);
  /** @param dtype As stored. */
  const register = (dtype: DType, size: number, block: Block): GpuBuffer => {
    live.buffers++;
    live.bytes += size * widthOf(dtype);
    return { dtype, size, released: false, block };
  };
  const allocate = (dtype: DType, size: number, contents?: AllowSharedBufferSource): GpuBuffer =>
    register(dtype, size, pool.take(bytesOf(size, dtype), contents));
  const forget = (buffer: DeviceBuffer): void => {
    buffer.released = true;
    live.buffers--;
    live.bytes -= buffer.size * widthOf(buffer.dtype);
  };
  const usable = (buffer: DeviceBuffer): GpuBuffer => {
    if (buffer.released)
      throw new DisposedError(
        "webgpu: expected live memory, got a buffer that was released; keep its tensor until it is no longer used",
      );
    return buffer as GpuBuffer;
  };

  const planFor = async (graph: Graph, fuse: boolean): Promise<CompiledPlan> => {
    const name = `${fuse}\n${graph.key}`;
    const compiled =
      plans.get(name) ?? (await whenLoaded(() => compilePlan(graph, fuse, bindingLimits, tuning, gpu, pipelines)));
    plans.delete(name);
    plans.set(name, compiled);
    if (plans.size > CACHED_PLANS) plans.delete(plans.keys().next().value!);
    return compiled;
  };

  const device: WebGpuDevice = {
    name: "webgpu",
    description: describe(adapter, gpu, bindingLimits),
    ...(software && { software }),
    gpu,
    recorder: undefined,
    upload(data, dtype) {
      loss.check();
      const stored = storedAs(dtype);
      return allocate(stored, data.length, data.length > 0 ? toDevice(data, stored) : undefined);
    },
    async download(buffer) {
      const { block, dtype, size } = usable(buffer);
      loss.check();
      await loss.wait(pool.granted([block]));
      const bytes =
        size === 0 ? new ArrayBuffer(0) : await staging.read(block.buffer, Math.ceil((size * widthOf(dtype)) / 4) * 4);
      loss.check();
      if (dtype === "f16") return fromHalfBits(new Uint16Array(bytes, 0, size));
      return dtype === "f32"
        ? new Float32Array(bytes)
        : dtype === "i32"
          ? new Int32Array(bytes)
          : Uint8Array.from(new Uint32Array(bytes));
    },
    release(buffer, how) {
      if (buffer.released) return;
      forget(buffer);
      if (how?.collected) live.collected++;
      pool.give((buffer as GpuBuffer).block);
    },
    async prepare(graph, { fuse }) {
      loss.check();
      const compiled = await planFor(graph, fuse);
      return { run: (leaves, donated) => runOn(compiled, leaves, donated) };
    },
    async run(graph, { fuse, donated }) {
      loss.check();
      return runOn(await planFor(graph, fuse), graph.leaves, donated);
    },
    async explain(graph, { memory = false, passes: eachPass = false } = {}) {
      if (eachPass) {
        const { showPasses } = await import("./explain.js");
        return whenLoaded(() =>
          showPasses(graph.roots, graph.leaves, planOptions(graph.roots, true, bindingLimits, tuning)),
        );
      }
      const { plan, programs, members } = await planFor(graph, true);
      const steps = plan.steps.map((step, k) => {
        const { name: program, passes } = programs[k]!;
        const code = options.explainCode ? passes.map((pass) => `\n${pass.code}`).join("") : "";
        const more = members[k]!.length - 1;
        const together = more > 0 ? `, together with the next${more > 1 ? ` ${more}` : ""}` : "";
        return `${nameOf(step, bindingLimits)}: ${program}${together}${code}`;
      });
      return [
        ...steps,
        ...plan.notes.map((note) => `# ${note}`),
        ...(memory ? (await import("./explain.js")).describePeak(plan) : []),
      ].join("\n");
    },
    memory: () => ({ ...live, peakBytes: pool.taken.peak, reservedBytes: pool.taken.reserved }),
    async close() {
      plans.clear();
      gpu.destroy();
      await gpu.lost;
    },
  };

  async function runOn(
    compiled: CompiledPlan,
    leaves: readonly Tensor[],
    donated: readonly DeviceBuffer[],
  ): Promise<readonly GpuBuffer[]> {
    loss.check();
    const results = await execute(compiled, leaves, donated);
    loss.check();
    return results;
  }

  async function execute(
    { plan, programs, members, temporaries, candidates, isFirst, earlier, ready }: CompiledPlan,
    leaves: readonly Tensor[],
    donated: readonly DeviceBuffer[],
  ): Promise<readonly GpuBuffer[]> {
    const blocks = new Array<Block>(plan.slots.length);
    leaves.forEach((x, slot) => (blocks[slot] = usable(bufferOn(x, device, "webgpu")).block));
    for (const { slot, tensor } of plan.constants) blocks[slot] = usable(bufferOn(tensor, device, "webgpu")).block;
    const given = [...blocks.slice(0, plan.leafCount), ...plan.constants.map(({ slot }) => blocks[slot]!)];

    // The first root of a slot takes its memory; a root that is a leaf, or a second one, is a copy.
    const over = new Map<number, number>();
    const free = new Map(
      donated.flatMap((buffer) => (buffer.released ? [] : [[(buffer as GpuBuffer).block, buffer] as const])),
    );
    plan.roots.forEach((slot, k) => {
      const leaf = isFirst[k] ? candidates[k]!.find((leaf) => free.has(blocks[leaf]!)) : undefined;
      if (leaf === undefined) return;
      over.set(slot, leaf);
      free.delete(blocks[leaf]!);
    });
    const steps = await ready(over);

    const again = (place: string, bytes: number): Block => {
      const block = pool.take(bytes, undefined, earlier.of(place));
      earlier.note(place, block);
      return block;
    };
    const results: GpuBuffer[] = [];
    const borrowed: Block[] = [];
    const takenOver: DeviceBuffer[] = [];
    const owners = new Map(donated.map((buffer) => [(buffer as GpuBuffer).block, buffer]));
    try {
      const copies: { readonly from: number; readonly to: GpuBuffer }[] = [];
      plan.roots.forEach((slot, k) => {
        const { dtype, size } = plan.slots[slot]!;
        const leaf = over.get(slot);
        if (isFirst[k] && leaf !== undefined) {
          blocks[slot] = blocks[leaf]!;
          takenOver.push(owners.get(blocks[leaf]!)!);
          results.push(register(dtype, size, blocks[slot]));
          return;
        }
        const buffer = register(dtype, size, again(`root ${k}`, bytesOf(size, dtype)));
        results.push(buffer);
        if (isFirst[k]) blocks[slot] = buffer.block;
        else copies.push({ from: slot, to: buffer });
      });
      temporaries.blocks.forEach((bytes, k) => borrowed.push(again(`temporary ${k}`, bytes)));
      temporaries.slots.forEach((block, slot) => {
        if (block !== undefined) blocks[slot] = borrowed[block]!;
      });
      for (let slot = 0; slot < blocks.length; slot++) blocks[slot] ??= nothing;
      await loss.wait(pool.granted([...given, ...results.map(({ block }) => block), ...borrowed]));

      const encoder = gpu.createCommandEncoder();
      const { recorder } = device;
      const onePass = recorder ? undefined : encoder.beginComputePass();
      steps.dispatches(blocks, borrowed).forEach((dispatches, k) => {
        const together = members[k]!.map((step) => plan.steps[step]!);
        if (together.length === 0) return;
        const pass = onePass ?? recorder!.begin(encoder, together, programs[k]!.name, plan.slots);
        encodeInto(pass, dispatches);
        if (!onePass) pass.end();
      });
      onePass?.end();
      for (const { from, to } of copies)
        encoder.copyBufferToBuffer(blocks[from]!.buffer, 0, to.block.buffer, 0, bytesOf(to.size, to.dtype));
      gpu.queue.submit([encoder.finish()]);
    } catch (error) {
      for (const buffer of results)
        if (takenOver.every((old) => (old as GpuBuffer).block !== buffer.block)) device.release(buffer);
        else forget(buffer);
      throw error;
    } finally {
      for (const block of borrowed) pool.give(block);
    }
    for (const buffer of takenOver) forget(buffer);
    submitted.push(gpu.queue.onSubmittedWorkDone());
    if (submitted.length > AHEAD) await loss.wait(submitted.shift()!);
    return results;
  }

  return device;
}

function describe({ info, limits }: GPUAdapter, { features }: GPUDevice, { matrixUnits, products }: GpuLimits): string {
  // On some adapters the description is that of the driver alone.
  const name =
    [...new Set([info.vendor, info.architecture, info.device, info.description])].filter(Boolean).join(" ") ||
    "unnamed adapter";
  const found = [
    ...["shader-f16", "subgroups", "timestamp-query"].filter((feature) => features.has(feature)),
    ...(matrixUnits ? [`matrix units for f16 and products of ${products}`] : []),
  ];
  return `${name}, ${limits.maxStorageBuffersPerShaderStage} buffers a kernel, ${Math.floor(limits.maxStorageBufferBindingSize / 2 ** 20)} MiB a tensor${found.length > 0 ? `, ${found.join(", ")}` : ""}`;
}

/** Host data in the form the GPU keeps it: four bytes an element, of f16 two, and whole words. */
function toDevice(
  data: HostArray,
  dtype: DType,
): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (dtype === "f16") return toHalfBits(data);
  if (dtype === "f32") return Float32Array.from(data);
  return dtype === "i32" ? Int32Array.from(data) : Int32Array.from(data, (x) => (x === 0 ? 0 : 1));
}
