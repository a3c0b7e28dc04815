/** Values so much larger than all they are computed from that computing them again costs less than reading them. */
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { ownWork } from "./work.js";

/** How many times as large as each tensor in memory behind it such a value is. */
const GROWTH = 16;
/** Most work behind an element, in additions. */
const MOST_WORK = 64;

/** Work behind an element since the last tensors in memory, and the size of the largest of these. */
interface Origin {
  readonly work: number;
  readonly size: number;
}

/**
 * Products of broadcasts, such as 1/(z_f - a_n) in a sum over n or over f: each reader computes them in place. Of other
 * values that are used often it is taken that they have memory.
 */
export function outgrownValues(
  calls: readonly Call[],
  resolve: (x: Tensor) => Tensor,
  usedOften: (x: Tensor) => boolean,
): Set<Tensor> {
  const origins = new Map<Tensor, Origin>();
  const outgrown = new Set<Tensor>();
  for (const call of calls) {
    const { kind } = call.op.rule;
    if (kind === "generator") for (const x of call.outputs) origins.set(x, { work: 0, size: 0 });
    if (kind !== "elementwise" && kind !== "movement") continue;
    const behind = inputsRead(call).map((x) => origins.get(resolve(x)) ?? { work: 0, size: resolve(x).size });
    const origin = {
      work: behind.reduce((total, { work }) => total + work, ownWork(call)),
      size: behind.reduce((largest, { size }) => Math.max(largest, size), 0),
    };
    const x = call.outputs[0]!;
    origins.set(x, origin);
    if (kind === "movement") continue;
    if (origin.size > 0 && x.size >= GROWTH * origin.size && origin.work <= MOST_WORK) outgrown.add(x);
    else if (usedOften(x)) origins.set(x, { work: 0, size: x.size });
  }
  return outgrown;
}
