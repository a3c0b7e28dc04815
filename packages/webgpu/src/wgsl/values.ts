/** Scalar expressions of the kernel IR as WGSL statements. A node used twice becomes a `let`; the others are written where they are used. */
import type { DType } from "@seqmix/tensor";
import { parts, type Affine, type Scalar } from "@seqmix/tensor/backend";
import { functionOf } from "./functions.js";

/** How a type is kept in a register and in memory. */
export const registerType = (dtype: DType): string => (dtype === "f16" ? "f32" : dtype);
export const memoryType = (dtype: DType): string => (dtype === "bool" ? "u32" : dtype);
export const fromMemory = (dtype: DType, text: string): string =>
  dtype === "bool" ? `(${text} != 0u)` : dtype === "f16" ? `f32(${text})` : text;
export const toMemory = (dtype: DType, text: string): string =>
  dtype === "bool" ? `u32(${text})` : dtype === "f16" ? `f16(${text})` : text;

/** What surrounds the expressions. */
export interface Surroundings {
  /** Names of the axis variables, i32; a coefficient's place is its axis'. */
  readonly axes: readonly string[];
  /** The value of a load that is already there, or undefined to read memory. */
  loaded(node: Scalar & { op: "load" }): string | undefined;
  /** The value of any node that is already there. */
  given?(node: Scalar): string | undefined;
  /** Element `index` of an input, as its register type. */
  read(input: number, index: string): string;
  readonly reduced: readonly string[];
  /** The state of a recurrence; only in scan kernels. */
  state?(node: Scalar & { op: "state" }): string;
  /** Nodes whose values are there already. */
  readonly known?: ReadonlyMap<Scalar, string>;
  /** Exponentials to the base two, by the device's own function. */
  readonly base2?: ReadonlySet<Scalar>;
  /** A name not used before, for a scope with several calls. */
  fresh?(): string;
  /** Collects names of the functions called. */
  readonly functions: Set<string>;
}

/** The longest expression written in one line. */
const LINE = 100;

/** Writes statements for the roots and returns one expression each. */
export function writeValues(values: readonly Scalar[], around: Surroundings, lines: string[]): string[] {
  const uses = countUses(values);
  const done = new Map<Scalar, string>(around.known);
  let names = 0;
  const keep = (text: string): string => {
    const name = around.fresh?.() ?? `v${names++}`;
    lines.push(`let ${name} = ${text};`);
    return name;
  };
  const write = (node: Scalar): string => {
    const known = done.get(node) ?? around.given?.(node);
    if (known !== undefined) return known;
    let text = render(node);
    const simple = /^[\w.]+$/.test(text);
    if (!simple && (uses.get(node)! > 1 || text.length > LINE)) text = keep(text);
    done.set(node, text);
    return text;
  };
  const render = (node: Scalar): string => {
    switch (node.op) {
      case "constant":
        return literal(node.value, node.dtype, around.functions);
      case "position": {
        const index = affineText(node.index, around.axes);
        // WGSL does not mix * and & without parentheses.
        return index.includes(" * ") && !index.startsWith("(") ? `(${index})` : index;
      }
      case "reduced":
        return around.reduced[node.reduction]!;
      case "state":
        if (around.state) return around.state(node);
        throw new TypeError(
          "webgpu: expected state nodes in scan kernels only, got one in a loop; report this as a bug",
        );
      case "load": {
        const loaded = around.loaded(node);
        if (loaded !== undefined) return loaded;
        const gathers = (node.gather ?? []).map(
          ({ value, size, stride }) => ` + clamp(${write(value)}, 0, ${size - 1})${stride === 1 ? "" : ` * ${stride}`}`,
        );
        return around.read(node.input, `${addressText(node.index, around.axes)}${gathers.join("")}`);
      }
      case "guard": {
        // Reading outside a buffer is harmless in WGSL: the guarded value is computed everywhere and chosen afterwards.
        const inside = node.conditions
          .map(({ index, lo, hi }) => rangeText(affineText(index, around.axes), lo, hi))
          .join(" & ");
        return `select(${literal(node.fill, node.dtype, around.functions)}, ${write(node.value)}, ${inside})`;
      }
      default: {
        // What is made of literals alone would be computed by the compiler, which refuses overflow; a let is not.
        const x = softplusArgument(node);
        if (x) {
          around.functions.add("softplus_");
          return `softplus_(${write(x)})`;
        }
        if (around.base2?.has(node)) return `exp2(${write((node as Scalar & { args: readonly Scalar[] }).args[0]!)})`;
        const fixed = node.args.every((arg) => arg.op === "constant");
        return intrinsic(
          node,
          node.args.map((arg) => (fixed ? keep(write(arg)) : write(arg))),
          around.functions,
        );
      }
    }
  };
  return values.map(write);
}

function countUses(values: readonly Scalar[]): Map<Scalar, number> {
  const uses = new Map<Scalar, number>();
  const visit = (node: Scalar): void => {
    const before = uses.get(node) ?? 0;
    uses.set(node, before + 1);
    const x = softplusArgument(node);
    if (before === 0) (x ? [x] : parts(node)).forEach(visit);
  };
  values.forEach(visit);
  return uses;
}

/** The index as an i32 expression; beyond 2^31 it wraps around, as do its terms. */
export function affineText({ offset, coefficients }: Affine, axes: readonly string[]): string {
  const terms = coefficients.flatMap((c, k) => (c === 0 ? [] : [c === 1 ? axes[k]! : `${axes[k]} * ${c | 0}`]));
  if (offset !== 0 || terms.length === 0) terms.push(String(offset | 0));
  return terms.length === 1 ? terms[0]! : `(${terms.join(" + ")})`;
}

