/** The selective state-space operator S6 (Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023). */
import { complexMul, linearScan, type Complex } from "@seqmix/scan";
import {
  add,
  assertOneOf,
  assertSettings,
  assertTensors,
  broadcastTo,
  cast,
  cos,
  defineKernel,
  DTypeError,
  exp,
  expandDims,
  formatShape,
  mul,
  reshape,
  ShapeError,
  silu,
  sin,
  sliceAxis,
  softplus,
  sub,
  sum,
  Tensor,
  zeros,
  type Kernel,
} from "@seqmix/tensor";

/** Settings of {@link selectiveScan} and {@link selectiveScanStep}. */
export interface SelectiveScanOptions {
  /** Pass delta (with its bias) through softplus. */
  readonly deltaSoftplus?: boolean;
}

/** Axes of the inputs of {@link selectiveScanKernel}. */
export type SelectiveScanInputs = {
  /** Input. */
  readonly u: "B L D";
  /** Step size before its bias and softplus. */
  readonly delta: "B L D";
  /** Continuous diagonal transition. */
  readonly A: "D N";
  /** Input map. */
  readonly B: "B L N";
  /** Output map. */
  readonly C: "B L N";
  /** Added to delta. */
  readonly deltaBias: "D";
  /** Skip from input to output. */
  readonly D: "D";
  /** Gate, passed through silu. */
  readonly z: "B L D";
  /** State before the first position. */
  readonly h0: "B D N";
  /** bool, true at the first position of each packed sequence. */
  readonly resets: "B L";
};

/** Axes of the outputs of {@link selectiveScanKernel}. */
export type SelectiveScanOutputs = {
  /** Output. */
  readonly y: "B L D";
  /** State after the last position. */
  readonly hT: "B D N";
};

/** Kinds of samples: which inputs are left out. */
const SAMPLES = [
  { name: "", bare: false, without: ["resets"] },
  { name: ", bare", bare: true, without: ["deltaBias", "D", "z", "h0", "resets"] },
  { name: ", packed", bare: false, without: [] },
] as const;

/**
 * The record of {@link selectiveScan} for real A, B and C at every position, one group: with s_t = softplus(delta_t + deltaBias),
 * h_t = exp(s_t A) o h_(t-1) + s_t B_t u_t and y_t = (C_t . h_t + D u_t) silu(z_t).
 */
export const selectiveScanKernel: Kernel<SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanOptions> =
  defineKernel<SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanOptions>({
    name: "selectiveScan",
    options: { deltaSoftplus: "flag" },
    inputs: {
      u: "B L D",
      delta: "B L D",
      A: "D N",
      B: "B L N",
      C: "B L N",
      deltaBias: "D",
      D: "D",
      z: "B L D",
      h0: "B D N",
      resets: "B L",
    },
    optional: ["deltaBias", "D", "z", "h0", "resets"],
    dtypes: { resets: "bool" },
    outputs: { y: "B L D", hT: "B D N" },
    reference(
      inputs: {
        readonly u: Tensor;
        readonly delta: Tensor;
        readonly A: Tensor;
        readonly B: Tensor;
        readonly C: Tensor;
        readonly deltaBias?: Tensor;
        readonly D?: Tensor;
        readonly z?: Tensor;
        readonly h0?: Tensor;
        readonly resets?: Tensor;
      },
      options: SelectiveScanOptions,
    ) {
      const { u, delta, A, B, C, deltaBias, D, z, ...past } = inputs;
      const { y, hT } = realScan(u, stepSize(delta, deltaBias, options), A, expandDims(B, 2), expandDims(C, 2), past);
      return { y: finish(y, u, D, z), hT };
    },
    cost({ B, D, L, N }) {
      // exp counts as one; two products for the drive, a product and a sum for the state, the same for the output.
      return {
        flops: B! * L! * D! * (7 * N! + 6),
        bytes: 4 * (3 * B! * L! * D! + 2 * B! * L! * N! + D! * (N! + 2) + 2 * B! * D! * N!),
      };
    },
    variants: [],
    // Decays weak enough that 1000 of them do not underflow.
    samples: [1, 2, 63, 64, 65, 1000].flatMap((L) =>
      SAMPLES.map(({ name, bare, without }) => ({
        name: `length ${L}${name}`,
        dims: { B: 2, D: L > 100 ? 2 : 5, L, N: 4 },
        options: { deltaSoftplus: !bare },
        ranges: { delta: bare ? [0.01, 0.5] : [-3, 1], A: [-0.1, -0.01], resets: [-1, 0.25] } as const,
        without,
      })),
    ),
  });

