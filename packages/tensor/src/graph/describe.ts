/** A tensor in words, for a console. */
import type { TensorData } from "./dtype.js";
import { formatShape, type Shape } from "./shape.js";
import type { Tensor } from "./tensor.js";

/** Values shown along an axis: these many at either end of a longer one. */
const SHOWN = 3;

/** Shape, element type, where the values are, and those that can be had at once. */
export function describeTensor({ shape, dtype, source }: Tensor): string {
  const head = `Tensor ${dtype} ${formatShape(shape)}`;
  switch (source.kind) {
    case "host":
      return `${head} of host data: ${nested(source.data, shape)}`;
    case "buffer": {
      const data = source.device.peek?.(source.buffer);
      return `${head} on ${source.device.name}${data ? `: ${nested(data, shape)}` : ""}`;
    }
    case "argument":
      return `${head}, an argument of a function that is being compiled`;
    case "disposed":
      return `${head}, ${source.how}`;
    case "call":
      return `${head}, not computed yet: ${source.call.op.name} of ${source.call.inputs.map((x) => formatShape(x.shape)).join(" and ") || "nothing"}`;
  }
}

function nested(data: TensorData, shape: Shape, start = 0): string {
  if (shape.length === 0) return short(data[start]!);
  const [extent, ...inner] = shape as [number, ...number[]];
  const size = inner.reduce((a, b) => a * b, 1);
  const part = (k: number): string => nested(data, inner, start + k * size);
  const all = Array.from({ length: extent > 2 * SHOWN ? 0 : extent }, (_, k) => part(k));
  const ends = (from: number): string[] => Array.from({ length: SHOWN }, (_, k) => part(from + k));
  return `[${(extent > 2 * SHOWN ? [...ends(0), "...", ...ends(extent - SHOWN)] : all).join(", ")}]`;
}

const short = (x: number): string => String(Number.isInteger(x) ? x : Number(x.toPrecision(5)));
