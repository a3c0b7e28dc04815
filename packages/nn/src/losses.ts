/** Losses and the measures that go with them; each is a mean over positions unless told otherwise. */
import {
  add,
  argmax,
  assertNumber,
  assertSettings,
  assertTensor,
  cast,
  checkIndices,
  concat,
  div,
  DTypeError,
  equal,
  expandDims,
  isReal,
  logSumExp,
  matmul,
  mean,
  mul,
  not,
  pick,
  reshape,
  ShapeError,
  sliceAxis,
  square,
  sub,
  sum,
  Tensor,
  transpose,
  where,
  type Shape,
} from "@seqmix/tensor";
import { assertLinear } from "./assert-parameters.js";
import { linear, type LinearParameters } from "./linear.js";

/** Settings of {@link crossEntropy}. */
export interface CrossEntropyOptions {
  /** A label whose positions do not count, -100 in published training code; none by default. */
  readonly ignoreIndex?: number;
  /** Share of the target that is spread evenly over all V classes, 0..1; 0 by default (Szegedy et al., 2016, section 7). */
  readonly labelSmoothing?: number;
  /** "mean" over the positions that count (the default), their "sum", or "none": a value a position, 0 where it does not count. */
  readonly reduction?: "mean" | "sum" | "none";
}

/**
 * -log softmax(logits)[label] in nats, its mean over the positions that count by default; as PyTorch's, but 0 instead of NaN
 * if no position counts.
 * @param logits [.. V]
 * @param labels i32 [..], 0..V-1; any value where the position does not count
 * @param mask bool [..], or f32 weights; all positions by default
 */
export function crossEntropy(logits: Tensor, labels: Tensor, mask?: Tensor, options: CrossEntropyOptions = {}): Tensor {
  assertLabels("crossEntropy", logits, labels);
  assertMask(labels.shape, mask);
  const { ignoreIndex, labelSmoothing = 0, reduction = "mean" } = lossOptions("crossEntropy", options);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new RangeError(`crossEntropy: expected labelSmoothing from 0 to 1, got ${labelSmoothing}`);
  const checked = checkIndices("crossEntropy", labels, logits.shape.at(-1)!, ignoreIndex, mask);
  const known = ignoreIndex === undefined ? undefined : cast(not(equal(checked, ignoreIndex)), "f32");
  const weights = known && mask ? mul(known, cast(mask, "f32")) : (known ?? mask);
  const scores = counted(cast(logits, "f32"), weights && expandDims(weights, -1));
  const chosen = pick(scores, checked);
  const target =
    labelSmoothing === 0 ? chosen : add(mul(chosen, 1 - labelSmoothing), mul(mean(scores, -1), labelSmoothing));
  const losses = sub(logSumExp(scores, -1), target);
  if (reduction === "mean") return maskedMean(losses, weights);
  const kept = weights ? weighted(losses, cast(weights, "f32")) : losses;
  return reduction === "sum" ? sum(kept) : kept;
}

const LOSS_OPTIONS = ["ignoreIndex", "labelSmoothing", "reduction"] as const;
const REDUCTIONS = ["mean", "sum", "none"] as const;

/** @throws TypeError for settings that do not exist; RangeError for others than the reductions, or an index that is no whole number. */
function lossOptions(name: string, options: CrossEntropyOptions): CrossEntropyOptions {
  assertSettings(name, options, LOSS_OPTIONS);
  const { ignoreIndex, reduction = "mean" } = options;
  if (!REDUCTIONS.includes(reduction))
    throw new RangeError(`${name}: expected a reduction out of ${REDUCTIONS.join(", ")}, got ${String(reduction)}`);
  if (ignoreIndex !== undefined && !Number.isInteger(ignoreIndex))
    throw new RangeError(`${name}: expected ignoreIndex, a whole number, got ${String(ignoreIndex)}`);
  return options;
}

