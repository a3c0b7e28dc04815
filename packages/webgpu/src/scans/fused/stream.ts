/**
 * Passes that run through a segment with the states in registers, a step after the other:
 * - ends: the state each segment ends in from zero, the product of its decays and, with an adjoint, what its seeds send back;
 * - results: the outputs.
 */
import type { Scalar, ScanKernel } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Group, Layout } from "./layout.js";
import { apply, multiply } from "./products.js";
import * as sentBack from "./sent-back.js";
import {
  advance,
  decayElement,
  element,
  forgotten,
  fourOf,
  groupsOf,
  hoist,
  initialState,
  makeWriter,
  outputValues,
  partialText,
  partsOf,
  place,
  rowText,
  stepOf,
  storeOutputs,
  sumValues,
  timeText,
  write,
  writeStep,
  type Buffers,
  type Scope,
  type Writer,
} from "./scope.js";
import { stage, type Staging } from "./stage.js";

export type Task = "ends" | "results";

/** A pass in the making. */
interface Stream {
  readonly layout: Layout;
  readonly task: Task;
  readonly writer: Writer;
  readonly offsets: ReadonlyMap<Group, number>;
  readonly buffers: Buffers;
  readonly parts: readonly ("re" | "im")[];
  /** Values of the register axis that a thread has. */
  readonly each: readonly number[];
  /** What is sent back by the seeds of an adjoint. */
  readonly adjoint: ScanKernel["adjoint"];
  /** Groups whose sums and outputs the pass has, and those of them that run over the segment. */
  readonly results: readonly Group[];
  readonly running: readonly Group[];
  readonly roots: readonly Scalar[];
  /** By value of the register axis, the names of its state's parts. */
  readonly states: readonly (readonly string[])[];
  /** Texts of the axes at a time, for a value of the register axis. */
  axesAt(time: string, k: number): string[];
}

/** What the steps of a segment share. */
interface Steps {
  /** What no step changes, and by value of the register axis what it does not change for that. */
  readonly fixed: Scope;
  readonly perState: readonly Scope[];
  readonly staging: Staging;
}

/** A step of several that are written out. */
interface Step {
  readonly name: string;
  readonly time: string;
  readonly known: Scope["known"];
  /** Receives reads of staged vectors. */
  readonly staged: string[];
  loadedFor(k: number): NonNullable<Scope["loaded"]>;
}

/** @param offsets By group, where its partial sums start, and the distance between those of two sums. */
export function streamPass(
  layout: Layout,
  task: Task,
  groups: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
): GpuPass {
  const { lines, axes } = place(layout, true);
  const stream = startStream(layout, task, groups, offsets, buffers, axes);
  const steps = beforeSteps(stream, lines);
  lines.push(...runThrough(stream, steps));
  lines.push(...afterSteps(stream));
  return stream.writer.pass(layout.W, groupsOf(layout), lines);
}

function startStream(
  layout: Layout,
  task: Task,
  groups: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
  axes: readonly string[],
): Stream {
  const { kernel, linear, R, N, register } = layout;
  const parts = partsOf(layout);
  const each = Array.from({ length: R }, (_, k) => k);
  const adjoint = task === "ends" ? kernel.adjoint : undefined;
  const results = task === "results" ? groups : [];
  const roots: Scalar[] = [
    ...kernel.decay,
    ...kernel.drive,
    ...(adjoint?.seed ?? []),
    ...results.flatMap((group) => [...sumValues(kernel, [group]), ...outputValues(kernel, [group])]),
  ];
  if (task === "ends" && linear) roots.push(linear.step);
  return {
    layout,
    task,
    writer: makeWriter(layout),
    offsets,
    buffers,
    parts,
    each,
    adjoint,
    results,
    running: results.filter(({ step, keeps }) => step === "each" && !keeps.includes(kernel.along)),
    roots,
    states: each.map((k) => parts.map((part) => `h${k}${part}`)),
    axesAt: (time, k) =>
      axes.map((text, axis) =>
        axis === kernel.along ? time : axis === register ? (N === R ? String(k) : `(n0 + ${k})`) : text,
      ),
  };
}

/** Products of decays are kept beside the states: for each state where they are no power of one number, or an adjoint reads them. */
const keepsProducts = ({ task, layout: { linear }, adjoint }: Stream): boolean =>
  task === "ends" && (!linear || adjoint !== undefined);

