// Kernel records and mixers on the WebGPU device in Node; the op table's rows run in packages/webgpu.
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, expect, test } from "vitest";
import { checks } from "./suite.js";

useSoftwareAdapter();
const device = await webgpu();
afterAll(() => device.close());

test.each(checks.filter(({ kind }) => kind !== "op").map((check) => [check.kind, check.name, check] as const))(
  "%s %s",
  async (_kind, _name, check) => {
    expect(await check.run(device)).toMatch(/^[1-9]\d* (cases|laws)$/);
  },
  180_000,
);