/**
 * The index of a load. What a guard excludes is read all the same, wherever it lies; but of an index made of numbers alone
 * the compiler sees that it is negative, and refuses it.
 */
export function addressText(index: Affine, axes: readonly string[]): string {
  const fixed = index.coefficients.every((c, k) => c === 0 || isNumber(axes[k]!));
  if (!fixed) return affineText(index, axes);
  const value = (text: string): number => Number(text.replace(/[()]/g, ""));
  const at = index.coefficients.reduce((sum, c, k) => (c === 0 ? sum : sum + c * value(axes[k]!)), index.offset);
  return String(Math.max(0, at | 0));
}

const isNumber = (text: string): boolean => /^[(]?-?\d+[)]?$/.test(text);

function rangeText(index: string, lo: number, hi: number): string {
  return `(${index} >= ${lo}) & (${index} < ${hi})`;
}

/** A constant that WGSL accepts: infinities, NaN and -0, which loses its sign, are made of their bits. */
export function literal(value: number, dtype: DType, functions: Set<string>): string {
  if (dtype === "bool") return value === 0 ? "false" : "true";
  if (dtype === "i32") return `i32(${value | 0})`;
  const rounded = Math.fround(value);
  if (!Number.isFinite(rounded) || Object.is(rounded, -0)) {
    functions.add("fromBits");
    return `fromBits(0x${new Uint32Array(Float32Array.of(rounded).buffer)[0]!.toString(16)}u)`;
  }
  return rounded < 0 ? `(${rounded}f)` : `${rounded}f`;
}

const operators: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  less: "<",
  lessEqual: "<=",
  equal: "==",
  bitAnd: "&",
  bitOr: "|",
  bitXor: "^",
  and: "&",
  or: "|",
};
function intrinsic(
  node: Scalar & { args: readonly Scalar[] },
  args: readonly string[],
  functions: Set<string>,
): string {
  const [x, y, z] = args as [string, string, string];
  const { op, dtype } = node;
  const vanishing = besideZero(node, args, functions);
  if (vanishing !== undefined) return vanishing;
  const operator = operators[op];
  if (operator) return `(${x} ${operator} ${y})`;
  // Ours, for their accuracy or their NaN.
  const own = functionOf(op);
  if (own) {
    functions.add(own);
    return `${own}(${x})`;
  }
  switch (op) {
    case "neg":
      return `(-${x})`;
    case "not":
      return `!${x}`;
    case "abs":
    case "sqrt":
    case "floor":
      return `${op}(${x})`;
    case "min":
    case "max":
      return combineText(op, dtype, x, y, functions);
    case "shiftLeft":
      return `(${x} << (bitcast<u32>(${y}) & 31u))`;
    case "shiftRight":
      return `bitcast<i32>(bitcast<u32>(${x}) >> (bitcast<u32>(${y}) & 31u))`;
    case "where":
      return `select(${z}, ${y}, ${x})`;
    case "cast":
      if (dtype !== "i32" || node.args[0]!.dtype !== "f32") return `${dtype}(${x})`;
      functions.add("toInteger");
      return `toInteger(${x})`;
    default:
      throw new TypeError(
        `webgpu: expected WGSL for the intrinsic ${op}, got none; write it in packages/webgpu/src/wgsl/functions.ts as ${op}_`,
      );
  }
}

/** Products with a zero and quotients of zeros and infinities, which compilers would take for zeros of any sign whatever x is. */
function besideZero(
  { op, dtype, args }: Scalar & { args: readonly Scalar[] },
  [x, y]: readonly string[],
  functions: Set<string>,
): string | undefined {
  if ((op !== "mul" && op !== "div") || dtype !== "f32") return undefined;
  const [left, right] = args.map((arg) => (arg.op === "constant" ? Math.fround(arg.value) : NaN)) as [number, number];
  const call = (name: string, value: string, by: number): string => {
    functions.add(name);
    return `${name}(${Object.is(Math.sign(by), -0) || by < 0 ? `-${value}` : value})`;
  };
  if (op === "mul" && right === 0) return call("timesZero", x!, right);
  if (op === "mul" && left === 0) return call("timesZero", y!, left);
  if (op === "div" && left === 0) return call("zeroOver", y!, left);
  return op === "div" && Math.abs(right) === Infinity ? call("timesZero", x!, right) : undefined;
}

/** x, where the node is max(x, 0) + log1p(e^-|x|), which has a function of its own. */
export function softplusArgument(node: Scalar): Scalar | undefined {
  if (node.op !== "add") return undefined;
  const [positive, log] = node.args as [Scalar, Scalar];
  if (positive.op !== "max" || log.op !== "log1p") return undefined;
  const [x, zero] = positive.args as [Scalar, Scalar];
  const [exp] = log.args as [Scalar];
  if (zero.op !== "constant" || zero.value !== 0 || exp.op !== "exp") return undefined;
  const [neg] = exp.args as [Scalar];
  return neg.op === "neg" && neg.args[0]!.op === "abs" && neg.args[0]!.args[0] === x ? x : undefined;
}

/** The smaller or larger of two; NaN if either is. */
export function combineText(
  how: "sum" | "min" | "max",
  dtype: DType,
  x: string,
  y: string,
  functions: Set<string>,
): string {
  if (how === "sum") return `${x} + ${y}`;
  if (dtype !== "f32") return `${how}(${x}, ${y})`;
  const name = how === "min" ? "minimum" : "maximum";
  functions.add(name);
  return `${name}(${x}, ${y})`;
}