/** Whether products that an adjoint reads may leave the range of f32 though they are powers. */
const sendsBackAgain = ({ layout: { linear, grows }, adjoint }: Stream): boolean =>
  linear !== undefined && grows && adjoint !== undefined;

/** What no step changes, the states before the segment, and sums of 0. */
function beforeSteps(stream: Stream, lines: string[]): Steps {
  const { layout, task, writer, parts, each, adjoint, running, roots, states, axesAt } = stream;
  const { kernel, linear, T, axesOf, register } = layout;
  const alongBit = 1 << kernel.along,
    registerBit = register === undefined ? 0 : 1 << register;
  const outside: Scope = { writer, axes: axesAt("0", 0), known: new Map() };
  const fixed = hoist(outside, roots, (node) => (axesOf(node) & (alongBit | registerBit)) === 0, lines);
  const reads = new Map<string, string>();
  const perState = each.map((k) =>
    hoist(
      { ...fixed, axes: axesAt("0", k) },
      roots,
      (node) => (axesOf(node) & alongBit) === 0,
      lines,
      fourOf(writer, layout.fours, axesAt("0", k - (k % 4)), k, reads, lines),
    ),
  );
  each.forEach((k) => {
    const start = startOf(stream, { ...outside, axes: axesAt("0", k) }, k, lines);
    states[k]!.forEach((name, at) => lines.push(`var ${name} = ${start[at]};`));
    if (keepsProducts(stream))
      parts.forEach((part, at) => lines.push(`var p${k}${part} = ${at === 0 ? "1.0" : "0.0"};`));
    if (task === "ends" && layout.exponents) lines.push(`var e${k} = 0;`);
    if (adjoint) parts.forEach((part) => lines.push(`var s${k}${part} = 0.0;`));
  });
  if (task === "ends" && linear) lines.push("var exponent = 0.0;");
  if (sendsBackAgain(stream)) lines.push(...sentBack.DECLARED);
  for (const group of running)
    for (const j of group.sums) for (const k of group.keepsRegister ? each : [0]) lines.push(`var sum${j}_${k} = 0.0;`);
  return { fixed, perState, staging: stage(fixed, roots, T, false, 8192) };
}

/** The state before the segment. */
function startOf({ layout, task, writer, parts, buffers }: Stream, scope: Scope, k: number, lines: string[]): string[] {
  if (task === "ends") return parts.map(() => "0.0");
  if (layout.segments === 1) return initialState(scope, layout.kernel.initial, lines);
  const index = `segment * ${layout.rows} + ${stateRow(layout, k)}`;
  return parts.map((part) => `${writer.bind(buffers.ends, "ends", "read", "f32")}${element(layout, index, part)}`);
}

const stateRow = (layout: Layout, k: number): string =>
  rowText(layout, layout.N === layout.R ? String(k) : `(n0 + ${k})`);

/** The loop over tiles of steps, several steps written out. */
function runThrough(stream: Stream, steps: Steps): string[] {
  const { L, T, segment, segments, ahead } = stream.layout;
  const unroll = Math.min(ahead, T);
  const tile: string[] = [...steps.staging.fill];
  tile.push(
    `let stop = min(tile + ${T}, last);`,
    "var step = tile;",
    `for (; step + ${unroll} <= stop; step += ${unroll}) {`,
    indent(stepsText(stream, steps, unroll).join("\n")),
    "}",
  );
  if (L % unroll !== 0 && unroll > 1)
    tile.push("for (; step < stop; step++) {", indent(stepsText(stream, steps, 1).join("\n")), "}");
  return [
    `let first = ${segments === 1 ? "0" : `segment * ${segment}`};`,
    `let last = min(first + ${segment}, ${L});`,
    `for (var tile = first; tile < last; tile += ${T}) {`,
    indent(tile.join("\n")),
    "}",
  ];
}

