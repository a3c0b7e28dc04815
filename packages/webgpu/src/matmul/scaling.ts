/**
 * f32 operands on units for f16, which end at 65504: every line (row of A, column of B) is multiplied by the power of two
 * that brings its largest number below 2^13, and the products are multiplied by the inverse of both. Powers of two change
 * no digit, so huge, tiny and mixed lines lose nothing. Here the largest sizes are found by a pass of its own. Where a line
 * holds an infinity or NaN, its elements of the result are summed one by one.
 */
import { product, type LoopKernel, type MatmulSpec, type Scalar } from "@seqmix/tensor/backend";
import { loopProgram } from "../loops/program.js";
import { indent, type GpuLimits, type GpuProgram, type GpuParameters } from "@seqmix/tensor/wgsl";
import type { OperandReading } from "./operand-texts.js";
import { batchStart } from "./text.js";

/** Extents of the batch axes along which an operand is not repeated, 1 for the others: it has largest sizes for those alone. */
export const ownExtents = ({ batch }: MatmulSpec, operand: MatmulSpec["a"]): number[] =>
  batch.map((extent, axis) => (operand.batch[axis] === 0 ? 1 : extent));

/**
 * Largest sizes of an operand: how many there are, and the strides in them along the batch.
 * @param lines Of each batch element; its rows or columns by default.
 */
export function linesOf(
  spec: MatmulSpec,
  name: "a" | "b",
  lines = name === "a" ? spec.m : spec.n,
): { readonly size: number; readonly parameters: GpuParameters } {
  const own = ownExtents(spec, spec[name]);
  const stride = (axis: number): number => (own[axis] === 1 ? 0 : product(own.slice(axis + 1)) * lines);
  return {
    size: product(own) * lines,
    parameters: Object.fromEntries(own.map((_, axis) => [`${name}Lines${axis}`, stride(axis)])),
  };
}

/** Buffers: the operand, then the largest size in each of its lines [batch.., line]. */
export function largestProgram(spec: MatmulSpec, name: "a" | "b", limits: GpuLimits): GpuProgram {
  const operand = spec[name];
  const [line, inner] = name === "a" ? [operand.row, operand.column] : [operand.column, operand.row];
  const extents = [...ownExtents(spec, operand), name === "a" ? spec.m : spec.n];
  const coefficients = [...operand.batch, line, inner];
  const offset = operand.offset ?? 0;
  const reach = [...extents, spec.k].reduce(
    (sum, extent, axis) => sum + Math.max(0, coefficients[axis]! * (extent - 1)),
    0,
  );
  const load: Scalar = { op: "load", dtype: "f32", input: 0, index: { offset, coefficients } };
  const kernel: LoopKernel = {
    extents,
    reduceExtents: [spec.k],
    inputs: [{ dtype: "f32", size: offset + reach + 1 }],
    reductions: [{ combine: "max", value: { op: "abs", dtype: "f32", args: [load] } }],
    outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
  };
  return loopProgram(kernel, limits);
}

/** WGSL: `highPart` of numbers, and `pack8` for vectors of eight f16. */
export const splitFunctions = `// The nearest number of eleven bits.
fn highPart(x: vec4<f32>) -> vec4<f32> {
  return bitcast<vec4<f32>>((bitcast<vec4<u32>>(x) + vec4<u32>(0x1000u)) & vec4<u32>(0xffffe000u));
}
fn pack8(x: vec4<f32>, y: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(x.xy), pack2x16float(x.zw), pack2x16float(y.xy), pack2x16float(y.zw));
}
`;

/** WGSL: exponents, as they stand in a number's bits, of scales, and powers of two by their exponents. */
export const scaleFunctions = `fn bitsFor(exponent: i32) -> i32 { return clamp(266 - exponent, 1, 253); }
fn powerOf(bits: i32) -> f32 { return bitcast<f32>(bits << 23u); }
fn powersOf(bits: vec4<i32>) -> vec4<f32> { return bitcast<vec4<f32>>(bits << vec4<u32>(23u)); }
`;

/** WGSL: `scaleOf`, `pack8`, `highPart` for what goes in, `bitsOf` the scales of lines that are known by their largest sizes. */
export const scalingFunctions = `${scaleFunctions}fn exponentOf(most: f32) -> i32 { return i32((bitcast<u32>(most) >> 23u) & 255u); }
fn scaleOf(most: f32) -> f32 { return powerOf(bitsFor(exponentOf(most))); }
fn bitsOf(most: f32) -> i32 { return select(bitsFor(exponentOf(most)), 0, exponentOf(most) == 255); }
${splitFunctions}`;

/** An operand in f32, by the name of its buffer and parameters. */
interface Source {
  readonly name: "a" | "b" | "aSource" | "bSource";
  readonly reading: OperandReading;
}

/** WGSL: `unscaled` for what comes out, by the exponents of both scales; what has none is summed from the operands. */
export function unscalingFunctions(a: Source, b: Source, batchAxes: number): string {
  return `fn summedSingly(row: i32, column: i32, batch: i32, part: i32) -> f32 {
  var sum = 0f;
  let end = min(p.k, (part + 1) * p.slice);
  for (var k = part * p.slice; k < end; k++) {
    sum += ${elementText(a, "row", batchAxes)} * ${elementText(b, "column", batchAxes)};
  }
  return sum;
}
fn unscaled(
  value: vec4<f32>, x: i32, y: vec4<i32>, row: i32, column: i32, batch: i32, part: i32,
) -> vec4<f32> {
  if ((x == 0) | any(y == vec4<i32>())) {
    var sums = vec4<f32>();
    for (var e = 0; e < 4; e++) { if (column + e < p.n) { sums[e] = summedSingly(row, column + e, batch, part); } }
    return sums;
  }
  let by = vec4<i32>(254 - x) - y;
${indent("// In two steps: the inverse of both may be no number where the result is one.")}
  let half = by / 2;
  return value * powersOf(127 + half) * powersOf(127 + by - half);
}
`;
}

/** An element of an operand at a line and depth k, read by itself. */
function elementText({ name, reading: { alongDepth, unit } }: Source, line: string, batchAxes: number): string {
  const start = batchStart(name, batchAxes);
  if (unit === 1) return `${name}[${start} + ${line} * p.${name}Line + k * p.${name}Inner]`;
  const [near, far, stride] = alongDepth ? ["k", line, "Line"] : [line, "k", "Inner"];
  return `${name}[${start} + ${far} * p.${name}${stride} + ${near} / ${unit}][${near} % ${unit}]`;
}
