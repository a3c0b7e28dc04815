/**
 * The pass of a gradient whose channels threads share, last chunk first. From the kept state before a chunk the states are
 * computed again, some steps at a time, and the adjoint runs back over them. Sums over channels are exchanged within the
 * subgroup as they come, and those of the subgroups added up once a chunk.
 */
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Scalar } from "@seqmix/tensor/backend";
import { frontier } from "./expressions.js";
import type { Group } from "./layout.js";
import {
  axesAt,
  bitsFrom,
  exchange,
  foursOf,
  keptText,
  prepareSteps,
  stageSteps,
  runs,
  startFrame,
  type Frame,
  type Lanes,
  type Prepared,
} from "./lanes.js";
import {
  advance,
  forgotten,
  groupsOf,
  makeWriter,
  outputValues,
  partialText,
  sendBack,
  storeOutputs,
  sumValues,
  timeText,
  write,
  writeStep,
  type Buffers,
  type Scope,
} from "./scope.js";

/** A pass in the making. */
interface Gradient extends Frame {
  readonly buffers: Buffers;
  readonly offsets: ReadonlyMap<Group, number>;
  /** Groups of sums over states, and totals. */
  readonly groups: readonly Group[];
  readonly totals: readonly Group[];
  /** Sums over channels at every step, in the order of their memory. */
  readonly across: readonly number[];
  readonly subgroups: number;
  readonly steps: Prepared;
  /** What steps of a chunk got from other threads. */
  readonly got: Map<number, Map<Scalar, string>>;
}

/** A step of a chunk computed again: by state, its decay and the state behind it. */
interface Again {
  readonly decays: readonly string[];
  readonly states: readonly string[];
}

/** @param kept The buffer of the states before every chunk. */
export function lanesGradient(
  form: Lanes,
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
  kept: number,
): GpuPass {
  const { layout, own, round, again } = form;
  const { kernel, L, W, subgroup } = layout;
  const groups = layout.groups.filter(({ of }) => !of);
  const totals = layout.groups.filter(({ of }) => of);
  const ofStates = [...kernel.decay, ...kernel.drive, ...kernel.adjoint!.seed, ...sumValues(kernel, groups)];
  const writer = makeWriter(layout);
  const { frame, lines } = startFrame(
    form,
    writer,
    [...ofStates, ...sumValues(kernel, totals), ...outputValues(kernel, layout.groups)],
    ofStates,
  );
  const gradient: Gradient = {
    ...frame,
    buffers,
    offsets,
    groups,
    totals,
    across: groups.filter((group) => !group.keepsChannel).flatMap(({ sums }) => sums),
    subgroups: W / subgroup,
    steps: prepareSteps(frame, String(L - round)),
    got: new Map(),
  };
  const staged = stageSteps(frame, String(L - round));
  lines.push("var side = 0;", ...declare(gradient), ...gradient.steps.before, ...staged.before);
  const { now, load } = keptStates(gradient, kept);
  lines.push(...load.before);
  const body = [`let after = max(start - ${round}, 0);`, ...gradient.steps.head, ...load.head, ...staged.head];
  let before = now;
  const starts = [before];
  for (let s = 0; s + again < round; s++) {
    before = stepAgain(gradient, s, before, body).states;
    if ((s + 1) % again === 0) starts.push(before);
  }
  for (let s = round - again; s >= 0; s -= again) body.push(...piece(gradient, s, starts[s / again]!));
  body.push(...staged.foot, ...addSubgroups(gradient));
  lines.push(`for (var start = ${L - round}; start >= 0; start -= ${round}) {`, indent(body.join("\n")), "}");
  lines.push(...afterChunks(gradient, own));
  return writer.pass(W, groupsOf(layout), lines);
}

