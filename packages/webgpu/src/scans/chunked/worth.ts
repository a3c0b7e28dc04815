/** Whether a recurrence is semiseparable, and large enough for chunks. */
import { product, semiseparable, type ScanKernel, type Semiseparable } from "@seqmix/tensor/backend";

/** Keys and values below which a scan's registers do as well, and state updates below which nothing is gained. */
const FEWEST = 16,
  LEAST_UPDATES = 1 << 18;

/** The form, or why the recurrence runs as a scan. */
export function worthChunks(kernel: ScanKernel): Semiseparable | string {
  const form = semiseparable(kernel, true);
  if (typeof form === "string") return form;
  const { extents, along } = form.kernel;
  const [K, V, L] = [extents[form.keys]!, extents[form.values]!, extents[along]!];
  if (Math.min(K, V) < FEWEST) return `${K} keys and ${V} values are few`;
  if (product(extents) < LEAST_UPDATES || L < 64) return `${L} steps are few`;
  return form;
}
