// npm test: sets up, then runs every check in order. A failing part does not stop the ones after it.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { install } from "./install.mjs";
import { root } from "./pnpm.mjs";
import { run } from "./run.mjs";
import { sizes } from "./sizes.mjs";

const scratch = mkdtempSync(join(tmpdir(), "seqmix-test-"));
const unitReport = join(scratch, "unit.json");
const tool = (name, entry, ...args) => [join(root, "node_modules", name, entry), ...args];
const golden = existsSync(join(root, "apps/golden/src/cli.ts"));

// Each part is a script for this same Node, with its arguments; "show" prints as it goes, "capture" at the end, so that it can be counted.
const parts = [
  { name: "lists of packages", script: ["scripts/packages.mjs", "--check"] },
  { name: "pictures of dependencies", script: ["scripts/pictures.mjs", "--check"] },
  { name: "build", script: tool("typescript", "bin/tsc", "-b") },
  { name: "format", script: tool("prettier", "bin/prettier.cjs", "--check", "."), capture: true },
  { name: "lint", script: tool("oxlint", "bin/oxlint") },
  {
    name: "layers",
    script: tool(
      "dependency-cruiser",
      "bin/dependency-cruise.mjs",
      "packages",
      "apps",
      "--config",
      ".dependency-cruiser.mjs",
    ),
  },
  { name: "unused code (knip)", script: tool("knip", "bin/knip.js") },
  { name: "manifests (sherif)", script: tool("sherif", "index.js") },
  { name: "types of the tests", script: tool("typescript", "bin/tsc", "-p", "tsconfig.tests.json") },
  { name: "types of the page", script: tool("typescript", "bin/tsc", "-p", "apps/benchmark/page/tsconfig.json") },
  {
    name: "unit tests",
    script: tool(
      "vitest",
      "vitest.mjs",
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${unitReport}`,
    ),
    show: true,
    count: countUnitTests,
  },
  ...(golden ? ["reference", "cpu", "webgpu"] : []).map((device) => ({
    name: `golden fixtures on ${device}`,
    script: ["apps/golden/dist/cli.js"],
    env: { SEQMIX_DEVICE: device },
    show: true,
  })),
  {
    name: "suites in a browser",
    script: ["apps/conformance/dist/browser.js"],
    capture: true,
    count: countBrowserChecks,
  },
  { name: "bundles", script: ["scripts/bundles.mjs"], capture: true },
  { name: "documentation", script: tool("typedoc", "bin/typedoc") },
  { name: "publishable packages", script: ["scripts/publishable.mjs"] },
  { name: "consumer", script: ["scripts/consumer.mjs"] },
];

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

const started = performance.now();
const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
try {
  await install("everything");
  for (const { name, script, env, show, capture, count } of parts) {
    const partStarted = performance.now();
    const { code, output } = await run(process.execPath, script, { cwd: root, show, env: { ...process.env, ...env } });
    const ok = code === 0;
    if (!ok) failures.push(name);
    if ((!ok || capture) && output) console.log(output.trimEnd());
    console.log(`${ok ? "ok  " : "FAIL"} ${name} (${seconds(partStarted)})`);
    const counted = count?.(ok, output) ?? { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
    for (const key of Object.keys(total)) total[key] += counted[key];
  }
  console.log(`\n${sizes()}\n`);
} catch (error) {
  console.error(error.message);
  failures.push("set-up");
  total.failed++;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

console.log(`${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ""}`);
console.log(
  failures.length === 0
    ? `seqmix: all ${parts.length} parts passed in ${seconds(started)}`
    : `seqmix: FAILED in ${seconds(started)}: ${failures.join(", ")}`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

function countUnitTests(ok) {
  try {
    const report = JSON.parse(readFileSync(unitReport, "utf8"));
    const failed = report.numFailedTests;
    // A file that fails to load has no failed test of its own: the run still failed once.
    return {
      passed: report.numPassedTests,
      failed: ok ? failed : Math.max(failed, 1),
      skipped: report.numPendingTests + report.numTodoTests,
    };
  } catch {
    return undefined; // no report: count the part as one
  }
}

// The page's verdict line has the counts.
function countBrowserChecks(ok, output) {
  const found = /^browser: (\d+) checks passed, (\d+) failed$/m.exec(output);
  return found ? { passed: Number(found[1]), failed: ok ? 0 : Math.max(1, Number(found[2])), skipped: 0 } : undefined;
}
