/** The loop over the records of a chunk: what the programs compute once per position and group of channels. */
import { forLoop, i32, type Code, type Local, type ValueType } from "@seqmix/tensor/wasm";
import { CONSTANTS } from "./cpu-gather.js";
import { advance, LANES, times, type ScanLayout } from "./cpu-layout.js";

const VECTOR = 4 * LANES;

interface Records {
  readonly layout: ScanLayout;
  readonly count: Local;
  readonly groups: Local;
  readonly records: Local;
  readonly constants: Local;
  /** Addresses that move by a row of D channels from position to position. */
  readonly rows: readonly Local[];
  readonly recordBytes: number;
}

interface RecordPlace {
  readonly record: Local;
  readonly constant: Local;
  /** Bytes from a row's address to the group. */
  readonly at: Code;
}

/** Loops over the positions of a chunk and, inside, over the groups: rows are read and written whole. */
export function eachRecord(
  f: { readonly local: (type: ValueType) => Local },
  { layout, count, groups, records, constants, rows, recordBytes }: Records,
  body: (place: RecordPlace) => Code,
): Code {
  const [t, at, end, record, constant] = [
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
  ] as const;
  return [
    end.set(times(groups.get, VECTOR)),
    forLoop(t, count, 1, [
      at.set(i32.const(0)),
      record.set(records.get),
      constant.set(constants.get),
      forLoop(at, end, VECTOR, [
        body({ record, constant, at: at.get }),
        advance(record, layout.steps * recordBytes),
        advance(constant, CONSTANTS),
      ]),
      rows.map((row) => advance(row, 4 * layout.channels)),
      advance(records, recordBytes),
    ]),
  ];
}
