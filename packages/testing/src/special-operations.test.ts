import { cpu, reference, type Device } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { checkSpecialOperations } from "./index.js";

test.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as [string, Device][])("operations at special values on %s", async (_, device) => {
  expect(await checkSpecialOperations(device)).toBeGreaterThan(5000);
});
