/** Checks of one row of the op table. */
import {
  broadcastTo,
  flip,
  grad,
  isReal,
  key,
  leavesOf,
  mul,
  reference,
  slice,
  sum,
  transpose,
  type Device,
  type HostArray,
  type Op,
  type SampledOp,
  type Sample,
  type Shape,
  type Tensor,
} from "@seqmix/tensor";
import { assertClose, attempt, toleranceOfScale, type Tolerance } from "./compare.js";
import { checkDerivatives } from "./finite-differences.js";
import { evaluate, keyAt, poison, randomValues, toTensor, type HostValues } from "./host-values.js";

const ACCUMULATED: Tolerance = { relative: 1e-6, absolute: 1e-4 };

/**
 * What an f32 device may be off from float64, of ops that add up: up to 1,037 roundings of partial sums up to about 100.
 * Elementwise rows say it themselves. Others move, compare or choose, and must be exact.
 */
const TOLERANCES: Readonly<Record<string, Tolerance>> = Object.fromEntries(
  [
    "sum",
    "matmul",
    "scatterAdd",
    "cumsum",
    "linearScan",
    "sequentialScan",
    "linearScanGradient",
    "complexLinearScan",
    "complexLinearScanGradient",
  ].map((name) => [name, ACCUMULATED]),
);
const toleranceOf = ({ name, rule }: Op): Tolerance =>
  rule.kind === "elementwise" ? rule.tolerance : (TOLERANCES[name] ?? {});

/** f16 results are rounded from numbers that differ by a rounding of f32, and then at most to neighbours: one unit in the last place. */
const HALF: Tolerance = { relative: 2 ** -10, absolute: 2 ** -24 };

/** Gradients are made of a dozen operations, so up to a dozen roundings and those of sums. */
const GRADIENT = 1e-5;

/** What {@link checkOp} did. */
export interface OpReport {
  /** The row's name. */
  readonly op: string;
  /** Samples run. */
  readonly samples: number;
  /** Comparisons of whole arrays. */
  readonly comparisons: number;
  /** Largest error over tolerance of a value. */
  readonly worst: number;
}

/**
 * For every sample of the row: the device's values are the reference's, with plain inputs and with every input transposed,
 * cut out of a larger array, reversed and stretched; with and without fusion; on memory full of NaN. Gradients are finite
 * differences on the reference device, and the device's gradients are the reference's.
 * @throws LawError naming the sample, the law and the worst element.
 */
export async function checkOp(op: SampledOp, device: Device): Promise<OpReport> {
  const oracle = reference();
  let comparisons = 0;
  let worst = 0;
  await poison(device);
  for (const sample of op.samples) await attempt(`op ${op.name}, sample ${sample.name}`, () => checkSample(sample));
  return { op: op.name, samples: op.samples.length, comparisons, worst };

  async function checkSample(sample: Sample): Promise<void> {
    const name = `op ${op.name}, sample ${sample.name}`;
    const inputs = sample.inputs.map(({ shape, dtype, low, high }, k) =>
      randomValues(keyAt(key(0), op.name, sample.name, k), shape, dtype, low, high),
    );
    const tolerance = toleranceOf(op);
    const compare = (
      law: string,
      actual: readonly HostValues[],
      expected: readonly HostValues[],
      toleranceOf: (data: HostArray) => Tolerance,
    ): void => {
      expected.forEach(({ data, shape, dtype }, k) => {
        comparisons++;
        const { ratio } = assertClose(
          `${name}: ${law}`,
          actual[k]!.data,
          data,
          dtype === "f16" ? halfTolerance(toleranceOf(data)) : dtype === "f32" ? toleranceOf(data) : {},
          shape,
        );
        worst = Math.max(worst, ratio);
      });
    };
    for (const view of viewsOf(inputs, sample.views ?? true)) {
      const build = (): readonly Tensor[] => [sample.apply(...view.tensors())];
      const expected = await evaluate(oracle, build);
      for (const fuse of [true, false]) {
        const law = `${view.name}, ${fuse ? "fused" : "unfused"} ${device.name} = reference`;
        compare(
          law,
          await attempt(`${name}: ${law}`, () => evaluate(device, build, { fuse })),
          expected,
          () => tolerance,
        );
      }
      if (!hasGradient(op, sample)) continue;
      const gradient = (): readonly Tensor[] => gradientOf(sample, view.tensors());
      const exact = await evaluate(oracle, gradient);
      for (const fuse of [true, false]) {
        const law = `${view.name}, gradient on ${fuse ? "fused" : "unfused"} ${device.name} = reference`;
        const actual = await attempt(`${name}: ${law}`, () => evaluate(device, gradient, { fuse }));
        compare(law, actual, exact, (data) => ({
          relative: GRADIENT,
          absolute: Math.max(tolerance.absolute ?? 0, toleranceOfScale(data, GRADIENT).absolute!),
        }));
      }
    }
    if (hasGradient(op, sample)) {
      await checkDerivatives({
        law: name,
        inputs,
        names: inputs.map((_, k) => `input ${k}`),
        device: oracle,
        loss: (given) => weighted(sample.apply(...given)),
      });
      comparisons += inputs.length;
    }
  }
}

