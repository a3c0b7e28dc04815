// Operations that are not elementwise at the ends of their types, against the tables of the testing package.
import { checkSpecialOperations } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

test("operations at special values", async () => {
  expect(await checkSpecialOperations(device)).toBeGreaterThan(5000);
}, 120_000);
