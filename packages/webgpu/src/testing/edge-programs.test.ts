// Axes of extent 0 and 1: programs of the testing package on this device.
import { checkEdges, edgePrograms } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

test.each(Object.keys(edgePrograms))("%s", async (name) => {
  expect(await checkEdges(name, device)).toBeGreaterThan(0);
});
