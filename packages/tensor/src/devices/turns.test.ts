import { expect, test } from "vitest";
import { add, cpu, matmul, mul, normal, key, realize, reference, tensor, type Device, type Tensor } from "../index.js";
import { reclaim } from "./turns.js";

test.each([
  ["cpu", cpu({ threads: 1 })],
  ["reference", reference()],
] as [string, Device][])("timers fire while a loop computes on %s", async (_, device) => {
  const count = { fired: 0 };
  const timer = setInterval(() => count.fired++, 1);
  const until = performance.now() + 10_000;
  let x: Tensor = await realize(normal(key(0), [24, 24]), { device });
  while (count.fired < 3 && performance.now() < until) {
    const y = await realize(mul(matmul(x, x), 0.01), { device });
    x.dispose();
    x = y;
  }
  expect(count.fired).toBeGreaterThanOrEqual(3);
  // and while it reads
  while (count.fired < 6 && performance.now() < until) await x.data();
  expect(count.fired).toBeGreaterThanOrEqual(6);
  clearInterval(timer);
});

test("the engine is asked for forgotten tensors, and their memory comes back", async () => {
  const device = cpu({ threads: 1 });
  const x = await realize(tensor([1, 2, 3]), { device });
  for (let k = 0; k < 50; k++) await realize(add(x, k), { device });
  const { buffers } = device.memory();
  expect(await reclaim(device)).toBe(true);
  expect(device.memory().buffers).toBeLessThan(buffers);
  expect([...(await x.data())]).toEqual([1, 2, 3]);
  await device.close();
});

test("disposed memory leaves nothing behind that is waited for", async () => {
  const device = cpu({ threads: 1 });
  const x = await realize(tensor([1]), { device });
  for (let k = 0; k < 50; k++) (await realize(add(x, k), { device })).dispose();
  const { collected } = device.memory();
  await reclaim(device);
  expect(device.memory().collected).toBe(collected);
  x.dispose();
  await device.close();
});
