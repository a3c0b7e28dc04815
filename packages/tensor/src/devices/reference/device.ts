/**
 * The oracle: every op of the graph by itself, in plain float64 loops read off the rows.
 * Slow on purpose and never the product.
 */
import { letTurn, turning } from "../turns.js";
import type { Device, DeviceBuffer, MemoryCount } from "../device.js";
import { isReal, type DType, type HostArray } from "../../graph/dtype.js";
import { DisposedError } from "../../graph/errors.js";
import { sortCalls } from "../../graph/calls.js";
import type { Expansions } from "../../graph/kernel.js";
import { roundToHalf } from "../../graph/half.js";
import type { SequentialScanAttributes } from "../../ops/sequential-scan.js";
import { scalarType, type Affine, type Scalar } from "../../ir/loop.js";
import { inputsRead, type Op, type ReferenceArray, type ReferenceValue, type Result } from "../../graph/op.js";
import { sizeOf, stridesOf, type Shape } from "../../graph/shape.js";
import type { Call, Tensor } from "../../graph/tensor.js";
import type { Graph } from "../../plan/signature.js";

interface ReferenceBuffer extends DeviceBuffer {
  data: ReferenceArray | undefined;
}

/** A device that computes in float64. Each call makes a new one. */
export function reference(): Device {
  let buffers = 0;
  let bytes = 0;
  let peakBytes = 0;
  let collected = 0;

  const keep = (data: ReferenceArray, dtype: DType): ReferenceBuffer => {
    buffers++;
    bytes += data.byteLength;
    peakBytes = Math.max(peakBytes, bytes);
    return { dtype, size: data.length, released: false, data };
  };
  const valuesOf = (buffer: DeviceBuffer): ReferenceArray => {
    const { data } = buffer as ReferenceBuffer;
    if (!data)
      throw new DisposedError(
        "reference: expected live memory, got a buffer that was released; keep its tensor until it is no longer used",
      );
    return data;
  };

  const compute = ({ roots, leaves }: Graph, given: readonly Tensor[]): ReferenceBuffer[] => {
    const values = evaluate(roots, valuesOf, new Map(leaves.map((leaf, k) => [leaf, given[k]!])));
    return roots.map((root) => keep(values.get(root)!.slice() as ReferenceArray, root.dtype));
  };

  return {
    name: "reference",
    description: "float64 loops, one thread",
    upload: (data, dtype) => keep(toReference(data, dtype), dtype),
    async download(buffer) {
      const data = valuesOf(buffer).slice();
      await letTurn();
      return data;
    },
    peek: (buffer) => (buffer as ReferenceBuffer).data,
    release(buffer, how) {
      if (buffer.released) return;
      buffers--;
      bytes -= valuesOf(buffer).byteLength;
      if (how?.collected) collected++;
      buffer.released = true;
      (buffer as ReferenceBuffer).data = undefined;
    },
    prepare: (graph) => ({ run: async (leaves) => turning(compute(graph, leaves)) }),
    run: async (graph) => turning(compute(graph, graph.leaves)),
    explain: ({ roots }) =>
      sortCalls(roots)
        .map((call) => `${call.op.name} ${call.outputs.map(String).join(", ")}`)
        .join("\n"),
    memory: (): MemoryCount => ({ buffers, bytes, peakBytes, collected }),
    close: async () => {},
  };
}

const toReference = (data: HostArray, dtype: DType): ReferenceArray =>
  isReal(dtype)
    ? Float64Array.from(data)
    : dtype === "i32"
      ? Int32Array.from(data)
      : Uint8Array.from(data, (x) => (x === 0 ? 0 : 1));

const referenceArray = (size: number, dtype: DType): ReferenceArray =>
  isReal(dtype) ? new Float64Array(size) : dtype === "i32" ? new Int32Array(size) : new Uint8Array(size);

/** Values of all calls behind the roots, from those `given` for the leaves. */
function evaluate(
  roots: readonly Tensor[],
  valuesOf: (buffer: DeviceBuffer) => ReferenceArray,
  given: ReadonlyMap<Tensor, Tensor>,
  known: ReadonlyMap<Tensor, ReferenceArray> = new Map(),
): Map<Tensor, ReferenceArray> {
  const values = new Map(known);
  const expansions: Expansions = new Map();
  const run = (tensors: readonly Tensor[]): void => {
    for (const call of sortCalls(tensors, (each) => (values.has(each.outputs[0]!) ? [] : inputsRead(each)))) {
      if (values.has(call.outputs[0]!)) continue;
      const { rule } = call.op;
      if (rule.kind === "kernel") {
        const graph = rule.expand(call, expansions);
        run(graph);
        graph.forEach((x, k) => values.set(call.outputs[k]!, read(x)));
        continue;
      }
      if (call.op.name === "sequentialScan") {
        const results = repeat(call, call.inputs.map(read), valuesOf);
        results.forEach((data, k) => values.set(call.outputs[k]!, data));
        continue;
      }
      const inputs = inputsRead(call).map((x): ReferenceValue => ({ shape: x.shape, dtype: x.dtype, data: read(x) }));
      evaluateCall(call, inputs).forEach((data, k) =>
        values.set(
          call.outputs[k]!,
          call.outputs[k]!.dtype === "f16" ? (data.map(roundToHalf) as ReferenceArray) : data,
        ),
      );
    }
  };
  const read = (tensor: Tensor): ReferenceArray => {
    const known = values.get(tensor);
    if (known) return known;
    const x = given.get(tensor) ?? tensor;
    if (x.source.kind === "buffer") return valuesOf(x.source.buffer);
    if (x.source.kind === "host") return toReference(x.source.data, x.dtype);
    throw new DisposedError("reference: expected a live tensor inside a kernel's reference, got a disposed one");
  };
  run(roots);
  return values;
}