function stepsText(stream: Stream, steps: Steps, count: number): string[] {
  const { layout, roots, axesAt } = stream;
  const { fixed, staging } = steps;
  const registerBit = layout.register === undefined ? 0 : 1 << layout.register;
  const text: string[] = [];
  const all = Array.from({ length: count }, (_, u): Step => {
    const name = u === 0 ? "step" : `step + ${u}`;
    text.push(`let t${u} = ${timeText(layout, name)};`);
    const staged: string[] = [];
    const vectors = new Map<string, string>();
    const line = u === 0 ? "(step - tile)" : `(step - tile + ${u})`;
    const { known } = hoist(
      { ...fixed, axes: axesAt(`t${u}`, 0), loaded: (node) => (staging.has(node) ? "" : undefined) },
      roots,
      (node) => (layout.axesOf(node) & registerBit) === 0,
      text,
    );
    const loadedFor = (k: number) => (node: Scalar & { op: "load" }) =>
      staging.has(node) ? staging.read(node, line, k, staged, vectors) : undefined;
    return { name, time: `t${u}`, known, staged, loadedFor };
  });
  for (const step of all) {
    const here = stepText(stream, steps, step);
    text.push("{", ...[...step.staged, ...here].map((line) => `  ${line}`), "}");
  }
  return text;
}

/** One step of all states of a thread, and what its results take of it. */
function stepText(stream: Stream, { fixed, perState }: Steps, { name, time, known, loadedFor }: Step): string[] {
  const { layout, task, each, results, axesAt } = stream;
  const here: string[] = [];
  for (const { sums, keepsRegister } of results)
    if (!keepsRegister) for (const j of sums) here.push(`var now${j} = 0.0;`);
  for (const k of each) {
    const scope: Scope = {
      ...fixed,
      axes: axesAt(time, k),
      known: new Map([...perState[k]!.known, ...known]),
      loaded: loadedFor(k),
    };
    const values: string[] = [];
    const withState = advanceState(stream, scope, k, values);
    here.push(...values);
    for (const group of results) here.push(...atState(stream, group, withState, k, name));
  }
  for (const group of results)
    if (!group.keepsRegister)
      here.push(...atStep(stream, group, { ...fixed, axes: axesAt(time, 0), known, loaded: loadedFor(0) }, name));
  if (task === "ends" && layout.linear) {
    const [exponent] = write({ ...fixed, axes: axesAt(time, 0), known }, [layout.linear.step], here);
    const argument = stream.writer.named(exponent!, here);
    here.push(`exponent += ${argument};`);
    if (sendsBackAgain(stream)) here.push(...sentBack.noted(argument));
  }
  return here;
}

/** Statements that multiply the product of a state's decays by one more. */
function multiplyProduct({ layout, writer, parts }: Stream, a: readonly string[], k: number, values: string[]): void {
  const own = parts.map((part) => `p${k}${part}`);
  if (layout.exponents) return multiply(writer, a, own, `e${k}`, values);
  const p = own.map((name) => writer.named(name, values));
  const none = parts.map(() => "0.0");
  // A product of powers may pass the largest number where they grow: what is sent back is found once more then, see `sent-back.ts`.
  const product = layout.linear ? [`${a[0]} * ${p[0]}`] : advance(a, p, none);
  own.forEach((name, at) => values.push(`${name} = ${product[at]};`));
}

/** Statements that take a state a step further, and the scope in which it is known. */
function advanceState(stream: Stream, scope: Scope, k: number, values: string[]): Scope {
  const { layout, writer, parts, adjoint, states } = stream;
  const names = states[k]!;
  const { a, b, scope: withDecay } = writeStep(scope, values);
  const previous = names.map((name) => writer.named(name, values));
  const next = advance(a, previous, b, 1, forgotten(layout, a));
  names.forEach((name, at) => values.push(`${name} = ${next[at]};`));
  if (keepsProducts(stream)) multiplyProduct(stream, a, k, values);
  if (adjoint) {
    const p = parts.map((part) => `p${k}${part}`);
    const sum = parts.map((part) => `s${k}${part}`);
    const seed = write(withDecay, adjoint.seed, values).map((value) => writer.named(value, values));
    const sent = layout.exponents
      ? apply(writer, { p, exponent: `e${k}` }, seed, sum, -1, values)
      : advance(p, seed, sum, -1);
    sum.forEach((name, at) => values.push(`${name} = ${sent[at]};`));
  }
  return {
    ...withDecay,
    state: (which, part) =>
      part === "im" && !layout.complex
        ? "0.0"
        : which === "previous"
          ? previous[part === "re" ? 0 : 1]!
          : names[part === "re" ? 0 : 1]!,
  };
}

