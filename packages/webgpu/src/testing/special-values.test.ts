// Elementwise functions at the ends of their types, against the tables of the testing package.
import { checkSpecialValues } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

test("special values", async () => {
  expect(await checkSpecialValues(device)).toBeGreaterThan(10_000);
}, 120_000);
