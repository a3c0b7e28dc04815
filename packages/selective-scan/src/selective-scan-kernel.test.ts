import { checkKernel } from "@seqmix/testing";
import { cpu } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { selectiveScanKernel } from "./index.js";

test("the kernel keeps the laws of its record on the default device", async () => {
  const report = await checkKernel(selectiveScanKernel, cpu(), { relative: 1e-4, gradientRelative: 1e-3 });
  expect(report.cases).toBeGreaterThanOrEqual(selectiveScanKernel.record.samples.length);
});