/** What a group does with one state at one step. */
function atState(stream: Stream, group: Group, scope: Scope, k: number, step: string): string[] {
  const { layout, running } = stream;
  const inner: string[] = [];
  const values = write(
    scope,
    group.sums.map((j) => layout.kernel.sums[j]!.value),
    inner,
  );
  if (!group.keepsRegister) group.sums.forEach((j, at) => inner.push(`now${j} += ${values[at]};`));
  else if (running.includes(group)) group.sums.forEach((j, at) => inner.push(`sum${j}_${k} += ${values[at]};`));
  else inner.push(...complete(stream, group, scope, values));
  return when(layout, group, step, inner);
}

/** What it does with sums over the states of a step. */
function atStep(stream: Stream, group: Group, scope: Scope, step: string): string[] {
  if (stream.running.includes(group)) return group.sums.map((j) => `sum${j}_0 += now${j};`);
  const sums = group.sums.map((j) => `now${j}`);
  return when(stream.layout, group, step, complete(stream, group, scope, sums));
}

function when(layout: Layout, { step }: Group, at: string, inner: readonly string[]): string[] {
  if (step !== "each") return [`if (${at} == ${stepOf(step, layout)}) {`, ...inner, "}"];
  return inner.length > 0 ? ["{", ...inner, "}"] : [];
}

/** Stores sums that are complete in this thread: outputs, or partial sums. */
function complete(stream: Stream, group: Group, scope: Scope, values: readonly string[]): string[] {
  const inner: string[] = [];
  if (group.direct) {
    const reduced: string[] = [];
    group.sums.forEach((j, at) => (reduced[j] = values[at]!));
    storeOutputs({ ...scope, reduced }, group, stream.buffers, inner);
  } else group.sums.forEach((_, at) => inner.push(storePartial(stream, group, at, scope.axes, values[at]!)));
  return ["if (inside) {", ...inner, "}"];
}

function storePartial(
  { layout, writer, buffers, offsets }: Stream,
  group: Group,
  at: number,
  axes: readonly string[],
  value: string,
): string {
  const offset = offsets.get(group)! + at * group.partials * group.keptSize;
  const partials = writer.bind(buffers.partials, "partials", "read_write", "f32");
  return `${partials}[${partialText(layout, group, offset, axes)}] = ${value};`;
}

/** Stores what the segment does to states and adjoints, and sums that run over it. */
function afterSteps(stream: Stream): string[] {
  const { layout, task, writer, buffers, parts, each, adjoint, running, states, axesAt } = stream;
  const { linear, rows } = layout;
  const after: string[] = [];
  if (task === "ends") {
    const ends = writer.bind(buffers.ends, "ends", "read_write", "f32");
    const decays = writer.bind(buffers.decays, "decays", "read_write", "f32");
    each.forEach((k) =>
      parts.forEach((part, at) => {
        const index = `segment * ${rows} + ${stateRow(layout, k)}`;
        after.push(`${ends}${element(layout, index, part)} = ${states[k]![at]};`);
        if (!linear) after.push(`${decays}${decayElement(layout, index, at)} = p${k}${part};`);
        if (adjoint)
          after.push(
            `${writer.bind(buffers.adjoints, "adjoints", "read_write", "f32")}${element(layout, index, part)} = s${k}${part};`,
          );
      }),
    );
    if (layout.exponents)
      each.forEach((k) => {
        const place = decayElement(layout, `segment * ${rows} + ${stateRow(layout, k)}`, parts.length);
        after.push(`${decays}${place} = f32(e${k});`);
      });
    if (linear) after.push(`${decays}[(segment * ${layout.gridSize} + place) * ${layout.C} + c] = exponent;`);
    if (linear && adjoint && sendsBackAgain(stream)) {
      const axesAt = (time: string): string[] =>
        stream.axesAt(time, 0).map((text, axis) => (axis === layout.register ? "(n0 + k)" : text));
      const scopeAt = (time: string): Scope => ({ writer, axes: axesAt(time), known: new Map() });
      after.push(...sentBack.sentBackAgain(writer, linear, adjoint.seed, buffers, scopeAt));
    }
  }
  for (const group of running)
    for (const k of group.keepsRegister ? each : [0])
      group.sums.forEach((j, at) => after.push(storePartial(stream, group, at, axesAt("0", k), `sum${j}_${k}`)));
  return after.length > 0 ? ["if (inside) {", ...after.map((line) => `  ${line}`), "}"] : [];
}
