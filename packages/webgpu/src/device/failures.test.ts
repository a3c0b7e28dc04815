import {
  abs,
  add,
  DeviceLostError,
  dispose,
  div,
  exp,
  full,
  grad,
  KernelCompileError,
  key,
  LimitError,
  matmul,
  mean,
  mul,
  normal,
  realize,
  reshape,
  silu,
  sliceAxis,
  softmax,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { prepare } from "./commands.js";
import { watchLoss } from "./loss.js";
import { makePipelines } from "./pipelines.js";
import { testDevice } from "../testing/test-device.js";

test("a lost device rejects whatever waits, and a new one works", async () => {
  const device = await testDevice();
  const x = await realize(normal(key(1), [200_000]), { device });
  const pending = [
    sum(exp(x)).data(),
    x.data(),
    ...Array.from({ length: 5 }, (_, k) => realize(softmax(mul(x, k)), { device })),
    matmul(reshape(x, [400, 500]), reshape(x, [500, 400])).data(),
  ];
  device.gpu.destroy();
  const outcomes = await Promise.allSettled(pending);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({
      status: "rejected",
      reason: { name: "DeviceLostError", message: expect.stringMatching(/lost \(destroyed/) as string },
    });
  await expect(x.data()).rejects.toThrow(/lost \(destroyed.*make a new one with webgpu\(\)/);
  await expect(realize(add(x, 1), { device })).rejects.toThrow(DeviceLostError);
  const next = await testDevice();
  expect(await read(add(tensor([1]), 1), next)).toEqual([2]);
  await next.close();
});

test("WGSL that does not compile is an error with kernel, line and text", async () => {
  const device = await testDevice();
  const pipelines = makePipelines(device.gpu, watchLoss(device.gpu));
  const compile = pipelines.compile(
    "broken kernel",
    "@compute @workgroup_size(1)\nfn main() {\n  let x: i32 = 1.5;\n}\n",
    [],
    false,
  );
  await expect(compile).rejects.toThrow(KernelCompileError);
  await expect(compile).rejects.toThrow(/broken kernel: .*line 3: .*\n {2}.*let x: i32 = 1\.5/);
  expect(await read(add(tensor([1]), 1), device)).toEqual([2]);
  await device.close();
});

test("the error of a program names kernel, variant and pass", async () => {
  const device = await testDevice();
  const pipelines = makePipelines(device.gpu, watchLoss(device.gpu));
  const pass = { code: "@compute @workgroup_size(1)\nfn main() {\n  let x = missing;\n}\n", buffers: [], groups: 1 };
  await expect(
    prepare("softmax", { name: "rows 4 of 5", passes: [pass], scratch: [] }, [], 4096, device.gpu, pipelines),
  ).rejects.toThrow(/^softmax \(rows 4 of 5\): .*line 3: .*missing/);
  await expect(
    prepare("softmax", { name: "rows 4 of 5", passes: [pass, pass], scratch: [] }, [], 4096, device.gpu, pipelines),
  ).rejects.toThrow(/^softmax \(rows 4 of 5, pass \d\): /);
  await device.close();
});

test("memory that the adapter refuses is an error with the bytes, and everything goes on once tensors are disposed", async () => {
  const device = await testDevice({ limits: { memory: 1 << 20 } });
  const make = (value: number): Promise<Tensor> => realize(add(full([60_000], value), 0.5), { device }); // 240,000 bytes: four fit
  const held = [await make(0), await make(1), await make(2), await make(3)];
  const before = device.memory();
  const host = tensor(new Float32Array(60_000).fill(7));
  for (let k = 0; k < 3; k++) {
    await expect(make(4)).rejects.toThrow(LimitError);
    await expect(make(4)).rejects.toThrow(
      /expected 245760 bytes of GPU memory, but the adapter is out of memory \(this device holds 983\d{3} bytes\)/,
    );
    // an operand on the host is memory too
    await expect(realize(add(host, 1), { device })).rejects.toThrow(LimitError);
  }
  const { buffers, bytes, reservedBytes, peakBytes } = device.memory();
  expect({ buffers: buffers - 1, bytes: bytes - 240_000, reservedBytes, peakBytes }).toEqual({
    buffers: before.buffers,
    bytes: before.bytes,
    reservedBytes: before.reservedBytes,
    peakBytes: before.peakBytes,
  });
  expect([...(await sliceAxis(held[3]!, 0, 0, 2).data())]).toEqual([3.5, 3.5]);
  dispose(held);
  const next = await make(5);
  expect([...(await next.data())].every((x) => x === 5.5)).toBe(true);
  expect([...(await add(host, next).data())].every((x) => x === 12.5)).toBe(true);
  await device.close();
});

test("free memory is destroyed for a request that would else be refused", async () => {
  const device = await testDevice({ limits: { memory: 1 << 20 } });
  const first = await Promise.all([60_000, 61_440].map((size) => realize(add(full([size], 1), 1), { device })));
  dispose(first);
  expect(device.memory().reservedBytes).toBeGreaterThan(480_000); // kept for reuse
  const data = Float32Array.from({ length: 150_000 }, (_, k) => k);
  const x = tensor(data); // 600,000 bytes from the host
  const [y, copy] = await Promise.all([realize(sum(x), { device }), realize(x, { device })]);
  expect((await copy.data()).every((value, k) => value === k)).toBe(true);
  expect((await y.data())[0]! / ((150_000 * 149_999) / 2)).toBeCloseTo(1, 5);
  expect(device.memory().reservedBytes).toBeLessThan(700_000);
  await device.close();
});

test("memory is flat over 1,000 steps of Adam", async () => {
  const device = await testDevice();
  const x = await realize(normal(key(1), [16, 8]), { device });
  const loss = (w: Tensor): Tensor => mean(abs(sub(matmul(silu(matmul(x, w)), transpose(w)), x)));
  type State = readonly [weight: Tensor, mean: Tensor, square: Tensor, step: Tensor];
  let state: State = await realize(
    [mul(normal(key(2), [8, 8]), 0.1), full([8, 8], 0), full([8, 8], 0), full([], 0)] as const,
    { device },
  );
  const losses: number[] = [];
  const counts = new Set<string>();
  for (let k = 0; k < 1000; k++) {
    const [w, m, s, t] = state;
    const value = loss(w);
    const g = grad(loss)(w);
    const [step, first, second] = [add(t, 1), add(mul(m, 0.9), mul(g, 0.1)), add(mul(s, 0.999), mul(mul(g, g), 0.001))];
    const corrected = (moment: Tensor, beta: number): Tensor => div(moment, sub(1, exp(mul(step, Math.log(beta)))));
    const next = [
      sub(w, div(mul(0.01, corrected(first, 0.9)), add(sqrt(corrected(second, 0.999)), 1e-8))),
      first,
      second,
      step,
    ] as const;
    await realize([next, value], { donate: [state] });
    if (k % 333 === 0) losses.push((await value.data())[0]!);
    dispose(value);
    state = next;
    if (k >= 5) counts.add(JSON.stringify(device.memory()));
  }
  expect([...counts]).toHaveLength(1);
  expect(device.memory()).toMatchObject({ buffers: 5, collected: 0 });
  expect(losses).toEqual(losses.toSorted((a, b) => b - a));
  expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
  await device.close();
}, 60_000);

test("a tensor beyond the adapter's limit is an error with the limit, and the device goes on", async () => {
  const device = await testDevice();
  const extent = Math.floor(device.gpu.limits.maxBufferSize / 4) + 4;
  const big = add(normal(key(1), [extent]), 1);
  await expect(realize(big, { device })).rejects.toThrow(LimitError);
  await expect(realize(big, { device })).rejects.toThrow(/expected at most \d+ bytes in a tensor \(maxBufferSize/);
  expect(device.memory().bytes).toBe(0);
  expect(await read(add(tensor([1]), 1), device)).toEqual([2]);
  await device.close();
});

async function read(x: Tensor, on: Device): Promise<number[]> {
  await realize(x, { device: on });
  return [...(await x.data())];
}
