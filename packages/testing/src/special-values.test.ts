import { cpu, reference, opTable, type Device } from "@seqmix/tensor";
import { elementwiseRecords, SPECIAL } from "@seqmix/tensor/backend";
import { expect, test } from "vitest";
import { checkSpecialValues } from "./index.js";

test.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as [string, Device][])("special values on %s", async (_, device) => {
  expect(await checkSpecialValues(device)).toBeGreaterThan(10_000);
});

test("every function of one real number has a table, with slopes if it has a gradient", () => {
  for (const { name, gradient } of opTable) {
    const record = elementwiseRecords[name];
    if (!record || record.arity !== 1 || !record.accepts.includes("f32")) continue;
    expect(record.special?.values, name).toHaveLength(SPECIAL.length);
    if (gradient) expect(record.special?.slopes, name).toHaveLength(SPECIAL.length);
  }
});
