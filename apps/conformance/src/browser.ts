/** `pnpm browser`: the suites in a page of headless Chromium, on its WebGPU and on the cpu device. Exits with 1 if any check failed or did not run. */
import { findChromium } from "@seqmix/software-gpu";
import { chromium, type Browser } from "playwright-core";
import type { Report } from "./report.js";
import { servePage } from "./serve.js";
import { pageChecks as checks } from "./suite.js";

/** A whole page, and one check of it, in milliseconds. A busy machine may be several times as slow as an idle one. */
const PAGE_TIMEOUT = 300_000;
const CHECK_TIMEOUT = 90_000;

const tally = { passed: 0, failed: 0 };
try {
  await main();
} catch (error) {
  tally.failed++;
  console.error(`browser: ${error instanceof Error ? error.message : String(error)}`);
}
console.log(`browser: ${tally.passed} checks passed, ${tally.failed} failed`);
process.exit(tally.failed === 0 && tally.passed === 2 * checks.length ? 0 : 1);

async function main(): Promise<void> {
  const page = await servePage();
  try {
    const { executable, env, args } = findChromium();
    const browser = await chromium.launch({ executablePath: executable, env, headless: true, args: [...args] });
    try {
      console.log(`Chromium ${browser.version()}`);
      for (const device of ["cpu", "webgpu"]) await runPage(browser, `${page.url}?device=${device}`, device);
    } finally {
      await browser.close();
    }
  } finally {
    await page.close();
  }
}

/** Opens the page and counts its checks until it says that it is done. @throws Error if it is lost or stands still. */
async function runPage(browser: Browser, url: string, device: string): Promise<void> {
  const page = await browser.newPage();
  const started = performance.now();
  let done = 0;
  let slowest = { name: "", milliseconds: 0 };
  let watch: NodeJS.Timeout | undefined;
  const limit = AbortSignal.timeout(PAGE_TIMEOUT);
  await new Promise<void>((resolve, reject) => {
    const where = (): string => `the page on ${device}, after ${done} of ${checks.length} checks`;
    const next = (): string =>
      checks
        .slice(done, done + 1)
        .map(({ kind, name }) => ` in ${kind} ${name}`)
        .join("");
    const fail = (what: string): void => reject(new Error(`${where()}: ${what}`));
    const rewind = (): void => {
      clearTimeout(watch);
      watch = setTimeout(
        () => fail(`no word for ${CHECK_TIMEOUT / 1000} s${next()}; run it alone with pnpm browser`),
        CHECK_TIMEOUT,
      );
    };
    const take = (report: Report): void => {
      rewind();
      if (report.kind === "start") console.log(`${device}: ${report.description}`);
      else if (report.kind === "check") count(report);
      else if (report.error === undefined) resolve();
      else fail(report.error);
    };
    const count = (check: Extract<Report, { kind: "check" }>): void => {
      done++;
      if (check.milliseconds > slowest.milliseconds) slowest = check;
      if (check.failure === undefined) return void tally.passed++;
      tally.failed++;
      console.error(`FAILED on ${device}: ${check.name}: ${check.failure}`);
    };
    rewind();
    limit.addEventListener("abort", () => fail(`not done within ${PAGE_TIMEOUT / 1000} s`));
    page.on("crash", () => fail(`the page crashed${next()}`));
    page.on("close", () => fail(`the page was closed${next()}`));
    page.on("pageerror", (error) => fail(`an error that nothing caught: ${error.message}`));
    browser.on("disconnected", () => fail(`Chromium ended${next()}`));
    page
      .exposeFunction("seqmixReport", take)
      .then(() => page.goto(url))
      .catch((error: unknown) => fail(String(error)));
  }).finally(() => clearTimeout(watch));
  console.log(
    `${device}: ${done} of ${checks.length} checks in ${((performance.now() - started) / 1000).toFixed(1)} s, the slowest ${slowest.name} (${(slowest.milliseconds / 1000).toFixed(1)} s)`,
  );
  page.removeAllListeners();
  await page.close();
  if (done !== checks.length) throw new Error(`the page on ${device}: expected ${checks.length} checks, got ${done}`);
}