/** The adjoint, sums that outlive a chunk, and the memory of sums over channels: of two chunks in turn. */
function declare({
  groups,
  totals,
  across,
  layout,
  own,
  lanes,
  together,
  round,
  subgroups,
  writer,
}: Gradient): string[] {
  const lines = Array.from({ length: own }, (_, k) => `var g${k} = 0.0;`);
  for (const group of groups)
    if (runs(layout, group))
      for (const j of group.sums)
        for (let k = 0; k < (group.keepsRegister ? own : 1); k++) lines.push(`var sum${j}_${k} = 0.0;`);
  for (const { sums } of totals) for (const j of sums) lines.push(`var sum${j}_0 = 0.0;`);
  if (across.length === 0) return lines;
  const { N } = layout;
  writer.module.push(`var<workgroup> channelSums: array<f32, ${2 * subgroups * round * across.length * N}>;`);
  for (let m = 0; m * together < across.length * own; m++)
    lines.push(
      `let value${m} = ${m * together} + i32(subgroupMember) / ${lanes};`,
      `let slot${m} = value${m} / ${own} * ${N} + n0 + value${m} % ${own};`,
    );
  return lines;
}

/** The states before a chunk, asked for a chunk before. */
function keptStates(
  { own, round, writer, layout, ...frame }: Gradient,
  buffer: number,
): { readonly now: readonly string[]; readonly load: { readonly before: string[]; readonly head: string[] } } {
  const form = { ...frame, own, round, layout };
  const from = writer.bind(buffer, "kept", "read", "vec4<f32>");
  const before: string[] = [],
    head: string[] = [];
  const fours = Array.from({ length: own / 4 }, (_, v) => {
    const ahead = writer.fresh();
    before.push(`var ${ahead} = ${from}[${keptText(form, String((layout.L - round) / round))} + ${v}];`);
    const now = writer.named(ahead, head);
    head.push(`${ahead} = ${from}[${keptText(form, `(after / ${round})`)} + ${v}];`);
    return now;
  });
  return { now: fours.flatMap((four) => [..."xyzw"].map((part) => `${four}.${part}`)), load: { before, head } };
}

/** What a step gets of the nodes from the thread that prepared it, once a chunk. */
function sharedAt(
  { got, steps }: Gradient,
  s: number,
  nodes: readonly Scalar[],
  lines: string[],
): ReadonlyMap<Scalar, string> {
  const known = got.get(s) ?? new Map<Scalar, string>();
  got.set(s, known);
  for (const [node, name] of steps.at(
    s,
    nodes.filter((node) => !known.has(node)),
    lines,
  ))
    known.set(node, name);
  return known;
}

function stepAgain(gradient: Gradient, s: number, before: readonly string[], lines: string[]): Again {
  const { layout, own, perState, fixed, writer, shared } = gradient;
  const { decay, drive } = layout.kernel;
  const used = new Set(frontier([...decay, ...drive], (node) => shared.includes(node)));
  const known = sharedAt(
    gradient,
    s,
    shared.filter((node) => used.has(node)),
    lines,
  );
  const time = timeText(layout, `start + ${s}`);
  const reads = new Map<string, string>();
  const decays: string[] = [],
    states: string[] = [];
  for (let k = 0; k < own; k++) {
    const scope: Scope = {
      ...fixed,
      axes: axesAt(gradient, time, k),
      known: new Map([...perState[k]!.known, ...known]),
      loaded: foursOf(gradient, { time, s }, k, reads, lines),
    };
    const { a, b } = writeStep(scope, lines);
    decays.push(a[0]!);
    states.push(writer.named(advance(a, [before[k]!], b, 1, forgotten(layout, a))[0]!, lines));
  }
  return { decays, states };
}

/** Steps from `from` on: their states again, then the adjoint back over them. */
function piece(gradient: Gradient, from: number, start: readonly string[]): string[] {
  const { again, lanes } = gradient;
  const lines: string[] = [];
  const list: Again[] = [{ decays: [], states: start }];
  for (let s = from; s < from + again; s++) list.push(stepAgain(gradient, s, list.at(-1)!.states, lines));
  let shares = new Map<number, string[]>();
  for (let s = from + again - 1; s >= from; s--) {
    const now = stepBack(gradient, s, list[s - from]!.states, list[s - from + 1]!, lines);
    for (const [j, share] of now) shares.set(j, [share, ...(shares.get(j) ?? [])]);
    if (s % lanes !== 0) continue;
    lines.push(...finishSteps(gradient, s / lanes, shares));
    shares = new Map();
  }
  return lines;
}

