/**
 * Renders one {@link LoopKernel} as one WGSL pass, in one of these forms:
 * - map: no reduction. A thread computes four neighbouring points (one, where rows are not a multiple of four, or there are few).
 * - serial: a thread computes one output and runs through its reduction. Neighbouring threads read neighbouring elements
 *   (columns: some threads share each output, `columns.ts`).
 * - rows: a workgroup computes one output; its threads share the reduction and combine in a tree, always in the same order.
 */
import {
  identity,
  nodesOf,
  product,
  roots,
  type Affine,
  type LoopKernel,
  type Output,
  type Scalar,
} from "@seqmix/tensor/backend";
import {
  bytesOf,
  declare,
  entryPoint,
  indent,
  widthOf,
  type GpuBinding,
  type GpuPass,
  type GpuWindow,
} from "@seqmix/tensor/wgsl";
import { functionTexts } from "../wgsl/functions.js";
import { fourText, inFours } from "../wgsl/fours.js";
import {
  affineText,
  combineText,
  fromMemory,
  literal,
  memoryType,
  registerType,
  toMemory,
  writeValues,
  type Surroundings,
} from "../wgsl/values.js";

export type LoopForm = "map" | "serial" | "columns" | "rows";

/** The buffers of a pass: the numbers of a kernel's inputs and outputs in its program. */
export interface LoopBuffers {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** By input, the output in whose memory it lies: read and written through one binding. */
  readonly aliases?: ReadonlyMap<number, number>;
  /** The points to compute; all by default. */
  readonly part?: LoopPart;
}

/** Points [first, first + count) of a kernel whose loads count from where the windows of their inputs start. */
export interface LoopPart {
  readonly first: number;
  readonly count: number;
  /** By input, what is bound of it: windows that follow each other, all but the last of one size. */
  readonly inputs: ReadonlyMap<number, readonly GpuWindow[]>;
}

export type Load = Scalar & { readonly op: "load" };

/** A point of the kernel (or of a reduction) with the loads that come as vectors of four. */
interface Layout {
  readonly width: 1 | 4;
  /** The axis the four points follow. */
  readonly axis: number;
  readonly vectors: readonly Load[];
}

/**
 * @param kernel Simplified, of at least one point.
 * @param each Vectors of four points that a thread computes of a map; several where {@link fitsInPairs} says so.
 */
export function loopPass(kernel: LoopKernel, form: LoopForm, buffers: LoopBuffers, threads: number, each = 1): GpuPass {
  const functions = new Set<string>();
  const layout = layoutOf(kernel, form, buffers);
  const names = nameBuffers(kernel, buffers, layout);
  const entry = form === "map" ? mapEntry : form === "serial" ? serialEntry : rowsEntry;
  const { text, points } = entry({ kernel, buffers, layout, names, functions, threads, each });
  const total = buffers.part?.count ?? product(kernel.extents);
  const groups =
    form === "rows"
      ? total / rowsTogether(kernel, layout, threads, total)
      : Math.ceil(total / (form === "map" ? layout.width * each : 1) / threads);
  return { code: names.declarations + functionTexts(functions) + points + text, buffers: names.bindings, groups };
}

export interface Context {
  readonly kernel: LoopKernel;
  readonly buffers: LoopBuffers;
  readonly layout: Layout;
  readonly names: Names;
  readonly functions: Set<string>;
  readonly threads: number;
  readonly each?: number;
}

/** Four at a time where the innermost axis allows it: then loads along it are vectors if all their other steps are multiples of four. */
function layoutOf(kernel: LoopKernel, form: LoopForm, { aliases, part }: LoopBuffers): Layout {
  const all = [...kernel.extents, ...kernel.reduceExtents];
  const axis = all.length - 1;
  const flat = form === "map" && kernel.extents.length <= 1;
  const values = form === "map" ? kernel.outputs.map((o) => o.value) : kernel.reductions.map((r) => r.value);
  const many = product(form === "map" ? kernel.extents : all) >= MANY;
  const width =
    form !== "serial" && many && (flat || all[axis]! % 4 === 0) && textLength(values) <= LONGEST_FOUR ? 4 : 1;
  if (width === 1 || (form === "map" && hasFours(values, [aliases, part?.inputs])))
    return { width: 1, axis, vectors: [] };
  const fits = ({ offset, coefficients }: Affine): boolean =>
    offset % 4 === 0 && coefficients.every((c, k) => (k === axis ? c === 1 : c % 4 === 0));
  const loads = loadsOf(values);
  const scalar = new Set(loads.flatMap((load) => (!load.gather && fits(load.index) ? [] : [load.input])));
  // An output's tail is computed a point at a time: what it reads is no vector.
  if (form === "rows") for (const load of loadsOf(kernel.outputs.map((o) => o.value))) scalar.add(load.input);
  for (const [input, windows] of part?.inputs ?? []) if (windows.length > 1) scalar.add(input);
  const vectors = loads.filter((load) => !scalar.has(load.input));
  for (const input of aliases?.keys() ?? [])
    if (scalar.has(input))
      throw new TypeError("webgpu: expected an input written over to be read in place; report this as a bug");
  return { width, axis, vectors };
}

