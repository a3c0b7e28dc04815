import { add, DeviceLostError, exp, KernelCompileError, key, LimitError, normal, realize, sum, tensor, type Device, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { watchLoss } from "./loss.js";
import { makePipelines } from "./pipelines.js";
import { testDevice } from "./testing/test-device.js";

test("a lost device rejects whatever waits, and a new one works", async () => {
  const device = await testDevice();
  const x = await realize(normal(key(1), [200_000]), { device });
  const reads = [sum(exp(x)).data(), x.data()];
  device.gpu.destroy();
  for (const read of reads) await expect(read).rejects.toThrow(DeviceLostError);
  await expect(x.data()).rejects.toThrow(/lost \(destroyed.*make a new one with webgpu\(\)/);
  await expect(realize(add(x, 1), { device })).rejects.toThrow(DeviceLostError);
  const next = await testDevice();
  expect(await read(add(tensor([1]), 1), next)).toEqual([2]);
  await next.close();
});

test("WGSL that does not compile is an error with kernel, line and text", async () => {
  const device = await testDevice();
  const pipelines = makePipelines(device.gpu, watchLoss(device.gpu));
  const compile = pipelines.compile("broken kernel", "@compute @workgroup_size(1)\nfn main() {\n  let x: i32 = 1.5;\n}\n", [], false);
  await expect(compile).rejects.toThrow(KernelCompileError);
  await expect(compile).rejects.toThrow(/broken kernel: .*line 3: .*\n {2}.*let x: i32 = 1\.5/);
  expect(await read(add(tensor([1]), 1), device)).toEqual([2]);
  await device.close();
});

test("a tensor beyond the adapter's limit is an error with the limit, and the device goes on", async () => {
  const device = await testDevice();
  const extent = Math.floor(device.gpu.limits.maxStorageBufferBindingSize / 4) + 4;
  const big = add(normal(key(1), [extent]), 1);
  await expect(realize(big, { device })).rejects.toThrow(LimitError);
  await expect(realize(big, { device })).rejects.toThrow(/expected at most \d+ bytes in a tensor \(maxStorageBufferBindingSize/);
  expect(device.memory().bytes).toBe(0);
  expect(await read(add(tensor([1]), 1), device)).toEqual([2]);
  await device.close();
});

async function read(x: Tensor, on: Device): Promise<number[]> {
  await realize(x, { device: on });
  return [...(await x.data())];
}
