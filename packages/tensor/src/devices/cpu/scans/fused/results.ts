/** What a step of a fused recurrence leaves behind: terms of sums, and outputs that have an element for every state. */
import type { DType } from "../../../../graph/dtype.js";
import type { Scalar } from "../../../../ir/loop.js";
import type { ScanStep } from "../../../../ir/scan-kernel.js";
import { f32x4, i32, i32x4, v128, when, type Code, type Local } from "../../wasm/emitter.js";
import { range, storeLanes, times, type FunctionContext } from "./function.js";
import { VECTOR, type PartialSum, type ScanPlan } from "./plan.js";
import { fillBeyond } from "../../loops/lanes.js";
import { scope, type Scope } from "../../loops/scope.js";
import { nodesOf, product } from "../../../../ir/simplify.js";
import { multiplyAdd } from "../../wasm/multiply-add.js";
import type { Vectors } from "../../wasm/scratch.js";

const { add } = f32x4;

/** Where the function's part of a partial sum's array begins; copies along a kept axis and groups are vectors behind it. */
function partialStart(c: FunctionContext, plan: ScanPlan, partial: PartialSum): Code {
  const wide = partial.keepsVector ? plan.groups : 1;
  let place: Code = i32.const(partial.scratch);
  partial.kept.forEach((axis, k) => {
    const stride = product(partial.kept.slice(k + 1).map((other) => plan.form.extents[other]!)) * wide * VECTOR;
    place = i32.add(place, times(c.coordinates[axis]!.get, stride));
  });
  if (partial.keepsVector) place = i32.add(place, times(c.group.get, VECTOR));
  return i32.add(c.scratch.get, place);
}

/** Bytes from one copy to the next: 0 if the copies are summed. */
const copyStride = (plan: ScanPlan, partial: PartialSum): number =>
  partial.kept.includes(plan.inner.at(-1) ?? -1) ? (partial.keepsVector ? plan.groups : 1) * VECTOR : 0;

/** Vectors that a partial sum has here: [offset in bytes, the copies and groups that go into it]. */
function targets(
  plan: ScanPlan,
  partial: PartialSum,
  copies: number,
  unroll: number,
): { readonly offset: number; readonly from: readonly (readonly [copy: number, j: number])[] }[] {
  const byOffset = new Map<number, [number, number][]>();
  for (const copy of range(copies))
    for (const j of range(unroll)) {
      const offset = copy * copyStride(plan, partial) + (partial.keepsVector ? j * VECTOR : 0);
      byOffset.set(offset, [...(byOffset.get(offset) ?? []), [copy, j]]);
    }
  return [...byOffset].map(([offset, from]) => ({ offset, from }));
}

interface ResultRoots {
  readonly copies: number;
  readonly unroll: number;
  readonly sumValues: readonly (readonly Scalar[])[];
  readonly directValues: readonly (readonly Scalar[])[];
  readonly record: () => Code;
}

/** Results of a sweep with an adjoint that need the states alone are taken on the way there, the others on the way back. */
export type Way = "there" | "back";

/** What happens to a state's results: `copy` once it is known, `end` after all states of a step, `totals` after the chunk. */
export interface StepResults {
  readonly copy: (copy: number, at: Scope, way: Way) => void;
  readonly end: (at: Scope) => void;
  readonly totals: () => Code;
}

/** When a sum's terms are added. A single step's are all added on the way back. */
export const wayOf = ({ form }: ScanPlan, sum: number): Way =>
  form.seed !== undefined &&
  form.sums[sum]!.step === "each" &&
  ![...nodesOf([form.sums[sum]!.value])].some((node) => node.op === "state" && node.which === "adjoint")
    ? "there"
    : "back";

