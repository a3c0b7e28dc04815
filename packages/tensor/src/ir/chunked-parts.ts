/**
 * A semiseparable recurrence taken apart for chunked programs: the arrays that the chunks read, the arrays that they
 * compute, and the loops that make the kernel's outputs of those.
 */
import type { DType } from "../graph/dtype.js";
import { rewriting } from "./interning.js";
import { guard, type Affine, type LoopKernel, type Scalar } from "./loop.js";
import type { ScanOutput, ScanStep } from "./scan-kernel.js";
import { ONE, type OuterProduct, type Semiseparable } from "./semiseparable.js";
import { affinesOf, nodesOf, parts, product } from "./simplify.js";

/** What the chunks read. */
export interface Operand {
  readonly value: Scalar;
  /** Axes of the array, outermost first; those of keys or values last. */
  readonly axes: readonly number[];
  /** Where it lies in an input of the kernel, or a loop that computes it row-major. */
  readonly from:
    { readonly input: number; readonly index: Affine } | { readonly loop: LoopKernel; readonly layout: Layout };
}

/** What the chunks compute. */
export interface Result {
  readonly of:
    | {
        readonly kind: "read";
        readonly state: "current" | "adjoint";
        readonly over: "keys" | "values";
        readonly operand: Operand;
        /** Summed over an axis of heads, with weights. */
        readonly group?: { readonly axis: number; readonly weights?: Operand };
      }
    | { readonly kind: "decay" }
    /** The states after the last step; the adjoint states of the first. */
    | { readonly kind: "last" | "first" };
  readonly layout: Layout;
  /** The output that it is. */
  readonly output?: number;
}

/** Operands of an outer product. */
export interface OuterOperands {
  readonly keys: Operand;
  readonly values: Operand;
  readonly scale?: Operand;
}

/** Outputs from results: `loop` has the kernel's inputs, then the results. */
export interface FinalLoop {
  readonly loop: LoopKernel;
  readonly outputs: readonly number[];
}

export interface ChunkedParts {
  readonly form: Semiseparable;
  readonly decay: Operand;
  readonly drive: OuterOperands;
  readonly seed?: OuterOperands;
  readonly initial?: Operand;
  /** The cotangent of the last states, beside the seed. */
  readonly final?: Operand;
  /** All of them, each once. */
  readonly operands: readonly Operand[];
  readonly results: readonly Result[];
  readonly finals: readonly FinalLoop[];
}

/** An array over axes of a loop, row-major; rows, along the last axis, are multiples of `lanes`. */
export interface Layout {
  readonly axes: readonly number[];
  readonly index: Affine;
  readonly size: number;
}

export function layoutOver(axes: readonly number[], extents: readonly number[], lanes = 1): Layout {
  const coefficients = extents.map(() => 0);
  const size = axes.reduceRight((stride, axis, k) => {
    coefficients[axis] = stride;
    return stride * (k === axes.length - 1 ? Math.ceil(extents[axis]! / lanes) * lanes : extents[axis]!);
  }, 1);
  return { axes, index: { offset: 0, coefficients }, size };
}

/** Expressions over the given axes alone; other axes are at `at`, or do not matter. */
const overAxes =
  (axes: readonly number[], at: ReadonlyMap<number, number> = new Map()) =>
  ({ offset, coefficients }: Affine): Affine => ({
    offset: [...at].reduce((sum, [axis, position]) => sum + coefficients[axis]! * position, offset),
    coefficients: axes.map((axis) => coefficients[axis]!),
  });

/**
 * The parts, or why there are none.
 * @param lanes Rows of keys and values begin and end at multiples of so many elements; what does not is laid out anew.
 * @param half Vectors of keys and values may be f16 where they lie.
 */
