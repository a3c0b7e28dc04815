/** What an adapter can do at most, measured: copying memory, and multiplying and adding in registers. */
import { isSoftware, USAGE } from "../device/adapter.js";
import type { Roofline } from "../device/contract.js";
import { makeTimestamps } from "./timestamps.js";

const measured = new WeakMap<GPUDevice, Promise<Roofline>>();

/** The adapter's bounds, measured at the first call. Needs the feature timestamp-query. */
export function rooflineOf(gpu: GPUDevice): Promise<Roofline> {
  let roofline = measured.get(gpu);
  if (!roofline) {
    measured.set(gpu, (roofline = measure(gpu)));
    roofline.catch(() => measured.delete(gpu));
  }
  return roofline;
}

const THREADS = 256;
/** Independent chains of vectors of four in a thread, and their steps. */
const CHAINS = 8,
  STEPS = 256;
/** Large GPUs lower their clocks when idle, and need this long to raise them. */
const WARM_UP_MILLISECONDS = 500;
const REPEATS = 10;

const COPY = `@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(${THREADS}) fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let at = (id.y * count.x + id.x) * ${THREADS}u + thread;
  if (at < arrayLength(&y)) { y[at] = x[at]; }
}`;

const chains = Array.from({ length: CHAINS }, (_, k) => k);
const MULTIPLY_ADD = `@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(${THREADS}) fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let at = ((id.y * count.x + id.x) * ${THREADS}u + thread) % arrayLength(&y);
  let factor = x[at];
${chains.map((k) => `  var s${k} = factor + ${k}.0;`).join("\n")}
  for (var step = 0; step < ${STEPS}; step++) {
${chains.map((k) => `    s${k} = fma(s${k}, factor, vec4<f32>(${k + 1}.0));`).join("\n")}
  }
  y[at] = ${chains.map((k) => `s${k}`).join(" + ")};
}`;

async function measure(gpu: GPUDevice): Promise<Roofline> {
  const small = isSoftware(gpu.adapterInfo);
  const bytes = small ? 1 << 22 : Math.min(1 << 28, gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const workgroups = small ? 4 : 16384;
  const buffers = [0, 1].map(() => gpu.createBuffer({ size: bytes, usage: USAGE.storage }));
  try {
    const compiled = (code: string): Promise<GPUComputePipeline> =>
      gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
      });
    const [copy, multiplyAdd] = await Promise.all([compiled(COPY), compiled(MULTIPLY_ADD)]);
    const run = async (pipeline: GPUComputePipeline, groups: number): Promise<number> => {
      const group = gpu.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
      });
      const timestamps = makeTimestamps(gpu);
      const encoder = gpu.createCommandEncoder();
      for (let k = 0; k < REPEATS; k++) {
        const pass = encoder.beginComputePass({ timestampWrites: timestamps.next() });
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        const x = Math.min(groups, 32768);
        // several in a pass: clocks may be as coarse as 0.1 ms
        for (let again = 0; again < REPEATS; again++) pass.dispatchWorkgroups(x, Math.ceil(groups / x));
        pass.end();
      }
      gpu.queue.submit([encoder.finish()]);
      return (
        Math.min(...(await timestamps.read()).map(([start, end]) => end - start).filter((time) => time > 0)) / REPEATS
      );
    };
    const until = performance.now() + (small ? 0 : WARM_UP_MILLISECONDS);
    do await run(multiplyAdd, workgroups);
    while (performance.now() < until);
    const arithmetic = await run(multiplyAdd, workgroups);
    const copying = await run(copy, Math.ceil(bytes / 16 / THREADS));
    return {
      gigabytesPerSecond: (2 * bytes) / copying / 1e6,
      teraflopsPerSecond: (workgroups * THREADS * STEPS * CHAINS * 4 * 2) / arithmetic / 1e9,
    };
  } finally {
    for (const buffer of buffers) buffer.destroy();
  }
}
