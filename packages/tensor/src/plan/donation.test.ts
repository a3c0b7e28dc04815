import { expect, test } from "vitest";
import { add, cpu, DisposedError, flip, matmul, mul, realize, sum, tensor, transpose } from "../index.js";

test("a donated tensor's memory is written over, and using it afterwards is an error", async () => {
  const device = cpu({ threads: 1 });
  let x = await realize(tensor(Float32Array.from({ length: 1003 }, (_, i) => i)), { device });
  const before = device.memory().peakBytes;
  for (let step = 0; step < 5; step++) {
    const next = add(mul(x, 2), 1);
    await realize(next, { donate: [x] });
    expect(() => sum(x)).toThrow(DisposedError);
    x = next;
  }
  const values = await x.data();
  for (let i = 0; i < 1003; i++) expect(values[i]).toBe(32 * i + 31);
  expect(device.memory()).toMatchObject({ buffers: 1, bytes: 4012 });
  // The arena of an empty set of temporaries is all that came on top.
  expect(device.memory().peakBytes - before).toBeLessThan(4012);
  await device.close();
});

test("memory read at other elements than those written is not taken over", async () => {
  const device = cpu({ threads: 2 });
  // More than one vector loop holds in registers: written in place, the second half would read the first half's results.
  const n = 5003;
  const long = await realize(tensor(Float32Array.from({ length: n }, (_, i) => i)), { device });
  const reversed = await realize(flip(long, 0), { donate: [long] });
  const values = await reversed.data();
  for (let i = 0; i < n; i++) expect(values[i]).toBe(n - 1 - i);
  reversed.dispose();
  const x = await realize(
    tensor([
      [1, 2],
      [3, 4],
    ]),
    { device },
  );
  const y = await realize(flip(x, [0, 1]), { donate: [x] });
  expect([...(await y.data())]).toEqual([4, 3, 2, 1]);
  const z = matmul(y, transpose(y));
  await realize(z, { donate: [y] });
  expect([...(await z.data())]).toEqual([25, 11, 11, 5]);
  expect(device.memory().buffers).toBe(1);
  await device.close();
});
