/** The WKV operator of RWKV-4 (Peng et al., RWKV: Reinventing RNNs for the Transformer Era, 2023, section 3.1), exact for any keys. */
import { associativeScan, linearScan } from "@seqmix/scan";
import {
  add,
  assertSettings,
  broadcastTo,
  concat,
  defineKernel,
  div,
  exp,
  expandDims,
  full,
  maximum,
  mul,
  reshape,
  ShapeError,
  sliceAxis,
  stopGradient,
  sub,
  where,
  zeros,
  type Dims,
  type Kernel,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";
import { wkvOnGpu } from "./webgpu/variant.js";

/** Sums over the positions so far, both times e^-pp: sum_i e^((t - i) w + k_i) v_i = aa e^pp, and bb e^pp without v. */
export type WkvState = {
  /** Numerator [B C]. */
  readonly aa: Tensor;
  /** Denominator [B C]. */
  readonly bb: Tensor;
  /** The largest exponent so far [B C]. */
  readonly pp: Tensor;
};

/** What {@link wkv} takes. */
export interface WkvArguments {
  /** Decay a step, negative [C]: -exp(time_decay). */
  readonly w: Tensor;
  /** Bonus of the current position [C]: time_first. */
  readonly u: Tensor;
  /** Keys [B L C]. */
  readonly k: Tensor;
  /** Values [B L C]. */
  readonly v: Tensor;
  /** Before the first position; {@link wkvStart} by default. */
  readonly state?: WkvState | undefined;
  /** bool [B L]: true where what was before is forgotten. */
  readonly resets?: Tensor | undefined;
}

const INPUTS: SettingRules<Omit<WkvArguments, "state" | "resets">> = {
  w: "tensor",
  u: "tensor",
  k: "tensor",
  v: "tensor",
};
const STATE: SettingRules<WkvState> = { aa: "tensor", bb: "tensor", pp: "tensor" };

/** The exponent of a state that holds nothing, the training kernel's; inference code has -1e30. */
const NOTHING = -1e38;
/** A decay that forgets everything; several of them add up to a number. */
const FORGET = -1e30;

/** The state before the first position. */
export const wkvStart = (batch: number, channels: number): WkvState => ({
  aa: zeros([batch, channels]),
  bb: zeros([batch, channels]),
  pp: full([batch, channels], NOTHING),
});

/** Axes of the inputs of {@link wkvKernel}. */
export type WkvInputs = {
  /** Decay a step, negative. */
  readonly w: "C";
  /** Bonus of the current position. */
  readonly u: "C";
  /** Keys. */
  readonly k: "B L C";
  /** Values. */
  readonly v: "B L C";
  /** The state before the first position, all of it or nothing. */
  readonly aa0: "B C";
  /** Its denominator. */
  readonly bb0: "B C";
  /** Its exponent. */
  readonly pp0: "B C";
  /** bool: true where what was before is forgotten. */
  readonly resets: "B L";
};

/** Axes of the outputs of {@link wkvKernel}. */
export type WkvOutputs = {
  /** The quotients. */
  readonly y: "B L C";
  /** The state after the last position. */
  readonly aaT: "B C";
  /** Its denominator. */
  readonly bbT: "B C";
  /** Its exponent. */
  readonly ppT: "B C";
};

const carried = ["aa0", "bb0", "pp0"] as const;
const sampled = {
  options: undefined,
  ranges: { w: [-3, -0.01], k: [-6, 6], bb0: [0.2, 1], pp0: [-3, 3], resets: [0, 1.1] },
} as const;

/**
 * y_t = (sum_(i < t) e^((t - 1 - i) w + k_i) v_i + e^(u + k_t) v_t) / (the same without v), all positions at once, as a
 * record: tensor code everywhere, three passes over keys and values on webgpu.
 */
export const wkvKernel: Kernel<WkvInputs, WkvOutputs, undefined> = defineKernel<WkvInputs, WkvOutputs, undefined>({
  name: "wkv",
  inputs: { w: "C", u: "C", k: "B L C", v: "B L C", aa0: "B C", bb0: "B C", pp0: "B C", resets: "B L" },
  optional: [...carried, "resets"],
  dtypes: { resets: "bool" },
  outputs: { y: "B L C", aaT: "B C", bbT: "B C", ppT: "B C" },
  residuals: { logSum: "B L C" },
  backwardReads: ["y", "logSum"],
  reference: scanned,
  cost: ({ B, L, C }, _, present) => ({
    flops: 16 * B! * L! * C!,
    bytes:
      4 *
      (3 * B! * L! * C! +
        2 * C! +
        (present?.has("aa0") === false ? 3 : 6) * B! * C! +
        (present?.has("resets") === false ? 0 : B! * L!)),
  }),
  variants: [wkvOnGpu],
  samples: [
    { ...sampled, name: "everything", dims: { B: 2, L: 300, C: 3 } },
    {
      ...sampled,
      name: "keys whose powers overflow, from nothing",
      dims: { B: 1, L: 130, C: 2 },
      without: [...carried, "resets"],
      ranges: { ...sampled.ranges, k: [85, 100] },
    },
  ],
});

/**
 * y_t = (sum_(i < t) e^((t - 1 - i) w + k_i) v_i + e^(u + k_t) v_t) / (the same without v), all positions at once.
 * @returns y [B L C] and the state after the last position
 */
export function wkv(given: WkvArguments): readonly [Tensor, WkvState] {
  assertSettings("wkv", given, { ...INPUTS, state: "own", resets: "tensor?" });
  const { w, u, k, v, state, resets } = given;
  if (state !== undefined) assertSettings("wkv, state", state, STATE);
  const [B, L, C] = k.shape as [number, number, number];
  if (L === 0) return [k, state ?? wkvStart(B, C)];
  const before = state && { aa0: state.aa, bb0: state.bb, pp0: state.pp };
  const { y, aaT, bbT, ppT } = wkvKernel({ w, u, k, v, ...before, resets }, undefined);
  return [y, { aa: aaT, bb: bbT, pp: ppT }];
}

/** What {@link scanned} takes. */
interface Given extends Omit<WkvArguments, "state"> {
  readonly aa0?: Tensor;
  readonly bb0?: Tensor;
  readonly pp0?: Tensor;
}

/**
 * The definition in log2(L) rounds: the largest exponents are a scan of maxima, the sums two linear scans whose decays and
 * drives are at most 1.
 */
function scanned(
  { w, u, k, v, resets, aa0, bb0, pp0 }: Given,
  _: undefined,
  dims: Dims,
): Record<keyof WkvOutputs, Tensor> {
  const [B, L, C] = ["B", "L", "C"].map((axis) => dims[axis]!) as [number, number, number];
  if ([aa0, bb0, pp0].some((x) => (x === undefined) !== (aa0 === undefined)))
    throw new ShapeError("wkv: expected aa0, bb0 and pp0 or none of them, got some; give the whole state");
  const start = aa0 ? { aa: aa0, bb: bb0!, pp: pp0! } : wkvStart(B, C);
  const gone = resets && broadcastTo(expandDims(resets, 2), k.shape);
  const decay = gone ? where(gone, FORGET, broadcastTo(w, k.shape)) : broadcastTo(w, k.shape);
  // The exponents only scale numbers: whatever they are, y is the same, and no gradient goes through them.
  const exponents = largest(decay, k, start.pp);
  const after = stopGradient(exponents);
  const before = concat([expandDims(start.pp, 1), sliceAxis(after, 1, 0, L - 1)], 1);
  const a = exp(sub(add(before, decay), after));
  const b = exp(sub(k, after));
  const sums = (drive: Tensor, h0: Tensor): Tensor => linearScan({ a, b: drive, h0, axis: 1 });
  const [aa, bb] = [sums(mul(b, v), start.aa), sums(b, start.bb)];
  const y = outputOf(
    {
      aa: shifted(aa, start.aa, gone, 0),
      bb: shifted(bb, start.bb, gone, 0),
      pp: gone ? where(gone, NOTHING, before) : before,
    },
    add(u, k),
    v,
  );
  const last = lastState({ aa, bb, pp: after }, exponents);
  return { y, aaT: last.aa, bbT: last.bb, ppT: last.pp };
}

/** One position of {@link wkv}: k, v [B C] -> y [B C]. */
export function wkvStep(given: Omit<WkvArguments, "state" | "resets">, state: WkvState): readonly [Tensor, WkvState] {
  assertSettings("wkvStep", given, INPUTS);
  assertSettings("wkvStep, state", state, STATE);
  const { w, u, k, v } = given;
  const y = outputOf(state, add(u, k), v);
  const pp = maximum(add(state.pp, w), k);
  const [kept, fresh] = [exp(sub(add(state.pp, w), pp)), exp(sub(k, pp))];
  return [y, { aa: add(mul(kept, state.aa), mul(fresh, v)), bb: add(mul(kept, state.bb), fresh), pp }];
}

/** The quotient, both terms times e^-q with the larger exponent q. */
function outputOf({ aa, bb, pp }: WkvState, exponent: Tensor, v: Tensor): Tensor {
  const q = stopGradient(maximum(pp, exponent));
  const [past, now] = [exp(sub(pp, q)), exp(sub(exponent, q))];
  return div(add(mul(past, aa), mul(now, v)), add(mul(past, bb), now));
}

/** p_t = max(p_(t-1) + decay_t, k_t), in log2(L) rounds. */
function largest(decay: Tensor, k: Tensor, pp: Tensor): Tensor {
  const prefixes = associativeScan<{ readonly a: Tensor; readonly b: Tensor }>(
    (earlier, later) => ({ a: add(earlier.a, later.a), b: maximum(add(earlier.b, later.a), later.b) }),
    { a: decay, b: k },
    1,
  );
  return maximum(add(expandDims(pp, 1), prefixes.a), prefixes.b);
}

/** The state before each position. */
function shifted(h: Tensor, first: Tensor, gone: Tensor | undefined, nothing: number): Tensor {
  const before = concat([expandDims(first, 1), sliceAxis(h, 1, 0, h.shape[1]! - 1)], 1);
  return gone ? where(gone, nothing, before) : before;
}

/** The state at the end, with gradients through its exponent, which the sums left out. */
function lastState(states: WkvState, exponents: Tensor): WkvState {
  const [B, L, C] = exponents.shape as [number, number, number];
  const last = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, L - 1, L), [B, C]);
  const pp = last(exponents);
  const factor = exp(sub(last(states.pp), pp));
  return { aa: mul(last(states.aa), factor), bb: mul(last(states.bb), factor), pp };
}
