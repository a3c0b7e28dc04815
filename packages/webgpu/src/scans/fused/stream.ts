/**
 * Passes that run through a segment with the states in registers, a step after the other:
 * - ends: the state each segment ends in from zero, the product of its decays and, with an adjoint, what its seeds send back;
 * - results: the outputs.
 */
import type { Scalar } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Group, Layout } from "./layout.js";
import {
  advance,
  element,
  forgotten,
  groupsOf,
  hoist,
  initialState,
  isZero,
  makeWriter,
  partialText,
  partsOf,
  place,
  rowText,
  stepOf,
  storeOutputs,
  timeText,
  write,
  writeStep,
  type Buffers,
  type Scope,
} from "./scope.js";
import { stage } from "./stage.js";

/** The largest f32 number: decays that are powers are positive, and NaN is in the state too. */
const LARGEST = "3.4028234e38";

export type Task = "ends" | "results";

/** @param offsets By group, where its partial sums start, and the distance between those of two sums. */
export function streamPass(
  layout: Layout,
  task: Task,
  groups: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
): GpuPass {
  const { kernel, linear, R, L, N, C, T, W, segment, segments, axesOf, register, rows } = layout;
  const { along } = kernel;
  const writer = makeWriter(layout);
  const parts = partsOf(layout);
  const each = Array.from({ length: R }, (_, k) => k);
  const { lines, axes } = place(layout, true);
  const adjoint = task === "ends" ? kernel.adjoint : undefined;
  const results = task === "results" ? groups : [];
  const roots: Scalar[] = [
    ...kernel.decay,
    ...kernel.drive,
    ...(adjoint?.seed ?? []),
    ...results.flatMap(({ sums, outputs }) => [
      ...sums.map((k) => kernel.sums[k]!.value),
      ...outputs.map((k) => kernel.outputs[k]!.value),
    ]),
  ];
  if (task === "ends" && linear) roots.push(linear.step);
  const alongBit = 1 << along,
    registerBit = register === undefined ? 0 : 1 << register;
  const axesAt = (time: string, k: number): string[] =>
    axes.map((text, axis) =>
      axis === along ? time : axis === register ? (N === R ? String(k) : `(n0 + ${k})`) : text,
    );
  const row = (k: number): string => rowText(layout, N === R ? String(k) : `(n0 + ${k})`);

  // what no step changes
  const outside: Scope = { writer, axes: axesAt("0", 0), known: new Map() };
  const fixed = hoist(outside, roots, (node) => (axesOf(node) & (alongBit | registerBit)) === 0, lines);
  const perState = each.map((k) =>
    hoist({ ...fixed, axes: axesAt("0", k) }, roots, (node) => (axesOf(node) & alongBit) === 0, lines),
  );

  const states = each.map((k) => parts.map((part) => `h${k}${part}`));
  each.forEach((k) => {
    const scope = { ...outside, axes: axesAt("0", k) };
    const start =
      task === "ends"
        ? parts.map(() => "0.0")
        : segments > 1
          ? parts.map(
              (part) =>
                `${writer.bind(buffers.ends, "ends", "read", "f32")}${element(layout, `segment * ${rows} + ${row(k)}`, part)}`,
            )
          : initialState(scope, kernel.initial, lines);
    states[k]!.forEach((name, at) => lines.push(`var ${name} = ${start[at]};`));
    if (task === "ends" && (!linear || adjoint))
      parts.forEach((part, at) => lines.push(`var p${k}${part} = ${at === 0 ? "1.0" : "0.0"};`));
    if (adjoint) parts.forEach((part) => lines.push(`var s${k}${part} = 0.0;`));
  });
  if (task === "ends" && linear) lines.push("var exponent = 0.0;");

  // sums that run over the segment
  const running = results.filter(({ step, keeps }) => step === "each" && !keeps.includes(along));
  for (const group of running)
    for (const j of group.sums) for (const k of group.keepsRegister ? each : [0]) lines.push(`var sum${j}_${k} = 0.0;`);

  const staging = stage(fixed, roots, T, false, 8192);
  const unroll = Math.min(layout.ahead, T);

  const body = (count: number): string[] => {
    const text: string[] = [];
    const scopes = Array.from({ length: count }, (_, u) => {
      text.push(`let t${u} = ${timeText(layout, u === 0 ? "step" : `step + ${u}`)};`);
      const staged: string[] = [];
      const vectors = new Map<string, string>();
      const loadedFor =
        (k: number) =>
        (node: Scalar & { op: "load" }): string | undefined =>
          staging.has(node)
            ? staging.read(node, u === 0 ? "(step - tile)" : `(step - tile + ${u})`, k, staged, vectors)
            : undefined;
      const { known } = hoist(
        { ...fixed, axes: axesAt(`t${u}`, 0), loaded: (node) => (staging.has(node) ? "" : undefined) },
        roots,
        (node) => (axesOf(node) & registerBit) === 0,
        text,
      );
      return { loadedFor, staged, time: `t${u}`, known };
    });
    scopes.forEach(({ loadedFor, staged, time, known }, u) => {
      const here: string[] = [];
      const stepName = u === 0 ? "step" : `step + ${u}`;
      for (const { sums, keepsRegister } of results)
        if (!keepsRegister) for (const j of sums) here.push(`var now${j} = 0.0;`);
      for (const k of each) {
        const scope: Scope = {
          ...fixed,
          axes: axesAt(time, k),
          known: new Map([...perState[k]!.known, ...known]),
          loaded: loadedFor(k),
        };
        const names = states[k]!;
        const values: string[] = [];
        const { a, b, scope: withDecay } = writeStep(scope, values);
        const previous = names.map((name) => writer.named(name, values));
        const next = advance(a, previous, b, 1, forgotten(layout, a));
        names.forEach((name, at) => values.push(`${name} = ${next[at]};`));
        if (task === "ends" && (!linear || adjoint)) {
          const p = parts.map((part) => writer.named(`p${k}${part}`, values));
          // It may overflow though no state does: times a decay or a seed of 0 it is 0 all the same.
          const product = linear
            ? [`min(${a[0]} * ${p[0]}, ${LARGEST})`]
            : advance(
                a,
                p,
                parts.map(() => "0.0"),
                1,
                isZero(a),
              );
          parts.forEach((part, at) => values.push(`p${k}${part} = ${product[at]};`));
        }
        if (adjoint) {
          const seed = write(withDecay, adjoint.seed, values).map((value) => writer.named(value, values));
          const sent = advance(
            parts.map((part) => `p${k}${part}`),
            seed,
            parts.map((part) => `s${k}${part}`),
            -1,
            linear ? undefined : isZero(seed),
          );
          parts.forEach((part, at) => values.push(`s${k}${part} = ${sent[at]};`));
        }
        const state = (which: string, part: "re" | "im"): string =>
          part === "im" && !layout.complex
            ? "0.0"
            : which === "previous"
              ? previous[part === "re" ? 0 : 1]!
              : names[part === "re" ? 0 : 1]!;
        here.push(...values);
        for (const group of results) here.push(...atState(group, { ...withDecay, state }, k, stepName));
      }
      for (const group of results)
        if (!group.keepsRegister)
          here.push(...atStep(group, { ...fixed, axes: axesAt(time, 0), known, loaded: loadedFor(0) }, stepName));
      if (task === "ends" && linear) {
        const [exponent] = write({ ...fixed, axes: axesAt(time, 0), known }, [linear.step], here);
        here.push(`exponent += ${exponent};`);
      }
      text.push("{", ...[...staged, ...here].map((line) => `  ${line}`), "}");
    });
    return text;
  };

  /** What a group does with one state at one step. */
  const atState = (group: Group, scope: Scope, k: number, step: string): string[] => {
    const inner: string[] = [];
    const values = write(
      scope,
      group.sums.map((j) => kernel.sums[j]!.value),
      inner,
    );
    if (!group.keepsRegister) group.sums.forEach((j, at) => inner.push(`now${j} += ${values[at]};`));
    else if (running.includes(group)) group.sums.forEach((j, at) => inner.push(`sum${j}_${k} += ${values[at]};`));
    else inner.push(...complete(group, scope, values));
    return when(group, step, inner);
  };
  const atStep = (group: Group, scope: Scope, step: string): string[] => {
    if (running.includes(group)) return group.sums.map((j) => `sum${j}_0 += now${j};`);
    return when(
      group,
      step,
      complete(
        group,
        scope,
        group.sums.map((j) => `now${j}`),
      ),
    );
  };
  const when = ({ step }: Group, at: string, inner: readonly string[]): string[] =>
    step === "each"
      ? inner.length > 0
        ? ["{", ...inner, "}"]
        : []
      : [`if (${at} == ${stepOf(step, layout)}) {`, ...inner, "}"];
  /** Stores sums that are complete in this thread: outputs, or partial sums. */
  const complete = (group: Group, scope: Scope, values: readonly string[]): string[] => {
    const inner: string[] = [];
    if (group.direct) {
      const reduced: string[] = [];
      group.sums.forEach((j, at) => (reduced[j] = values[at]!));
      storeOutputs({ ...scope, reduced }, group, buffers, inner);
    } else
      group.sums.forEach((_, at) =>
        inner.push(
          `${writer.bind(buffers.partials, "partials", "read_write", "f32")}[${partialText(layout, group, offsets.get(group)! + at * group.partials * group.keptSize, scope.axes)}] = ${values[at]};`,
        ),
      );
    return ["if (inside) {", ...inner, "}"];
  };

  lines.push(
    `let first = ${segments === 1 ? "0" : `segment * ${segment}`};`,
    `let last = min(first + ${segment}, ${L});`,
  );
  const tile: string[] = [...staging.fill];
  tile.push(
    `let stop = min(tile + ${T}, last);`,
    "var step = tile;",
    `for (; step + ${unroll} <= stop; step += ${unroll}) {`,
    indent(body(unroll).join("\n")),
    "}",
  );
  if (L % unroll !== 0 && unroll > 1) tile.push("for (; step < stop; step++) {", indent(body(1).join("\n")), "}");
  lines.push(`for (var tile = first; tile < last; tile += ${T}) {`, indent(tile.join("\n")), "}");

  const after: string[] = [];
  if (task === "ends") {
    const ends = writer.bind(buffers.ends, "ends", "read_write", "f32");
    const decays = writer.bind(buffers.decays, "decays", "read_write", "f32");
    each.forEach((k) =>
      parts.forEach((part, at) => {
        const index = `segment * ${rows} + ${row(k)}`;
        after.push(`${ends}${element(layout, index, part)} = ${states[k]![at]};`);
        if (!linear) after.push(`${decays}${element(layout, index, part)} = p${k}${part};`);
        if (adjoint)
          after.push(
            `${writer.bind(buffers.adjoints, "adjoints", "read_write", "f32")}${element(layout, index, part)} = s${k}${part};`,
          );
      }),
    );
    if (linear) after.push(`${decays}[(segment * ${layout.gridSize} + place) * ${C} + c] = exponent;`);
  }
  for (const group of running)
    for (const k of group.keepsRegister ? each : [0])
      group.sums.forEach((j, at) =>
        after.push(
          `${writer.bind(buffers.partials, "partials", "read_write", "f32")}[${partialText(layout, group, offsets.get(group)! + at * group.partials * group.keptSize, axesAt("0", k))}] = sum${j}_${k};`,
        ),
      );
  if (after.length > 0) lines.push("if (inside) {", ...after.map((line) => `  ${line}`), "}");
  return writer.pass(W, groupsOf(layout), lines);
}
