import type { BenchmarkCase } from "../contestant.js";
import { fftConvCase } from "./convolution.js";
import { elementwiseChain, unaryCases } from "./elementwise.js";
import { matmulCases } from "./matmul.js";
import { rmsNormCase, softmaxCase } from "./rows.js";
import { cumsumCase, linearScanCase, selectiveScanBackward, selectiveScanForward } from "./scans.js";
import { mambaLmStep, mlpStep } from "./training.js";

/** Every case, in the order of the table. */
export const cases: readonly BenchmarkCase[] = [...matmulCases, elementwiseChain, cumsumCase, linearScanCase, ...unaryCases, softmaxCase, rmsNormCase, fftConvCase, selectiveScanForward, selectiveScanBackward, mlpStep, mambaLmStep];
