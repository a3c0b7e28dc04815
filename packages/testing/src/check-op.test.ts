import { cpu, opTable, reference } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { checkOp } from "./index.js";

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  test.each(opTable.map((op) => [op.name, op] as const))("%s", async (__, op) => {
    const report = await checkOp(op, device);
    expect(report.samples).toBeGreaterThan(0);
    expect(report.comparisons).toBeGreaterThan(report.samples);
    expect(report.worst).toBeLessThanOrEqual(1);
  });
});
