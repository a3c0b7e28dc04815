import type { BenchmarkCase } from "../contestant.js";
import { attentionHostCases } from "./attention.js";
import { fftConvCase } from "./convolution.js";
import { elementwiseChain, unaryCases } from "./elementwise.js";
import { matmulCases } from "./matmul.js";
import { rmsNormCase, softmaxCase } from "./rows.js";
import { mambaDecodeOnProcessor } from "./decode.js";
import { complexScanCase, cumsumCase, linearScanCase, selectiveScanBackward, selectiveScanForward } from "./scans.js";
import { matrixStateHostCases } from "./matrix-states.js";
import { longGraphCases } from "./long-graphs.js";
import { planningCases } from "./planning.js";
import { stateSpaceKernels } from "./state-space-kernels.js";
import { structuredAgainstDense } from "./state-space-layer.js";
import { gruLmStep, mambaLmStep, mlpStep } from "./training.js";
import { webgpuCases } from "./webgpu.js";

const cpuCases: readonly BenchmarkCase[] = [
  ...matmulCases,
  elementwiseChain,
  cumsumCase,
  linearScanCase,
  complexScanCase,
  ...unaryCases,
  softmaxCase,
  rmsNormCase,
  fftConvCase,
  ...structuredAgainstDense(64, []),
  ...structuredAgainstDense(128, ["published, on a GPU: 9.32 ms, 222 MB", "published, on a GPU: 4.77 ms, 5.3 MB"]),
  ...stateSpaceKernels({ H: 16, N: 32, L: 4096 }, { H: 2, N: 3, L: 100 }),
  selectiveScanForward,
  selectiveScanBackward,
  ...matrixStateHostCases,
  ...attentionHostCases,
  mlpStep,
  mambaLmStep,
  gruLmStep,
  mambaDecodeOnProcessor,
  ...longGraphCases,
  ...planningCases,
];

/** Every case by device, in the order of the table. */
export const casesOf: Readonly<Record<string, readonly BenchmarkCase[]>> = { cpu: cpuCases, webgpu: webgpuCases };
