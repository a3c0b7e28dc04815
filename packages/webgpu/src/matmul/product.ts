/** Which program computes a product: one for few rows, one on matrix units, or plain tiles; several over parts of large operands. */
import { onDemand, product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import type { GpuLimits, GpuProgram } from "@seqmix/tensor/wgsl";
import { FEW_ROWS, matmulProgram } from "./program.js";
import { fitsBindings } from "./spans.js";

const fewRows = onDemand(() => import("./few-rows.js"));
const matrixUnits = onDemand(() => import("./matrix-units.js"));
const cut = onDemand(() => import("./cut.js"));

/** @param epilogue Only where everything can be bound whole. */
export function productProgram(spec: MatmulSpec, limits: GpuLimits, epilogue?: Epilogue): GpuProgram {
  if (product(spec.batch) * spec.m * spec.n * spec.k > 0 && !fitsBindings(spec, limits.bytes))
    return cut().cutMatmul(spec, limits, wholeProgram);
  const few = spec.m <= FEW_ROWS ? fewRows().fewRowsProgram(spec, limits, epilogue) : undefined;
  return few ?? wholeProgram(spec, limits, epilogue);
}

/** On matrix units where that is possible and faster. */
const wholeProgram = (spec: MatmulSpec, limits: GpuLimits, epilogue?: Epilogue): GpuProgram =>
  (limits.matrixUnits ? matrixUnits().matrixUnitProgram(spec, limits, epilogue) : undefined) ??
  matmulProgram(spec, limits.workgroupBytes, epilogue);
