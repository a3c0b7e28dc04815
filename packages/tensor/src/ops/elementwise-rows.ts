/** The elementwise rows and the intrinsics of the kernel IR, gathered from the functions. */
import { roundToHalf } from "../graph/half.js";
import type { Op, SampledOp } from "../graph/op.js";
import type { Intrinsic } from "../ir/loop.js";
import * as functions from "./elementwise.js";
import { elementwiseSamples } from "./elementwise-row.js";
import { ANY, SINGLE, type IntrinsicRecord } from "./intrinsic.js";
import { powerOf } from "./power.js";
import { castRow, whereAndCastSamples, whereRow } from "./where-and-cast.js";

type Described = { readonly intrinsic?: string; readonly record: IntrinsicRecord; readonly row: Op };
const described = Object.values<unknown>({ ...functions, powerOf }).filter(
  (each): each is Described => typeof each === "function" && "record" in each,
);

/** All elementwise rows with what `checkOp` runs them on. */
export function sampledElementwiseRows(): readonly SampledOp[] {
  const { where, cast } = whereAndCastSamples();
  return [
    ...described.map(({ row, record }) => ({ ...row, samples: elementwiseSamples(row, record) })),
    { ...whereRow, samples: where },
    { ...castRow, samples: cast },
  ];
}

/** Records by the name of the op. */
export const elementwiseRecords: Readonly<Record<string, IntrinsicRecord>> = Object.fromEntries(
  described.map(({ row, record }) => [row.name, record]),
);

/** All intrinsics by name. */
export const intrinsics = {
  ...Object.fromEntries(described.flatMap(({ intrinsic, record }) => (intrinsic ? [[intrinsic, record]] : []))),
  // To the nearest f16 number: what is stored as f16.
  roundToHalf: { arity: 1, accepts: SINGLE, cost: "free", number: roundToHalf, derivative: false },
  // (bool, T, T) -> T, and any type to that of the node
  where: { arity: 3, accepts: ANY, cost: "free", number: (c, x, y) => (c ? x! : y!), derivative: false },
  cast: { arity: 1, accepts: ANY, cost: "free", number: (x) => x, derivative: false },
} as Readonly<Record<Intrinsic, IntrinsicRecord>>;
