/** Where the arrays of a chunked recurrence lie: the program's arguments, and its shared block. */
import type { ChunkedParts, Operand, Result } from "../../../../ir/chunked-parts.js";
import { rowMajorOver } from "../../../../ir/chunked-parts.js";
import type { Affine } from "../../../../ir/loop.js";
import { product } from "../../../../ir/simplify.js";

/** An array: its position among the function's arguments, and elements from there by axis of the loop. */
export interface Place {
  readonly position: number;
  /** Bytes to add to the address. */
  readonly offset: number;
  readonly index: Affine;
}

export interface Places {
  readonly operands: ReadonlyMap<Operand, Place>;
  readonly results: ReadonlyMap<Result, Place>;
  readonly sharedBytes: number;
}

/** Bytes between arrays: loops read whole vectors beyond either end. */
const GUARD = 64;

export function placesOf({ form: { kernel }, operands, results }: ChunkedParts): Places {
  const { extents, inputs, outputs } = kernel;
  const shared = inputs.length + outputs.length;
  let bytes = GUARD;
  const allocate = (axes: readonly number[]): Place => {
    const offset = bytes;
    bytes += Math.ceil((4 * product(axes.map((axis) => extents[axis]!))) / GUARD) * GUARD + GUARD;
    return { position: shared, offset, index: rowMajorOver(axes, extents) };
  };
  const placed = {
    operands: new Map(
      operands.map((operand) => {
        const { from, axes } = operand;
        return [
          operand,
          "input" in from ? { position: from.input, offset: 0, index: from.index } : allocate(axes),
        ] as const;
      }),
    ),
    results: new Map(
      results.map((result) => {
        const { output, axes } = result;
        return [
          result,
          output === undefined
            ? allocate(axes)
            : { position: inputs.length + output, offset: 0, index: rowMajorOver(axes, extents) },
        ] as const;
      }),
    ),
  };
  return { ...placed, sharedBytes: bytes > GUARD ? bytes + GUARD : 0 };
}
