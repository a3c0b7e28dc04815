// Random recurrences on this device. SEQMIX_FUZZ=200 runs as many of each kind, from SEQMIX_FUZZ_SEED on.
import { checkRandomRecurrence, type RecurrenceKind } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "./test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const first = Number(process.env["SEQMIX_FUZZ_SEED"] ?? 0);
const count = process.env["SEQMIX_FUZZ"];
const numbered = (n: number): number[] => Array.from({ length: n }, (_, k) => first + k);
// of matrices: numbers that are none before resets, decays that grow beyond the range
const kinds: readonly (readonly [RecurrenceKind, readonly number[]])[] = [
  ["vectors", numbered(8)],
  ["powers", numbered(2)],
  ["matrices", [4, 28]],
];

test.each(kinds)("random recurrences of %s", { timeout: 3_600_000 }, async (kind, few) => {
  for (const seed of count === undefined ? few : numbered(Number(count)))
    expect(await checkRandomRecurrence(kind, seed, device)).toContain(kind);
});
