/**
 * Operations that are not elementwise at special values, against what numpy makes of them: zeros of both signs, infinities,
 * NaN, the ends of f32, f16 and i32, nothing at all.
 *
 * Devices may flush what is smaller than 2^-125 to 0, and the sign of a zero is left open.
 */
import { accuracy, crossEntropy, embedding, groupNorm, layerNorm, rmsNorm } from "@seqmix/nn";
import {
  all,
  any,
  argmax,
  argsort,
  clip,
  cumsum,
  dispose,
  grad,
  gather,
  leavesOf,
  less,
  log,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  mean,
  min,
  mul,
  pad,
  pick,
  power,
  prod,
  realize,
  scatterAdd,
  sizeOf,
  softmax,
  sort,
  sqrt,
  sum,
  tensor,
  topk,
  tril,
  triu,
  variance,
  where,
  type Device,
  type DType,
  type Shape,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { attempt, LawError, type Tolerance } from "./compare.js";
import { NUMPY_INPUTS, NUMPY_VALUES } from "./numpy-values.js";

/** Below this, results count as 0. */
const FLUSHED = 2 ** -125;

interface Values {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: readonly number[];
}

/** Settings of a case: those of its operation, and four of the comparison. */
interface Settings {
  readonly axis?: number;
  readonly k?: number;
  readonly p?: number;
  readonly size?: number;
  readonly groups?: number;
  readonly paddingIndex?: number;
  readonly ignoreIndex?: number;
  readonly labelSmoothing?: number;
  /** Of a pad a list; of a clip a number. */
  readonly low?: number[] | number;
  readonly high?: number[] | number;
  readonly value?: string;
  /** Extents of a product. */
  readonly rows?: number;
  readonly inner?: number;
  readonly columns?: number;
  /** Inputs that are differentiated. */
  readonly of?: readonly number[];
  /** How often the last axis comes. */
  readonly repeats?: number;
  /** Results of a row that are kept at both ends. */
  readonly ends?: number;
  /** Rows and columns that are kept. */
  readonly some?: readonly number[];
  readonly places?: readonly number[];
}

type Apply = (inputs: readonly Tensor[], settings: Settings) => readonly Tensor[];

const one =
  (f: (x: Tensor, settings: Settings) => Tensor): Apply =>
  ([x], settings) => [f(x!, settings)];

const along =
  (f: (x: Tensor, axis: number) => Tensor): Apply =>
  ([x], { axis }) => [f(x!, axis!)];

const number = (text: string): number => ({ nan: NaN, inf: Infinity, "-inf": -Infinity })[text] ?? Number(text);

/** "f32 2,3 1 2 3 4 5 6". */
function read(text: string): Values {
  const [dtype, shape, ...data] = text.trim().split(" ");
  return {
    dtype: dtype as DType,
    shape: shape === undefined || shape === "" ? [] : shape.split(",").map(Number),
    data: data.map(number),
  };
}

function make({ dtype, shape, data }: Values): Tensor {
  if (dtype === "i32") return tensor(Int32Array.from(data), shape);
  if (dtype === "bool") return tensor(Uint8Array.from(data), shape);
  return tensor(Float64Array.from(data, Math.fround), shape, dtype);
}

/** The last axis `count` times in a row. */
function repeated({ dtype, shape, data }: Values, count: number): Values {
  const n = shape.at(-1)!;
  const rows = sizeOf(shape) / n;
  const row = (r: number): number[] => Array.from({ length: n * count }, (_, k) => data[r * n + (k % n)]!);
  return {
    dtype,
    shape: shape.with(shape.length - 1, n * count),
    data: Array.from({ length: rows }, (_, r) => row(r)).flat(),
  };
}

/** Numbers that come again, with an infinity or none at a few places. */
function withSpots(
  cycle: readonly number[],
  shape: Shape,
  spots: readonly (readonly [number, number, number])[],
): Tensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, k) => cycle[k % cycle.length]!);
  for (const [row, column, value] of spots) data[row * shape[1]! + column] = value;
  return tensor(data, shape);
}

const OPERATIONS: Readonly<Record<string, Apply>> = {
  sum: along(sum),
  mean: along(mean),
  variance: along(variance),
  prod: along(prod),
  max: along(max),
  min: along(min),
  any: along(any),
  all: along(all),
  argmax: along(argmax),
  cumsum: along(cumsum),
  cumsumReverse: along((x, axis) => cumsum(x, axis, { reverse: true })),
  logSumExp: along(logSumExp),
  softmax: along(softmax),
  logSoftmax: along(logSoftmax),
  sort: along(sort),
  argsort: along(argsort),
  sortDescending: along((x, axis) => sort(x, axis, { descending: true })),
  topk: ([x], { axis, k }) => {
    const { values, indices } = topk(x!, k!, axis!);
    return [values, indices];
  },
  gather: ([x, indices], { axis }) => [gather(x!, indices!, axis!)],
  scatterAdd: ([updates, indices], { size }) => [scatterAdd(updates!, indices!, size!)],
  pick: ([x, labels]) => [pick(x!, labels!)],
  matmul: ([a, b]) => [matmul(a!, b!)],
  matmulWithSpots: (_, { rows, inner, columns }) => [
    matmul(
      withSpots(
        [1, -2, 0, 3, 0.5],
        [rows!, inner!],
        [
          [rows! - 1, inner! - 1, Infinity],
          [3, 2, NaN],
          [5, 0, -Infinity],
        ],
      ),
      withSpots(
        [2, 1, -1, 0, 4, 0.25, 1],
        [inner!, columns!],
        [
          [inner! - 1, columns! - 1, -Infinity],
          [0, 7, NaN],
        ],
      ),
    ),
  ],
  pad: one((x, { low, high, value }) => pad(x, low as number[], high as number[], number(value!))),
  tril: one((x) => tril(x)),
  triu: one((x) => triu(x)),
  clip: one((x, { low, high }) => clip(x, low as number, high as number)),
  power: one((x, { p }) => power(x, p!)),
  guardedSqrt: one((x) => where(less(0, x), sqrt(where(less(0, x), x, 1)), 0)),
  guardedLog: one((x) => where(less(0, x), log(where(less(0, x), x, 1)), 0)),
  rmsNorm: one((x) => rmsNorm({}, x)),
  layerNorm: one((x) => layerNorm({}, x)),
  groupNorm: one((x, { groups }) => groupNorm({}, x, { groups: groups! })),
  crossEntropy: ([logits, labels], { ignoreIndex, labelSmoothing = 0 }) => [
    crossEntropy(logits!, labels!, undefined, {
      ...(ignoreIndex !== undefined && { ignoreIndex }),
      labelSmoothing,
      reduction: "none",
    }),
  ],
  accuracy: ([logits, labels, mask]) => [accuracy(logits!, labels!, mask)],
  embedding: ([weight, tokens], { paddingIndex }) => [
    embedding({ weight: weight! }, tokens!, { paddingIndex: paddingIndex! }),
  ],
  sqrtBehindWhere: one((x) => where(less(0, x), sqrt(x), 0)),
};