const hasGradient = (op: Op, sample: Sample): boolean =>
  op.gradient !== false &&
  sample.differentiable !== false &&
  sample.inputs.some(({ dtype = "f32" }) => dtype === "f32");

/** Exact is exact in f16 too. */
const halfTolerance = (tolerance: Tolerance): Tolerance =>
  (tolerance.relative ?? 0) + (tolerance.absolute ?? 0) === 0 ? tolerance : HALF;

/** sum of y times fixed random weights: its gradient tells all elements of y apart. */
const weighted = (y: Tensor): Tensor => sum(mul(y, toTensor(randomValues(key(9), y.shape))));

/** Gradients of {@link weighted} with respect to the f32 inputs. */
function gradientOf(sample: Sample, inputs: readonly Tensor[]): readonly Tensor[] {
  const active = inputs.filter((x) => x.dtype === "f32");
  // times 1: a gradient that is a view, or one node under two names, gets memory of its own
  return leavesOf(
    grad((wanted: readonly Tensor[]) =>
      weighted(sample.apply(...inputs.map((x) => (active.includes(x) ? wanted[active.indexOf(x)]! : x)))),
    )(active),
  ).map((g) => mul(g, 1));
}

interface View {
  readonly name: string;
  tensors(): Tensor[];
}

/** The inputs as they are, and each in turn as a view into other memory that has the same values (stretched: values repeated along an axis). */
function viewsOf(inputs: readonly HostValues[], all: boolean): View[] {
  const views: View[] = [{ name: "plain", tensors: () => inputs.map(toTensor) }];
  if (all)
    inputs.forEach((input, k) => {
      const replace = (kind: string, make: () => Tensor): void => {
        views.push({
          name: `input ${k} ${kind}`,
          tensors: () => inputs.map((x, j) => (j === k ? make() : toTensor(x))),
        });
      };
      const { shape } = input;
      const rank = shape.length;
      if (rank === 0 || input.data.length === 0) return;
      const axes = shape.map((_, axis) => axis);
      if (rank > 1) {
        const order = axes.toReversed();
        replace("transposed", () =>
          transpose(
            toTensor(
              rearranged(
                input,
                order.map((axis) => shape[axis]!),
                (index) => order.map((axis) => index[axis]!),
              ),
            ),
            order,
          ),
        );
      }
      replace("sliced", () =>
        slice(
          toTensor(surrounded(input)),
          axes.map(() => 1),
          shape.map((extent) => extent + 1),
        ),
      );
      replace("flipped", () =>
        flip(toTensor(rearranged(input, shape, (index) => index.map((i, axis) => shape[axis]! - 1 - i))), axes),
      );
      for (const axis of axes)
        if (shape[axis]! > 1)
          replace(`stretched along axis ${axis}`, () =>
            broadcastTo(
              slice(
                toTensor(input),
                axes.map(() => 0),
                shape.map((extent, a) => (a === axis ? 1 : extent)),
              ),
              shape,
            ),
          );
    });
  return views;
}

/** The values in another order: element `to(index)` of the result is element `index`. */
function rearranged(
  { shape, dtype, data }: HostValues,
  into: Shape,
  to: (index: readonly number[]) => readonly number[],
): HostValues {
  const out = data.slice();
  forEachIndex(shape, (index, at) => (out[flat(to(index), into)] = data[at]!));
  return { shape: into, dtype, data: out };
}

/** One element more on every side, NaN in f32 and f16, so that reading beside the cut is found out. */
function surrounded({ shape, dtype, data }: HostValues): HostValues {
  const larger = shape.map((extent) => extent + 2);
  const size = larger.reduce((a, b) => a * b, 1);
  const out: HostArray = isReal(dtype)
    ? new Float64Array(size).fill(NaN)
    : dtype === "i32"
      ? new Int32Array(size).fill(1)
      : new Uint8Array(size).fill(1);
  forEachIndex(
    shape,
    (index, at) =>
      (out[
        flat(
          index.map((i) => i + 1),
          larger,
        )
      ] = data[at]!),
  );
  return { shape: larger, dtype, data: out };
}

const flat = (index: readonly number[], shape: Shape): number =>
  index.reduce((at, i, axis) => at * shape[axis]! + i, 0);

function forEachIndex(shape: Shape, visit: (index: readonly number[], at: number) => void): void {
  const index = new Array<number>(shape.length).fill(0);
  const size = shape.reduce((a, b) => a * b, 1);
  for (let at = 0; at < size; at++) {
    visit(index, at);
    for (let k = shape.length - 1; k >= 0 && ++index[k]! === shape[k]; k--) index[k] = 0;
  }
}