export function stepResults(
  c: FunctionContext,
  plan: ScanPlan,
  { copies, unroll, sumValues, directValues, record }: ResultRoots,
): StepResults {
  const { f, s, emit, frame, cursor } = c;
  const { form } = plan;
  const lastInner = plan.inner.at(-1);
  const part = (values: Vectors, j: number): Code => (values.length === 1 ? values[0] : values[j])!;
  /** The vector with a node's first vector added: in one instruction where the node is a product. */
  const withAdded =
    (node: Scalar, at: Scope) =>
    (before: Code): Code => {
      if (node.op !== "mul") return add(before, emit.evaluate(node, frame, at)[0]!);
      const [x, y] = node.args.map((arg) => emit.evaluate(arg, frame, at)[0]!) as [Code, Code];
      return multiplyAdd(x, y, before);
    };
  /** Adds to a vector in memory what each copy has for it; the sum of several copies waits in a local. */
  const accumulate = (
    address: () => Code,
    offset: number,
    added: (before: Code) => Code,
    copy: number,
    first: number,
    last: number,
    waiting: Local,
  ): Code => {
    const before = copy === first ? v128.load(address(), offset) : waiting.get;
    const sum = added(before);
    return copy === last ? v128.store(address(), sum, offset) : waiting.set(sum);
  };

  const localWaiting = plan.localSums.map(() => f.local("v128"));
  const partials = plan.partials.map((partial) => {
    const inRegisters = !partial.keepsAlong && partial.step === "each";
    const at = targets(plan, partial, copies, unroll).map((target) => ({ ...target, local: f.local("v128") }));
    // Sums over all steps of a chunk begin at 0: two levels keep rounding errors small.
    if (inRegisters) s.body.push(at.map(({ local }) => local.set(f32x4.const(0))));
    const start = (): Code =>
      cursor(
        `sum${partial.sum}`,
        partialStart(c, plan, partial),
        partial.keepsAlong ? partial.points * (partial.keepsVector ? plan.groups : 1) * VECTOR : 0,
      );
    return { partial, inRegisters, at, start };
  });
  const addPartial = (
    { partial, inRegisters, at, start }: (typeof partials)[number],
    copy: number,
    scope: Scope,
  ): void => {
    const values = emit.evaluate(sumValues[partial.sum]![copy]!, frame, scope);
    for (const { offset, from, local } of at) {
      const here = from.filter(([k]) => k === copy);
      if (here.length === 0) continue;
      const sum = here.map(([, j]) => part(values, j)).reduce((a, b) => add(a, b));
      const term = partial.keepsVector ? sum : fillBeyond(sum, frame, f32x4.const(0));
      s.body.push(
        inRegisters
          ? local.set(add(local.get, term))
          : accumulate(start, offset, (before) => add(before, term), copy, from[0]![0], from.at(-1)![0], local),
      );
    }
  };
  const addDirect = (n: number, copy: number, scope: Scope): void => {
    const { output, dtype, index } = form.direct[n]!;
    const vectors = emit.evaluate(directValues[n]![copy]!, frame, scope);
    const place = copy === 0 ? index : { ...index, offset: index.offset + copy * index.coefficients[lastInner!]! };
    for (const j of range(unroll))
      storeLanes(
        c,
        form.inputs.length + output,
        place,
        index.coefficients[plan.vector]!,
        j,
        inMemory(dtype, part(vectors, j)),
      );
  };
  const now = (step: ScanStep, copy: number, at: Scope, way: Way): void => {
    for (const partial of partials)
      if (partial.partial.step === step && wayOf(plan, partial.partial.sum) === way) addPartial(partial, copy, at);
    form.direct.forEach((o, n) => {
      if (o.step === step && way === "back") addDirect(n, copy, at);
    });
  };
  return {
    copy(copy, at, way) {
      plan.localSums.forEach((k, n) => {
        if (wayOf(plan, k) !== way) return;
        s.body.push(
          accumulate(
            record,
            VECTOR * (plan.staged.length + n),
            withAdded(sumValues[k]![copy]!, at),
            copy,
            0,
            copies - 1,
            localWaiting[n]!,
          ),
        );
      });
      now("each", copy, at, way);
    },
    end(at) {
      for (const step of ["first", "last"] as const) {
        const outside = s.body;
        const inside: Code[] = (s.body = []);
        for (const copy of range(copies)) now(step, copy, scope(at, at.before), "back");
        s.body = outside;
        if (inside.length > 0)
          s.body.push(when(i32.eq(c.time(), i32.const(step === "first" ? 0 : form.extents[form.along]! - 1)), inside));
      }
    },
    totals: () =>
      partials
        .filter((p) => p.inRegisters)
        .map(({ partial, at }) => {
          const start = f.local("i32");
          return [
            start.set(partialStart(c, plan, partial)),
            at.map(({ offset, local }) => v128.store(start.get, add(v128.load(start.get, offset), local.get), offset)),
          ];
        }),
  };
}

const inMemory = (dtype: DType, vector: Code): Code => (dtype === "bool" ? v128.and(vector, i32x4.const(1)) : vector);
