/** Variants of kernel records whose programs a page loads when their device first needs them. */
import type { CpuVariant, GpuVariant, KernelVariant } from "./kernel-variant.js";
import { onDemand } from "./on-demand.js";

/** What is known of a variant before it is loaded. */
export interface VariantFacts<D extends "cpu" | "webgpu"> {
  /** Which device it is for. */
  readonly device: D;
  /** The name `explain` and benchmark rows print. */
  readonly name: string;
  /** Whether it has a backward program. */
  readonly backward?: boolean;
  /** Why adapters with the lowest limits that WebGPU allows may not run it. */
  readonly needs?: string;
}

/**
 * A variant that is loaded when a graph on its device has the record: a page on another device does not carry its texts.
 * @param load An import: `async () => (await import("./webgpu/step.js")).stepOnGpu`.
 */
export function variantOnDemand<O>(facts: VariantFacts<"webgpu">, load: () => Promise<GpuVariant<O>>): GpuVariant<O>;
export function variantOnDemand<O>(facts: VariantFacts<"cpu">, load: () => Promise<CpuVariant<O>>): CpuVariant<O>;
export function variantOnDemand(
  { backward = false, ...facts }: VariantFacts<"cpu" | "webgpu">,
  load: () => Promise<KernelVariant<never>>,
): KernelVariant<never> {
  const variant = onDemand(load) as () => GpuVariant<never>;
  const made: Omit<GpuVariant<never>, "device"> = {
    ...facts,
    supports: (kase, limits) => variant().supports?.(kase, limits) ?? true,
    tables: (kase, limits) => variant().tables?.(kase, limits) ?? [],
    forward: (kase, limits) => variant().forward(kase, limits),
    ...(backward && { backward: (kase, limits) => variant().backward!(kase, limits) }),
  };
  return made as KernelVariant<never>;
}