/** Whether each point has four of something: they are read side by side where neighbouring points are neighbouring threads. */
function hasFours(values: readonly Scalar[], others: readonly (ReadonlyMap<number, unknown> | undefined)[]): boolean {
  const apart = new Set(others.flatMap((each) => [...(each?.keys() ?? [])]));
  return inFours(loadsOf(values), (input) => !apart.has(input)).size > 0;
}

/** Expressions longer than this are computed one point a thread: four copies take compilers long, and memory is not what they wait for. */
const LONGEST_FOUR = 80;
/** Fewer points than this are over before their memory is waited for. */
const MANY = 4096;
const FUNCTION_LENGTHS: Readonly<Record<string, number>> = {
  sin: 60,
  cos: 60,
  exp: 10,
  log: 20,
  expm1: 12,
  log1p: 20,
  tanh: 12,
  sigmoid: 12,
  erf: 25,
};

/** Operations in the expressions, those inside functions included. @param counts Whether a node counts. */
export const textLength = (values: readonly Scalar[], counts: (node: Scalar) => boolean = () => true): number =>
  [...nodesOf(values)].filter(counts).reduce((sum, { op }) => sum + (FUNCTION_LENGTHS[op] ?? 1), 0);

export const loadsOf = (values: readonly Scalar[]): readonly Load[] =>
  [...nodesOf(values)].filter((node): node is Load => node.op === "load");

interface Names {
  readonly declarations: string;
  readonly bindings: readonly GpuBinding[];
  /** An element of an input, by its index. */
  read(input: number, index: string): string;
  /** The value of a load of an input that comes in fours; else undefined. */
  four(load: Load): string | undefined;
  readonly inputs: ReadonlyMap<number, string>;
  readonly outputs: readonly string[];
}

export function nameBuffers(
  kernel: LoopKernel,
  { inputs, outputs, aliases, part }: LoopBuffers,
  { width, vectors }: Layout,
): Names {
  const loads = loadsOf(roots(kernel));
  const used = [...new Set(loads.map((load) => load.input))].sort((a, b) => a - b);
  const isVector = new Set(vectors.map((load) => load.input));
  const apart = new Set([...isVector, ...(aliases?.keys() ?? []), ...(part?.inputs.keys() ?? [])]);
  const fours = inFours(loads, (input) => !apart.has(input));
  const bindings: GpuBinding[] = [];
  let declarations = "";
  const bind = (
    buffer: number,
    name: string,
    access: GpuBinding["access"],
    type: string,
    window: GpuWindow | undefined,
  ): void => {
    declarations += declare(bindings.length, name, access, type);
    bindings.push({ buffer, access, ...(window && { window }) });
  };
  const outputNames = kernel.outputs.map((_, k) => `y${k}`);
  const inputNames = new Map<number, string>();
  const divided = new Set<number>();
  let functions = "";
  for (const input of used) {
    const output = aliases?.get(input);
    inputNames.set(input, output === undefined ? `x${input}` : outputNames[output]!);
    const type = memoryType(kernel.inputs[input]!.dtype);
    if (output !== undefined) continue;
    const windows = part?.inputs.get(input) ?? [undefined];
    if (windows.length === 1)
      bind(
        inputs[input]!,
        `x${input}`,
        "read",
        isVector.has(input) || fours.has(input) ? `vec4<${type}>` : type,
        windows[0],
      );
    else {
      windows.forEach((window, k) => bind(inputs[input]!, `x${input}_${k}`, "read", type, window));
      functions += readFunction(input, type, windows as readonly GpuWindow[], widthOf(kernel.inputs[input]!.dtype));
      divided.add(input);
    }
  }
  const outputWidth = kernel.reductions.length === 0 ? width : 1;
  kernel.outputs.forEach(({ dtype }, k) =>
    bind(
      outputs[k]!,
      outputNames[k]!,
      "read_write",
      outputWidth === 4 ? `vec4<${memoryType(dtype)}>` : memoryType(dtype),
      part && { from: part.first * widthOf(dtype), bytes: bytesOf(part.count, dtype) },
    ),
  );
  const read = (input: number, index: string): string =>
    fromMemory(
      kernel.inputs[input]!.dtype,
      divided.has(input) ? `read${input}(bitcast<u32>(${index}))` : `${inputNames.get(input)}[${index}]`,
    );
  const axes = axisNames(kernel);
  const four = (load: Load): string | undefined =>
    fours.has(load.input)
      ? fromMemory(kernel.inputs[load.input]!.dtype, fourText(`x${load.input}`, load.index, axes))
      : undefined;
  return { declarations: declarations + functions, bindings, read, four, inputs: inputNames, outputs: outputNames };
}

