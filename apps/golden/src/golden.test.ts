import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runFixtures } from "./run.js";
import { formatReport } from "./table.js";

const fixtures = fileURLToPath(new URL("../fixtures", import.meta.url));

describe("golden fixtures", () => {
  test.each(["reference", "cpu"])(
    "all of the repository's own pass on %s",
    async (device) => {
      const report = await runFixtures(fixtures, device);
      expect(report.cases.filter(({ status }) => status !== "passed")).toEqual([]);
      expect(report.cases.length).toBeGreaterThan(30);
      expect(formatReport(report)).toContain(
        `golden on ${device}: ${report.cases.length} passed, 0 failed, 0 unsupported`,
      );
    },
    120_000,
  );

  test("a device that does not exist is named", async () => {
    await expect(runFixtures(fixtures, "abacus")).rejects.toThrow('expected reference, cpu, webgpu, got "abacus"');
  });

  test("the table lists what failed and what nothing can run", () => {
    const counts = { passed: 1, failed: 1, unsupported: 1, worstErrorOverTolerance: Infinity, relaxed: 1 };
    const each = { operator: "op", worst: 0, worstTensor: "", relaxed: false };
    const text = formatReport({
      device: "cpu",
      fixtures: "",
      operators: { op: counts },
      cases: [
        { ...each, case: "a", status: "passed", relaxed: true },
        { ...each, case: "b", status: "failed", reason: "y: wrong" },
        { ...each, case: "c", status: "unsupported", reason: "mask" },
      ],
    });
    expect(text).toContain("FAILED op/b: y: wrong");
    expect(text).toContain("unsupported op/c: mask");
    expect(text).toContain("within 10 times the float32 tolerance, not within it: op/a");
    expect(text).toContain("golden on cpu: 1 passed, 1 failed, 1 unsupported of 3");
  });
});
