/** Runs the suite in a page and reports each check to the process that opened it. */
import { cpu, type Device } from "@seqmix/tensor";
import { webgpu } from "@seqmix/webgpu";
import type { Report } from "./report.js";
import { pageChecks as checks } from "./suite.js";

declare global {
  /** Given to the page by browser.ts. */
  var seqmixReport: (report: Report) => Promise<void>;
}

const devices: Readonly<Record<string, () => Device | Promise<Device>>> = {
  cpu: () => cpu({ threads: 2 }),
  webgpu: () => webgpu(),
};

try {
  await runAll();
} catch (error) {
  await seqmixReport({ kind: "end", error: String(error) });
}

async function runAll(): Promise<void> {
  if (!crossOriginIsolated)
    throw new Error(
      "expected a cross-origin isolated page, so that the cpu device has threads; serve it with COOP and COEP headers",
    );
  const name = new URLSearchParams(location.search).get("device") ?? "";
  const open = devices[name];
  if (!open) throw new RangeError(`expected ?device=${Object.keys(devices).join(" or ")}, got "${name}"`);
  const device = await open();
  await seqmixReport({ kind: "start", description: device.description });
  for (const check of checks) {
    const started = performance.now();
    let failure: string | undefined;
    try {
      await check.run(device);
    } catch (error) {
      failure = String(error);
    }
    await seqmixReport({
      kind: "check",
      name: `${check.kind} ${check.name}`,
      milliseconds: performance.now() - started,
      ...(failure !== undefined && { failure }),
    });
  }
  await device.close();
  await seqmixReport({ kind: "end" });
}
