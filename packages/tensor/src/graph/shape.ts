import { describeValue, ShapeError } from "./errors.js";

/** Extents of the axes, outermost first. */
export type Shape = readonly number[];

/** Number of elements. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

/** "[2,3]". */
export const formatShape = (shape: Shape): string => `[${shape.join(",")}]`;

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((extent, k) => extent === b[k]);

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let k = shape.length - 1; k >= 0; k--) {
    strides[k] = stride;
    stride *= shape[k]!;
  }
  return strides;
}

/**
 * The axis as 0..rank-1.
 * @throws ShapeError if it is outside -rank..rank-1.
 */
export function normalizeAxis(axis: number, rank: number, name: string): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
    throw new ShapeError(
      `${name}: expected an axis from ${-rank} to ${rank - 1} for a tensor of rank ${rank}, got ${axis}`,
    );
  return axis < 0 ? axis + rank : axis;
}

/** Sorted distinct axes; undefined means all. */
export function normalizeAxes(axes: number | readonly number[] | undefined, rank: number, name: string): number[] {
  if (axes !== undefined && typeof axes !== "number" && !Array.isArray(axes))
    throw new ShapeError(
      `${name}: expected an axis or a list of axes, got ${describeValue(axes)}; write ${name}(x, 1) or ${name}(x, [0, 1])`,
    );
  const list =
    axes === undefined ? Array.from({ length: rank }, (_, k) => k) : typeof axes === "number" ? [axes] : [...axes];
  const normal = list.map((axis) => normalizeAxis(axis, rank, name)).sort((a, b) => a - b);
  normal.forEach((axis, k) => {
    if (k > 0 && axis === normal[k - 1])
      throw new ShapeError(`${name}: expected distinct axes, got axis ${axis} twice`);
  });
  return normal;
}

/**
 * The shape two operands broadcast to: trailing axes are aligned, extents agree or one is 1.
 * @throws ShapeError naming the axis that does not.
 */
export function broadcastShapes(a: Shape, b: Shape, name: string): Shape {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let k = 1; k <= rank; k++) {
    const x = a[a.length - k] ?? 1;
    const y = b[b.length - k] ?? 1;
    if (x !== y && x !== 1 && y !== 1)
      throw new ShapeError(
        `${name}: axis ${rank - k} is ${x} in ${formatShape(a)} but ${y} in ${formatShape(b)}; make them equal, or one of them 1 to broadcast`,
      );
    out[rank - k] = x === 1 ? y : x;
  }
  return out;
}
