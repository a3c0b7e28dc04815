import { opTable } from "@seqmix/tensor";
import { checkOp } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

test.each(opTable.map((op) => [op.name, op] as const))("%s", async (_, op) => {
  const report = await checkOp(op, device);
  expect(report.samples).toBeGreaterThan(0);
  expect(report.comparisons).toBeGreaterThan(report.samples);
  expect(report.worst).toBeLessThanOrEqual(1);
});
