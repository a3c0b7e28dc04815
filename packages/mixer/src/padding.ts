/** Batches whose sequences have lengths of their own, filled up to one length on the left, on the right or on both sides. */
import {
  add,
  and,
  arange,
  assertSettings,
  assertTensor,
  broadcastTo,
  cast,
  concat,
  equal,
  formatShape,
  full,
  gather,
  less,
  lessEqual,
  max,
  min,
  mul,
  not,
  or,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  where,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { AnyMixer, MixerConfig, Mode } from "./contract.js";
import { assertConfig, forget, isCausal, runMixer } from "./run-mixer.js";

/**
 * Resets that keep padding apart from the elements: true at the first position and wherever `mask` changes. Enough wherever
 * no state after the last element is asked for.
 * @param mask bool [B L], true where there is an element
 * @returns bool [B L]
 */
export function resetsOfMask(mask: Tensor): Tensor {
  assertTensor("resetsOfMask", mask);
  const [B, L] = mask.shape as [number, number];
  if (mask.shape.length !== 2)
    throw new ShapeError(`resetsOfMask: expected a mask [B L], got shape ${formatShape(mask.shape)}; reshape it`);
  if (L === 0) return mask;
  const changes = not(equal(sliceAxis(mask, 1, 1, L), sliceAxis(mask, 1, 0, L - 1)));
  return concat([full([B, 1], 1, "bool"), changes], 1);
}

/** Rows moved so that all sequences end at the last position: padding on the right becomes padding on the left. */
export interface Alignment {
  /** bool [B L], true at the first element of each moved sequence. */
  readonly resets: Tensor;
  /** bool [B], true where a row has no element. */
  readonly empty: Tensor;
  /** Moves rows [B L ..] to the end; positions without an element are 0. */
  toEnd(x: Tensor): Tensor;
  /** Moves rows [B L ..] back to where they were; positions without an element are 0. */
  back(x: Tensor): Tensor;
}

/** The {@link Alignment} of `mask`, bool [B L]: true from the first to the last element of each row. */
export function alignToEnd(mask: Tensor): Alignment {
  assertTensor("alignToEnd", mask);
  const [B, L] = mask.shape as [number, number];
  if (mask.dtype !== "bool" || mask.shape.length !== 2)
    throw new ShapeError(
      `alignToEnd: expected a bool mask [B L], got ${mask.dtype} ${formatShape(mask.shape)}; convert it with cast`,
    );
  const places = reshape(arange(L), [1, L]);
  const column = (x: Tensor): Tensor => reshape(x, [B, 1]);
  const first = column(L === 0 ? full([B], 0, "i32") : min(where(mask, places, L), 1));
  const end = column(L === 0 ? full([B], 0, "i32") : max(where(mask, add(places, 1), 0), 1));
  const start = add(first, sub(L, end));
  const inside = lessEqual(start, places);
  return {
    resets: equal(places, start),
    empty: reshape(equal(end, 0), [B]),
    toEnd: (x) => only(moved(x, sub(places, sub(L, end))), inside),
    back: (x) => only(moved(x, add(places, sub(L, end))), mask),
  };
}

/** Row b at position t is what is at `from`[b t]; any value where there is no such position. */
function moved(x: Tensor, from: Tensor): Tensor {
  const [B, L, ...inner] = x.shape as [number, number, ...number[]];
  if (L === 0) return x;
  const rows = mul(reshape(arange(B), [B, 1]), L);
  const within = where(and(lessEqual(0, from), less(from, L)), from, 0);
  return gather(reshape(x, [B * L, ...inner]), add(rows, within));
}

/** x [B L ..] where `mask` [B L] is true, else 0, whatever there was. */
const only = (x: Tensor, mask: Tensor): Tensor =>
  where(broadcastTo(reshape(mask, [...mask.shape, ...x.shape.slice(2).map(() => 1)]), x.shape), x, 0);

/** How {@link runPadded} runs. */
export interface PaddedOptions {
  /** How sequences run; "parallel" by default. */
  readonly mode?: Mode;
  /** bool or i32 [B L], not 0 at the first element of each of several sequences packed into a row. */
  readonly resets?: Tensor | undefined;
}

/**
 * Runs a mixer over sequences of different lengths, each as if it were alone. What is in the padding does not matter.
 * @param x [B L D]
 * @param mask bool [B L]: true from the first to the last element of each row, which may have none.
 * @returns y [B L D], 0 in the padding, and the state after each row's own last element
 * @throws RangeError if the mixer does not honour resets.
 */
export function runPadded(
  mixer: AnyMixer,
  config: MixerConfig,
  params: Tree,
  x: Tensor,
  mask: Tensor,
  options: PaddedOptions = {},
): readonly [Tensor, Tree] {
  assertConfig("runPadded", mixer, config);
  assertTensor("runPadded", x);
  assertTensor("runPadded", mask);
  assertSettings("runPadded", options, { mode: "own", resets: "tensor?" });
  const { mode, resets } = options;
  const together = (own: Tensor, given: Tensor | undefined): Tensor => (given ? or(own, cast(given, "bool")) : own);
  if (!isCausal(mixer, config) || mixer.state === "none") {
    const flags = together(resetsOfMask(mask), resets);
    const [y, state] = runMixer(mixer, config, params, only(x, mask), undefined, mode, flags);
    return [only(y, mask), state];
  }
  const aligned = alignToEnd(mask);
  const flags = together(aligned.resets, resets && aligned.toEnd(cast(resets, "i32")));
  const [y, state] = runMixer(mixer, config, params, aligned.toEnd(x), undefined, mode, flags);
  return [aligned.back(y), forget(mixer, config, state, aligned.empty)];
}
