import {
  add,
  DeviceError,
  exp,
  explain,
  key,
  matmul,
  mul,
  normal,
  realize,
  sequentialScan,
  softmax,
  sum,
  tanh,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { profile, type WebGpuDevice } from "../index.js";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ exactTimestamps: true });
afterAll(() => device.close());

test("a profile has a row for each kernel with its calls, work and time", async () => {
  const x = await realize(normal(key(1), [256, 64]), { device });
  const w = await realize(normal(key(2), [64, 256]), { device });
  const { result, rows, milliseconds, spanMilliseconds, idle, roofline, table } = await profile(device, async () => {
    for (let k = 0; k < 3; k++) await realize(sum(matmul(x, w), 1));
    await realize(mul(exp(x), 2));
    return "done";
  });
  expect(result).toBe("done");
  expect(Object.fromEntries(rows.map(({ kernel, calls }) => [kernel, calls]))).toEqual({ matmul: 3, sum: 3, mul: 1 });
  const of = (name: string): (typeof rows)[number] => rows.find(({ kernel }) => kernel === name)!;
  // 2 m n k, and every operand once: against the row's own time
  expect(of("matmul").teraflopsPerSecond * of("matmul").milliseconds * 1e9).toBeCloseTo(3 * 2 * 256 * 64 * 256, 0);
  expect(of("matmul").gigabytesPerSecond * of("matmul").milliseconds * 1e6).toBeCloseTo(
    3 * 4 * (256 * 64 + 64 * 256 + 256 * 256),
    0,
  );
  expect(of("mul").gigabytesPerSecond * of("mul").milliseconds * 1e6).toBeCloseTo(4 * 2 * 256 * 64, 0);
  expect(of("mul").teraflopsPerSecond * of("mul").milliseconds * 1e9).toBeCloseTo(2 * 256 * 64, 0);
  expect(of("sum").teraflopsPerSecond * of("sum").milliseconds * 1e9).toBeCloseTo(3 * 256 * 256, 0);
  for (const row of rows) {
    expect(row.milliseconds).toBeGreaterThan(0);
    expect(row.ofRoofline).toBeCloseTo(
      Math.max(
        row.gigabytesPerSecond / roofline.gigabytesPerSecond,
        row.teraflopsPerSecond / roofline.teraflopsPerSecond,
      ),
      9,
    );
  }
  expect(rows.map((row) => row.milliseconds)).toEqual(rows.map((row) => row.milliseconds).sort((a, b) => b - a));
  expect(milliseconds).toBeCloseTo(
    rows.reduce((total, row) => total + row.milliseconds, 0),
    9,
  );
  expect(spanMilliseconds).toBeGreaterThanOrEqual(milliseconds * (1 - 1e-9));
  expect(idle).toBeCloseTo(1 - milliseconds / spanMilliseconds, 9);
  expect(table).toMatch(/^kernel +variant +calls +ms +share +GB\/s +TFLOP\/s +of roofline\n/);
  expect(table).toContain("matmul 256x256x64");
  expect(await profile(device, async () => undefined)).toMatchObject({
    rows: [],
    spanMilliseconds: 0,
    idle: 0,
    roofline,
  });
});

test("partial products that their readers sum count as the product that they are", async () => {
  const a = await realize(normal(key(1), [16, 1024]), { device });
  const b = await realize(normal(key(2), [1024, 12]), { device });
  const make = (): Tensor => softmax(matmul(a, b), 1);
  expect(await explain(make(), { device })).toContain("summed where they are read");
  const { rows } = await profile(device, () => realize(make()));
  const bytesOf = (name: string): number => {
    const { gigabytesPerSecond, milliseconds } = rows.find(({ kernel }) => kernel === name)!;
    return gigabytesPerSecond * milliseconds * 1e6;
  };
  expect(bytesOf("matmul")).toBeCloseTo(4 * (16 * 1024 + 1024 * 12 + 16 * 12), 0);
  expect(bytesOf(rows.find(({ kernel }) => kernel !== "matmul")!.kernel)).toBeCloseTo(4 * 2 * 16 * 12, 0);
});

test("work that fails leaves the device as it was, and a second profile meanwhile is refused", async () => {
  await expect(
    profile(device, async () => {
      await realize(add(tensor([1]), 1), { device });
      await expect(profile(device, async () => undefined)).rejects.toThrow(/one profile of a device at a time/);
      throw new Error("own");
    }),
  ).rejects.toThrow("own");
  expect([...(await (await realize(add(tensor([1]), 1), { device })).data())]).toEqual([2]);
  expect(device.recorder).toBeUndefined();
});

test("an adapter without timestamps is told", async () => {
  const without = { ...device, gpu: { features: new Set() } } as unknown as WebGpuDevice;
  await expect(profile(without, async () => undefined)).rejects.toThrow(DeviceError);
  await expect(profile(without, async () => undefined)).rejects.toThrow(/feature timestamp-query/);
});

test("a recurrence that runs step by step counts every step", async () => {
  const given = await realize(
    { x: normal(key(3), [5, 4, 8]), h: normal(key(4), [4, 8]), w: normal(key(5), [8, 8]) },
    { device },
  );
  const { rows } = await profile(device, () =>
    realize(
      sequentialScan({
        step: (h: Tensor, x: Tensor, w: Tensor) => {
          const next = tanh(add(x, matmul(h, w)));
          return [next, next] as const;
        },
        initial: given.h,
        inputs: given.x,
        constants: given.w,
      }).outputs,
    ),
  );
  const row = rows.find(({ kernel }) => kernel === "sequentialScan")!;
  // five times 2 m n k, an addition and a tanh of each element
  expect(row.teraflopsPerSecond * row.milliseconds * 1e9).toBeCloseTo(5 * (2 * 4 * 8 * 8 + 2 * 4 * 8), 0);
});
