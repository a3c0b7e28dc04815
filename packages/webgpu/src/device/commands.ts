/** Programs made ready to run: their pipelines, bind groups and dispatches. */
import { LimitError } from "@seqmix/tensor";
import { USAGE } from "./adapter.js";
import type { Block } from "../memory/memory.js";
import type { Pipeline, Pipelines } from "./pipelines.js";
import type { GpuPass, GpuProgram, GpuParameters } from "@seqmix/tensor/wgsl";

/** What one dispatch sets. */
export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly x: number;
  readonly y: number;
}

/** The dispatches of a program on given memory: inputs, outputs, scratch. */
export type Encode = (memory: readonly Block[]) => readonly Dispatch[];

/** Writes dispatches into a pass. */
export function encodeInto(pass: GPUComputePassEncoder, dispatches: readonly Dispatch[]): void {
  let current: GPUComputePipeline | undefined;
  for (const { pipeline, group, x, y } of dispatches) {
    if (pipeline !== current) pass.setPipeline((current = pipeline));
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y);
  }
}

/** Bind groups kept for a pass: a training step meets the same memory again after a step or two. */
const CACHED_GROUPS = 8;

/**
 * Compiles a program's passes.
 * @param bytes Size of each of its buffers, to bind no more than that.
 * @param largest Bytes a pass may bind of one buffer.
 * @throws LimitError if a pass binds more, or has more workgroups than a dispatch.
 */
export async function prepare(
  name: string,
  program: GpuProgram,
  bytes: readonly number[],
  largest: number,
  gpu: GPUDevice,
  pipelines: Pipelines,
): Promise<Encode> {
  const compiled = await Promise.all(
    program.passes.map(({ code, buffers, parameters }, k) =>
      pipelines.compile(
        program.passes.length > 1 ? `${name} (${program.name}, pass ${k + 1})` : `${name} (${program.name})`,
        code,
        buffers,
        parameters !== undefined,
      ),
    ),
  );
  const uniforms = new Map<string, GPUBuffer>();
  const uniformsOf = (parameters: GpuParameters): GPUBuffer => {
    const key = Object.values(parameters).join();
    const found = uniforms.get(key) ?? uniformBuffer(parameters, gpu);
    uniforms.set(key, found);
    return found;
  };
  const passes = program.passes.map((pass, k) => dispatchOf(name, pass, compiled[k]!, bytes, gpu, largest, uniformsOf));
  return (memory) => passes.map((dispatch) => dispatch(memory));
}

function dispatchOf(
  name: string,
  { buffers, groups, parameters }: GpuPass,
  { pipeline, layout }: Pipeline,
  bytes: readonly number[],
  gpu: GPUDevice,
  largest: number,
  uniformsOf: (parameters: GpuParameters) => GPUBuffer,
): (memory: readonly Block[]) => Dispatch {
  const windows = buffers.map(({ buffer, window }) => window ?? { from: 0, bytes: bytes[buffer]! });
  const asked = Math.max(...windows.map((window) => window.bytes));
  if (asked > largest)
    throw new LimitError(
      `webgpu: expected ${name} to bind at most ${largest} bytes of a tensor at once (maxStorageBufferBindingSize), got ${asked} and no way to cut it; make that tensor smaller, or ask for a device with larger bindings`,
    );
  const most = gpu.limits.maxComputeWorkgroupsPerDimension;
  const x = Math.min(groups, most);
  const y = Math.ceil(groups / x);
  if (y > most)
    throw new LimitError(
      `webgpu: expected at most ${most}^2 workgroups in a dispatch (maxComputeWorkgroupsPerDimension), got ${groups}; use smaller batches`,
    );
  const uniforms = parameters && uniformsOf(parameters);
  const cache = new Map<string, GPUBindGroup>();
  return (memory) => {
    const key = buffers.map(({ buffer }) => memory[buffer]!.number).join();
    let group = cache.get(key);
    if (!group) {
      const entries: GPUBindGroupEntry[] = buffers.map(({ buffer }, binding) => ({
        binding,
        resource: { buffer: memory[buffer]!.buffer, offset: windows[binding]!.from, size: windows[binding]!.bytes },
      }));
      if (uniforms) entries.push({ binding: buffers.length, resource: { buffer: uniforms } });
      group = gpu.createBindGroup({ layout, entries });
      cache.set(key, group);
      if (cache.size > CACHED_GROUPS) cache.delete(cache.keys().next().value!);
    }
    return { pipeline, group, x, y };
  };
}

function uniformBuffer(parameters: GpuParameters, gpu: GPUDevice): GPUBuffer {
  const values = Int32Array.from(Object.values(parameters));
  const buffer = gpu.createBuffer({
    size: Math.ceil(values.byteLength / 16) * 16,
    usage: USAGE.uniform | USAGE.copyDestination,
  });
  gpu.queue.writeBuffer(buffer, 0, values);
  return buffer;
}
