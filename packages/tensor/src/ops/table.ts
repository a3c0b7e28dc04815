/** The op table: every row, in one list, for devices and `checkOp`. */
import type { Op } from "../graph/op.js";
import { elementwiseRows } from "./elementwise-rows.js";
import { cumsumRows } from "./cumsum.js";
import { gatherRows } from "./gather.js";
import { generatorRows } from "./generators.js";
import { matmulRows } from "./matmul.js";
import { movementRows } from "./movement.js";
import { reduceRows } from "./reduce.js";
import { linearScanRows } from "./linear-scan.js";
import { sequentialScanRows } from "./sequential-scan.js";

/** All operations by name. */
export const opTable: readonly Op[] = [
  ...elementwiseRows,
  ...Object.values(generatorRows),
  ...Object.values(movementRows),
  ...Object.values(reduceRows),
  ...Object.values(matmulRows),
  ...Object.values(gatherRows),
  ...Object.values(cumsumRows),
  ...Object.values(linearScanRows),
  ...Object.values(sequentialScanRows),
] as readonly Op[];