/** Settings of {@link linearCrossEntropy}. */
export interface LinearCrossEntropyOptions extends CrossEntropyOptions {
  /** Into how many pieces the positions are divided; by default as many as keep the logits of one below 2^26 numbers, and a few more where all are of one size then. */
  readonly pieces?: number;
}

/** Logits of a piece by default, at most. */
const PIECE = 2 ** 26;

/** How many pieces of at most so many logits N positions make: of one size if it takes no more than twice as many. */
function piecesOf(N: number, V: number): number {
  const least = Math.ceil((N * V) / PIECE);
  for (let count = least; count < 2 * least; count++) if (N % count === 0) return count;
  return least;
}

/**
 * {@link crossEntropy} of `linear(head, x)`, the logits and their gradient in pieces of the positions: with a large
 * vocabulary they would take more memory than all else of a training step. The values are those of the whole up to
 * rounding.
 * @param head weight [V D], perhaps bias [V]
 * @param x [.. D]
 * @param labels i32 [..], 0..V-1; any value where the position does not count
 * @param mask bool [..], or f32 weights; all positions by default
 */
export function linearCrossEntropy(
  head: LinearParameters,
  x: Tensor,
  labels: Tensor,
  mask?: Tensor,
  settings: LinearCrossEntropyOptions = {},
): Tensor {
  assertLinear("linearCrossEntropy", head, x);
  assertTensor("linearCrossEntropy", labels);
  assertSettings("linearCrossEntropy", settings, ["pieces", ...LOSS_OPTIONS]);
  const { pieces, ...given } = settings;
  if (pieces !== undefined) assertNumber("linearCrossEntropy", "pieces", pieces, { from: 1, whole: true });
  const { reduction = "mean", ...options } = lossOptions("linearCrossEntropy", given);
  const D = x.shape.at(-1)!;
  const V = head.weight.shape[0]!;
  assertPositions("linearCrossEntropy", x, labels);
  assertMask(labels.shape, mask);
  const N = labels.size;
  const count = Math.min(Math.max(1, N), pieces ?? piecesOf(N, V));
  if (count === 1) return crossEntropy(linear(head, x), labels, mask, { ...options, reduction });
  const [rows, chosen] = [reshape(x, [N, D]), reshape(labels, [N])];
  const weights = mask && reshape(mask, [N]);
  const length = Math.ceil(N / count);
  const own = { ...options, reduction: reduction === "none" ? "none" : "sum" } as const;
  const parts: Tensor[] = [];
  // One for all pieces, so that their gradients of it are added up as they are computed.
  const columns = transpose(head.weight);
  for (let from = 0; from < N; from += length) {
    const part = (y: Tensor): Tensor => sliceAxis(y, 0, from, Math.min(N, from + length));
    const product = matmul(part(rows), columns);
    const logits = head.bias ? add(product, head.bias) : product;
    parts.push(crossEntropy(logits, part(chosen), weights && part(weights), own));
  }
  if (reduction === "none") return reshape(concat(parts, 0), labels.shape);
  const total = parts.reduce((a, b) => add(a, b));
  if (reduction === "sum") return total;
  return div(total, countOf(chosen, weights, options.ignoreIndex));
}

/** How much the positions that count weigh, 1 if none does. */
function countOf(labels: Tensor, mask: Tensor | undefined, ignoreIndex: number | undefined): Tensor | number {
  const known = ignoreIndex === undefined ? undefined : cast(not(equal(labels, ignoreIndex)), "f32");
  if (!known && !mask) return Math.max(1, labels.size);
  const weights = known && mask ? mul(known, cast(mask, "f32")) : (known ?? cast(mask!, "f32"));
  const total = sum(weights);
  return where(equal(total, 0), 1, total);
}

/** Cross entropy in nats a token as bits a character. @param charactersPerToken 1 for models of single characters. */
export const bitsPerChar = (nats: number, charactersPerToken = 1): number => nats / Math.LN2 / charactersPerToken;

