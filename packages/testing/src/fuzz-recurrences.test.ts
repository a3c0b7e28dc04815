// Random recurrences on the cpu. SEQMIX_FUZZ=1000 runs as many of each kind, from SEQMIX_FUZZ_SEED on.
import { cpu } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { checkRandomRecurrence, type RecurrenceKind } from "./index.js";

const first = Number(process.env["SEQMIX_FUZZ_SEED"] ?? 0);
const kinds: readonly (readonly [RecurrenceKind, number])[] = [
  ["vectors", 60],
  ["powers", 12],
  ["matrices", 8],
];

test.each(kinds)("random recurrences of %s", { timeout: 600_000 }, async (kind, few) => {
  const count = Number(process.env["SEQMIX_FUZZ"] ?? few);
  for (let seed = first; seed < first + count; seed++)
    expect(await checkRandomRecurrence(kind, seed, cpu())).toContain(kind);
});
