/** Which kernels the time of a computation goes to: timestamps around each, beside what the adapter can do. */
import { DeviceError } from "@seqmix/tensor";
import { costOf, type Slot, type Step } from "@seqmix/tensor/backend";
import type { Roofline, WebGpuDevice } from "../device/contract.js";
import { rooflineOf } from "./roofline.js";
import { makeTimestamps } from "./timestamps.js";

/** All calls of one kernel in one variant. */
export interface ProfileRow {
  /** The ops whose results it stores, as `explain` names it. */
  readonly kernel: string;
  /** The program that ran, as `explain` names it. */
  readonly variant: string;
  /** How often it ran. */
  readonly calls: number;
  /** Time of all its runs, ms. */
  readonly milliseconds: number;
  /** Compulsory traffic by time, 1e9 bytes a second. */
  readonly gigabytesPerSecond: number;
  /** Floating-point operations by time, 1e12 a second. */
  readonly teraflopsPerSecond: number;
  /** Share of what the adapter can do: the time its memory or its arithmetic would need, the longer of both, by the time taken. */
  readonly ofRoofline: number;
}

/** Where the time of a computation went. */
export interface Profile<T> {
  /** What the work returned. */
  readonly result: T;
  /** By time, longest first. */
  readonly rows: readonly ProfileRow[];
  /** Sum of all kernels' times. */
  readonly milliseconds: number;
  /** From the start of the first kernel to the end of the last. */
  readonly spanMilliseconds: number;
  /** Share of the span in which no kernel ran, 0 to 1. */
  readonly idle: number;
  /** What the adapter can do, measured once. */
  readonly roofline: Roofline;
  /** The rows as text. */
  readonly table: string;
}

/**
 * Runs `work` with timestamps around every kernel that it makes the device run, and waits for them. A kernel gets a pass of
 * its own meanwhile, so the gaps between kernels are a little longer than else. The first call of a device measures
 * what its adapter can do, which takes about a second. Timestamps of 0.1 ms are the default: `webgpu({ exactTimestamps: true })`.
 *
 * @param work Realizes tensors on the device, e.g. a training step; a first one outside leaves compiling out of the span.
 * @throws DeviceError if the adapter has no timestamps, or the device is being profiled already.
 */
export async function profile<T>(device: WebGpuDevice, work: () => Promise<T>): Promise<Profile<T>> {
  const { gpu } = device;
  if (!gpu.features.has("timestamp-query"))
    throw new DeviceError(
      "profile: expected an adapter with the feature timestamp-query, but this one has not; profile on another adapter, or time whole steps with await device.gpu.queue.onSubmittedWorkDone()",
    );
  if (device.recorder)
    throw new DeviceError("profile: expected one profile of a device at a time, got a second one; await the first");
  const roofline = await rooflineOf(gpu);
  const timestamps = makeTimestamps(gpu);
  const records: { readonly steps: readonly Step[]; readonly variant: string; readonly slots: readonly Slot[] }[] = [];
  device.recorder = {
    begin(encoder, steps, variant, slots) {
      records.push({ steps, variant, slots });
      return encoder.beginComputePass({ label: nameOf(steps), timestampWrites: timestamps.next() });
    },
  };
  let result: T;
  let times: readonly (readonly [start: number, end: number])[];
  try {
    result = await work();
  } finally {
    device.recorder = undefined;
    times = await timestamps.read();
  }

  const sums = new Map<
    string,
    { kernel: string; variant: string; calls: number; milliseconds: number; flops: number; bytes: number }
  >();
  records.forEach(({ steps, variant, slots }, k) => {
    const kernel = nameOf(steps);
    const key = `${kernel}\n${variant}`;
    const sum = sums.get(key) ?? { kernel, variant, calls: 0, milliseconds: 0, flops: 0, bytes: 0 };
    const costs = steps.map((step) => costOf(step, slots));
    const [flops, bytes] = [total(costs.map((cost) => cost.flops)), total(costs.map((cost) => cost.bytes))];
    const [start, end] = times[k]!;
    sums.set(key, {
      ...sum,
      calls: sum.calls + 1,
      milliseconds: sum.milliseconds + end - start,
      flops: sum.flops + flops,
      bytes: sum.bytes + bytes,
    });
  });
  const rows = [...sums.values()]
    .sort((a, b) => b.milliseconds - a.milliseconds)
    .map(({ flops, bytes, ...row }): ProfileRow => {
      const rate = (amount: number, unit: number): number =>
        row.milliseconds > 0 ? amount / row.milliseconds / unit : 0;
      const [gigabytesPerSecond, teraflopsPerSecond] = [rate(bytes, 1e6), rate(flops, 1e9)];
      return {
        ...row,
        gigabytesPerSecond,
        teraflopsPerSecond,
        ofRoofline: Math.max(
          gigabytesPerSecond / roofline.gigabytesPerSecond,
          teraflopsPerSecond / roofline.teraflopsPerSecond,
        ),
      };
    });
  const milliseconds = rows.reduce((sum, row) => sum + row.milliseconds, 0);
  let [first, last] = [Infinity, -Infinity];
  for (const [start, end] of times) [first, last] = [Math.min(first, start), Math.max(last, end)];
  const spanMilliseconds = times.length > 0 ? last - first : 0;
  const idle = spanMilliseconds > 0 ? Math.max(0, 1 - milliseconds / spanMilliseconds) : 0;
  return {
    result,
    rows,
    milliseconds,
    spanMilliseconds,
    idle,
    roofline,
    table: format(rows, milliseconds, spanMilliseconds, idle, roofline),
  };
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** Kernels that run together go by the first one's name. */
const nameOf = (steps: readonly Step[]): string =>
  steps.length === 1 ? steps[0]!.name : `${steps[0]!.name} and ${steps.length - 1} more`;

function format(
  rows: readonly ProfileRow[],
  milliseconds: number,
  span: number,
  idle: number,
  roofline: Roofline,
): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const cells = [
    ["kernel", "variant", "calls", "ms", "share", "GB/s", "TFLOP/s", "of roofline"],
    ...rows.map((row) => [
      row.kernel,
      row.variant,
      String(row.calls),
      row.milliseconds.toFixed(3),
      percent(milliseconds > 0 ? row.milliseconds / milliseconds : 0),
      row.gigabytesPerSecond.toFixed(1),
      row.teraflopsPerSecond.toFixed(3),
      percent(row.ofRoofline),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const lines = cells.map((row) =>
    row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  "),
  );
  lines.push(
    `${milliseconds.toFixed(3)} ms in kernels, ${span.toFixed(3)} ms from the first to the last, GPU idle ${percent(idle)}; the adapter copies ${roofline.gigabytesPerSecond.toFixed(0)} GB/s and multiplies and adds ${roofline.teraflopsPerSecond.toFixed(2)} TFLOP/s`,
  );
  return lines.join("\n");
}
