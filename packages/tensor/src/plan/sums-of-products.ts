/**
 * Sums of several products, as the gradient of a weight that is used in pieces: each product is added to the sum so far
 * where it is stored, so that no more than two of them are in memory at a time.
 */
import { callOf } from "../graph/calls.js";
import type { Tensor } from "../graph/tensor.js";
import type { Planning } from "./planning.js";

/**
 * The sums so far: additions of products that nothing uses but the next addition of one. The last sum is computed with what follows.
 * @param claimed What is computed elsewhere.
 */
export function sumsSoFar(
  { calls, users, resolve, isRoot, options }: Planning,
  claimed: ReadonlySet<Tensor>,
): Set<Tensor> {
  const found = new Set<Tensor>();
  const ops = options.epilogues;
  if (!ops) return found;
  const isTerm = (x: Tensor): boolean => found.has(x) || (ops.has(callOf(x)?.op.name ?? "") && !isRoot.has(x));
  for (const call of calls) {
    const sum = call.outputs[0]!;
    if (call.op.name !== "add" || isRoot.has(sum) || claimed.has(sum) || !call.inputs.every((x) => isTerm(resolve(x))))
      continue;
    const [next, ...others] = users.get(sum) ?? [];
    if (others.length > 0 || next?.op.name !== "add") continue;
    if (next.inputs.map(resolve).some((x) => x !== sum && ops.has(callOf(x)?.op.name ?? ""))) found.add(sum);
  }
  return found;
}