/** A function that reads an element of an input through its windows. */
function readFunction(input: number, type: string, windows: readonly GpuWindow[], width: number): string {
  const step = windows[0]!.bytes / width;
  const reads = windows.map((_, k) => {
    const read = `return x${input}_${k}[at${k === 0 ? "" : ` - ${k * step}u`}];`;
    return k === windows.length - 1 ? read : `if (at < ${(k + 1) * step}u) { ${read} }`;
  });
  return `fn read${input}(at: u32) -> ${type} {\n${indent(reads.join("\n"))}\n}\n`;
}

export const axisNames = (kernel: LoopKernel): string[] => [
  ...kernel.extents.map((_, k) => `i${k}`),
  ...kernel.reduceExtents.map((_, k) => `j${k}`),
];

/** A point's position in the kernel, from its position in the part. */
export const fromFirst = (at: string, { buffers: { part } }: Context): string =>
  part ? `(${at} + ${part.first}u)` : at.includes(" ") ? `(${at})` : at;

/** Statements that split a row-major position into axis variables. */
export function split(position: string, extents: readonly number[], names: readonly string[]): string[] {
  const lines: string[] = [];
  let rest = position;
  for (let k = extents.length - 1; k > 0; k--) {
    lines.push(`let ${names[k]} = i32(${rest} % ${extents[k]}u);`);
    if (k > 1 || extents.length === 2) {
      const next = `${names[k]}rest`;
      lines.push(`let ${next} = ${rest} / ${extents[k]}u;`);
      rest = next;
    } else rest = `${rest} / ${extents[k]}u`;
  }
  if (extents.length > 0) lines.push(`let ${names[0]} = i32(${rest});`);
  return lines;
}

/** A function of a point's axes and vector loads that computes the values of some roots, and how to call it. */
export function pointFunction(
  values: readonly Pick<Output, "dtype" | "value">[],
  { kernel, layout, names, functions }: Context,
): { text: string; call: (at: number) => string; result: (call: string, k: number) => string; head: string[] } {
  const axes = axisNames(kernel);
  const distinct = new Map<string, { load: Load; name: string }>();
  const parameterOf = new Map<Load, string>();
  for (const load of layout.vectors) {
    const key = `${load.input}:${affineText(load.index, axes)}`;
    let entry = distinct.get(key);
    if (!entry) distinct.set(key, (entry = { load, name: `a${distinct.size}` }));
    parameterOf.set(load, entry.name);
  }
  const lines: string[] = [];
  const around: Surroundings = {
    axes,
    functions,
    reduced: [],
    loaded: (load) => parameterOf.get(load) ?? names.four(load),
    read: names.read,
  };
  const results = writeValues(
    values.map(({ value }) => value),
    around,
    lines,
  );
  const types = values.map(({ dtype }) => registerType(dtype));
  const parameters = [
    ...axes.map((name) => `${name}: i32`),
    ...[...distinct.values()].map(({ load, name }) => `${name}: ${registerType(load.dtype)}`),
  ];
  const one = values.length === 1;
  const struct = one ? "" : `struct Values { ${types.map((type, k) => `r${k}: ${type}`).join(", ")} }\n`;
  const body = [...lines, `return ${one ? results[0] : `Values(${results.join(", ")})`};`];
  const text = `${struct}fn point(${parameters.join(", ")}) -> ${one ? types[0] : "Values"} {\n${indent(body.join("\n"))}\n}\n`;
  const head = [...distinct.values()].map(
    ({ load, name }) =>
      `let ${name} = ${names.inputs.get(load.input)}[${affineText(load.index, axes)}${load.index.coefficients.some((c) => c !== 0) ? " / 4" : ""}];`,
  );
  const call = (at: number): string => {
    const place = axes.map((name, k) => (k === layout.axis && at > 0 ? `${name} + ${at}` : name));
    const loaded = [...distinct.values()].map(({ load, name }) =>
      fromMemory(kernel.inputs[load.input]!.dtype, `${name}[${at}]`),
    );
    return `point(${[...place, ...loaded].join(", ")})`;
  };
  return { text, call, head, result: (value, k) => (one ? value : `${value}.r${k}`) };
}

