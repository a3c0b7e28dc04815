// Random recurrences on the cpu. SEQMIX_FUZZ=1000 runs as many of each kind, from SEQMIX_FUZZ_SEED on.
import { cpu } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { checkRandomRecurrence, type RecurrenceKind } from "./index.js";

const first = Number(process.env["SEQMIX_FUZZ_SEED"] ?? 0);
const count = process.env["SEQMIX_FUZZ"];
const numbered = (n: number): number[] => Array.from({ length: n }, (_, k) => first + k);
// of matrices: numbers that are none before resets, decays that grow beyond the range, of a head and of a key
const kinds: readonly (readonly [RecurrenceKind, readonly number[]])[] = [
  ["vectors", numbered(40)],
  ["powers", numbered(8)],
  ["matrices", [4, 28, 91]],
];

test.each(kinds)("random recurrences of %s", { timeout: 3_600_000 }, async (kind, few) => {
  for (const seed of count === undefined ? few : numbered(Number(count)))
    expect(await checkRandomRecurrence(kind, seed, cpu())).toContain(kind);
});
