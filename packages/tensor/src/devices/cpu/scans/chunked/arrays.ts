/** Where the arrays of a chunked recurrence lie: the program's arguments, and its shared block. */
import type { ChunkedParts, Layout, Operand, Result } from "../../../../ir/chunked-parts.js";
import type { Affine } from "../../../../ir/loop.js";

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
  const { inputs, outputs } = kernel;
  const shared = inputs.length + outputs.length;
  let bytes = GUARD;
  const allocate = ({ index, size }: Layout): Place => {
    const offset = bytes;
    bytes += Math.ceil((4 * size) / GUARD) * GUARD + GUARD;
    return { position: shared, offset, index };
  };
  const placed = {
    operands: new Map(
      operands.map((operand) => {
        const { from } = operand;
        return [
          operand,
          "input" in from ? { position: from.input, offset: 0, index: from.index } : allocate(from.layout),
        ] as const;
      }),
    ),
    results: new Map(
      results.map((result) => {
        const { output, layout } = result;
        return [
          result,
          output === undefined
            ? allocate(layout)
            : { position: inputs.length + output, offset: 0, index: layout.index },
        ] as const;
      }),
    ),
  };
  return { ...placed, sharedBytes: bytes > GUARD ? bytes + GUARD : 0 };
}