/** Points from which reading two vectors ahead of the first store pays, which takes workgroups of this many threads. */
const MANY_PAIRS = 1 << 24;
export const PAIR_THREADS = 1024;

/** Whether a map is a plain one of much memory, which is faster in large workgroups whose threads each read two vectors, then store two. */
export function fitsInPairs(kernel: LoopKernel, buffers: LoopBuffers): boolean {
  const total = product(kernel.extents);
  const values = kernel.outputs.map((o) => o.value);
  const loads = loadsOf(values);
  if (kernel.outputs.length !== 1 || total < MANY_PAIRS || total % (8 * PAIR_THREADS) !== 0) return false;
  const { width, vectors } = layoutOf(kernel, "map", buffers);
  return width === 4 && loads.length <= 2 && loads.every((load) => vectors.includes(load));
}

/** A map whose threads read several vectors before they store the first. */
function pairsEntry(context: Context): { text: string; points: string } {
  const { kernel, names, threads, each = 1 } = context;
  const point = pointFunction(kernel.outputs, context);
  const [{ dtype }] = kernel.outputs as [Output];
  const groups = product(kernel.extents) / (4 * threads * each);
  const lines = [`if (group >= ${groups}u) { return; }`];
  const numbered = (line: string, q: number): string => line.replaceAll(/\b(at|[ia]\d+(?:rest)?)\b(?!\()/g, `$1_${q}`);
  const every = (text: (q: number) => readonly string[]): void => {
    for (let q = 0; q < each; q++) lines.push(...text(q).map((line) => numbered(line, q)));
  };
  every((q) => [
    `let at = group * ${threads * each}u + thread + ${q * threads}u;`,
    ...split("(at * 4u)", kernel.extents, axisNames(kernel)),
    ...point.head,
  ]);
  every(() => [
    `${names.outputs[0]}[at] = vec4<${memoryType(dtype)}>(${[0, 1, 2, 3].map((k) => toMemory(dtype, point.call(k))).join(", ")});`,
  ]);
  return { points: point.text, text: entryPoint(threads, lines.join("\n")) };
}

function mapEntry(context: Context): { text: string; points: string } {
  const { kernel, layout, names, threads, each = 1 } = context;
  if (each > 1) return pairsEntry(context);
  const point = pointFunction(kernel.outputs, context);
  const many = kernel.outputs.length > 1;
  const lines = [`let at = group * ${threads}u + thread;`, `if (at >= arrayLength(&${names.outputs[0]})) { return; }`];
  lines.push(
    ...split(
      layout.width === 4 ? fromFirst("at * 4u", context) : fromFirst("at", context),
      kernel.extents,
      axisNames(kernel),
    ),
    ...point.head,
  );
  const calls = Array.from({ length: layout.width }, (_, k) => point.call(k));
  if (many) calls.forEach((call, k) => lines.push(`let p${k} = ${call};`));
  kernel.outputs.forEach(({ dtype }, k) => {
    const values = calls.map((call, at) => toMemory(dtype, many ? point.result(`p${at}`, k) : call));
    lines.push(
      `${names.outputs[k]}[at] = ${layout.width === 4 ? `vec4<${memoryType(dtype)}>(${values.join(", ")})` : values[0]};`,
    );
  });
  return { points: point.text, text: entryPoint(threads, lines.join("\n")) };
}

/** Statements that store the outputs of a point whose reductions are done. */
export function storeOutputs({ kernel, names, functions }: Context, reduced: readonly string[]): string[] {
  const lines: string[] = [];
  const around: Surroundings = {
    axes: [...kernel.extents.map((_, k) => `i${k}`), ...kernel.reduceExtents.map(() => "0")],
    functions,
    reduced,
    loaded: names.four,
    read: names.read,
  };
  const values = writeValues(
    kernel.outputs.map((o) => o.value),
    around,
    lines,
  );
  kernel.outputs.forEach(({ dtype }, k) => lines.push(`${names.outputs[k]}[at] = ${toMemory(dtype, values[k]!)};`));
  return lines;
}

/** Declares the accumulators, and the statements that add a point to them. */
export function accumulate(
  { kernel, functions }: Context,
  result: (call: string, k: number) => string,
): { start: string[]; add: (call: string) => string[]; combine: (k: number, x: string, y: string) => string } {
  const { reductions } = kernel;
  const combine = (k: number, x: string, y: string): string =>
    combineText(reductions[k]!.combine, reductions[k]!.value.dtype, x, y, functions);
  const start = reductions.map((r, k) => `var r${k} = ${literal(identity(r), r.value.dtype, functions)};`);
  const add = (call: string): string[] => {
    const lines = reductions.length > 1 ? [`let p = ${call};`] : [];
    return [
      ...lines,
      ...reductions.map((_, k) => `r${k} = ${combine(k, `r${k}`, result(reductions.length > 1 ? "p" : call, k))};`),
    ];
  };
  return { start, add, combine };
}

function serialEntry(context: Context): { text: string; points: string } {
  const { kernel, names, threads } = context;
  const point = pointFunction(
    kernel.reductions.map(({ value }) => ({ dtype: value.dtype, value })),
    context,
  );
  const { start, add } = accumulate(context, point.result);
  const lines = [
    `let at = group * ${threads}u + thread;`,
    `if (at >= arrayLength(&${names.outputs[0]})) { return; }`,
    ...split(fromFirst("at", context), kernel.extents, axisNames(kernel)),
    ...start,
  ];
  kernel.reduceExtents.forEach((extent, k) =>
    lines.push(`${"  ".repeat(k)}for (var j${k} = 0; j${k} < ${extent}; j${k}++) {`),
  );
  lines.push(...add(point.call(0)).map((line) => "  ".repeat(kernel.reduceExtents.length) + line));
  kernel.reduceExtents.forEach((_, k) => lines.push(`${"  ".repeat(kernel.reduceExtents.length - 1 - k)}}`));
  lines.push(
    ...storeOutputs(
      context,
      kernel.reductions.map((_, k) => `r${k}`),
    ),
  );
  return { points: point.text, text: entryPoint(threads, lines.join("\n")) };
}

/** Rows of a workgroup, a divisor of their number: where they are short, a few threads take each. */
function rowsTogether({ reduceExtents }: LoopKernel, { width }: Layout, threads: number, total: number): number {
  let rows = 1;
  while (2 * rows * product(reduceExtents) <= threads * width && total % (2 * rows) === 0) rows *= 2;
  return rows;
}

function rowsEntry(context: Context): { text: string; points: string } {
  const { kernel, layout, threads } = context;
  const { reductions } = kernel;
  const point = pointFunction(
    reductions.map(({ value }) => ({ dtype: value.dtype, value })),
    context,
  );
  const { start, add, combine } = accumulate(context, point.result);
  const reduceNames = kernel.reduceExtents.map((_, k) => `j${k}`);
  const inner = [...split("j", kernel.reduceExtents, reduceNames), ...point.head];
  for (let k = 0; k < layout.width; k++)
    inner.push(
      ...(reductions.length > 1 && layout.width > 1
        ? ["{", ...add(point.call(k)).map((line) => `  ${line}`), "}"]
        : add(point.call(k))),
    );
  const shared = reductions.map((r, k) => `var<workgroup> shared${k}: array<${r.value.dtype}, ${threads}>;\n`).join("");
  const total = product(kernel.reduceExtents);
  const count = context.buffers.part?.count ?? product(kernel.extents);
  const rows = rowsTogether(kernel, layout, threads, count);
  const each = threads / rows;
  const lines = [
    `if (group >= ${count / rows}u) { return; }`,
    ...(rows === 1
      ? ["let at = group;", "let lane = thread;"]
      : [`let at = group * ${rows}u + thread / ${each}u;`, `let lane = thread % ${each}u;`]),
    ...split(fromFirst("at", context), kernel.extents, axisNames(kernel)),
    ...start,
    `for (var j = lane${layout.width === 4 ? " * 4u" : ""}; j < ${total}u; j += ${each * layout.width}u) {`,
    ...inner.map((line) => `  ${line}`),
    "}",
    ...reductions.map((_, k) => `shared${k}[thread] = r${k};`),
    "workgroupBarrier();",
    `for (var half = ${each / 2}u; half > 0u; half /= 2u) {`,
    "  if (lane < half) {",
    ...reductions.map(
      (_, k) => `    shared${k}[thread] = ${combine(k, `shared${k}[thread]`, `shared${k}[thread + half]`)};`,
    ),
    "  }",
    "  workgroupBarrier();",
    "}",
    "if (lane == 0u) {",
    ...storeOutputs(
      context,
      reductions.map((_, k) => `shared${k}[thread]`),
    ).map((line) => `  ${line}`),
    "}",
  ];
  return { points: shared + point.text, text: entryPoint(threads, lines.join("\n")) };
}
