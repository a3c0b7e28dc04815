/**
 * Randomness by keys: a key and a shape give the same numbers on every device, always.
 * Threefry-2x32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011),
 * composed from integer ops, so that it fuses into whatever uses the numbers.
 */
import { assertShape, assertTensor, assertWhole } from "../graph/assert.js";
import { describeValue } from "../graph/errors.js";
import { argmax } from "./composed.js";
import {
  add,
  bitOr,
  bitXor,
  cast,
  cos,
  floor,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  shiftLeft,
  shiftRight,
  sqrt,
  sub,
} from "../ops/elementwise.js";
import type { Operand } from "../ops/elementwise.js";
import { arange, zeros } from "../ops/generators.js";
import { reshape, sliceAxis, concat } from "../ops/movement.js";
import { sizeOf, type Shape } from "../graph/shape.js";
import { tensor, Tensor } from "../graph/tensor.js";

/** A source of randomness: two 32-bit words. Use a key once; make more with {@link splitKey}. */
export interface Key {
  /** The cipher's key. */
  readonly words: readonly [number, number];
}

const isWords = (words: unknown): boolean =>
  words instanceof Tensor
    ? words.dtype === "i32" && words.shape.join() === "2"
    : Array.isArray(words) && words.length === 2 && words.every((word) => (word | 0) === word);

/**
 * For functions that draw.
 * @param name The function, for the error.
 * @throws TypeError for anything but a key of {@link key} or {@link keyTensor}.
 */
export function assertKey(name: string, source: Key | TensorKey): void {
  if (!isWords(source?.words))
    throw new TypeError(`${name}: expected a key, got ${describeValue(source)}; make one with key(seed)`);
}

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const PARITY = 0x1bd11bda;

/** A key from a seed, any integer of at most 2^53. */
export function key(seed: number): Key {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`key: expected an integer seed, got ${seed}`);
  return { words: [Math.floor(seed / 2 ** 32) | 0, seed | 0] };
}

/** Independent keys made of one. */
export function splitKey(parent: Key, count = 2): Key[] {
  assertKey("splitKey", parent);
  assertShape("splitKey", [count]);
  return Array.from({ length: count }, (_, k) => ({ words: threefry(parent.words, [k, 0]) }));
}

/** A key made of one and a number or name, e.g. a step or a parameter's path. */
export function foldIn(parent: Key, data: number | string): Key {
  assertKey("foldIn", parent);
  if (typeof data !== "string") assertWhole("foldIn", data);
  if (typeof data === "number") return { words: threefry(parent.words, [data, 1]) };
  let words = parent.words;
  for (const character of data) words = threefry(words, [character.codePointAt(0)!, 2]);
  return { words };
}

/** The block cipher on the host: 64 random bits from a key and a counter. */
export function threefry([k0, k1]: readonly [number, number], [c0, c1]: readonly [number, number]): [number, number] {
  const schedule = [k0, k1, k0 ^ k1 ^ PARITY];
  let x0 = (c0 + k0) | 0;
  let x1 = (c1 + k1) | 0;
  for (let round = 0; round < 20; round++) {
    const r = ROTATIONS[round % 8]!;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    if (round % 4 === 3) {
      const s = (round + 1) / 4;
      x0 = (x0 + schedule[s % 3]!) | 0;
      x1 = (x1 + schedule[(s + 1) % 3]! + s) | 0;
    }
  }
  return [x0, x1];
}

/**
 * A key whose words are in a tensor: numbers that change from step to step, such as those of dropout, come from one plan then.
 * {@link keyTensor} makes one.
 */
export interface TensorKey {
  /** i32 [2]. */
  readonly words: Tensor;
}

/** The key's words as host data of a tensor, to be handed to a step as a batch is. */
export const keyTensor = ({ words }: Key): TensorKey => ({ words: tensor(Int32Array.from(words)) });

/** The block cipher over tensors: both words of many blocks. */
function cipher({ words }: Key | TensorKey, c0: Tensor, c1: Tensor): [Tensor, Tensor] {
  const [k0, k1]: readonly [Operand, Operand] =
    words instanceof Tensor ? [sliceAxis(words, 0, 0, 1), sliceAxis(words, 0, 1, 2)] : words;
  const k2 = typeof k0 === "number" && typeof k1 === "number" ? k0 ^ k1 ^ PARITY : bitXor(bitXor(k0, k1), PARITY);
  const schedule = [k0, k1, k2];
  const plus = (k: Operand, s: number): Operand => (typeof k === "number" ? (k + s) | 0 : add(k, s));
  let [x0, x1] = [add(c0, k0), add(c1, k1)];
  for (let round = 0; round < 20; round++) {
    const r = ROTATIONS[round % 8]!;
    x0 = add(x0, x1);
    x1 = bitXor(bitOr(shiftLeft(x1, r), shiftRight(x1, 32 - r)), x0);
    if (round % 4 === 3) {
      const s = (round + 1) / 4;
      x0 = add(x0, schedule[s % 3]!);
      x1 = add(x1, plus(schedule[(s + 1) % 3]!, s));
    }
  }
  return [x0, x1];
}

