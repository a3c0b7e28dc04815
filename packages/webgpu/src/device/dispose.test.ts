// Disposing what a run or a read still needs: the values are those of the moment, the memory goes back afterwards.
import { add, cpu, mul, realize, reference, sum, tensor, type Device, type Tensor } from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const gpu = await testDevice({ poison: true });
afterAll(() => gpu.close());

const turns = async (count: number): Promise<void> => {
  for (let k = 0; k < count; k++) await Promise.resolve();
};

describe.each([
  ["webgpu", gpu],
  ["cpu", cpu({ threads: 1 })],
  ["reference", reference()],
] as [string, Device][])("on %s", (_, device) => {
  const made = async (...values: number[]): Promise<Tensor> => realize(tensor(values), { device });

  test.each([0, 1, 2, 3, 5, 8, 13, 21])("an input disposed %i turns after realize began", async (count) => {
    const before = device.memory().buffers;
    const x = await made(1, 2, 3);
    const y = add(mul(x, 2), count);
    const running = realize(y, { device });
    await turns(count);
    x.dispose();
    expect(() => add(x, 1)).toThrow(/disposed/);
    // memory that was given back would be handed out again
    const host = tensor([7, 8, 9]);
    const other = realize(mul(host, 3), { device });
    await running;
    expect([...(await y.data())]).toEqual([2 + count, 4 + count, 6 + count]);
    (await other).dispose();
    host.dispose();
    y.dispose();
    expect(device.memory().buffers).toBe(before);
  });

  test("host data disposed at once", async () => {
    const before = device.memory().buffers;
    const x = tensor([1, 2]);
    const y = mul(x, 3);
    const running = realize(y, { device });
    x.dispose();
    await running;
    expect([...(await y.data())]).toEqual([3, 6]);
    y.dispose();
    expect(device.memory().buffers).toBe(before);
  });

  test("a result disposed before it is there gives its memory back", async () => {
    const before = device.memory().buffers;
    const x = await made(1, 2);
    const y = mul(x, 3);
    const running = realize(y, { device });
    y.dispose();
    await running;
    expect(() => add(y, 1)).toThrow(/disposed/);
    x.dispose();
    expect(device.memory().buffers).toBe(before);
  });

  test.each([0, 1, 2, 4, 8])("a tensor disposed %i turns after its read began", async (count) => {
    const x = await made(1, 2, 3);
    const reading = x.data();
    await turns(count);
    x.dispose();
    const other = realize(mul(tensor([7, 8, 9]), 3), { device });
    expect([...(await reading)]).toEqual([1, 2, 3]);
    (await other).dispose();
    await expect(x.data()).rejects.toThrow(/disposed/);
    const lazy = mul(tensor([1, 2, 3]), 2);
    const value = lazy.data();
    lazy.dispose();
    expect([...(await value)]).toEqual([2, 4, 6]);
  });

  test("donated while another run waits: that one is refused", async () => {
    const x = await made(1, 2);
    const first = realize(add(x, 1), { device, donate: [x] });
    const second = realize(sum(x), { device });
    await first;
    await expect(second).rejects.toThrow(/donated/);
  });
});
