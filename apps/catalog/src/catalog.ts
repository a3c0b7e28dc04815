/** Every mixer, kernel record and task: one line each, in the order of tables and lists. */
import { attention, scaledDotProductAttention, transformer } from "@seqmix/attention";
import { expm1OverXKernel, inverseKernel } from "@seqmix/discretize";
import { fftConvKernel, fftCorrelationKernel, fftPieceKernel } from "@seqmix/fft";
import { gateLoop, simpleGateLoop } from "@seqmix/gateloop";
import { gla } from "@seqmix/gla";
import { linearAttentionMixer } from "@seqmix/linear-attention";
import { cauchyKernel, powerSumsKernel } from "@seqmix/lti";
import { h3 } from "@seqmix/h3";
import { hyena } from "@seqmix/hyena";
import { mamba } from "@seqmix/mamba";
import { mamba2 } from "@seqmix/mamba2";
import type { AnyMixer } from "@seqmix/mixer";
import { gluKernel } from "@seqmix/nn";
import { gru, hippoRnn, lmu, lstm, minGru, minLstm, rnn } from "@seqmix/rnn";
import { rwkv4, wkvKernel } from "@seqmix/rwkv";
import { retnet } from "@seqmix/retnet";
import { dss, lssl, s4, s4d } from "@seqmix/s4";
import { lru, s5 } from "@seqmix/s5";
import { selectiveScanKernel } from "@seqmix/selective-scan";
import { spacetime } from "@seqmix/spacetime";
import * as library from "@seqmix/tasks";
import type { AxisSpec, Kernel } from "@seqmix/tensor";

/** Every architecture. */
export const mixers: readonly AnyMixer[] = [
  mamba,
  mamba2,
  s4d,
  s4,
  dss,
  lssl,
  s5,
  lru,
  gateLoop,
  simpleGateLoop,
  rwkv4,
  rnn,
  gru,
  lstm,
  minGru,
  minLstm,
  hippoRnn,
  lmu,
  transformer,
  linearAttentionMixer,
  retnet,
  gla,
  h3,
  hyena,
  spacetime,
  attention,
] as unknown as readonly AnyMixer[];

/** A kernel record as a function, whatever its names. */
export type AnyKernel = Kernel<AxisSpec, AxisSpec, unknown>;

/** Every kernel record. */
export const kernels: readonly AnyKernel[] = [
  fftConvKernel,
  fftCorrelationKernel,
  fftPieceKernel,
  inverseKernel,
  expm1OverXKernel,
  cauchyKernel,
  powerSumsKernel,
  gluKernel,
  selectiveScanKernel,
  scaledDotProductAttention,
  wkvKernel,
] as unknown as readonly AnyKernel[];

/** Every task of @seqmix/tasks, by what it tests and then by name; the line in its index is the task's line here. */
export const tasks: readonly library.TaskEntry[] = Object.values<unknown>(library)
  .filter(library.isTask)
  .map(({ entry }) => entry)
  .toSorted((a, b) => family(a) - family(b) || (a.id < b.id ? -1 : 1));

function family(task: library.TaskEntry): number {
  return library.taskFamilies.indexOf(task.family);
}
