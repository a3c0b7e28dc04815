/** The WebGPU device: plans as WGSL passes, one encoder and one submit a run. */
import { fromHalfBits, whenLoaded, type Graph } from "@seqmix/tensor/backend";
import { widthOf, type GpuLimits } from "@seqmix/tensor/wgsl";
import { hasMatrixUnits, isSoftware, requestDevice, type Found } from "./adapter.js";
import { Buffers } from "./buffers.js";
import { planOptions, compilePlan, nameOf, type CompiledPlan } from "./compiled-plan.js";
import type { WebGpuDevice, WebGpuOptions } from "./contract.js";
import { execute, type Surroundings } from "./execute.js";
import { watchLoss } from "./loss.js";
import { assertOptions } from "./options.js";
import { makePipelines } from "./pipelines.js";
import { makeMemory } from "../memory/memory.js";
import { makeStaging } from "../memory/staging.js";
import { tuningOf, type Tuning } from "../scans/fused/tuning.js";

/** Plans kept, the least recently used are dropped. */
const CACHED_PLANS = 256;
/**
 * A new WebGPU device: Dawn in Node, `navigator.gpu` in pages. `description` says which adapter it found.
 * @throws DeviceError if there is no adapter.
 */
export async function webgpu(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  assertOptions(options);
  const halfPrecision = options.halfPrecision ?? options.products === "tf32";
  const found = await requestDevice({ ...options, halfPrecision }, options.limits);
  const { gpu, adapter } = found;
  const loss = watchLoss(gpu);
  const limits = limitsOf(found, options);
  const software = isSoftware(adapter.info);
  const tuning = tuningFor(found, limits);
  const { maxBufferSize = Infinity, memory = Infinity } = options.limits ?? {};
  const pool = makeMemory(gpu, { buffer: Math.min(gpu.limits.maxBufferSize, maxBufferSize), memory }, loss, {
    poison: options.poison ?? false,
  });
  const buffers = new Buffers(pool, limits.storesHalf === true);
  const staging = makeStaging(gpu, loss);
  const pipelines = makePipelines(gpu, loss);
  const plans = new Map<string, CompiledPlan>();
  const planFor = async (graph: Graph, fuse: boolean): Promise<CompiledPlan> => {
    const name = `${fuse}\n${graph.key}`;
    const compiled =
      plans.get(name) ?? (await whenLoaded(() => compilePlan(graph, fuse, limits, tuning, gpu, pipelines)));
    plans.delete(name);
    plans.set(name, compiled);
    if (plans.size > CACHED_PLANS) plans.delete(plans.keys().next().value!);
    return compiled;
  };

  const device: WebGpuDevice = {
    name: "webgpu",
    description: describe(adapter, gpu, limits),
    ...(software && { software }),
    gpu,
    recorder: undefined,
    upload(data, dtype) {
      loss.check();
      return buffers.upload(data, dtype);
    },
    async download(buffer) {
      const { block, dtype, size } = buffers.usable(buffer);
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
    release: (buffer, how) => buffers.release(buffer, how),
    async prepare(graph, { fuse }) {
      loss.check();
      const compiled = await planFor(graph, fuse);
      return { run: (leaves, donated) => execute(surroundings, compiled, leaves, donated) };
    },
    async run(graph, { fuse, donated }) {
      loss.check();
      return execute(surroundings, await planFor(graph, fuse), graph.leaves, donated);
    },
    async explain(graph, { memory = false, passes: eachPass = false } = {}) {
      if (eachPass) {
        const { showPasses } = await import("./explain.js");
        return whenLoaded(() => showPasses(graph.roots, graph.leaves, planOptions(graph.roots, true, limits, tuning)));
      }
      const { plan, programs, members } = await planFor(graph, true);
      const steps = plan.steps.map((step, k) => {
        const { name: program, passes } = programs[k]!;
        const code = options.explainCode ? passes.map((pass) => `\n${pass.code}`).join("") : "";
        const more = members[k]!.length - 1;
        const together = more > 0 ? `, together with the next${more > 1 ? ` ${more}` : ""}` : "";
        return `${nameOf(step, limits)}: ${program}${together}${code}`;
      });
      return [
        ...steps,
        ...plan.notes.map((note) => `# ${note}`),
        ...(memory ? (await import("./explain.js")).describePeak(plan) : []),
      ].join("\n");
    },
    memory: () => ({ ...buffers.count(), peakBytes: pool.taken.peak, reservedBytes: pool.taken.reserved }),
    async close() {
      plans.clear();
      gpu.destroy();
      await gpu.lost;
    },
  };

  const surroundings: Surroundings = { device, pool, buffers, loss, submitted: [] };
  return device;
}

/** What a pass may bind and do. */
const limitsOf = (found: Found, { limits, products = "f32" }: WebGpuOptions): GpuLimits => ({
  buffers: found.gpu.limits.maxStorageBuffersPerShaderStage,
  bytes: Math.min(found.gpu.limits.maxStorageBufferBindingSize, limits?.maxStorageBufferBindingSize ?? Infinity),
  threads: found.gpu.limits.maxComputeInvocationsPerWorkgroup,
  workgroupBytes: found.gpu.limits.maxComputeWorkgroupStorageSize,
  storesHalf: found.gpu.features.has("shader-f16"),
  matrixUnits: hasMatrixUnits(found),
  products,
});

/** Sizes of fused recurrences on the adapter. */
function tuningFor({ gpu, adapter, language }: Found, { workgroupBytes }: GpuLimits): Tuning {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const known = gpu.features.has("subgroups") && language.has("subgroup_id") && subgroupMinSize === subgroupMaxSize;
  return tuningOf({ software: isSoftware(adapter.info), subgroup: known ? subgroupMinSize : 0, workgroupBytes });
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