/** A step of the adjoint and the sums. @returns By sum over the states of a channel, the thread's share. */
function stepBack(
  gradient: Gradient,
  s: number,
  previous: readonly string[],
  { decays, states }: Again,
  lines: string[],
): Map<number, string> {
  const { layout, own, perState, fixed, writer, shared, groups, across, buffers } = gradient;
  const { kernel } = layout;
  const known = sharedAt(gradient, s, shared, lines);
  const time = timeText(layout, `start + ${s}`);
  const reads = new Map<string, string>();
  const shares = new Map<number, string>();
  const overChannels: string[] = [];
  for (let k = 0; k < own; k++) {
    const withStates: Scope = {
      ...fixed,
      axes: axesAt(gradient, time, k),
      known: new Map([...perState[k]!.known, ...known, [kernel.decay[0], decays[k]!]]),
      loaded: foursOf(gradient, { time, s }, k, reads, lines),
      state: (which) => (which === "adjoint" ? `g${k}` : (which === "current" ? states : previous)[k]!),
    };
    const [seed] = write(withStates, kernel.adjoint!.seed, lines);
    lines.push(`g${k} += ${seed};`);
    const { sent, scope } = sendBack(withStates, decays[k]!, `g${k}`, lines);
    const sums = groups.flatMap((group) => group.sums);
    const values = write(scope, sumValues(kernel, groups), lines);
    const reduced: string[] = [];
    sums.forEach((j, at) => (reduced[j] = writer.named(values[at]!, lines)));
    for (const group of groups) {
      if (runs(layout, group))
        for (const j of group.sums) lines.push(`sum${j}_${group.keepsRegister ? k : 0} += ${reduced[j]};`);
      else if (!group.keepsChannel) for (const j of group.sums) overChannels[across.indexOf(j) * own + k] = reduced[j]!;
      else if (group.keepsRegister) {
        const inner: string[] = [];
        storeOutputs({ ...scope, reduced }, group, buffers, inner);
        lines.push("if (inside) {", ...inner.map((line) => `  ${line}`), "}");
      } else
        for (const j of group.sums) {
          const before = shares.get(j);
          shares.set(j, before === undefined ? reduced[j]! : writer.named(`${before} + ${reduced[j]}`, lines));
        }
    }
    const zero = forgotten(layout, [decays[k]!]);
    lines.push(`g${k} = ${zero === undefined ? sent : `select(${sent}, 0.0, ${zero})`};`);
  }
  lines.push(...exchangeChannels(gradient, s, overChannels));
  return shares;
}

/** Sums over the channels of a subgroup: each thread keeps some of them. */
function exchangeChannels(gradient: Gradient, s: number, values: readonly string[]): string[] {
  const { across, layout, lanes, together, subgroups, round, writer, own } = gradient;
  if (across.length === 0) return [];
  const { C, N, W } = layout;
  const lines: string[] = [];
  const whole = (C * lanes) % W === 0;
  const padded = Array.from({ length: Math.ceil(values.length / together) * together }, (_, k) => values[k] ?? "0.0");
  const shares = padded.map((value) => (whole || value === "0.0" ? value : `select(0.0, ${value}, inside)`));
  exchange(writer, shares, bitsFrom(lanes, lanes * together), lines).forEach((sum, m) => {
    const store = `channelSums[((side * ${subgroups} + i32(subgroup)) * ${round} + ${s}) * ${across.length * N} + slot${m}] = ${sum};`;
    lines.push(
      (m + 1) * together <= across.length * own ? store : `if (value${m} < ${across.length * own}) { ${store} }`,
    );
  });
  return lines;
}

