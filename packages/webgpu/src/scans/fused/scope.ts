/** WGSL text of a scan's passes: names of axes, states and buffers, and expressions in their scopes. */
import type { Scalar, ScanKernel, ScanValue } from "@seqmix/tensor/backend";
import { declare, entryPoint, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../../wgsl/functions.js";
import { affineText, fromMemory, memoryType, toMemory, writeValues } from "../../wgsl/values.js";
import { frontier } from "./expressions.js";
import type { Group, Layout } from "./layout.js";

/** The numbers of a program's buffers. */
export interface Buffers {
  readonly outputs: number;
  /** Per segment: the state it ends in from zero, then the state before it; decay products, with an exponent where they may leave the range of f32 (or sums of the arguments of powers); the same of the adjoint. */
  readonly ends: number;
  readonly decays: number;
  readonly adjoints: number;
  readonly partials: number;
}

export const PARTS = ["re", "im"] as const;
export const partsOf = ({ complex }: Layout): readonly ("re" | "im")[] => (complex ? PARTS : ["re"]);

/** A thread's place in its subgroup, and the subgroup's in the workgroup. */
const SUBGROUP = ["@builtin(subgroup_invocation_id) subgroupMember: u32", "@builtin(subgroup_id) subgroup: u32"];

/** Collects a pass: buffers bound in the order of first use. */
export interface Writer {
  readonly layout: Layout;
  readonly functions: Set<string>;
  /** Binds a buffer and returns its name. */
  bind(buffer: number, name: string, access: GpuBinding["access"], type: string): string;
  fresh(): string;
  /** Names the value of a text by a statement in `lines`. */
  named(text: string, lines: string[]): string;
  /** Declarations at module scope. */
  readonly module: string[];
  pass(threads: number, groups: number, body: readonly string[]): GpuPass;
}

export function makeWriter(layout: Layout): Writer {
  const functions = new Set<string>();
  const bound = new Map<number, { name: string; access: GpuBinding["access"]; type: string }>();
  const module: string[] = [];
  let names = 0;
  const fresh = (): string => `v${names++}`;
  return {
    layout,
    functions,
    module,
    bind(buffer, name, access, type) {
      const known = bound.get(buffer);
      bound.set(buffer, { name, type, access: known?.access === "read_write" ? "read_write" : access });
      return name;
    },
    fresh,
    named(text, lines) {
      const name = fresh();
      lines.push(`let ${name} = ${text};`);
      return name;
    },
    pass(threads, groups, body) {
      const declarations = [...bound.values()]
        .map(({ name, access, type }, k) => declare(k, name, access, type))
        .join("");
      return {
        code:
          declarations +
          module.map((line) => `${line}\n`).join("") +
          functionTexts(functions) +
          entryPoint(threads, body.join("\n"), body.some((line) => line.includes("subgroupMember")) ? SUBGROUP : []),
        buffers: [...bound].map(([buffer, { access }]): GpuBinding => ({ buffer, access })),
        groups,
      };
    },
  };
}

/** What is known at a place in the text. */
export interface Scope {
  readonly writer: Writer;
  /** Text of the index on each axis. */
  readonly axes: readonly string[];
  readonly known: ReadonlyMap<Scalar, string>;
  readonly state?: (which: "current" | "previous" | "adjoint", part: "re" | "im") => string;
  readonly reduced?: readonly string[];
  readonly loaded?: (node: Scalar & { op: "load" }) => string | undefined;
}

/** Writes statements for the roots and returns their expressions. */
export function write(
  { writer, axes, known, state, reduced, loaded }: Scope,
  roots: readonly Scalar[],
  lines: string[],
): string[] {
  const { kernel, base2, fours } = writer.layout;
  return writeValues(
    roots,
    {
      axes,
      known,
      base2,
      functions: writer.functions,
      fresh: () => writer.fresh(),
      reduced: reduced ?? [],
      loaded: (node) => loaded?.(node),
      read: (input, index) => {
        const { dtype } = kernel.inputs[input]!;
        if (fours.has(input)) return `${bindFours(writer, input)}[(${index}) / 4][(${index}) % 4]`;
        return fromMemory(dtype, `${writer.bind(input, `x${input}`, "read", memoryType(dtype))}[${index}]`);
      },
      ...(state && { state: (node) => state(node.which, node.part) }),
    },
    lines,
  );
}

/** Statements for decay and drive of a state at a step, and the scope in which the decay is known. */
export function writeStep(
  scope: Scope,
  lines: string[],
): { readonly a: readonly string[]; readonly b: readonly string[]; readonly scope: Scope } {
  const { writer } = scope;
  const { decay, drive } = writer.layout.kernel;
  const a = write(scope, decay, lines).map((value) => writer.named(value, lines));
  const withDecay: Scope = {
    ...scope,
    known: new Map([...scope.known, ...decay.map((node, part) => [node, a[part]!] as const)]),
  };
  return { a, b: write(withDecay, drive, lines).map((value) => writer.named(value, lines)), scope: withDecay };
}

const bindFours = (writer: Writer, input: number): string => writer.bind(input, `x${input}`, "read", "vec4<f32>");

/**
 * Reads of inputs in fours, four neighbours of the register axis at a time.
 * @param axes The axes' texts, that of the register axis at the first of the four that value `k` is one of.
 * @param reads Those already written to `lines`.
 */
export const fourOf =
  (
    writer: Writer,
    fours: ReadonlySet<number>,
    axes: readonly string[],
    k: number,
    reads: Map<string, string>,
    lines: string[],
  ): NonNullable<Scope["loaded"]> =>
  ({ input, index }) => {
    if (!fours.has(input)) return undefined;
    const at = `${bindFours(writer, input)}[${affineText(index, axes)} / 4]`;
    const four = reads.get(at) ?? writer.named(at, lines);
    reads.set(at, four);
    return `${four}.${"xyzw"[k % 4]}`;
  };

/**
 * The scope with the largest `early` parts of the roots computed here.
 * @param loaded What those parts read, in the place of the scope's own.
 */
export function hoist(
  scope: Scope,
  roots: readonly Scalar[],
  early: (node: Scalar) => boolean,
  lines: string[],
  loaded?: Scope["loaded"],
): Scope {
  const nodes = frontier(
    roots,
    (node) =>
      scope.known.has(node) ||
      (early(node) &&
        scope.writer.layout.axesOf(node) >= 0 &&
        !(node.op === "load" && scope.loaded?.(node) !== undefined)),
  ).filter((node) => !scope.known.has(node));
  const known = new Map(scope.known);
  write(loaded ? { ...scope, loaded } : scope, nodes, lines).forEach((text, k) =>
    known.set(nodes[k]!, scope.writer.named(text, lines)),
  );
  return { ...scope, known };
}

/**
 * Statements that split `group` and `thread` into segment, grid axes and channel, and the axes' names; `time` is the axis of the recurrence.
 * @param thread Statements that give the thread's channel as `own`, and its first value of the register axis as `n0`.
 */
export function place(
  layout: Layout,
  withSegments: boolean,
  thread: readonly string[] = [
    `let lane = i32(thread);`,
    `let own = block * ${layout.W} + lane;`,
    `let n0 = part * ${layout.R};`,
  ],
): { readonly lines: string[]; readonly axes: string[] } {
  const { kernel, C, channel, channelBlocks, grid, N, R, segments } = layout;
  const { extents } = kernel;
  const axes = extents.map(() => "0");
  const lines = [`var rest = i32(group);`];
  const take = (name: string, extent: number): void => {
    lines.push(extent === 1 ? `let ${name} = 0;` : `let ${name} = rest % ${extent};\nrest = rest / ${extent};`);
  };
  take("block", channelBlocks);
  if (withSegments) take("segment", segments);
  take("part", N / R);
  lines.push("let place = rest;");
  for (const axis of grid.toReversed()) take((axes[axis] = `i${axis}`), extents[axis]!);
  lines.push(...thread, `let inside = (own < ${C}) & (place < ${layout.gridSize});`, `let c = min(own, ${C - 1});`);
  let rest = "c";
  channel.toReversed().forEach((axis, k) => {
    axes[axis] = `i${axis}`;
    lines.push(k === channel.length - 1 ? `let i${axis} = ${rest};` : `let i${axis} = ${rest} % ${extents[axis]};`);
    rest = `(${rest} / ${extents[axis]})`;
  });
  return { lines, axes };
}

/** Workgroups of a pass over segments, or over chunks of anything. */
export const groupsOf = ({ channelBlocks, segments, N, R, gridSize }: Layout): number =>
  channelBlocks * segments * (N / R) * gridSize;

/** Position of a state in [grid, N, C]. */
export const rowText = ({ N, C }: Layout, n: string): string =>
  N === 1 ? `(place * ${C} + c)` : `((place * ${N} + ${n}) * ${C} + c)`;

/** Position along the recurrence's axis of a step. */
export const timeText = ({ kernel: { reverse }, L }: Layout, step: string): string =>
  reverse ? `(${L - 1} - (${step}))` : `(${step})`;

export const element = (layout: Layout, index: string, part: "re" | "im"): string =>
  layout.complex ? `[(${index}) * 2${part === "im" ? " + 1" : ""}]` : `[${index}]`;

/** A part of a product of decays; its exponent is the last one. */
export function decayElement(layout: Layout, index: string, part: number): string {
  const words = partsOf(layout).length + (layout.exponents ? 1 : 0);
  return words === 1 ? `[${index}]` : `[(${index}) * ${words}${part > 0 ? ` + ${part}` : ""}]`;
}

/** Whether a real or complex number is 0. */
export const isZero = (x: readonly string[]): string => x.map((part) => `(${part} == 0.0)`).join(" & ");

/** Whether a decay forgets what it multiplies; undefined if none does. */
export const forgotten = ({ kernel: { forgets } }: Layout, a: readonly string[]): string | undefined =>
  forgets && isZero(a);

/**
 * decay h + drive, or its adjoint's conj(decay) g + seed with `sign` -1.
 * @param zero When the product is 0, even of infinity.
 */
export function advance(
  a: readonly string[],
  h: readonly string[],
  b: readonly string[],
  sign: 1 | -1 = 1,
  zero?: string,
): string[] {
  const product = (text: string): string => (zero === undefined ? text : `select(${text}, 0.0, ${zero})`);
  if (a.length === 1) return [`${product(`${a[0]} * ${h[0]}`)} + ${b[0]}`];
  const [re, im] = sign === 1 ? ["-", "+"] : ["+", "-"];
  return [
    `${product(`${a[0]} * ${h[0]} ${re} ${a[1]} * ${h[1]}`)} + ${b[0]}`,
    `${product(`${a[0]} * ${h[1]} ${im} ${a[1]} * ${h[0]}`)} + ${b[1]}`,
  ];
}

/**
 * Statements for what the adjoint sends to the step before, decay times adjoint, and the scope in which products with it are
 * known. Real kernels only.
 */
export function sendBack(
  scope: Scope,
  decay: string,
  adjoint: string,
  lines: string[],
): { readonly sent: string; readonly scope: Scope } {
  const { writer } = scope;
  const sent = writer.named(`${decay} * ${adjoint}`, lines);
  const known = new Map(scope.known);
  for (const [product, others] of writer.layout.sentBack) {
    const factors = write(scope, others, lines);
    known.set(product, writer.named([sent, ...factors].join(" * "), lines));
  }
  return { sent, scope: { ...scope, known } };
}

/** The initial state, or zeros. */
export function initialState(scope: Scope, initial: ScanValue | undefined, lines: string[]): string[] {
  return initial ? write(scope, initial, lines) : partsOf(scope.writer.layout).map(() => "0.0");
}

/** The step of outputs that keep one. */
export const stepOf = (step: "first" | "last", { L }: Layout): number => (step === "first" ? 0 : L - 1);

/** Row-major position of a point in the axes that are kept. */
export function keptText(layout: Layout, keeps: readonly number[], axes: readonly string[]): string {
  const { extents } = layout.kernel;
  let stride = 1;
  const terms: string[] = [];
  for (const axis of keeps.toReversed()) {
    if (extents[axis]! > 1) terms.push(stride === 1 ? axes[axis]! : `${axes[axis]} * ${stride}`);
    stride *= extents[axis]!;
  }
  return terms.length === 0 ? "0" : terms.reverse().join(" + ");
}

/** Position of a group's partial sum in the buffer of partial sums. */
export function partialText(layout: Layout, group: Group, offset: number, axes: readonly string[]): string {
  const {
    kernel: { extents, along },
    grid,
    N,
    R,
    channelBlocks,
    segments,
  } = layout;
  let text = "0";
  const add = (index: string, extent: number): void => {
    if (extent > 1) text = text === "0" ? index : `(${text} * ${extent} + ${index})`;
  };
  for (const axis of grid) if (!group.keeps.includes(axis)) add(axes[axis]!, extents[axis]!);
  if (!group.keepsRegister) add("part", N / R);
  if (!group.keepsChannel) add("block", channelBlocks);
  if (group.step === "each" && !group.keeps.includes(along)) add("segment", segments);
  return `${offset} + ${text} * ${group.keptSize} + ${keptText(layout, group.keeps, axes)}`;
}

/** What the sums of groups add up, in order. */
export const sumValues = ({ sums }: ScanKernel, groups: readonly Pick<Group, "sums">[]): Scalar[] =>
  groups.flatMap((group) => group.sums.map((j) => sums[j]!.value));

/** What the outputs of groups are, in order. */
export const outputValues = ({ outputs }: ScanKernel, groups: readonly Pick<Group, "outputs">[]): Scalar[] =>
  groups.flatMap((group) => group.outputs.map((k) => outputs[k]!.value));

/** Statements that store a direct group's outputs at a point. */
export function storeOutputs(scope: Scope, group: Group, buffers: Buffers, lines: string[]): void {
  const { writer } = scope;
  const { kernel } = writer.layout;
  const values = write(scope, outputValues(kernel, [group]), lines);
  group.outputs.forEach((k, at) => {
    const { dtype } = kernel.outputs[k]!;
    lines.push(
      `${writer.bind(buffers.outputs + k, `y${k}`, "read_write", memoryType(dtype))}[${keptText(writer.layout, group.keeps, scope.axes)}] = ${toMemory(dtype, values[at]!)};`,
    );
  });
}
