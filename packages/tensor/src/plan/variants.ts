/** Which variant runs a kernel call. */
import type { KernelAttributes } from "../graph/kernel.js";
import { chooseVariant, tablesOf, type KernelStep } from "../graph/kernel-variant.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { PlanOptions } from "./draft.js";

const stepOf = (call: Call): KernelStep => {
  const { record, kase, forward } = call.attributes as KernelAttributes;
  return { record, kase, gradient: forward !== undefined };
};

/** The variant of a kernel call, or why there is none. */
export const variantFor = (call: Call, options: PlanOptions): ReturnType<typeof chooseVariant> =>
  chooseVariant(stepOf(call), options);

export const isReasons = (choice: unknown): choice is readonly string[] => Array.isArray(choice);

/** Says why a record that has variants runs as what it is composed of. */
export function noteReasons(call: Call, reasons: readonly string[], { device }: PlanOptions, notes: Set<string>): void {
  const { record, gradient } = stepOf(call);
  if (record.variants.length === 0) return;
  const why = reasons.length > 0 ? reasons.join("; ") : `no variant for ${device}`;
  notes.add(`${record.name}${gradient ? " backward" : ""} is composed of ops: ${why}`);
}

/** The tables that the variant of a kernel call reads. */
export function tablesFor(call: Call, options: PlanOptions): readonly Tensor[] {
  if (call.op.rule.kind !== "kernel") return [];
  const variant = variantFor(call, options);
  return isReasons(variant) ? [] : tablesOf(variant, stepOf(call).kase, options);
}
