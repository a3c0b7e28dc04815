/** Whether a recurrence runs in chunks on this device. */
import {
  chunkedParts,
  nodesOf,
  type ChunkedParts,
  type Operand,
  type Result,
  type Scalar,
  type Semiseparable,
} from "@seqmix/tensor/backend";

/** Elements of a vector. */
export const LANES = 4;

/** The recurrence taken apart for chunks, or why it runs as a scan. */
export function chunkedForm(form: Semiseparable): ChunkedParts | string {
  const parts = chunkedParts(form, LANES, true);
  if (typeof parts !== "string" && form.decay.kind === "vector" && !hasKeyReads(parts))
    return "the gradient of a decay a key is asked for without those of keys and queries";
  if (typeof parts !== "string" && !timesDecay(parts)) return "the gradient of its decay is asked for by itself";
  return parts;
}

/** The reads that the gradient of decays by key is made of. */
export function keyReads({ results, drive, seed }: ChunkedParts): {
  readonly dq?: Result | undefined;
  readonly dk?: Result | undefined;
} {
  const find = (state: "current" | "adjoint", x: Operand | undefined): Result | undefined =>
    results.find(
      ({ of }) => of.kind === "read" && of.state === state && of.over === "values" && !of.group && of.operand === x,
    );
  return { dq: find("current", seed?.values), dk: find("adjoint", drive.values) };
}
const hasKeyReads = (parts: ChunkedParts): boolean => {
  const { dq, dk } = keyReads(parts);
  return !parts.results.some(({ of }) => of.kind === "decay") || (dq !== undefined && dk !== undefined);
};

/** Whether the gradient of the decay is only read times the decay: where that is 0 nothing else is known of it. */
function timesDecay({ form: { kernel, sums, decay } }: ChunkedParts): boolean {
  const factors = (x: Scalar): readonly Scalar[] =>
    x.op === "mul" ? x.args.flatMap(factors) : x.op === "neg" ? factors(x.args[0]!) : [x];
  const wanted = factors(decay.value);
  const isOwn = (x: Scalar): boolean => x.op === "reduced" && sums[x.reduction]!.role === "decay";
  const check = (x: Scalar, others: readonly Scalar[]): boolean => {
    if (x.op === "reduced" && isOwn(x)) {
      const role = sums[x.reduction]!;
      const all = [...others, ...(role.role === "decay" ? factors(role.outside) : [])];
      return wanted.every((factor) => all.includes(factor));
    }
    if (x.op === "mul") {
      const [a, b] = x.args as [Scalar, Scalar];
      return check(a, [...others, ...factors(b)]) && check(b, [...others, ...factors(a)]);
    }
    if (x.op === "neg" || x.op === "cast" || x.op === "roundToHalf") return check(x.args[0]!, others);
    if (x.op === "add" || x.op === "sub") return x.args.every((arg) => check(arg, others));
    return ![...nodesOf([x])].some(isOwn);
  };
  return kernel.outputs.every(({ value }) => check(value, []));
}