/** What {@link selectiveScan} takes. `T` is a tensor for real A, a pair of tensors for complex A. */
export interface SelectiveScanArguments<T extends Tensor | Complex> {
  /** Input [B L D]. */
  readonly u: Tensor;
  /** Step size [B L D]; positive once `deltaBias` and softplus are applied. */
  readonly delta: Tensor;
  /** Continuous diagonal transition [D N]; real parts negative for a state that decays. */
  readonly A: T;
  /** Input map: [D N] constant, [B L N] for each position, or [B L G N] for each position and group of D/G neighbouring channels. */
  readonly B: T;
  /** Output map, shaped like any of those of `B`. */
  readonly C: T;
  /** Skip from input to output [D]. */
  readonly D?: Tensor | undefined;
  /** Gate [B L D]: the result is multiplied by silu(z). */
  readonly z?: Tensor | undefined;
  /** Added to delta [D]. */
  readonly deltaBias?: Tensor | undefined;
  /** State before the first position [B D N]; zeros by default. */
  readonly h0?: T | undefined;
  /**
   * bool or i32 [B L], not 0 at the first position of each of several sequences packed into one: all before it is
   * forgotten, `h0` included.
   */
  readonly resets?: Tensor | undefined;
}

/** What {@link selectiveScan} returns. */
export interface SelectiveScanResult<T extends Tensor | Complex> {
  /** Output [B L D]. */
  readonly y: Tensor;
  /** State after the last position [B D N]. */
  readonly hT: T;
}

/**
 * h_t = exp(delta_t A) o h_(t-1) + delta_t B_t u_t,  y_t = (C_t . h_t + D u_t) silu(z_t).
 *
 * A is discretized by zero-order hold, B by Euler's rule. With complex A, y takes 2 Re(C_t . h_t): the state stands for
 * itself and its conjugate; neither A, B nor C is conjugated, and the final state is not doubled.
 * @returns y [B L D] and the final state hT [B D N], complex if A is.
 * @throws ShapeError naming the axis that differs; DTypeError for resets that are no flags.
 */
export function selectiveScan<T extends Tensor | Complex>(
  inputs: SelectiveScanArguments<T>,
  options: SelectiveScanOptions = {},
): SelectiveScanResult<T> {
  assertSettings("selectiveScan", inputs, ["u", "delta", "A", "B", "C", "D", "z", "deltaBias", "h0", "resets"]);
  assertTensors("selectiveScan", inputs, ["u", "delta", "A", "B", "C"], ["D", "z", "deltaBias", "h0", "resets"]);
  assertOptions("selectiveScan", options);
  const { u, delta, A, B, C, D, z, deltaBias, h0, resets: given } = inputs;
  if (u.shape.length !== 3)
    throw new ShapeError(`selectiveScan: expected u [B L D], got shape ${formatShape(u.shape)}`);
  const channels = u.shape[2]!;
  const resets = given && flagsOf(given, u);
  if (A instanceof Tensor) {
    const [b, c] = [singleGroup(B as Tensor), singleGroup(C as Tensor)];
    const first = h0 as Tensor | undefined;
    if (b.shape.length === 3 && c.shape.length === 3) {
      const { y, hT } = selectiveScanKernel({ u, delta, A, B: b, C: c, deltaBias, D, z, h0: first, resets }, options);
      return { y, hT: hT as T };
    }
    const { y, hT } = realScan(
      u,
      stepSize(delta, deltaBias, options),
      A,
      perPosition(b, channels),
      perPosition(c, channels),
      { h0: first, resets },
    );
    return { y: finish(y, u, D, z), hT: hT as T };
  }
  const both = (x: Complex): Complex => ({ re: perPosition(x.re, channels), im: perPosition(x.im, channels) });
  const { y, hT } = complexScan(u, stepSize(delta, deltaBias, options), A, both(B as Complex), both(C as Complex), {
    h0: h0 as Complex | undefined,
    resets,
  });
  return { y: finish(y, u, D, z), hT: hT as T };
}

