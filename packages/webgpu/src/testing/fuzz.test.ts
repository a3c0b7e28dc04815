// Random programs on this device. SEQMIX_FUZZ=200 runs as many, from SEQMIX_FUZZ_SEED on.
import { checkRandomProgram } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const count = Number(process.env["SEQMIX_FUZZ"] ?? 12);
const first = Number(process.env["SEQMIX_FUZZ_SEED"] ?? 0);

test(`${count} random programs`, { timeout: 60_000 + 10_000 * count }, async () => {
  const seen = new Set<string>();
  for (let seed = first; seed < first + count; seed++) seen.add(await checkRandomProgram(seed, device));
  expect(seen.size).toBe(count);
});
