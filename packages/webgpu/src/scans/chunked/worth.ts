/** Whether a recurrence is semiseparable, with matrices large enough for chunks. */
import { semiseparable, type ScanKernel, type Semiseparable } from "@seqmix/tensor/backend";
import { FEWEST } from "./few.js";

/** The form, or why the recurrence runs as a scan. */
export function worthChunks(kernel: ScanKernel): Semiseparable | string {
  const form = semiseparable(kernel, true);
  if (typeof form === "string") return form;
  const { extents } = form.kernel;
  const [K, V] = [extents[form.keys]!, extents[form.values]!];
  return Math.min(K, V) < FEWEST ? `${K} keys and ${V} values are few` : form;
}