/** A step of tensor code, again and again. */
function repeat(
  { attributes, outputs }: Call,
  inputs: readonly ReferenceArray[],
  valuesOf: (buffer: DeviceBuffer) => ReferenceArray,
): readonly ReferenceArray[] {
  const { body, states, steps, length, reverse, history } = attributes as SequentialScanAttributes;
  const results = outputs.map(({ size, dtype }) => referenceArray(size, dtype));
  const stacked = body.results.length;
  let state = inputs.slice(0, states);
  for (let n = 0; n < length; n++) {
    const t = reverse ? length - 1 - n : n;
    const given = inputs.map((data, k) => {
      if (k < states) return state[k]!;
      const size = body.inputs[k]!.size;
      return k < states + steps ? data.subarray(t * size, (t + 1) * size) : data;
    });
    if (history) state.forEach((data, k) => results[stacked + k]!.set(data, t * data.length));
    const known = new Map(body.inputs.map((x, k) => [x, given[k]!]));
    const values = evaluate(body.results, valuesOf, new Map(), known);
    const next = body.results.map((x) => values.get(x)!);
    next.slice(states).forEach((data, k) => results[states + k]!.set(data, t * data.length));
    state = next.slice(0, states);
  }
  state.forEach((data, k) => results[k]!.set(data));
  return results;
}

function evaluateCall(call: Call, inputs: readonly ReferenceValue[]): readonly ReferenceArray[] {
  const { op, attributes } = call;
  const results: readonly Result[] = call.outputs;
  const { shape, dtype } = results[0]!;
  if (op.reference) return op.reference(inputs, attributes as never, results);
  switch (op.rule.kind) {
    case "elementwise":
      return [elementwise(meaningOf(op.rule, inputs), inputs, sizeOf(shape), dtype)];
    case "generator": {
      const rule = op.rule;
      return [
        pointwise(shape, dtype, (position) =>
          constantOf(rule.scalar(position.map(constantAffine), attributes as never, scalarType(dtype))),
        ),
      ];
    }
    case "movement":
      return [move(op, attributes, inputs[0]!, shape, dtype)];
    default:
      throw new TypeError(`reference: op ${op.name} has no reference loop; give its row one`);
  }
}

/** Of i32 operands a rule may have a meaning of its own: float64 does not hold all bits of a product. */
const meaningOf = (
  { number, integer = number }: Extract<Op["rule"], { readonly kind: "elementwise" }>,
  inputs: readonly ReferenceValue[],
): ((...args: number[]) => number) => (inputs.at(-1)!.dtype === "i32" ? integer : number);

/** Real numbers become i32 toward zero, within its bounds, and NaN 0; what is computed in i32 wraps around. */
const toInteger = (x: number): number => Math.max(-0x80000000, Math.min(0x7fffffff, Math.trunc(x) || 0));

function elementwise(
  f: (...args: number[]) => number,
  inputs: readonly ReferenceValue[],
  size: number,
  dtype: DType,
): ReferenceArray {
  const out = referenceArray(size, dtype);
  const [x, y, z] = inputs.map(({ data }) => data);
  const bool = dtype === "bool";
  const toInt = dtype === "i32" && isReal(inputs[0]!.dtype);
  for (let i = 0; i < size; i++) {
    const value = z ? f(x![i]!, y![i]!, z[i]!) : y ? f(x![i]!, y[i]!) : f(x![i]!);
    out[i] = bool ? Number(value !== 0) : toInt ? toInteger(value) : value;
  }
  return out;
}

/** f of the position, for every element. */
function pointwise(shape: Shape, dtype: DType, f: (position: readonly number[]) => number): ReferenceArray {
  const out = referenceArray(sizeOf(shape), dtype);
  const position = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < out.length; i++) {
    out[i] = f(position);
    for (let k = shape.length - 1; k >= 0 && ++position[k]! === shape[k]; k--) position[k] = 0;
  }
  return out;
}

function move(
  op: Op,
  attributes: unknown,
  { shape: input, data }: ReferenceValue,
  shape: Shape,
  dtype: DType,
): ReferenceArray {
  if (op.rule.kind !== "movement") throw new TypeError(`reference: ${op.name} is no movement`);
  // Indices as affine functions of the result's axes, then evaluated at each position.
  const axes = shape.map((_, k): Affine => ({ offset: 0, coefficients: shape.map((__, j) => Number(j === k)) }));
  const movement = op.rule.map(axes, attributes as never, input);
  if (movement === "reshape") return data;
  const strides = stridesOf(input);
  const at = (affine: Affine, position: readonly number[]): number =>
    affine.coefficients.reduce((total, c, k) => total + c * position[k]!, affine.offset);
  return pointwise(shape, dtype, (position) => {
    for (const { index, lo, hi } of movement.conditions ?? []) {
      const value = at(index, position);
      if (value < lo || value >= hi) return movement.fill!;
    }
    return data[movement.index.reduce((total, affine, k) => total + at(affine, position) * strides[k]!, 0)]!;
  });
}

const constantAffine = (value: number): Affine => ({ offset: value, coefficients: [] });

/** Value of a generator's expression at a fixed position. */
function constantOf(scalar: Scalar): number {
  if (scalar.op === "constant") return scalar.value;
  if (scalar.op === "position") return scalar.index.offset;
  throw new TypeError(`reference: expected a generator made of constants and positions, got ${scalar.op}`);
}