/**
 * Share of the positions that count, 0..1, whose largest logit is the label's.
 * @param logits [.. V]
 * @param labels i32 [..]
 * @param mask bool [..], or f32 weights; all positions by default
 */
export function accuracy(logits: Tensor, labels: Tensor, mask?: Tensor): Tensor {
  assertLabels("accuracy", logits, labels);
  assertMask(labels.shape, mask);
  return maskedMean(cast(equal(argmax(logits, -1), labels), "f32"), mask);
}

/** Mean of (prediction - target)^2 over the elements that count, f32. @param mask bool or f32, the shape of both; all by default */
export function meanSquaredError(prediction: Tensor, target: Tensor, mask?: Tensor): Tensor {
  assertReal("meanSquaredError", prediction);
  assertTensor("meanSquaredError", target);
  if (prediction.shape.join() !== target.shape.join())
    throw new ShapeError(
      `meanSquaredError: expected prediction and target of one shape, got [${prediction.shape.join(",")}] and [${target.shape.join(",")}]; reshape one`,
    );
  assertMask(prediction.shape, mask);
  const difference = sub(cast(prediction, "f32"), cast(target, "f32"));
  return maskedMean(square(counted(difference, mask)), mask);
}

/**
 * x where the mask counts, else 0: what lies outside it may be infinite, and a cotangent of 0 times infinity is NaN.
 * @param mask Broadcasts to x.
 */
const counted = (x: Tensor, mask: Tensor | undefined): Tensor => (mask ? where(cast(mask, "bool"), x, 0) : x);

function maskedMean(values: Tensor, mask: Tensor | undefined): Tensor {
  // Of nothing the sum is 0, where a mean would be NaN.
  if (!mask) return values.size === 0 ? sum(values) : mean(values);
  const weights = cast(mask, "f32");
  const total = sum(weights);
  return div(sum(weighted(values, weights)), where(equal(total, 0), 1, total));
}

/** Values outside the mask may be infinite: a product with 0 would be NaN. */
const weighted = (values: Tensor, weights: Tensor): Tensor => where(equal(weights, 0), 0, mul(values, weights));

/** @throws DTypeError for anything but a tensor of real numbers. */
function assertReal(name: string, x: Tensor): void {
  if (!(x instanceof Tensor) || !isReal(x.dtype))
    throw new DTypeError(
      `${name}: expected logits or predictions, a tensor of f32 or f16, got ${x instanceof Tensor ? x.toString() : typeof x}; make a tensor of them, or convert it with cast`,
    );
}

function assertMask(shape: Shape, mask: Tensor | undefined): void {
  if (mask !== undefined && !(mask instanceof Tensor))
    throw new TypeError("mask: expected a tensor or undefined, got something else; settings come after the mask");
  if (mask && mask.shape.join() !== shape.join())
    throw new ShapeError(
      `mask: expected shape [${shape.join(",")}], one value a position, got [${mask.shape.join(",")}]`,
    );
}

function assertPositions(name: string, x: Tensor, labels: Tensor): void {
  if (x.shape.slice(0, -1).join() !== labels.shape.join())
    throw new ShapeError(
      `${name}: expected labels [${x.shape.slice(0, -1).join(",")}] for x [${x.shape.join(",")}], got [${labels.shape.join(",")}]; give one label a position`,
    );
}

function assertLabels(name: string, logits: Tensor, labels: Tensor): void {
  assertReal(name, logits);
  if (!(labels instanceof Tensor) || labels.dtype !== "i32")
    throw new DTypeError(
      `${name}: expected i32 labels, got ${labels instanceof Tensor ? labels.toString() : typeof labels}; make them with tensor(Int32Array.from(...)), or convert them with cast`,
    );
  if (logits.shape.slice(0, -1).join() !== labels.shape.join())
    throw new ShapeError(
      `${name}: expected labels [${logits.shape.slice(0, -1).join(",")}] for logits [${logits.shape.join(",")}], got [${labels.shape.join(",")}]; drop the last axis of the logits only`,
    );
}
