/** Where the arrays of a chunked recurrence lie: the program's arguments, and its shared block. */
import type { ChunkedParts, Layout, Operand, Result } from "../../../../ir/chunked-parts.js";
import type { Affine } from "../../../../ir/loop.js";
import type { Binding } from "../../loops/phase.js";

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
  /** Arrays of so many elements as were asked for. */
  readonly flags: readonly Binding[];
  readonly sharedBytes: number;
}

/** Bytes between arrays: loops read whole vectors beyond either end. */
const GUARD = 64;

/** @param flags Elements of arrays beside those of the parts. */
export function placesOf({ form: { kernel }, operands, results }: ChunkedParts, flags: readonly number[]): Places {
  const { inputs, outputs } = kernel;
  const shared = inputs.length + outputs.length;
  let bytes = GUARD;
  const place = (size: number): number => {
    const offset = bytes;
    bytes += Math.ceil((4 * size) / GUARD) * GUARD + GUARD;
    return offset;
  };
  const allocate = ({ index, size }: Layout): Place => ({ position: shared, offset: place(size), index });
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
  const rows = flags.map((size): Binding => ({ position: shared, offset: place(size) }));
  return { ...placed, flags: rows, sharedBytes: bytes > GUARD ? bytes + GUARD : 0 };
}
