/** Work an element of a call's result takes, roughly, in additions; what its inputs take left out. */
import type { Call } from "../graph/tensor.js";

/** Operations that cost as much as some ten others. */
const COSTLY = new Set(["exp", "log", "expm1", "log1p", "sin", "cos", "tanh", "sigmoid", "erf"]);

/** Infinity for what is not computed in place. */
export function ownWork({ op }: Call): number {
  switch (op.rule.kind) {
    case "generator":
    case "movement":
      return 0;
    case "elementwise":
      return COSTLY.has(op.name) ? 10 : 1;
    default:
      return Infinity;
  }
}
