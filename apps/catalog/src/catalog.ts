/** Every mixer and kernel record: one line each, in the order of tables and lists. */
import { attention, scaledDotProductAttention, transformer } from "@seqmix/attention";
import { expm1OverXKernel, inverseKernel } from "@seqmix/discretize";
import { fftConvKernel, fftCorrelationKernel } from "@seqmix/fft";
import { gateLoop, simpleGateLoop } from "@seqmix/gateloop";
import { cauchyKernel } from "@seqmix/lti";
import { mamba } from "@seqmix/mamba";
import type { AnyMixer } from "@seqmix/mixer";
import { rwkv4 } from "@seqmix/rwkv";
import { dss, lssl, s4, s4d } from "@seqmix/s4";
import { lru, s5 } from "@seqmix/s5";
import { selectiveScanKernel } from "@seqmix/selective-scan";
import type { AxisSpec, Kernel } from "@seqmix/tensor";

/** Every architecture. */
export const mixers: readonly AnyMixer[] = [
  mamba,
  s4d,
  s4,
  dss,
  lssl,
  s5,
  lru,
  gateLoop,
  simpleGateLoop,
  rwkv4,
  transformer,
  attention,
] as unknown as readonly AnyMixer[];

/** A kernel record as a function, whatever its names. */
export type AnyKernel = Kernel<AxisSpec, AxisSpec, unknown>;

/** Every kernel record. */
export const kernels: readonly AnyKernel[] = [
  fftConvKernel,
  fftCorrelationKernel,
  inverseKernel,
  expm1OverXKernel,
  cauchyKernel,
  selectiveScanKernel,
  scaledDotProductAttention,
] as unknown as readonly AnyKernel[];