export function chunkedParts(form: Semiseparable, lanes = 1, half = false): ChunkedParts | string {
  const { kernel, keys, values, heads, drive, seed, sums } = form;
  const { extents, along } = kernel;
  const operands = new Map<string, Operand>();
  const ids = new Map<Scalar, number>();
  const idOf = (x: Scalar): number => {
    if (!ids.has(x)) ids.set(x, ids.size);
    return ids.get(x)!;
  };
  const own = (x: Scalar): ReadonlySet<number> => {
    const found = affinesOf(x).flatMap(({ coefficients }) =>
      coefficients.flatMap((c, axis) => (c !== 0 && extents[axis]! > 1 ? [axis] : [])),
    );
    return new Set([...found, ...parts(x).flatMap((part) => [...own(part)])]);
  };
  const operand = (value: Scalar, ...last: readonly number[]): Operand => {
    const key = `${idOf(value)}|${last.join()}`;
    let found = operands.get(key);
    if (!found) {
      const varies = own(value);
      const axes = [...[...heads, along].filter((axis) => varies.has(axis)).sort((a, b) => a - b), ...last];
      const dtypes = half && last.length === 1 && value !== form.decay.value ? BOTH : SINGLE;
      operands.set(key, (found = { value, axes, from: placeOf(form, value, axes, last, lanes, dtypes) }));
    }
    return found;
  };
  const outer = ({ keys: k, values: v, scale }: OuterProduct): OuterOperands => ({
    keys: operand(k, keys),
    values: operand(v, values),
    ...(scale !== ONE && { scale: operand(scale) }),
  });
  const all = extents.map((_, axis) => axis);
  const decay = form.decay.kind === "vector" ? operand(form.decay.value, keys) : operand(form.decay.value);
  const base = {
    form,
    decay,
    drive: outer(drive),
    ...(seed && { seed: outer(seed) }),
    ...(kernel.initial && { initial: operand(kernel.initial[0], keys, values) }),
    ...(form.final && { final: operand(form.final, keys, values) }),
  };

  const results: Result[] = [];
  const byKey = new Map<string, number>();
  const result = (key: string, make: () => Result): number => {
    if (!byKey.has(key)) byKey.set(key, results.push(make()) - 1);
    return byKey.get(key)!;
  };
  const states = (which: "current" | "adjoint"): number =>
    result(which, () => ({
      of: { kind: which === "current" ? "last" : "first" },
      layout: layoutOver([...heads, keys, values], extents, lanes),
    }));
  /** The result that a sum is made of. */
  const resultOf = (k: number): number | undefined => {
    const role = sums[k]!;
    if (role.role === "ends") return undefined;
    const vector = form.decay.kind === "vector";
    if (role.role === "decay")
      return result("decay", () => ({
        of: { kind: "decay" },
        layout: vector
          ? layoutOver([...all.filter((axis) => axis !== keys && axis !== values), keys], extents, lanes)
          : layoutOver(
              all.filter((axis) => axis !== keys && axis !== values),
              extents,
            ),
      }));
    const { state, over, group } = role;
    const [summed, kept] = over === "keys" ? [keys, values] : [values, keys];
    const read = operand(role.operand, summed);
    const weights = group && group.weights !== ONE ? operand(group.weights) : undefined;
    const key = `${state} ${over} ${idOf(role.operand)} ${group ? `${group.axis} ${idOf(group.weights)}` : ""}`;
    return result(key, () => ({
      of: {
        kind: "read",
        state,
        over,
        operand: read,
        ...(group && { group: { axis: group.axis, ...(weights && { weights }) } }),
      },
      layout: layoutOver(
        [...all.filter((axis) => axis !== keys && axis !== values && axis !== group?.axis), kept],
        extents,
        lanes,
      ),
    }));
  };

  const finals: { readonly outputs: number[]; readonly key: string; readonly values: ScanOutput[] }[] = [];
  for (const [k, output] of kernel.outputs.entries()) {
    const used = sumsIn(output.value);
    const lost = used.map((sum) => lostBy(form, sum));
    if (lost.some((axes) => axes.join() !== lost[0]!.join())) return "a result mixes sums over different axes";
    const made = used.map(resultOf);
    for (const node of nodesOf([output.value, ...used.map((sum) => kernel.sums[sum]!.value)]))
      if (node.op === "state" && output.step !== "each") states(node.which as "current" | "adjoint");
    const direct = directly(form, output, used, made, results, states);
    if (direct !== undefined && results[direct]!.output === undefined) {
      results[direct] = { ...results[direct]!, output: k };
      continue;
    }
    const key = `${output.step} ${output.keeps.join()} ${(lost[0] ?? []).join()}`;
    const group = finals.find((g) => g.key === key);
    if (group) {
      group.outputs.push(k);
      group.values.push(output);
    } else finals.push({ key, outputs: [k], values: [output] });
  }
  return {
    ...base,
    operands: [...operands.values()],
    results,
    finals: finals.map(({ outputs, values: list }) => ({
      outputs,
      loop: finalLoop(form, list, results, resultOf, states),
    })),
  };
}

const sumsIn = (value: Scalar): readonly number[] => [
  ...new Set([...nodesOf([value])].flatMap((node) => (node.op === "reduced" ? [node.reduction] : []))),
];

/** Axes that remain to be summed after the product. */
function lostBy({ sums, kernel }: Semiseparable, k: number): readonly number[] {
  const role = sums[k]!;
  if (role.role !== "ends") return [...role.lost].sort((a, b) => a - b);
  const { keeps } = kernel.sums[k]!;
  return kernel.extents.flatMap((extent, axis) =>
    extent > 1 && axis !== kernel.along && !keeps.includes(axis) ? [axis] : [],
  );
}

