/** The op table against the reference device, half of it in each of two test files so that they run side by side. */
import { opTable, type Op } from "@seqmix/tensor";
import { checkOp } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

/** Tests of the rows that are (or are not) elementwise functions. */
export async function checkTable(elementwise: boolean): Promise<void> {
  // Fresh memory is full of NaN: what a kernel reads and nothing wrote is found out.
  const device = await testDevice({ poison: true });
  afterAll(() => device.close());
  const rows = opTable.filter((op: Op) => (op.rule.kind === "elementwise") === elementwise);
  test.each(rows.map((op) => [op.name, op] as const))("%s", async (_, op) => {
    const report = await checkOp(op, device);
    expect(report.samples).toBeGreaterThan(0);
    expect(report.comparisons).toBeGreaterThan(report.samples);
    expect(report.worst).toBeLessThanOrEqual(1);
  }, 120_000);
}
