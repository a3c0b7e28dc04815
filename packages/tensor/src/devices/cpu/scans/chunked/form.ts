/** Which recurrences run as products of matrices, chunk by chunk. */
import { onDemand } from "../../../../graph/on-demand.js";
import type { ChunkedParts } from "../../../../ir/chunked-parts.js";
import type { ScanKernel } from "../../../../ir/scan-kernel.js";
import { product } from "../../../../ir/simplify.js";

const rules = onDemand(() => import("../../../../ir/semiseparable.js"));
const parts = onDemand(() => import("../../../../ir/chunked-parts.js"));

/** Keys and values below which a scan's registers do as well, and state updates below which nothing is gained. */
const FEWEST = 16,
  LEAST_UPDATES = 1 << 18;

/** The recurrence taken apart for chunks, or why it runs as a scan. */
export function chunkedForm(kernel: ScanKernel): ChunkedParts | string {
  const few = tooFew(kernel);
  if (few) return few;
  const form = rules().semiseparable(kernel);
  if (typeof form === "string") return form;
  const { extents } = form.kernel;
  const [K, V] = [extents[form.keys]!, extents[form.values]!];
  return Math.min(K, V) < FEWEST ? `${K} keys and ${V} values are few` : parts().chunkedParts(form);
}

/** Why chunks would gain nothing whatever the form, by the extents alone. */
function tooFew({ extents, along }: ScanKernel): string | undefined {
  if (product(extents) < LEAST_UPDATES || extents[along]! < 32) return `${extents[along]} steps are few`;
  const wide = extents.filter((extent, axis) => axis !== along && extent >= FEWEST);
  return wide.length < 2 ? `no two axes beside the recurrence's have ${FEWEST} points` : undefined;
}
