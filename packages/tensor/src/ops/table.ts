/** The op table: every row with its samples, in one list, for devices and `checkOp`. */
import type { Op, SampledOp, Samples } from "../graph/op.js";
import { sampledElementwiseRows } from "./elementwise-rows.js";
import { cumsumRows, cumsumSamples } from "./cumsum.js";
import { gatherRows, gatherSamples } from "./gather.js";
import { generatorRows, generatorSamples } from "./generators.js";
import { matmulRows, matmulSamples } from "./matmul.js";
import { movementRows, movementSamples } from "./movement.js";
import { reduceRows, reduceSamples } from "./reduce.js";
import { linearScanRows, linearScanSamples } from "./linear-scan.js";
import { sequentialScanRows, sequentialScanSamples } from "./sequential-scan.js";

const sampled = <Names extends string>(
  rows: Readonly<Record<Names, Op>>,
  samples: Samples<Readonly<Record<Names, Op>>>,
): readonly SampledOp[] => (Object.keys(rows) as Names[]).map((name) => ({ ...rows[name], samples: samples[name] }));

/** All operations by name. */
export const opTable: readonly SampledOp[] = [
  ...sampledElementwiseRows(),
  ...sampled(generatorRows, generatorSamples()),
  ...sampled(movementRows, movementSamples()),
  ...sampled(reduceRows, reduceSamples()),
  ...sampled(matmulRows, matmulSamples()),
  ...sampled(gatherRows, gatherSamples()),
  ...sampled(cumsumRows, cumsumSamples()),
  ...sampled(linearScanRows, linearScanSamples()),
  ...sampled(sequentialScanRows, sequentialScanSamples()),
];