/** What {@link selectiveScanStep} takes: one position. */
export interface SelectiveScanStepArguments<T extends Tensor | Complex> {
  /** Input [B D]. */
  readonly u: Tensor;
  /** Step size [B D]. */
  readonly delta: Tensor;
  /** Continuous diagonal transition [D N]. */
  readonly A: T;
  /** Input map [B N], or [B G N] with one for each group of D/G neighbouring channels. */
  readonly B: T;
  /** Output map, shaped like either of those of `B`. */
  readonly C: T;
  /** Skip [D]. */
  readonly D?: Tensor | undefined;
  /** Gate [B D]. */
  readonly z?: Tensor | undefined;
  /** Added to delta [D]. */
  readonly deltaBias?: Tensor | undefined;
  /** State before the position [B D N]. */
  readonly h: T;
}

/** What {@link selectiveScanStep} returns. */
export interface SelectiveScanStepResult<T extends Tensor | Complex> {
  /** Output [B D]. */
  readonly y: Tensor;
  /** State after the position [B D N]. */
  readonly h: T;
}

/**
 * One position of {@link selectiveScan}.
 * @returns y [B D] and the state after the position [B D N].
 */
export function selectiveScanStep<T extends Tensor | Complex>(
  inputs: SelectiveScanStepArguments<T>,
  options: SelectiveScanOptions = {},
): SelectiveScanStepResult<T> {
  assertSettings("selectiveScanStep", inputs, ["u", "delta", "A", "B", "C", "D", "z", "deltaBias", "h"]);
  assertTensors("selectiveScanStep", inputs, ["u", "delta", "A", "B", "C", "h"], ["D", "z", "deltaBias"]);
  assertOptions("selectiveScanStep", options);
  const { u, delta, A, B, C, D, z, deltaBias, h } = inputs;
  if (u.shape.length !== 2)
    throw new ShapeError(`selectiveScanStep: expected u [B D], got shape ${formatShape(u.shape)}`);
  const channels = u.shape[1]!;
  const column = (x: Tensor): Tensor => expandDims(x, -1);
  const step = stepSize(delta, deltaBias, options);
  const drive = column(mul(step, u));
  const perChannel = (x: Tensor): Tensor =>
    x.shape.length === 2 ? expandDims(x, 1) : repeatGroups(x, channels, "selectiveScanStep");
  if (A instanceof Tensor) {
    const next = add(mul(exp(mul(column(step), A)), h as Tensor), mul(drive, perChannel(B as Tensor)));
    return { y: finish(sum(mul(next, perChannel(C as Tensor)), -1), u, D, z), h: next as T };
  }
  const both = (x: Complex, f: (part: Tensor) => Tensor): Complex => ({ re: f(x.re), im: f(x.im) });
  const kept = complexMul(decay(column(step), A), h as Complex);
  const added = both(both(B as Complex, perChannel), (part) => mul(drive, part));
  const next = { re: add(kept.re, added.re), im: add(kept.im, added.im) };
  return { y: finish(readOut(next, both(C as Complex, perChannel)), u, D, z), h: next as T };
}

function assertOptions(name: string, options: SelectiveScanOptions): void {
  assertSettings(name, options, ["deltaSoftplus"]);
  assertOneOf(name, "deltaSoftplus", options.deltaSoftplus ?? false, [true, false]);
}

function stepSize(delta: Tensor, bias: Tensor | undefined, { deltaSoftplus = false }: SelectiveScanOptions): Tensor {
  const shifted = bias ? add(delta, bias) : delta;
  return deltaSoftplus ? softplus(shifted) : shifted;
}

function finish(y: Tensor, u: Tensor, D: Tensor | undefined, z: Tensor | undefined): Tensor {
  const skipped = D ? add(y, mul(u, D)) : y;
  return z ? mul(skipped, silu(z)) : skipped;
}

/** What a scan knows of the positions before its own. */
interface Past<T extends Tensor | Complex> {
  readonly h0?: T | undefined;
  /** bool [B L]. */
  readonly resets?: Tensor | undefined;
}

