/** Every operator of the fixtures that something here computes. */
import type { GoldenAdapter } from "@seqmix/testing";
import { causalConv1dAdapter } from "./causal-conv1d.js";
import { crossEntropyAdapter } from "./cross-entropy.js";
import { discretizeDenseAdapter, discretizeDiagAdapter, discretizeGbtAdapter } from "./discretize.js";
import { elementwiseScanAdapter } from "./elementwise-scan.js";
import { fftconvAdapter } from "./fftconv.js";
import { fftconvH3Adapter } from "./fftconv-h3.js";
import {
  gateLoopAttentionAdapter,
  gateLoopOperatorAdapter,
  gateLoopSimpleAdapter,
  gateLoopTransformerAdapter,
} from "./gateloop.js";
import { hippoProjectionAdapter, hippoTransitionAdapter } from "./hippo.js";
import { lruAdapter, lruPytorchPortAdapter, lruSequenceLayerAdapter } from "./lru.js";
import { mambaBlockAdapter } from "./mamba-block.js";
import { mambaInnerAdapter } from "./mamba-inner.js";
import { mambaLmAdapter } from "./mamba-lm.js";
import { optimizerAdapter } from "./optimizer.js";
import { rwkv4ModelAdapter, rwkv4WkvAdapter, rwkvLmHfAdapter } from "./rwkv.js";
import { s4DplrKernelAdapter, s4dKernelAdapter } from "./s4-kernels.js";
import { dssKernelAdapter, dssLayerAdapter, s4BlockAdapter, s4dLayerAdapter } from "./s4-layers.js";
import { s5SsmAdapter } from "./s5-ssm.js";
import { selectiveScanAdapter } from "./selective-scan.js";
import { sdpaAdapter } from "./sdpa.js";
import { selectiveStateUpdateAdapter } from "./selective-state-update.js";
import { gpt2LmAdapter, llamaLmAdapter } from "./transformers.js";

/** One adapter an operator. */
export const adapters: readonly GoldenAdapter[] = [
  causalConv1dAdapter,
  discretizeDenseAdapter,
  discretizeDiagAdapter,
  discretizeGbtAdapter,
  dssKernelAdapter,
  dssLayerAdapter,
  elementwiseScanAdapter,
  fftconvAdapter,
  fftconvH3Adapter,
  gateLoopAttentionAdapter,
  gateLoopOperatorAdapter,
  gateLoopSimpleAdapter,
  gateLoopTransformerAdapter,
  hippoProjectionAdapter,
  hippoTransitionAdapter,
  lruAdapter,
  lruPytorchPortAdapter,
  lruSequenceLayerAdapter,
  mambaBlockAdapter,
  mambaInnerAdapter,
  mambaLmAdapter,
  s4BlockAdapter,
  s4dKernelAdapter,
  s4dLayerAdapter,
  s4DplrKernelAdapter,
  s5SsmAdapter,
  selectiveScanAdapter,
  selectiveStateUpdateAdapter,
  sdpaAdapter,
  crossEntropyAdapter,
  optimizerAdapter,
  rwkv4WkvAdapter,
  rwkv4ModelAdapter,
  rwkvLmHfAdapter,
  gpt2LmAdapter,
  llamaLmAdapter,
];