/** Cotangents of the inputs that settings name, of the sum of the first result times the last input. */
function gradients(apply: Apply, inputs: readonly Tensor[], settings: Settings): readonly Tensor[] {
  const { of } = settings;
  const weights = inputs.at(-1)!;
  const loss = (some: readonly Tensor[]): Tensor => {
    const given = inputs.slice(0, -1).map((x, k) => some[of!.indexOf(k)] ?? x);
    return sum(mul(apply(given, settings)[0]!, weights));
  };
  return leavesOf(grad(loss)(of!.map((k) => inputs[k]!)) as Tree);
}

/** What is kept of a result: some at both ends of the last axis, or some rows and columns. */
function keptOf(data: ArrayLike<number>, shape: Shape, { ends, some, places }: Settings): number[] {
  const width = shape.at(-1) ?? 1;
  const columns =
    places ??
    (ends !== undefined && width > 2 * ends
      ? Array.from({ length: 2 * ends }, (_, k) => (k < ends ? k : width - 2 * ends + k))
      : undefined);
  if (!columns || shape.length < 2) return Array.from(data);
  const rows = some ?? Array.from({ length: data.length / width }, (_, r) => r);
  return rows.flatMap((row) => columns.map((column) => data[row * width + column]!));
}

/** @throws LawError with the first result that is not right. */
function compare(law: string, actual: readonly number[], right: readonly number[], tolerance: Tolerance): void {
  if (actual.length !== right.length) throw new LawError(law, `expected ${right.length} numbers, got ${actual.length}`);
  const { relative = 0, absolute = 0 } = tolerance;
  right.forEach((expected, k) => {
    const got = Math.fround(actual[k]!);
    const close =
      Object.is(got, expected) ||
      got === Math.fround(expected) ||
      Math.abs(got - expected) <= relative * Math.abs(expected) + absolute + FLUSHED;
    if (!close) throw new LawError(law, `expected ${expected} at ${k}, got ${got}`);
  });
}

/** A rounding or a few; logarithms and differences of weights that cancel are off by those of 1. */
function toleranceOf(name: string, dtype: DType): Tolerance {
  if (dtype === "f16") return { relative: 2 ** -10 };
  if (dtype !== "f32") return {};
  return { relative: name === "power" ? 4e-5 : 4e-6, absolute: /log|softmax|norm|entropy/i.test(name) ? 1e-6 : 0 };
}

/** Checks a line of the table. @returns How many numbers were compared. */
async function checkCase(line: string, inputs: readonly Values[], device: Device, fuse: boolean): Promise<number> {
  const [name, settings, given, results] = JSON.parse(line) as [string, Settings, number[], string[]];
  const law = `${name} ${JSON.stringify(settings)} on ${fuse ? "fused" : "unfused"} ${device.name}`;
  const count = settings.repeats;
  const tensors = given.map((k) => make(count === undefined ? inputs[k]! : repeated(inputs[k]!, count)));
  const apply = OPERATIONS[name]!;
  const made = settings.of ? gradients(apply, tensors, settings) : apply(tensors, settings);
  // times 1: fused with what is around it, and never a view
  const outputs = made.map((y) => (y.dtype === "bool" ? y : mul(y, 1)));
  await attempt(law, () => realize([...outputs], { device, fuse }));
  let compared = 0;
  for (const [n, output] of outputs.entries()) {
    const right = read(results[n]!).data;
    const actual = keptOf(await output.data(), output.shape, settings);
    compare(`${law}, result ${n}`, actual, right, toleranceOf(name, output.dtype));
    compared += right.length;
  }
  dispose(outputs);
  return compared;
}

/**
 * Compares every line of the table on a device, fused and not (long rows: fused).
 * @returns How many numbers were compared.
 * @throws LawError naming the operation, its settings, and what is right.
 */
export async function checkSpecialOperations(device: Device): Promise<number> {
  const lines = (text: string): string[] => text.trim().split("\n");
  const inputs = lines(NUMPY_INPUTS).map(read);
  let compared = 0;
  for (const line of lines(NUMPY_VALUES))
    for (const fuse of line.includes("repeats") ? [true] : [true, false])
      compared += await checkCase(line, inputs, device, fuse);
  return compared;
}