/** Puts the shares of as many steps as threads together: each thread stores what one step comes to, and adds it to totals. */
function finishSteps(gradient: Gradient, j: number, shares: ReadonlyMap<number, readonly string[]>): string[] {
  const { writer, lanes, groups, totals, buffers, steps, layout } = gradient;
  const lines: string[] = [];
  const reduced: string[] = [];
  for (const [sum, list] of shares) reduced[sum] = exchange(writer, list, bitsFrom(1, lanes), lines)[0]!;
  const scope: Scope = { ...steps.scopes[j]!, reduced };
  const inner: string[] = [];
  for (const group of groups)
    if (group.keepsChannel && !group.keepsRegister && !runs(layout, group)) storeOutputs(scope, group, buffers, inner);
  if (inner.length > 0) lines.push("if (inside) {", ...inner.map((line) => `  ${line}`), "}");
  const text: string[] = [];
  for (const { sums } of totals)
    write(
      scope,
      sums.map((each) => layout.kernel.sums[each]!.value),
      text,
    ).forEach((value, at) => text.push(`sum${sums[at]}_0 += ${value};`));
  return [...lines, "{", ...text.map((line) => `  ${line}`), "}"];
}

/** Adds up what the subgroups found of a chunk, and stores it. The next chunk writes elsewhere: one barrier is enough. */
function addSubgroups(gradient: Gradient): string[] {
  const { across, layout, groups, subgroups, round, writer, buffers, fixed } = gradient;
  const { N, W, gridSize, kernel } = layout;
  const lines = ["workgroupBarrier();"];
  for (const group of groups) {
    if (group.keepsChannel) continue;
    const text: string[] = [];
    const reduced: string[] = [];
    for (const j of group.sums)
      reduced[j] = writer.named(
        Array.from(
          { length: subgroups },
          (_, piece) =>
            `channelSums[((side * ${subgroups} + ${piece}) * ${round} + x / ${N}) * ${across.length * N} + ${across.indexOf(j) * N} + n]`,
        ).join(" + "),
        text,
      );
    const axes = fixed.axes.map((each, axis) =>
      axis === kernel.along ? "time" : axis === layout.register ? "n" : each,
    );
    if (group.finished) storeOutputs({ writer, axes, known: new Map(), reduced }, group, buffers, text);
    else for (const j of group.sums) text.push(storePartial(gradient, group, j, axes, reduced[j]!));
    lines.push(
      `for (var x = i32(thread); x < ${N * round}; x += ${W}) {`,
      `  let n = x % ${N};`,
      `  let time = ${timeText(layout, `start + x / ${N}`)};`,
      `  if (place < ${gridSize}) {`,
      ...text.map((line) => `    ${line}`),
      "  }",
      "}",
    );
  }
  return [...lines, "side = 1 - side;"];
}

function storePartial(
  { layout, writer, buffers, offsets }: Gradient,
  group: Group,
  j: number,
  axes: readonly string[],
  value: string,
): string {
  const offset = offsets.get(group)! + group.sums.indexOf(j) * group.partials * group.keptSize;
  const partials = writer.bind(buffers.partials, "partials", "read_write", "f32");
  return `${partials}[${partialText(layout, group, offset, axes)}] = ${value};`;
}

/** Stores sums over all steps. */
function afterChunks(gradient: Gradient, own: number): string[] {
  const { layout, groups, totals, lanes } = gradient;
  const lines: string[] = [];
  for (const group of [...groups, ...totals]) {
    if (!group.of && !runs(layout, group)) continue;
    const apart = group.keepsRegister && !group.of;
    for (const j of group.sums) {
      if (!apart)
        for (const bit of bitsFrom(1, lanes)) lines.push(`sum${j}_0 += subgroupShuffleXor(sum${j}_0, ${bit}u);`);
      const stores = Array.from({ length: apart ? own : 1 }, (_, k) =>
        storePartial(gradient, group, j, axesAt(gradient, "0", k), `sum${j}_${k}`),
      );
      lines.push(`if (inside${apart ? "" : " & (mine == 0)"}) {`, ...stores.map((line) => `  ${line}`), "}");
    }
  }
  return lines;
}
