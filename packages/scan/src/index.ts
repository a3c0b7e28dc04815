/**
 * Linear recurrences and scans under any associative operator, along any axis.
 *
 * @packageDocumentation
 */
export { associativeScan, type AssociativeScanOptions } from "./associative-scan.js";
export {
  composeComplexLinear,
  composeLinear,
  linearScan,
  type ComplexLinearElement,
  type LinearElement,
  type LinearScanArguments,
} from "./linear-scan.js";
export { windowedLinearScan, type WindowedLinearScanArguments } from "./windowed-scan.js";
export { complexAdd, complexMul, type Complex } from "@seqmix/tensor";
