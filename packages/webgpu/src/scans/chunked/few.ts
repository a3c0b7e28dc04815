/** Recurrences for which chunks gain nothing whatever their form: known before anything that asks for the form is loaded. */
import { product, type ScanKernel } from "@seqmix/tensor/backend";

/** Keys and values below which a scan's registers do as well. */
export const FEWEST = 16;
/** State updates and steps below which nothing is gained. */
const LEAST_UPDATES = 1 << 18,
  LEAST_STEPS = 64;

/** Why there are no chunks, by the extents alone. */
export function tooFew({ extents, along }: ScanKernel): string | undefined {
  if (product(extents) < LEAST_UPDATES || extents[along]! < LEAST_STEPS) return `${extents[along]} steps are few`;
  const wide = extents.filter((extent, axis) => axis !== along && extent >= FEWEST);
  return wide.length < 2 ? `no two axes beside the recurrence's have ${FEWEST} points` : undefined;
}
