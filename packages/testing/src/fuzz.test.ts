// Random programs on the cpu. SEQMIX_FUZZ=1000 runs as many, from SEQMIX_FUZZ_SEED on.
import { cpu } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { checkRandomProgram } from "./index.js";

const count = Number(process.env["SEQMIX_FUZZ"] ?? 80);
const first = Number(process.env["SEQMIX_FUZZ_SEED"] ?? 0);

test(`${count} random programs`, { timeout: 60_000 + 1000 * count }, async () => {
  const seen = new Set<string>();
  for (let seed = first; seed < first + count; seed++) seen.add(await checkRandomProgram(seed, cpu()));
  expect(seen.size).toBe(count);
});
