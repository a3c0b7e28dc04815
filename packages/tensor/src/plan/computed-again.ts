/**
 * Values that are computed again by each kernel that uses them, since that reads no more than they take themselves and is
 * little work: a gate's sigmoid, say, in the backward pass. They take no memory, nor time to store and read.
 */
import { callOf } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { ownWork } from "./work.js";

/** Small operands, such as a statistic of each row, do not count beside what they are combined with. */
const BESIDE = 1.25;
/** Work on all of a tensor that takes no longer than it takes to start a kernel, and on one element at most, in additions. */
const STARTING = 2 ** 24,
  DEEPEST = 512;

/** Movements that read elsewhere than at the point itself: several of them of one tensor are as many readings. */
const SHIFTS: ReadonlySet<string> = new Set(["slice", "pad"]);

/** What stands behind a value in place: work an element, what has memory, and that as it is read, shifted or not. */
interface Origin {
  readonly work: number;
  readonly read: ReadonlySet<Tensor>;
  readonly views: ReadonlySet<Tensor>;
}

/**
 * @param most Work of a value, in additions; of small ones more, so that fewer kernels wait for each other.
 * @param mayBeDeeper Whether a value, if it is small, may be more work: not where a broadcast would compute it many times over.
 * @param usedOften Values that several kernels use and that would have memory, of elementwise calls.
 * @param stored What has memory anyway.
 * @param inPasses Whether a recurrence reads a value, in each of its passes: there one that is made of several readings of one
 * tensor, such as a short convolution, is worth its memory.
 * @param besideSmall Operands that are read again in the place of a small tensor, at most.
 */
export function computedAgain(
  calls: readonly Call[],
  resolve: (x: Tensor) => Tensor,
  usedOften: ReadonlySet<Tensor>,
  stored: (x: Tensor) => boolean,
  most: number,
  mayBeDeeper: (x: Tensor) => boolean,
  inPasses: (x: Tensor) => boolean = () => false,
  besideSmall = BESIDE,
): Set<Tensor> {
  const again = new Set<Tensor>();
  if (most === 0) return again;
  const origins = new Map<Tensor, Origin>();
  const originOf = (x: Tensor): Origin =>
    origins.get(x) ?? { work: callOf(x) && !stored(x) ? Infinity : 0, ...whole(x) };
  for (const call of calls) {
    const { kind } = call.op.rule;
    const x = call.outputs[0]!;
    if (stored(x)) continue;
    // Constants and positions are read from no memory.
    const inPlace = kind === "elementwise" || kind === "movement" || kind === "generator";
    const origin = inPlace ? behind(call, resolve, originOf) : undefined;
    const mostHere = mayBeDeeper(x) ? Math.max(most, Math.min(DEEPEST, STARTING / x.size)) : most;
    const isLittle = origin !== undefined && origin.work <= mostHere;
    if (!usedOften.has(x)) {
      if (isLittle) origins.set(x, origin);
      continue;
    }
    const reads = (inPasses(x) ? origin?.views : origin?.read) ?? [];
    const size = [...reads].reduce((sum, y) => sum + Math.min(y.size, x.size), 0);
    const fromMemory =
      isLittle && kind === "elementwise" && size <= (mostHere > most && !inPasses(x) ? besideSmall : BESIDE) * x.size;
    if (fromMemory) again.add(x);
    // The others have memory, and what is made of them may be computed again.
    origins.set(x, fromMemory ? origin : { work: 0, ...whole(x) });
  }
  return again;
}

const whole = (x: Tensor): Pick<Origin, "read" | "views"> => ({ read: new Set([x]), views: new Set([x]) });

/** Work and memory behind the result of a call. */
function behind(call: Call, resolve: (x: Tensor) => Tensor, originOf: (x: Tensor) => Origin): Origin {
  const origins = inputsRead(call).map((y) => originOf(resolve(y)));
  return {
    work: origins.reduce((sum, each) => sum + each.work, ownWork(call)),
    read: new Set(origins.flatMap((each) => [...each.read])),
    views: new Set(SHIFTS.has(call.op.name) ? call.outputs : origins.flatMap((each) => [...each.views])),
  };
}
