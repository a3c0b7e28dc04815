/** Every operator of the fixtures that something here computes. */
import type { GoldenAdapter } from "@seqmix/testing";
import { causalConv1dAdapter } from "./causal-conv1d.js";
import { crossEntropyAdapter } from "./cross-entropy.js";
import { deltaRuleAdapter, gatedDeltaRuleAdapter } from "./delta-rule.js";
import { discretizeDenseAdapter, discretizeDiagAdapter, discretizeGbtAdapter } from "./discretize.js";
import { elementwiseScanAdapter } from "./elementwise-scan.js";
import { fftconvH3Adapter } from "./fftconv-h3.js";
import { fftconvAdapter } from "./fftconv.js";
import {
  gateLoopAttentionAdapter,
  gateLoopOperatorAdapter,
  gateLoopSimpleAdapter,
  gateLoopTransformerAdapter,
} from "./gateloop.js";
import { glaAdapter, simpleGlaAdapter } from "./gla.js";
import { griffinRecurrentBlockAdapter } from "./griffin.js";
import { h3LayerAdapter } from "./h3-layer.js";
import { hippoProjectionAdapter, hippoTransitionAdapter } from "./hippo.js";
import { hyenaAdapter } from "./hyena.js";
import {
  causalLinearAttentionEluAdapter,
  linearAttentionAdapter,
  linearAttentionNoncausalEluAdapter,
} from "./linear-attention.js";
import { lruAdapter, lruPytorchPortAdapter, lruSequenceLayerAdapter } from "./lru.js";
import { mambaBlockAdapter } from "./mamba-block.js";
import { mambaInnerAdapter } from "./mamba-inner.js";
import { mambaLmAdapter } from "./mamba-lm.js";
import { mamba2BlockAdapter, mamba2LmAdapter } from "./mamba2.js";
import { optimizerAdapter } from "./optimizer.js";
import {
  retentionRawAdapter,
  retentionSimpleAdapter,
  retentionTorchscaleAdapter,
  retnetLmAdapter,
  retnetPaperAdapter,
  xposAdapter,
} from "./retention.js";
import { rnnAdapters } from "./recurrent.js";
import { rwkv4ModelAdapter, rwkv4WkvAdapter, rwkv6RecurrenceAdapter, rwkvLmHfAdapter } from "./rwkv.js";
import { s4DplrKernelAdapter, s4dKernelAdapter } from "./s4-kernels.js";
import { dssKernelAdapter, dssLayerAdapter, s4BlockAdapter, s4dLayerAdapter } from "./s4-layers.js";
import { s5SsmAdapter } from "./s5-ssm.js";
import { sdpaAdapter } from "./sdpa.js";
import { selectiveScanAdapter } from "./selective-scan.js";
import { selectiveStateUpdateAdapter } from "./selective-state-update.js";
import { spaceTimeClosedAdapter, spaceTimeOpenAdapter } from "./spacetime.js";
import {
  mamba2SplitConv1dScanAdapter,
  rmsNormGatedAdapter,
  segsumAdapter,
  ssdChunkScanCombinedAdapter,
  ssdChunkStatePassingAdapter,
  ssdMinimalDiscreteAdapter,
} from "./ssd.js";
import { gpt2LmAdapter, llamaLmAdapter } from "./transformers.js";

/** One adapter an operator. */
export const adapters: readonly GoldenAdapter[] = [
  causalConv1dAdapter,
  causalLinearAttentionEluAdapter,
  crossEntropyAdapter,
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
  deltaRuleAdapter,
  gatedDeltaRuleAdapter,
  glaAdapter,
  gpt2LmAdapter,
  griffinRecurrentBlockAdapter,
  h3LayerAdapter,
  hippoProjectionAdapter,
  hippoTransitionAdapter,
  hyenaAdapter,
  linearAttentionAdapter,
  linearAttentionNoncausalEluAdapter,
  llamaLmAdapter,
  lruAdapter,
  lruPytorchPortAdapter,
  lruSequenceLayerAdapter,
  mamba2BlockAdapter,
  mamba2LmAdapter,
  mamba2SplitConv1dScanAdapter,
  mambaBlockAdapter,
  mambaInnerAdapter,
  mambaLmAdapter,
  optimizerAdapter,
  retentionRawAdapter,
  retentionSimpleAdapter,
  retentionTorchscaleAdapter,
  retnetLmAdapter,
  retnetPaperAdapter,
  rmsNormGatedAdapter,
  rwkv4ModelAdapter,
  rwkv4WkvAdapter,
  rwkv6RecurrenceAdapter,
  rwkvLmHfAdapter,
  ...rnnAdapters,
  s4BlockAdapter,
  s4dKernelAdapter,
  s4dLayerAdapter,
  s4DplrKernelAdapter,
  s5SsmAdapter,
  sdpaAdapter,
  segsumAdapter,
  selectiveScanAdapter,
  selectiveStateUpdateAdapter,
  simpleGlaAdapter,
  spaceTimeClosedAdapter,
  spaceTimeOpenAdapter,
  ssdChunkScanCombinedAdapter,
  ssdChunkStatePassingAdapter,
  ssdMinimalDiscreteAdapter,
  xposAdapter,
];
