/** Short depthwise convolution that looks back only, as in front of a selective SSM. */
import {
  add,
  and,
  assertSettings,
  cast,
  concat,
  expandDims,
  foldIn,
  full,
  mul,
  not,
  pad,
  reshape,
  ShapeError,
  silu,
  sliceAxis,
  sum,
  Tensor,
  transpose,
  where,
  zeros,
  type Key,
} from "@seqmix/tensor";
import { assertLinear } from "./assert-parameters.js";
import { uniformInit, type Initializer } from "./initialize.js";

/** One filter of width W for each of D channels. */
export type CausalConv1dParameters = {
  /** [D W]; weight[d, W-1] multiplies the present input. Checkpoints store it as [D 1 W]. */
  readonly weight: Tensor;
  /** [D]; none: nothing is added. */
  readonly bias?: Tensor;
};

/** What follows the convolution; nothing by default. */
export interface CausalConv1dOptions {
  /** "silu": y sigmoid(y). */
  readonly activation?: "silu";
}

/** How {@link causalConv1d} runs over sequences. */
export interface CausalConv1dSequenceOptions extends CausalConv1dOptions {
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]: no input reaches across, `state` included. */
  readonly resets?: Tensor | undefined;
}

/** Parameters for D channels and width W; uniform in +-1/sqrt(W) by default, as in PyTorch for one input a group. */
export function initCausalConv1d(
  key: Key,
  channels: number,
  width: number,
  options: { readonly bias?: boolean; readonly weightInit?: Initializer; readonly biasInit?: Initializer } = {},
): CausalConv1dParameters {
  assertSettings("initCausalConv1d", options, { bias: "flag", weightInit: "function?", biasInit: "function?" });
  const standard = uniformInit(1 / Math.sqrt(width));
  const { bias = true, weightInit = standard, biasInit = standard } = options;
  const weight = weightInit(foldIn(key, "weight"), [channels, width]);
  return bias ? { weight, bias: biasInit(foldIn(key, "bias"), [channels]) } : { weight };
}

/** The state before the first input: zeros [B D W-1]. */
export const initCausalConv1dState = (batch: number, channels: number, width: number): Tensor =>
  zeros([batch, channels, width - 1]);

/**
 * y_t = activation(bias + sum_w weight[:, w] x_(t - W + 1 + w)) for every channel by itself.
 * @param x [B L D]
 * @param state [B D W-1], the raw inputs before x, oldest first; zeros by default
 * @returns y [B L D] and the last W-1 raw inputs [B D W-1]
 */
export function causalConv1d(
  parameters: CausalConv1dParameters,
  x: Tensor,
  state?: Tensor,
  options: CausalConv1dSequenceOptions = {},
): readonly [Tensor, Tensor] {
  assertLinear("causalConv1d", parameters, x);
  assertSettings("causalConv1d", options, { activation: "own", resets: "tensor?" });
  const { resets } = options;
  const activation = activationOf("causalConv1d", options);
  const [D, W] = parameters.weight.shape as [number, number];
  if (x.shape.length !== 3 || x.shape[2] !== D)
    throw new ShapeError(
      `causalConv1d: expected x [B L ${D}] for a weight of shape [${D},${W}], got shape [${x.shape.join(",")}]; check the number of channels`,
    );
  const [B, L] = x.shape as [number, number];
  assertState("causalConv1d", state, [B, D, W - 1]);
  const padded = state ? concat([transpose(state), x], 1) : pad(x, [0, W - 1, 0], [0, 0, 0]);
  const reach = resets && reachOf(resets, [B, L], W);
  let y: Tensor | undefined;
  for (let w = 0; w < W; w++) {
    // [D] per tap: the sum of W products fuses into one loop.
    const term = mul(sliceAxis(padded, 1, w, w + L), reshape(sliceAxis(parameters.weight, 1, w, w + 1), [D]));
    const reached = reach ? where(reach[W - 1 - w]!, term, 0) : term;
    y = y ? add(y, reached) : reached;
  }
  const last = transpose(sliceAxis(padded, 1, L, L + W - 1));
  // Of the last inputs, those of the last sequence: the one at distance d before the end is as far away as d positions.
  const own =
    reach && L > 0 && W > 1
      ? concat(
          Array.from({ length: W - 1 }, (_, j) => reshape(sliceAxis(reach[W - 2 - j]!, 1, L - 1, L), [B, 1, 1])),
          2,
        )
      : undefined;
  return [finish(parameters, y!, activation), own ? where(own, last, 0) : last];
}

/** @throws RangeError for other activations than there are. */
function activationOf(name: string, { activation }: CausalConv1dOptions): "silu" | undefined {
  if (activation !== undefined && activation !== "silu")
    throw new RangeError(`${name}: expected activation "silu" or none, got ${String(activation)}; apply it behind`);
  return activation;
}

/** For each distance d below W: whether the input d positions back is of the same sequence, bool [B L 1]. */
function reachOf(resets: Tensor, [B, L]: readonly [number, number], W: number): readonly Tensor[] {
  if (resets.shape.join() !== `${B},${L}`)
    throw new ShapeError(
      `causalConv1d: expected resets [B L] of shape [${B},${L}], got shape [${resets.shape.join(",")}]; give one number a position`,
    );
  const inside = concat([full([B, W - 1], 1, "bool"), not(cast(resets, "bool"))], 1);
  const reach: Tensor[] = [full([B, L, 1], 1, "bool")];
  for (let d = 1; d < W; d++) reach.push(and(reach[d - 1]!, expandDims(sliceAxis(inside, 1, W - d, W - d + L), 2)));
  return reach;
}

/**
 * One element of {@link causalConv1d}.
 * @param x [B D]
 * @param state [B D W-1]
 * @returns y [B D] and the next state [B D W-1]
 */
export function causalConv1dStep(
  parameters: CausalConv1dParameters,
  x: Tensor,
  state: Tensor,
  options: CausalConv1dOptions = {},
): readonly [Tensor, Tensor] {
  assertLinear("causalConv1dStep", parameters, x);
  assertSettings("causalConv1dStep", options, ["activation"]);
  const activation = activationOf("causalConv1dStep", options);
  const [D, W] = parameters.weight.shape as [number, number];
  if (x.shape.length !== 2 || x.shape[1] !== D)
    throw new ShapeError(
      `causalConv1dStep: expected x [B ${D}] for a weight of shape [${D},${W}], got shape [${x.shape.join(",")}]; check the number of channels`,
    );
  assertState("causalConv1dStep", state, [x.shape[0]!, D, W - 1]);
  const window = concat([state, expandDims(x, 2)], 2);
  return [finish(parameters, sum(mul(window, parameters.weight), 2), activation), sliceAxis(window, 2, 1, W)];
}

function finish({ bias }: CausalConv1dParameters, y: Tensor, activation: "silu" | undefined): Tensor {
  const shifted = bias ? add(y, bias) : y;
  return activation === "silu" ? silu(shifted) : shifted;
}

function assertState(name: string, state: Tensor | undefined, shape: readonly number[]): void {
  if (state !== undefined && !(state instanceof Tensor)) {
    const given = state as object | null;
    const got = given && typeof given === "object" ? `an object with ${Object.keys(given).join(", ")}` : String(given);
    throw new TypeError(`${name}: expected a state [B D W-1] or undefined, got ${got}; options come after the state`);
  }
  if (state && state.shape.join() !== shape.join())
    throw new ShapeError(
      `${name}: expected a state [B D W-1] of shape [${shape.join(",")}], got shape [${state.shape.join(",")}]; pass the one returned for the earlier inputs`,
    );
}
