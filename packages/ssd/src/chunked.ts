/** Structured masked attention in chunks: attention inside each, and a recurrence over the states between them. */
import { add, broadcastTo, concat, reshape, sliceAxis, transpose, type Tensor } from "@seqmix/tensor";
import { blockOf } from "./block.js";
import { logDecayOf, type Extents, type Heads, type HeadsResult } from "./heads.js";
import { passStates } from "./pass-states.js";
import { quadratic } from "./quadratic.js";

/**
 * The chunks of Q positions as {@link quadratic} attention, all at once; a scan passes the states on (Dao and Gu, 2024,
 * section 6). Positions behind the last whole chunk are one more.
 */
export function chunked(heads: Heads, extents: Extents, Q: number): HeadsResult {
  const { B, L, G, R, K, V } = extents;
  const whole = L - (L % Q);
  if (whole === 0 || L === Q) return quadratic(heads, extents);
  if (whole < L) {
    const first = chunked(between(heads, extents, 0, whole), { ...extents, L: whole }, Q);
    const rest = quadratic({ ...between(heads, extents, whole, L), h0: first.h }, { ...extents, L: L - whole });
    return { y: concat([first.y, rest.y], 1), h: rest.h };
  }
  const C = L / Q;
  const pieces = (x: Tensor): Tensor =>
    transpose(reshape(x, [x.shape[0]! * (x.shape[1]! / Q), Q, ...x.shape.slice(2)]), [0, 2, 3, 1, 4]);
  const logDecay = logDecayOf(heads, extents, Q);
  const { within, absorbed, kept, read } = blockOf(
    pieces(heads.q),
    pieces(heads.k),
    pieces(heads.v),
    logDecay && pieces(logDecay),
  );
  const { before, hT } = passStates({
    states: reshape(broadcastTo(absorbed, [B * C, G, R, K, V]), [B, C, G, R, K, V]),
    kept: kept && reshape(kept, [...(kept.shape[0] === 1 ? [1, 1] : [B, C]), ...kept.shape.slice(1)]),
    h0: heads.h0,
  });
  const y = add(within, read(reshape(before, [B * C, G, R, K, V])));
  return { y: reshape(transpose(y, [0, 3, 1, 2, 4]), [B, L, G, R, V]), h: hT };
}

/** Positions `start` to `end` of the inputs. */
function between(heads: Heads, { L }: Extents, start: number, end: number): Heads {
  const cut = (x: Tensor): Tensor => (x.shape[1] === L ? sliceAxis(x, 1, start, end) : x);
  const { logDecay, resets } = heads;
  return {
    ...heads,
    q: cut(heads.q),
    k: cut(heads.k),
    v: cut(heads.v),
    logDecay: logDecay && cut(logDecay),
    resets: resets && cut(resets),
  };
}
