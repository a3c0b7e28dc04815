/** Work an element of a call's result takes, roughly, in additions; what its inputs take left out. */
import type { Call } from "../graph/tensor.js";

/** Infinity for what is not computed in place. */
export function ownWork({ op }: Call): number {
  switch (op.rule.kind) {
    case "generator":
    case "movement":
      return 0;
    case "elementwise":
      return op.rule.dear ? 10 : 1;
    default:
      return Infinity;
  }
}
