/** The pass of a recurrence whose channels threads share: outputs, states kept for the gradient, or both. */
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Scalar } from "@seqmix/tensor/backend";
import type { Group } from "./layout.js";
import {
  axesAt,
  bitsFrom,
  exchange,
  foursOf,
  keptText,
  prepareSteps,
  stageSteps,
  startFrame,
  type Frame,
  type Lanes,
} from "./lanes.js";
import {
  advance,
  forgotten,
  groupsOf,
  initialState,
  makeWriter,
  outputValues,
  stepOf,
  storeOutputs,
  sumValues,
  timeText,
  write,
  writeStep,
  type Buffers,
  type Scope,
} from "./scope.js";

/** States before every so many steps, in a buffer of the program. */
export interface Kept {
  readonly buffer: number;
  readonly every: number;
}

export function lanesForward(form: Lanes, groups: readonly Group[], buffers: Buffers, kept?: Kept): GpuPass {
  const { layout, own, round } = form;
  const { kernel, L } = layout;
  const ofStates: Scalar[] = [
    ...kernel.decay,
    ...kernel.drive,
    ...sumValues(kernel, groups),
    ...outputValues(
      kernel,
      groups.filter((group) => group.keepsRegister),
    ),
  ];
  const writer = makeWriter(layout);
  const { frame, lines } = startFrame(form, writer, [...ofStates, ...outputValues(kernel, groups)], ofStates);
  const steps = prepareSteps(frame, "0");
  const staged = stageSteps(frame, "0");
  const barrier = staged.foot.length > 0 ? [...staged.foot, "workgroupBarrier();", "side = 1 - side;"] : [];
  for (let k = 0; k < own; k++) {
    const [before] = initialState({ ...frame.perState[k]!, axes: axesAt(frame, "0", k) }, kernel.initial, lines);
    lines.push(`var h${k} = ${before};`);
  }
  const body = [`let after = select(start, start + ${round}, start + ${round} < ${L});`, ...steps.head, ...staged.head];
  let waiting = new Map<number, string[]>();
  for (let s = 0; s < round; s++) {
    if (kept) body.push(...keep(frame, kept, s));
    const now = stepText(frame, groups, buffers, steps.at(s, frame.shared, body), s, body);
    for (const [j, sum] of now) waiting.set(j, [...(waiting.get(j) ?? []), sum]);
    if ((s + 1) % form.lanes !== 0) continue;
    body.push(...finish(frame, groups, buffers, steps.scopes[Math.floor(s / form.lanes)]!, waiting));
    waiting = new Map();
  }
  body.push(...barrier);
  lines.push(
    "var side = 0;",
    ...steps.before,
    ...staged.before,
    `for (var start = 0; start < ${L}; start += ${round}) {`,
    indent(body.join("\n")),
    "}",
  );
  return writer.pass(layout.W, groupsOf(layout), lines);
}

/** Stores the states before step `s` of a round where they are to be kept. */
function keep(frame: Frame, { buffer, every }: Kept, s: number): string[] {
  const { own, round, writer } = frame;
  if (every < round ? s % every !== 0 : s !== 0) return [];
  const kept = writer.bind(buffer, "kept", "read_write", "vec4<f32>");
  const at = keptText(frame, `((start + ${s}) / ${every})`);
  const stores = Array.from(
    { length: own / 4 },
    (_, v) => `${kept}[${at} + ${v}] = vec4<f32>(${[0, 1, 2, 3].map((e) => `h${4 * v + e}`).join(", ")});`,
  );
  return [
    `if (inside${every > round ? ` & (start % ${every} == 0)` : ""}) {`,
    ...stores.map((line) => `  ${line}`),
    "}",
  ];
}

/** A step of all states of the thread. @returns By sum over the states, the thread's share of it. */
function stepText(
  frame: Frame,
  groups: readonly Group[],
  buffers: Buffers,
  shared: ReadonlyMap<Scalar, string>,
  s: number,
  body: string[],
): Map<number, string> {
  const { layout, own, perState, fixed, writer } = frame;
  const { kernel, L } = layout;
  const time = timeText(layout, `start + ${s}`);
  const reads = new Map<string, string>();
  const shares = new Map<number, string>();
  const add = (j: number, value: string): void => {
    const before = shares.get(j);
    shares.set(j, writer.named(before === undefined ? value : `${before} + ${value}`, body));
  };
  for (let k = 0; k < own; k++) {
    const scope: Scope = {
      ...fixed,
      axes: axesAt(frame, time, k),
      known: new Map([...perState[k]!.known, ...shared]),
      loaded: foursOf(frame, { time, s }, k, reads, body),
    };
    const { a, b, scope: withDecay } = writeStep(scope, body);
    const previous = writer.named(`h${k}`, body);
    body.push(`h${k} = ${advance(a, [previous], b, 1, forgotten(layout, a))[0]};`);
    const current = writer.named(`h${k}`, body);
    const withState: Scope = { ...withDecay, state: (which) => (which === "previous" ? previous : current) };
    for (const group of groups) {
      if (!group.keepsRegister) {
        const values = write(withState, sumValues(kernel, [group]), body);
        group.sums.forEach((j, at) => add(j, values[at]!));
        continue;
      }
      if (group.step !== "each" && stepOf(group.step, layout) % frame.round !== s) continue;
      const inner: string[] = [];
      const reduced: string[] = [];
      write(withState, sumValues(kernel, [group]), inner).forEach((value, at) => (reduced[group.sums[at]!] = value));
      storeOutputs({ ...withState, reduced }, group, buffers, inner);
      const here = group.step === "each" ? "" : ` & (start + ${s} == ${group.step === "first" ? 0 : L - 1})`;
      body.push(`if (inside${here}) {`, ...inner.map((line) => `  ${line}`), "}");
    }
  }
  return shares;
}

/** Puts the shares of as many steps as threads together: each thread stores what one step comes to. */
function finish(
  { writer, lanes }: Frame,
  groups: readonly Group[],
  buffers: Buffers,
  scope: Scope,
  shares: ReadonlyMap<number, readonly string[]>,
): string[] {
  const lines: string[] = [];
  for (const group of groups) {
    if (group.keepsRegister) continue;
    const reduced: string[] = [];
    for (const j of group.sums) reduced[j] = exchange(writer, shares.get(j)!, bitsFrom(1, lanes), lines)[0]!;
    const inner: string[] = [];
    storeOutputs({ ...scope, reduced }, group, buffers, inner);
    lines.push("if (inside) {", ...inner.map((line) => `  ${line}`), "}");
  }
  return lines;
}