/** The result that an output is, in its order. */
function directly(
  { kernel: { extents, sums: all }, sums }: Semiseparable,
  { value, dtype, keeps }: ScanOutput,
  used: readonly number[],
  made: readonly (number | undefined)[],
  results: readonly Result[],
  states: (which: "current" | "adjoint") => number,
): number | undefined {
  const inOrder = ({ axes, size }: Layout): boolean =>
    size === product(keeps.map((axis) => extents[axis]!)) &&
    axes.filter((axis) => extents[axis]! > 1).join() === keeps.filter((axis) => extents[axis]! > 1).join();
  if (dtype !== "f32") return undefined;
  if (value.op === "state") {
    const k = states(value.which as "current" | "adjoint");
    return inOrder(results[k]!.layout) ? k : undefined;
  }
  const role = sums[used[0] ?? -1];
  if (value.op !== "reduced" || !role || role.role === "ends" || role.outside !== ONE || role.lost.length > 0)
    return undefined;
  return all[used[0]!]!.step === "each" && inOrder(results[made[0]!]!.layout) ? made[0] : undefined;
}

const SINGLE: readonly DType[] = ["f32"],
  BOTH: readonly DType[] = ["f32", "f16"];

/** Where an operand lies, or the loop that lays it out. */
function placeOf(
  { kernel: { extents, inputs } }: Semiseparable,
  value: Scalar,
  axes: readonly number[],
  last: readonly number[],
  lanes: number,
  dtypes: readonly DType[],
): Operand["from"] {
  const lane = last.at(-1);
  const whole = (n: number): boolean => n % lanes === 0;
  if (
    value.op === "load" &&
    !value.gather &&
    dtypes.includes(inputs[value.input]!.dtype) &&
    last.every((axis) => value.index.coefficients[axis] !== 0) &&
    (lane === undefined ||
      (value.index.coefficients[lane] === 1 &&
        [value.index.offset, extents[lane]!].every(whole) &&
        value.index.coefficients.every((c, axis) => axis === lane || extents[axis] === 1 || whole(c))))
  )
    return {
      input: value.input,
      index: {
        ...value.index,
        coefficients: value.index.coefficients.map((c, axis) => (extents[axis]! > 1 ? c : 0)),
      },
    };
  const layout = layoutOver(axes, extents, lane === undefined ? 1 : lanes);
  const rows = axes.map((axis, k) =>
    axis === lane && k === axes.length - 1 ? Math.ceil(extents[axis]! / lanes) * lanes : extents[axis]!,
  );
  const inRows = rewriting(overAxes(axes))(value);
  const ends = { offset: 0, coefficients: axes.map((_, k) => (k === axes.length - 1 ? 1 : 0)) };
  const loop: LoopKernel = {
    extents: rows,
    reduceExtents: [],
    inputs,
    reductions: [],
    outputs: [
      {
        dtype: "f32",
        value:
          lane === undefined || whole(extents[lane]!)
            ? inRows
            : guard([{ index: ends, lo: 0, hi: extents[lane]! }], inRows, 0),
      },
    ],
  };
  return { loop, layout };
}

/** Outputs of the same axes from results. */
function finalLoop(
  form: Semiseparable,
  outputs: readonly ScanOutput[],
  results: readonly Result[],
  resultOf: (sum: number) => number | undefined,
  states: (which: "current" | "adjoint") => number,
): LoopKernel {
  const { kernel, sums } = form;
  const { extents, along, reverse, inputs } = kernel;
  const { keeps, step } = outputs[0]!;
  const used = [...new Set(outputs.flatMap(({ value }) => sumsIn(value)))];
  const lost = used.length > 0 ? lostBy(form, used[0]!) : [];
  const axes = [...keeps, ...lost];
  const atStep = (s: ScanStep): ReadonlyMap<number, number> =>
    new Map(s === "each" ? [] : [[along, (s === "first") !== reverse ? 0 : extents[along]! - 1]]);
  const load = (k: number): Scalar => ({
    op: "load",
    dtype: "f32",
    input: inputs.length + k,
    index: overAxes(axes)(results[k]!.layout.index),
  });
  const place = rewriting(overAxes(axes, atStep(step)), (node) =>
    node.op === "state" ? load(states(node.which as "current" | "adjoint")) : undefined,
  );
  const valueOf = (k: number): Scalar => {
    const role = sums[k]!;
    if (role.role === "ends") return place(kernel.sums[k]!.value);
    const read = load(resultOf(k)!);
    return role.outside === ONE ? read : { op: "mul", dtype: "f32", args: [read, place(role.outside)] };
  };
  const whole = new Map(used.map((k) => [k, valueOf(k)]));
  const final = rewriting(overAxes(axes, atStep(step)), (node) =>
    node.op === "reduced"
      ? lost.length > 0
        ? { ...node, reduction: used.indexOf(node.reduction) }
        : whole.get(node.reduction)
      : node.op === "state"
        ? load(states(node.which as "current" | "adjoint"))
        : undefined,
  );
  return {
    extents: keeps.map((axis) => extents[axis]!),
    reduceExtents: lost.map((axis) => extents[axis]!),
    inputs: [...inputs, ...results.map(({ layout }) => ({ dtype: "f32" as const, size: layout.size }))],
    reductions: lost.length > 0 ? used.map((k) => ({ combine: "sum", value: whole.get(k)! })) : [],
    outputs: outputs.map(({ dtype, value }) => ({ dtype, value: final(value) })),
  };
}
