/** Structured masked attention as a linear recurrence over matrices. */
import { linearScan } from "@seqmix/scan";
import { broadcastTo, exp, expandDims, full, mul, reshape, sliceAxis, sum } from "@seqmix/tensor";
import type { Extents, Heads, HeadsResult } from "./heads.js";

/**
 * S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t^T S_t: one scan over states [K V]. Where the device can, the states take no memory.
 */
export function recurrent({ q, k, v, logDecay, h0, resets }: Heads, { B, L, G, R, K, V }: Extents): HeadsResult {
  const ofKeys = (x: Heads["q"]): Heads["q"] => expandDims(x, 5);
  const states = linearScan({
    a: logDecay ? exp(ofKeys(logDecay)) : full([1, 1, 1, 1, 1, 1], 1),
    b: broadcastTo(mul(ofKeys(k), expandDims(v, 4)), [B, L, G, R, K, V]),
    h0,
    axis: 1,
    resets: resets && reshape(resets, [B, L, 1, 1, 1, 1]),
  });
  return {
    y: sum(mul(states, ofKeys(q)), 4),
    h: reshape(sliceAxis(states, 1, L - 1, L), [B, G, R, K, V]),
  };
}
