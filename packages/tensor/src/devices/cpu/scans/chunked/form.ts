/** Which recurrences run as products of matrices, chunk by chunk. */
import { onDemand } from "../../../../graph/on-demand.js";
import type { ChunkedParts } from "../../../../ir/chunked-parts.js";
import type { ScanKernel } from "../../../../ir/scan-kernel.js";
import { semiseparable } from "../../../../ir/semiseparable.js";
import { product } from "../../../../ir/simplify.js";

const parts = onDemand(() => import("../../../../ir/chunked-parts.js"));

/** Keys and values below which a scan's registers do as well, and state updates below which nothing is gained. */
const FEWEST = 16,
  LEAST_UPDATES = 1 << 18;

/** The recurrence taken apart for chunks, or why it runs as a scan. */
export function chunkedForm(kernel: ScanKernel): ChunkedParts | string {
  const form = semiseparable(kernel);
  if (typeof form === "string") return form;
  const { extents, along } = form.kernel;
  const [K, V, L] = [extents[form.keys]!, extents[form.values]!, extents[along]!];
  if (Math.min(K, V) < FEWEST) return `${K} keys and ${V} values are few`;
  if (product(extents) < LEAST_UPDATES || L < 32) return `${L} steps are few`;
  return parts().chunkedParts(form);
}
