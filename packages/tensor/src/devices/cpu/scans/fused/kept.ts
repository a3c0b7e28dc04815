/** The buffer of states that a recurrence keeps for its gradient: a row of all lanes' states before each chunk, and one behind the last. */
import { BYTES_PER_ELEMENT } from "../../../../graph/dtype.js";
import type { KeptStates, ScanKernel } from "../../../../ir/scan-kernel.js";
import { product } from "../../../../ir/simplify.js";
import { scanForm, type ScanForm } from "./form.js";
import { plainScan } from "./plain.js";
import { planScan } from "./plan.js";

interface KeptLayout {
  readonly kept: KeptStates;
  /** Elements of the buffer. */
  readonly size: number;
}

/** Undefined where two kernels go through the states in different ways or in segments, or would keep more than they read for each step. */
export function keptLayout(forward: ScanKernel, backward: ScanKernel): KeptLayout | undefined {
  if (plainScan(forward) !== undefined) return undefined;
  const [there, back] = [scanForm(forward), scanForm(backward)];
  const lanes = new Set([there, back].map((form) => planScan(form).vector));
  return [...lanes].map((axis) => layoutAlong(axis, there, back)).find((layout) => layout !== undefined);
}

function layoutAlong(lanes: number, forward: ScanForm, backward: ScanForm): KeptLayout | undefined {
  const [there, back] = [planScan(forward, lanes), planScan(backward, lanes)];
  const alike = there.inner.join() === back.inner.join() && there.outer.join() === back.outer.join();
  if (!alike || there.segments > 1 || back.segments > 1 || back.steps < back.points * back.parts) return undefined;
  const { extents, along } = backward;
  const rows = product(back.outer.map((axis) => extents[axis]!)) * (Math.ceil(extents[along]! / back.steps) + 1);
  return { kept: { every: back.steps, lanes }, size: rows * back.allGroups * (back.groupBytes / BYTES_PER_ELEMENT) };
}