/** Resets as bool. @throws DTypeError or ShapeError if they are no flags, or not one a position. */
function flagsOf(resets: Tensor, u: Tensor): Tensor {
  if (resets.dtype !== "bool" && resets.dtype !== "i32")
    throw new DTypeError(
      `selectiveScan: expected bool or i32 resets [B L], got ${resets.dtype}; convert them with cast`,
    );
  if (resets.shape.join() !== u.shape.slice(0, 2).join())
    throw new ShapeError(
      `selectiveScan: expected resets [B L] of shape ${formatShape(u.shape.slice(0, 2))}, got shape ${formatShape(resets.shape)}; give one flag a position`,
    );
  return cast(resets, "bool");
}

/** [B L] -> [B L 1 1]. */
const everyState = (resets: Tensor): Tensor => reshape(resets, [...resets.shape, 1, 1]);

/** A [D N]; B and C broadcast to [B L D N]. */
function realScan(
  u: Tensor,
  delta: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  { h0, resets }: Past<Tensor>,
): { readonly y: Tensor; readonly hT: Tensor } {
  const column = (x: Tensor): Tensor => expandDims(x, 3);
  const h = linearScan({
    a: exp(mul(column(delta), A)),
    b: mul(column(mul(delta, u)), B),
    h0,
    axis: 1,
    resets: resets && everyState(resets),
  });
  return { y: sum(mul(h, C), 3), hT: lastState(h, h0) };
}

function complexScan(
  u: Tensor,
  delta: Tensor,
  A: Complex,
  B: Complex,
  C: Complex,
  { h0, resets }: Past<Complex>,
): { readonly y: Tensor; readonly hT: Complex } {
  const drive = expandDims(mul(delta, u), 3);
  const h = linearScan({
    a: decay(expandDims(delta, 3), A),
    b: { re: mul(drive, B.re), im: mul(drive, B.im) },
    h0,
    axis: 1,
    resets: resets && everyState(resets),
  });
  return { y: readOut(h, C), hT: { re: lastState(h.re, h0?.re), im: lastState(h.im, h0?.im) } };
}

/** exp(delta A). */
function decay(delta: Tensor, A: Complex): Complex {
  const size = exp(mul(delta, A.re));
  const angle = mul(delta, A.im);
  return { re: mul(size, cos(angle)), im: mul(size, sin(angle)) };
}

/** 2 Re(C . h) over the last axis. */
const readOut = (h: Complex, C: Complex): Tensor => mul(2, sum(sub(mul(h.re, C.re), mul(h.im, C.im)), -1));

/** h [B L D N] -> [B D N]. */
function lastState(h: Tensor, h0: Tensor | undefined): Tensor {
  const [B, L, D, N] = h.shape as [number, number, number, number];
  return L === 0 ? (h0 ?? zeros([B, D, N])) : reshape(sliceAxis(h, 1, L - 1, L), [B, D, N]);
}

/** One group needs no axis of its own. */
const singleGroup = (x: Tensor): Tensor =>
  x.shape.length === 4 && x.shape[2] === 1 ? reshape(x, [x.shape[0]!, x.shape[1]!, x.shape[3]!]) : x;

/** [D N], [B L N] or [B L G N] -> broadcastable to [B L D N]. */
function perPosition(x: Tensor, channels: number): Tensor {
  if (x.shape.length === 2) return x;
  if (x.shape.length === 3) return expandDims(x, 2);
  if (x.shape.length === 4) return repeatGroups(x, channels, "selectiveScan");
  throw new ShapeError(
    `selectiveScan: expected B and C with axes [D N], [B L N] or [B L G N], got shape ${formatShape(x.shape)}`,
  );
}

/** [.. G N] -> [.. D N]: each group serves D/G neighbouring channels. */
function repeatGroups(x: Tensor, channels: number, name: string): Tensor {
  const outer = x.shape.slice(0, -2);
  const [G, N] = x.shape.slice(-2) as [number, number];
  if (G === 1 || G === channels) return x;
  if (channels % G !== 0)
    throw new ShapeError(
      `${name}: expected groups that divide axis D, got ${G} groups for D = ${channels}; change one of them`,
    );
  return reshape(broadcastTo(expandDims(x, -2), [...outer, G, channels / G, N]), [...outer, channels, N]);
}
