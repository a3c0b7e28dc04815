// The half of the op table that moves, combines or runs along axes.
import { opTable } from "@seqmix/tensor";
import { checkOp } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

// Fresh memory is full of NaN: what a kernel reads and nothing wrote is found out.
const device = await testDevice({ poison: true });
afterAll(() => device.close());

const rows = opTable.filter((op) => op.rule.kind !== "elementwise");

test.each(rows.map((op) => [op.name, op] as const))(
  "%s",
  async (_, op) => {
    const report = await checkOp(op, device);
    expect(report.samples).toBeGreaterThan(0);
    expect(report.comparisons).toBeGreaterThan(report.samples);
    expect(report.worst).toBeLessThanOrEqual(1);
  },
  120_000,
);
