/** Structured masked attention as attention: every pair of positions at once. */
import { add, broadcastTo, mul, transpose } from "@seqmix/tensor";
import { blockOf } from "./block.js";
import { logDecayOf, type Extents, type Heads, type HeadsResult } from "./heads.js";

/** y = (q k^T o mask) v, mask_ts = a_(s+1) .. a_t for s <= t; a state before is read through what is left of it. */
export function quadratic(heads: Heads, extents: Extents): HeadsResult {
  const positions = (x: Heads["q"]): Heads["q"] => transpose(x, [0, 2, 3, 1, 4]);
  const logDecay = logDecayOf(heads, extents);
  const block = blockOf(positions(heads.q), positions(heads.k), positions(heads.v), logDecay && positions(logDecay));
  const { h0 } = heads;
  const absorbed = broadcastTo(block.absorbed, [extents.B, extents.G, extents.R, extents.K, extents.V]);
  const y = h0 ? add(block.within, block.read(h0)) : block.within;
  const left = h0 && (block.kept ? mul(block.kept, h0) : h0);
  return { y: transpose(y, [0, 3, 1, 2, 4]), h: left ? add(absorbed, left) : absorbed };
}
