/** Checks of the suite as tests on the WebGPU device in Node. */
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, expect, test } from "vitest";
import type { Check } from "../suite.js";

/** The software adapter compiles for seconds: of a mixer with several samples it takes the first, unless all are asked for. */
const all = process.env["SEQMIX_SAMPLES"] === "all";

/** Registers a test for each check. */
export async function onWebgpu(checks: readonly Check[]): Promise<void> {
  useSoftwareAdapter();
  const device = await webgpu();
  afterAll(() => device.close());
  test.each(checks.filter(({ first }) => first || all).map((check) => [check.kind, check.name, check] as const))(
    "%s %s",
    async (_kind, _name, check) => {
      expect(await check.run(device)).toMatch(/^[1-9]\d* (cases|laws)$/);
    },
    300_000,
  );
}
