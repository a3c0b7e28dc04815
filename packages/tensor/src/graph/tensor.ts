/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A tensor is one output of a call of an operation; calls form the lazy graph.
 * Nothing runs until {@link realize} (or `data()`), which replaces the source of the
 * realized tensors by device memory and lets go of the graph behind them.
 */
import type { Device, DeviceBuffer } from "../devices/device.js";
import { describeTensor } from "./describe.js";
import { assertDType, dtypeOf, type DType, type HostArray, type TensorData } from "./dtype.js";
import { describeValue, DisposedError, DTypeError, ShapeError } from "./errors.js";
import { notForgotten } from "./forgotten.js";
import { roundedToHalf } from "./half.js";
import { disposeLater, hold, isLeaving, letGo } from "./holds.js";
import type { Op } from "./op.js";
import { noteMade } from "./scope.js";
import { formatShape, sizeOf, type Shape } from "./shape.js";
import { userLine } from "./debug.js";

/** One application of an operation to tensors. */
export interface Call {
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attributes: unknown;
  /** Filled when the call is made; one tensor per result. */
  readonly outputs: Tensor[];
  /** Line of user code, recorded in debug mode only. */
  readonly line: string | undefined;
}

/** Where a tensor's values come from. */
export type Source =
  | { readonly kind: "call"; readonly call: Call; readonly index: number }
  | { readonly kind: "host"; readonly data: HostArray; readonly uploads: Map<Device, DeviceBuffer> }
  | { readonly kind: "buffer"; readonly device: Device; readonly buffer: DeviceBuffer }
  /** An argument of a function that `compile` traces: values come with each call. */
  | { readonly kind: "argument" }
  | { readonly kind: "disposed"; readonly how: "disposed" | "donated" };

/**
 * An n-dimensional array, or the recipe for one. Make tensors with {@link tensor}, {@link full},
 * {@link arange}, or by applying operations; read them with `data()`.
 */
export class Tensor {
  /** Extent of each axis, outermost first. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
  /** Where the values come from. Changes when the tensor is realized or disposed. @internal */
  source: Source;

  /** @internal */
  constructor(shape: Shape, dtype: DType, source: Source) {
    this.shape = shape;
    this.dtype = dtype;
    this.source = source;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /**
   * Realizes the tensor if need be and copies its values to the host, row-major.
   * @returns Float32Array (f32 and f16; Float64Array on the reference device), Int32Array (i32) or Uint8Array (bool).
   */
  async data(): Promise<TensorData> {
    // Loaded here, since devices are made of tensors: nothing else of the graph knows of them.
    assertAlive(this, "data");
    hold(this);
    try {
      const { readTensor } = await import("../devices/realize.js");
      return await readTensor(this);
    } finally {
      if (letGo(this)) this.release("disposed");
    }
  }

  /**
   * The value of a one-element tensor.
   * @throws ShapeError if there is more or less than one element.
   */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new ShapeError(
        `item: expected one element, got shape ${formatShape(this.shape)}; reduce the tensor first or use data()`,
      );
    return (await this.data())[0]!;
  }

  /** Gives the tensor's device memory back at once. Using the tensor afterwards is a DisposedError. */
  dispose(): void {
    if (!disposeLater(this)) this.release("disposed");
  }

  /** Gives the memory back, whoever holds it. @internal */
  release(how: "disposed" | "donated"): void {
    const { source } = this;
    const buffers =
      source.kind === "buffer"
        ? [[source.device, source.buffer] as const]
        : source.kind === "host"
          ? source.uploads
          : [];
    for (const [device, buffer] of buffers) {
      device.release(buffer);
      notForgotten(buffer);
    }
    this.source = { kind: "disposed", how };
  }

  /** `using t = ...` disposes the tensor at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Shape and element type, e.g. "Tensor f32 [2,3]". */
  toString(): string {
    return `Tensor ${this.dtype} ${formatShape(this.shape)}`;
  }

  /** What `console.log` shows in Node: shape, element type, where the values are, and those that are at hand. @internal */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return describeTensor(this);
  }
}

/** Nested numbers, e.g. `[[1, 2], [3, 4]]`. */
export type Nested = number | readonly Nested[];

/**
 * A tensor of given values.
 * @param data A typed array (row-major; kept, not copied: do not change it afterwards) or nested numbers.
 * @param shape Extents; by default the nesting's, or one axis for a typed array.
 * @param dtype For nested numbers; by default "f32". Typed arrays: Float32Array and Float64Array are f32, Int32Array i32,
 *   Uint8Array bool; "f16" makes the f16 numbers nearest to those of a Float32Array or Float64Array.
 * @throws DTypeError if another type is asked for than that of the typed array; ShapeError if the number of values is not that of the shape, or the nesting is ragged.
 */
