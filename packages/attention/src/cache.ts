/** The keys and values of what was seen, and which of them are seen from new elements. */
import {
  add,
  and,
  arange,
  broadcastTo,
  cast,
  concat,
  cumsum,
  full,
  gather,
  less,
  lessEqual,
  linearScan,
  max,
  maximum,
  pad,
  reshape,
  ShapeError,
  sub,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** The cache of the T elements so far. */
export type AttentionState = {
  /** Keys of G groups, turned by their positions [B G T P]. */
  readonly k: Tensor;
  /** Values [B G T P]. */
  readonly v: Tensor;
  /** First place that is still seen, i32 [B]; past the last one if a reset came after it. */
  readonly start: Tensor;
  /**
   * With room (see `reserve`): how many of the T places are taken, i32 []. Absent: all are, and the cache grows with every
   * element.
   */
  readonly length?: Tensor;
};

/** A cache that nothing is in yet. */
export const emptyCache = (batch: number, groups: number, headDim: number): AttentionState => ({
  k: zeros([batch, groups, 0, headDim]),
  v: zeros([batch, groups, 0, headDim]),
  start: zeros([batch], "i32"),
});

/** The cache with `room` more places. */
export function withRoom({ k, v, start, length }: AttentionState, room: number): AttentionState {
  if (!Number.isInteger(room) || room < 0)
    throw new ShapeError(`attention: expected room for a number of elements of at least 0, got ${room}`);
  const widen = (x: Tensor): Tensor => pad(x, [0, 0, 0, 0], [0, 0, room, 0]);
  return { k: widen(k), v: widen(v), start, length: length ?? taken({ k, v, start }) };
}

/** The cache with all it holds out of sight where `flags` [B] are true. */
export const forgetCache = (state: AttentionState, flags: Tensor): AttentionState => ({
  ...state,
  start: where(flags, broadcastTo(taken(state), state.start.shape), state.start),
});

/** Elements in the cache, i32 []. */
const taken = ({ k, length }: AttentionState): Tensor => length ?? full([], k.shape[2]!, "i32");

/** Position of the first new element: a number, or i32 [] in a cache with room. */
export const positionOf = (state: AttentionState | undefined): number | Tensor =>
  state?.length ?? state?.k.shape[2] ?? 0;

/** Positions of new elements in their own sequences, from 0, i32 [B L]. */
export function positionsSinceReset(
  state: AttentionState | undefined,
  resets: Tensor | undefined,
  [B, L]: readonly [B: number, L: number],
): Tensor {
  const first = state ? sub(broadcastTo(taken(state), [B]), state.start) : zeros([B], "i32");
  if (!resets) return add(reshape(first, [B, 1]), reshape(arange(L), [1, L]));
  // p_t = 0 at a reset, else p_(t-1) + 1
  const kept = sub(1, cast(resets, "f32"));
  return cast(linearScan({ a: kept, b: kept, h0: sub(cast(first, "f32"), 1), axis: 1 }), "i32");
}

/** A cache with new elements in it, and what says which of its places a new element sees. */
export interface Extended {
  readonly state: AttentionState;
  readonly querySegments?: Tensor;
  readonly keySegments?: Tensor;
  readonly queryPositions?: Tensor;
}

/**
 * Puts the keys and values [B G L P] of new elements into the cache.
 * @param resets bool [B L]: true where nothing before is seen any more.
 */
export function extend(before: AttentionState | undefined, k: Tensor, v: Tensor, resets: Tensor | undefined): Extended {
  const [B, G, L, P] = k.shape as [number, number, number, number];
  const state = before ?? emptyCache(B, G, P);
  const marks = resets && cast(resets, "i32");
  const next = {
    k: placed(state, state.k, k),
    v: placed(state, state.v, v),
    start: marks && L > 0 ? maximum(state.start, lastReset(marks, taken(state))) : state.start,
    ...(state.length && { length: add(state.length, L) }),
  };
  if (!resets && state.k.shape[2] === 0 && !state.length) return { state: next };
  const own = marks ? cast(cumsum(cast(marks, "f32"), 1), "i32") : zeros([B, L], "i32");
  return {
    state: next,
    querySegments: own,
    keySegments: keySegmentsOf(state, own, next.k.shape[2]!),
    ...(state.length && { queryPositions: broadcastTo(add(reshape(arange(L), [1, L]), state.length), [B, L]) }),
  };
}

/** The new elements behind the old ones, or in the next free places where there is room. */
function placed({ length }: AttentionState, old: Tensor, fresh: Tensor): Tensor {
  const [T, L] = [old.shape[2]!, fresh.shape[2]!];
  if (!length) return T === 0 ? fresh : L === 0 ? old : concat([old, fresh], 2);
  if (L === 0) return old;
  const offsets = sub(arange(T), length);
  const isNew = and(lessEqual(0, offsets), less(offsets, L));
  return where(reshape(isNew, [T, 1]), gather(fresh, offsets, 2), old);
}

/** Segments of all S places: 0 is the one under way, -1 what is out of sight or not there yet. */
function keySegmentsOf(state: AttentionState, own: Tensor, S: number): Tensor {
  const [B, L] = own.shape as [number, number];
  const T = state.k.shape[2]!;
  const places = reshape(arange(T), [1, T]);
  const visible = lessEqual(reshape(state.start, [B, 1]), places);
  const cached = sub(cast(state.length ? and(visible, less(places, state.length)) : visible, "i32"), 1);
  if (!state.length) return T === 0 ? own : concat([broadcastTo(cached, [B, T]), own], 1);
  if (L === 0) return broadcastTo(cached, [B, S]);
  const offsets = sub(arange(T), state.length);
  const isNew = and(lessEqual(0, offsets), less(offsets, L));
  return where(reshape(isNew, [1, T]), gather(own, offsets, 1), cached);
}

/** Position of the last reset, or -1, i32 [B]. */
function lastReset(marks: Tensor, first: Tensor): Tensor {
  const positions = add(reshape(arange(marks.shape[1]!), [1, marks.shape[1]!]), first);
  return max(where(lessEqual(1, marks), positions, -1), 1);
}
