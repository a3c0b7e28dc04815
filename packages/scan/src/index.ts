/**
 * Linear recurrences and scans under any associative operator, along any axis.
 *
 * @packageDocumentation
 */
export { associativeScan, type AssociativeScanOptions } from "./associative-scan.js";
export {
  complexAdd,
  complexMul,
  composeComplexLinear,
  composeLinear,
  linearScan,
  type Complex,
  type ComplexLinearElement,
  type LinearElement,
  type LinearScanArguments,
} from "./linear-scan.js";
