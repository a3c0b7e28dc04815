/**
 * Models in the ONNX format (a protocol buffer, fields as in onnx.proto of https://github.com/onnx/onnx), as far as
 * models of a few float32 operators need it.
 */

/** A named array of float32 values. */
export interface OnnxValue {
  readonly name: string;
  readonly shape: readonly number[];
}

/** An operator: ONNX's own, of the version that the model's `opset` stands for. */
export interface OnnxNode {
  /** Operator type, e.g. "MatMul". */
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers. */
  readonly integers?: Readonly<Record<string, number>>;
  readonly floats?: Readonly<Record<string, number>>;
}

/** A model. */
export interface OnnxModel {
  readonly opset: number;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** In an order in which they can run. */
  readonly nodes: readonly OnnxNode[];
  /** int64 scalars and lists by name, for operators that take axes or lengths as inputs. */
  readonly constants?: Readonly<Record<string, number | readonly number[]>>;
}

/** Version of the file format; 10 came with opset 21. */
const IR_VERSION = 10;
const FLOAT = 1;
const INT64 = 7;
const ATTRIBUTE_FLOAT = 1;
const ATTRIBUTE_INTEGER = 2;

/** The model as bytes. */
export function encodeOnnxModel({ opset, inputs, outputs, nodes, constants = {} }: OnnxModel): Uint8Array {
  const graph = message([
    ...nodes.map((node) => bytes(1, encodeNode(node))),
    text(2, "benchmark"),
    ...Object.entries(constants).map(([name, value]) => bytes(5, encodeWhole(name, value))),
    ...inputs.map((value) => bytes(11, encodeValue(value))),
    ...outputs.map((value) => bytes(12, encodeValue(value))),
  ]);
  return Uint8Array.from(
    message([integer(1, IR_VERSION), bytes(7, graph), bytes(8, message([text(1, ""), integer(2, opset)]))]),
  );
}

type Field = readonly number[];

const encodeNode = ({ op, inputs, outputs, integers = {}, floats = {} }: OnnxNode): Field =>
  message([
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, op),
    ...Object.entries(integers).map(([name, value]) =>
      bytes(5, message([text(1, name), integer(3, value), integer(20, ATTRIBUTE_INTEGER)])),
    ),
    ...Object.entries(floats).map(([name, value]) =>
      bytes(5, message([text(1, name), float(2, value), integer(20, ATTRIBUTE_FLOAT)])),
    ),
  ]);

function encodeValue({ name, shape }: OnnxValue): Field {
  const dimensions = message(shape.map((extent) => bytes(1, message([integer(1, extent)]))));
  return message([text(1, name), bytes(2, message([bytes(1, message([integer(1, FLOAT), bytes(2, dimensions)]))]))]);
}

function encodeWhole(name: string, value: number | readonly number[]): Field {
  const [values, dimensions] = typeof value === "number" ? [[value], []] : [value, [value.length]];
  const raw = new DataView(new ArrayBuffer(8 * values.length));
  values.forEach((each, k) => raw.setBigInt64(8 * k, BigInt(each), true));
  return message([
    ...dimensions.map((extent) => integer(1, extent)),
    integer(2, INT64),
    text(8, name),
    bytes(9, [...new Uint8Array(raw.buffer)]),
  ]);
}

// Protocol buffers: a field is its number and wire type, then a varint (0), a length and bytes (2), or four bytes (5).

const message = (fields: readonly Field[]): Field => fields.flat();
const integer = (field: number, value: number): Field => [...varint(field * 8), ...varint(value)];
const bytes = (field: number, content: Field): Field => [
  ...varint(field * 8 + 2),
  ...varint(content.length),
  ...content,
];
const text = (field: number, value: string): Field => bytes(field, [...new TextEncoder().encode(value)]);
const float = (field: number, value: number): Field => [
  ...varint(field * 8 + 5),
  ...new Uint8Array(Float32Array.of(value).buffer),
];

/** Seven bits a byte, least first; negative numbers as 64-bit two's complement. */
function varint(value: number): Field {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return [...out, Number(rest)];
}
