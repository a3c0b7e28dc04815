/** Runs a program by itself, for tests: scratch and outputs hold NaN before. */
import type { HostArray } from "@seqmix/tensor";
import { USAGE } from "../device/adapter.js";
import { encodeInto, prepare } from "../device/commands.js";
import { watchLoss } from "../device/loss.js";
import { makeMemory } from "../memory/memory.js";
import { makePipelines, type Pipelines } from "../device/pipelines.js";
import { bytesOf, type GpuProgram } from "@seqmix/tensor/wgsl";

const pipelines = new WeakMap<GPUDevice, Pipelines>();

/** @returns Contents of the outputs, all f32. */
export async function runProgram(
  gpu: GPUDevice,
  program: GpuProgram,
  inputs: readonly HostArray[],
  outputs: readonly number[],
): Promise<Float32Array[]> {
  let compiler = pipelines.get(gpu);
  if (!compiler) pipelines.set(gpu, (compiler = makePipelines(gpu, watchLoss(gpu))));
  const memory = makeMemory(gpu, { buffer: gpu.limits.maxBufferSize, memory: Infinity }, watchLoss(gpu), {
    poison: true,
  });
  const bytes = [
    ...inputs.map(({ length }) => bytesOf(length)),
    ...outputs.map((size) => bytesOf(size)),
    ...program.scratch,
  ];
  const blocks = bytes.map((size) => memory.take(size));
  inputs.forEach((data, k) =>
    gpu.queue.writeBuffer(
      blocks[k]!.buffer,
      0,
      data instanceof Int32Array ? Int32Array.from(data) : Float32Array.from(data),
    ),
  );
  const encode = await prepare("test", program, bytes, gpu.limits.maxStorageBufferBindingSize, gpu, compiler);
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  encodeInto(pass, encode(blocks));
  pass.end();
  const total = outputs.map((size) => bytesOf(size)).reduce((a, b) => a + b, 0);
  const staging = gpu.createBuffer({ size: total, usage: USAGE.mapRead | USAGE.copyDestination });
  let at = 0;
  outputs.forEach((size, k) => {
    encoder.copyBufferToBuffer(blocks[inputs.length + k]!.buffer, 0, staging, at, bytesOf(size));
    at += bytesOf(size);
  });
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const all = staging.getMappedRange().slice(0);
  staging.destroy();
  at = 0;
  return outputs.map((size) => {
    const result = new Float32Array(all, at, size);
    at += bytesOf(size);
    return result;
  });
}
