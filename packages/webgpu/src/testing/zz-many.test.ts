import { cpu } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { checkRandomRecurrence, type RecurrenceKind } from "@seqmix/testing";
const device =
  process.env["DEV"] === "webgpu"
    ? await (await import("./test-device.js")).testDevice()
    : cpu();
test("many", { timeout: 3_600_000 }, async () => {
  const [kind, first, count] = [
    process.env["KIND"] as RecurrenceKind,
    Number(process.env["FIRST"]),
    Number(process.env["COUNT"]),
  ];
  let bad = 0;
  for (let seed = first; seed < first + count && bad < 12; seed++)
    await checkRandomRecurrence(kind, seed, device).catch((e: unknown) => {
      bad++;
      console.log(String((e as Error).message).slice(0, 500));
    });
  expect(bad).toBe(0);
});