/** Random 32-bit words, as i32. */
export function randomBits(source: Key | TensorKey, shape: Shape): Tensor {
  assertKey("randomBits", source);
  assertShape("randomBits", shape);
  const size = sizeOf(shape);
  const half = Math.ceil(size / 2);
  const [x0, x1] = cipher(source, arange(half), mul(arange(half), 0));
  return reshape(sliceAxis(concat([x0, x1], 0), 0, 0, size), shape);
}

/** Two keys made of one that is in a tensor, as {@link splitKey} makes them. */
function splitTensor(source: TensorKey): [TensorKey, TensorKey] {
  const [x0, x1] = cipher(source, arange(2), zeros([2], "i32"));
  const at = (k: number): TensorKey => ({
    words: concat([sliceAxis(x0, 0, k, k + 1), sliceAxis(x1, 0, k, k + 1)], 0),
  });
  return [at(0), at(1)];
}

/** Uniform f32 in [low, high), 24 random bits each; low where no f32 number lies between. */
export function uniform(source: Key | TensorKey, shape: Shape, low = 0, high = 1): Tensor {
  assertKey("uniform", source);
  if (!(low <= high && high - low < Infinity))
    throw new RangeError(`uniform: expected finite numbers low <= high, got ${low} and ${high}; swap them`);
  const [from, to] = [Math.fround(low), Math.fround(high)];
  if (!(to - from <= LARGEST))
    throw new RangeError(
      `uniform: expected a range as wide as an f32 number at most, got ${low} to ${high}; narrow it`,
    );
  const unit = mul(cast(shiftRight(randomBits(source, shape), 8), "f32"), 2 ** -24);
  // the sum may be rounded up to the end, which is excluded
  return low === 0 && high === 1 ? unit : minimum(add(mul(unit, high - low), low), Math.max(from, numberBelow(to)));
}

const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** The largest f32 number below x, an f32 number. */
function numberBelow(x: number): number {
  const bits = new Int32Array(new Float32Array([x]).buffer);
  if (x === 0) return -(2 ** -126);
  bits[0]! += x > 0 ? -1 : 1;
  return new Float32Array(bits.buffer)[0]!;
}

/** Normal f32 with the given mean and standard deviation (Box and Muller's transform). */
export function normal(source: Key | TensorKey, shape: Shape, mean = 0, deviation = 1): Tensor {
  assertKey("normal", source);
  if (!Number.isFinite(mean) || !(deviation >= 0 && deviation < Infinity))
    throw new RangeError(
      `normal: expected a finite mean and a deviation of at least 0, got ${mean} and ${deviation}; the shape comes before them`,
    );
  const [a, b] = source.words instanceof Tensor ? splitTensor(source as TensorKey) : splitKey(source as Key);
  // 1 - u lies in (0, 1], so the logarithm is finite.
  const radius = sqrt(mul(-2, log(sub(1, uniform(a, shape)))));
  const z = mul(radius, cos(mul(uniform(b, shape), 2 * Math.PI)));
  return mean === 0 && deviation === 1 ? z : add(mul(z, deviation), mean);
}

/**
 * Whole numbers from low to high - 1, each as likely, i32.
 * @throws RangeError unless low < high, at most 2^24 apart.
 */
export function randint(source: Key | TensorKey, shape: Shape, low: number, high: number): Tensor {
  const count = high - low;
  if (!Number.isInteger(low) || !Number.isInteger(high) || count < 1 || count > 2 ** 24)
    throw new RangeError(
      `randint: expected whole numbers low < high at most 2^24 apart, got ${low} and ${high}; combine two draws for more`,
    );
  const drawn = cast(floor(mul(uniform(source, shape), count)), "i32");
  return low === 0 ? drawn : add(drawn, low);
}

/** true with probability p (a number, or a tensor that broadcasts to the shape), bool. */
export function bernoulli(source: Key | TensorKey, p: Operand, shape: Shape): Tensor {
  if (!(p instanceof Tensor) && !(p >= 0 && p <= 1))
    throw new RangeError(
      `bernoulli: expected a probability from 0 to 1, got ${describeValue(p)}; the shape comes third`,
    );
  return less(uniform(source, shape), p);
}

/**
 * An index along an axis (the last by default) for each row, i32, as likely as softmax(logits) says: the largest of the logits with
 * noise (Gumbel, 1954; Maddison et al., 2014). Logits of -infinity are never drawn.
 */
export function categorical(source: Key | TensorKey, logits: Tensor, axis = -1): Tensor {
  assertTensor("categorical", logits);
  // at 0 the noise would be -infinity, as logits that are never drawn
  const draw = maximum(uniform(source, logits.shape), 2 ** -25);
  const noise = neg(log(neg(log(draw))));
  return argmax(add(cast(logits, "f32"), noise), axis);
}
