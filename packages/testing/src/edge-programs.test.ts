import { cpu, realize, reference, type Device } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { checkEdges, edgePrograms } from "./index.js";

describe.each([["cpu", cpu()]] as [string, Device][])("axes of extent 0 and 1 on %s", (_, device) => {
  test.each(Object.keys(edgePrograms))("%s", async (name) => {
    expect(await checkEdges(name, device)).toBeGreaterThan(0);
  });
});

test("every program runs on the reference device, and has finite values but where nothing is largest", async () => {
  for (const [name, build] of Object.entries(edgePrograms))
    for (const x of (await realize(build() as never, { device: reference() })) as never as ReturnType<typeof build>)
      expect(
        [...(await x.data())].every((value) => Number.isFinite(value) || value === -Infinity),
        name,
      ).toBe(true);
});
