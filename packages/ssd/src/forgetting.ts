/** Packed sequences in forms that multiply with an exact 0 what lies before a reset: 0 times what is no number would be none. */
import { linearScan } from "@seqmix/scan";
import {
  add,
  and,
  broadcastTo,
  full,
  greater,
  lessEqual,
  mul,
  reshape,
  sliceAxis,
  stopGradient,
  sum,
  where,
  type Tensor,
} from "@seqmix/tensor";
import type { Extents, Heads, HeadsResult } from "./heads.js";

const LARGEST = 3.4028234663852886e38;

/**
 * Runs a form without what is no number, and makes what that reaches no number again: all that comes of it up to the next
 * reset, in all channels of a head. The sequences behind are what they are alone. Of no concern where nothing is packed.
 */
export function forgetting(heads: Heads, extents: Extents, run: (heads: Heads) => HeadsResult): HeadsResult {
  const { q, k, v, logDecay, h0, resets } = heads;
  if (!resets) return run(heads);
  const { B, L, G, R } = extents;
  const begins = greater(reshape(resets, [B, L, 1, 1, 1]), 0);
  const { y, h } = run({
    ...heads,
    q: numbers(q),
    k: numbers(k),
    v: numbers(v),
    // a decay of 0 has the logarithm -Infinity
    logDecay: logDecay && where(lessEqual(logDecay, LARGEST), logDecay, 0),
    h0: h0 && numbers(h0),
  });
  const together = add(ofChannels(v), ofChannels(k));
  // the decay of a reset is not taken
  const decays = logDecay && where(begins, 0, ofChannels(where(lessEqual(logDecay, LARGEST), 0, logDecay)));
  const reached = linearScan({
    a: full([1, 1, 1, 1, 1], 1),
    b: broadcastTo(decays ? add(together, decays) : together, [B, L, G, R, 1]),
    h0: h0 && reshape(sum(marks(h0), [3, 4]), [B, G, R, 1]),
    axis: 1,
    resets: reshape(resets, [B, L, 1, 1, 1]),
  });
  const last = reshape(sliceAxis(reached, 1, L - 1, L), [B, G, R, 1, 1]);
  return { y: add(y, stopGradient(add(reached, ofChannels(q)))), h: add(h, stopGradient(last)) };
}

const numbers = (x: Tensor): Tensor => where(and(lessEqual(-LARGEST, x), lessEqual(x, LARGEST)), x, 0);
/** 0 where there is a number, else NaN. */
const marks = (x: Tensor): Tensor => mul(x, 0);
const ofChannels = (x: Tensor): Tensor => sum(marks(x), -1, { keepDims: true });