export function tensor(data: HostArray | TensorData | Nested, shape?: Shape, dtype?: DType): Tensor {
  if (shape !== undefined && !Array.isArray(shape))
    throw new ShapeError(
      `tensor: expected a shape such as [2,3], got ${describeValue(shape)}; the element type comes third`,
    );
  if (dtype !== undefined) assertDType("tensor", dtype);
  if (ArrayBuffer.isView(data)) {
    const host = data as HostArray;
    const found = dtypeOf(host);
    if (dtype === "f16" && found === "f32") return fromHost(roundedToHalf(host), shape ?? [host.length], "f16");
    if (dtype !== undefined && dtype !== found)
      throw new DTypeError(
        `tensor: expected ${found} (or f16 of real numbers) for a ${host.constructor.name}, got ${dtype}; leave the type out and use cast`,
      );
    return fromHost(host, shape ?? [host.length]);
  }
  const nesting: number[] = [];
  for (let level: Nested | undefined = data; Array.isArray(level); level = level[0] as Nested | undefined)
    nesting.push(level.length);
  const flat: number[] = [];
  flatten(data as Nested, nesting, 0, flat);
  const type = dtype ?? "f32";
  if (type === "i32")
    for (const x of flat)
      if ((x | 0) !== x)
        throw new DTypeError(`tensor: expected whole numbers of 32 bits for i32, got ${x}; round it, or leave it f32`);
  const host =
    type === "f32"
      ? Float64Array.from(flat)
      : type === "f16"
        ? roundedToHalf(flat)
        : type === "i32"
          ? Int32Array.from(flat)
          : Uint8Array.from(flat, (x) => (x === 0 ? 0 : 1));
  return fromHost(host, shape ?? nesting, type);
}

function fromHost(data: HostArray, shape: Shape, dtype = dtypeOf(data)): Tensor {
  for (const extent of shape)
    if (!Number.isInteger(extent) || extent < 0)
      throw new ShapeError(`tensor: expected extents that are integers of at least 0, got shape ${formatShape(shape)}`);
  if (data.length !== sizeOf(shape))
    throw new ShapeError(
      `tensor: shape ${formatShape(shape)} needs ${sizeOf(shape)} values but ${data.length} came; change the shape or the data`,
    );
  const made = new Tensor([...shape], dtype, { kind: "host", data, uploads: new Map() });
  noteMade(made);
  return made;
}

function flatten(value: Nested, nesting: readonly number[], depth: number, out: number[]): void {
  if (depth === nesting.length) {
    if (typeof value !== "number")
      throw Array.isArray(value)
        ? new ShapeError(`tensor: expected a number at depth ${depth}, got an array; make the nesting even`)
        : new DTypeError(
            `tensor: expected numbers, got ${describeValue(value)}; convert it, or stack tensors with stack`,
          );
    out.push(value);
    return;
  }
  if (!Array.isArray(value) || value.length !== nesting[depth])
    throw new ShapeError(
      `tensor: expected arrays of length ${nesting[depth]} at depth ${depth}, got ${Array.isArray(value) ? `length ${value.length}` : "a number"}; make the nesting even`,
    );
  for (const item of value as readonly Nested[]) flatten(item, nesting, depth + 1, out);
}

/**
 * Applies an operation: checks its inputs, infers the results and records the call.
 * @returns One tensor per result.
 */
export function callOp(op: Op, inputs: readonly Tensor[], attributes: unknown = undefined): readonly Tensor[] {
  for (const input of inputs) {
    if (!(input instanceof Tensor))
      throw new DTypeError(`${op.name}: expected a tensor, got ${describeValue(input)}; check the arguments`);
    assertAlive(input, op.name);
  }
  const results = op.infer(inputs, attributes);
  const call: Call = { op, inputs, attributes, outputs: [], line: userLine() };
  results.forEach(({ shape, dtype }, index) => {
    const made = new Tensor(shape, dtype, { kind: "call", call, index });
    call.outputs.push(made);
    noteMade(made);
  });
  return call.outputs;
}

/** @throws DisposedError if the tensor's memory was given back. */
export function assertAlive(input: Tensor, name: string): void {
  const how = input.source.kind === "disposed" ? input.source.how : isLeaving(input) ? "disposed" : undefined;
  if (how)
    throw new DisposedError(
      `${name}: expected a live tensor, got one of shape ${formatShape(input.shape)} that was ${how}; use the result that replaced it, or dispose it later`,
    );
}
