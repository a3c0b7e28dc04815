/**
 * The results pass in chunks, last chunk first: for each value on the register axis, the states of the chunk are computed
 * again from the one before it, then the adjoint runs back over them. The states before the chunks of a segment come from
 * a run through it at the start; they stay with the thread. Sums over channels at every step are taken in the subgroup,
 * where its size is known, else in rows of workgroup memory, a row a sum and step.
 */
import type { Scalar } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { channelSums, finishChannelSums, finishState, pitchOf, share } from "./channel-sums.js";
import {
  alongBit,
  at,
  couldBe,
  isRunning,
  isSingle,
  live,
  onlyLive,
  registerBit,
  store,
  storePartial,
  type Chunk,
} from "./chunk-form.js";
import { frontier } from "./expressions.js";
import { STAGED_BYTES, type Group, type Layout } from "./layout.js";
import {
  advance,
  element,
  forgotten,
  fourOf,
  groupsOf,
  hoist,
  initialState,
  makeWriter,
  outputValues,
  partsOf,
  place,
  rowText,
  sendBack,
  stepOf,
  sumValues,
  timeText,
  write,
  type Buffers,
  type Scope,
} from "./scope.js";
import { stage, type Staging } from "./stage.js";
import { sweep } from "./sweep.js";

export function chunkPass(
  layout: Layout,
  all: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
): GpuPass {
  const { lines, axes } = place(layout, true);
  const chunk = startChunk(layout, all, offsets, buffers, axes);
  const fixed = hoist(
    { writer: chunk.writer, axes: at(layout, axes, "0"), known: new Map() },
    chunk.roots,
    (node) => (layout.axesOf(node) & (alongBit(layout) | registerBit(layout))) === 0,
    lines,
  );
  const own = beforeChunks(chunk, fixed, lines);
  declareSums(chunk, lines);
  const tile = chunkText(chunk, fixed, own);
  const { segment, segments, L, T } = layout;
  lines.push(
    `let first = ${segments === 1 ? "0" : `segment * ${segment}`};`,
    `let last = min(first + ${segment}, ${L});`,
    `let lastChunk = first + (last - first - 1) / ${T} * ${T};`,
  );
  if (chunk.chunks > 1) lines.push(...sweep(fixed));
  lines.push(`for (var tile = lastChunk; tile >= first; tile -= ${T}) {`, indent(tile.join("\n")), "}");
  lines.push(...afterChunks(chunk));
  return chunk.writer.pass(layout.W, groupsOf(layout), lines);
}

function startChunk(
  layout: Layout,
  all: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
  axes: readonly string[],
): Chunk {
  const { kernel, L, T, segment } = layout;
  const groups = all.filter(({ of }) => !of);
  const stateRoots: Scalar[] = [...kernel.decay, ...kernel.drive, ...(kernel.adjoint?.seed ?? [])];
  const writer = makeWriter(layout);
  return {
    layout,
    writer,
    offsets,
    buffers,
    parts: partsOf(layout),
    all,
    groups,
    totals: all.filter(({ of }) => of),
    steps: Array.from({ length: T }, (_, u) => u),
    ragged: L % T !== 0,
    chunks: segment / T,
    roots: [
      ...stateRoots,
      ...all.flatMap((group) => [...sumValues(kernel, [group]), ...outputValues(kernel, [group])]),
    ],
    perState: [
      ...stateRoots,
      ...groups.flatMap((group) => [
        ...sumValues(kernel, [group]),
        ...(group.keepsRegister && group.direct ? outputValues(kernel, [group]) : []),
      ]),
    ],
    axes,
    sums: channelSums(layout, groups, writer),
  };
}

/**
 * The thread's channel, with its states before the chunks and the adjoint after the chunk at hand.
 * @returns What differs between states but not between steps: arrays, by what they hold.
 */
function beforeChunks(chunk: Chunk, fixed: Scope, lines: string[]): ReadonlyMap<Scalar, string> {
  const { layout, writer, buffers, parts, chunks, perState } = chunk;
  const { kernel, R, segments, axesOf, rows } = layout;
  const own = new Map<Scalar, string>();
  const perThread = frontier(
    perState,
    (node) => !fixed.known.has(node) && (axesOf(node) & alongBit(layout)) === 0,
  ).filter((node) => !fixed.known.has(node) && node.dtype === "f32");
  const reads = new Map<string, string>();
  const names = perThread.map(() => writer.fresh().replace("v", "own"));
  lines.push(...names.map((name) => `var ${name}: array<f32, ${R}>;`));
  perThread.forEach((node, j) => own.set(node, names[j]!));
  for (let k = 0; k < R; k++) {
    const here = (value: number): string[] => at(layout, chunk.axes, "0", `(n0 + ${value})`);
    const loaded = fourOf(writer, layout.fours, here(k - (k % 4)), k, reads, lines);
    write({ ...fixed, axes: here(k), loaded }, perThread, lines).forEach((value, j) =>
      lines.push(`${names[j]}[${k}] = ${value};`),
    );
  }
  const text: string[] = ["let n = n0 + k;"];
  const edge = (buffer: number, name: string, part: "re" | "im"): string =>
    `${writer.bind(buffer, name, "read", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "n")}`, part)}`;
  const before =
    segments > 1 ? parts.map((part) => edge(buffers.ends, "ends", part)) : initialState(fixed, kernel.initial, text);
  parts.forEach((part, k) => {
    lines.push(`var starts${part}: array<f32, ${chunks * R}>;`);
    text.push(`starts${part}[k] = ${before[k]};`);
    if (!kernel.adjoint) return;
    lines.push(`var carry${part}: array<f32, ${R}>;`);
    text.push(`carry${part}[k] = ${segments > 1 ? edge(buffers.adjoints, "adjoints", part) : "0.0"};`);
  });
  lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
  return own;
}

/** Sums that outlive a chunk, and the memory of those over channels. */
function declareSums(chunk: Chunk, lines: string[]): void {
  const { groups, totals, writer } = chunk;
  const { R, T, W, subgroup } = chunk.layout;
  const { across, perStateRows, perStepRows, summing, totalsPerState } = chunk.sums;
  for (const group of groups) {
    const name = isRunning(chunk, group) ? "sum" : isSingle(group) ? "single" : undefined;
    if (name)
      for (const j of group.sums)
        lines.push(group.keepsRegister ? `var ${name}${j}: array<f32, ${R}>;` : `var ${name}${j} = 0.0;`);
  }
  for (const { sums } of totals) for (const j of sums) lines.push(`var sum${j} = 0.0;`);
  const inRows = Math.max(
    summing ? 0 : perStateRows.length * T,
    perStepRows.length * T,
    groups.some((group) => !group.keepsChannel && !across.includes(group)) ? 1 : 0,
  );
  if (inRows > 0) writer.module.push(`var<workgroup> rowSums: array<f32, ${inRows * pitchOf(chunk)}>;`);
  if (perStateRows.length > 0)
    writer.module.push(`var<workgroup> totals: array<f32, ${totalsPerState * R * (summing ? W / subgroup : 1)}>;`);
  if (summing) lines.push(...summing.head);
}

/** A chunk: what no state changes, then state by state, then what is stored of all states. */
function chunkText(chunk: Chunk, fixed: Scope, own: ReadonlyMap<Scalar, string>): string[] {
  const { layout, groups, steps, ragged, perState } = chunk;
  const { L, R, T } = layout;
  const staging = stage(fixed, perState, T, true, STAGED_BYTES);
  const tile: string[] = [...staging.fill];
  for (const u of steps)
    tile.push(`let t${u} = ${timeText(layout, ragged ? `min(tile + ${u}, ${L - 1})` : `tile + ${u}`)};`);
  const timeScopes = steps.map((u) =>
    hoist(
      { ...fixed, axes: at(layout, chunk.axes, `t${u}`) },
      perState,
      (node) => (layout.axesOf(node) & registerBit(layout)) === 0,
      tile,
    ),
  );
  for (const group of groups)
    if (!group.keepsRegister && !isRunning(chunk, group))
      for (const j of group.sums) for (const u of steps) tile.push(`var now${j}_${u} = 0.0;`);
  const inner = stateText(chunk, fixed, own, staging, timeScopes, tile);
  tile.push(`for (var k = 0; k < ${R}; k++) {`, indent(inner.join("\n")), "}");
  tile.push(...storeSteps(chunk, fixed, timeScopes), ...addTotals(chunk, fixed, timeScopes));
  tile.push(...finishChannelSums(chunk));
  const { perStateRows, perStepRows } = chunk.sums;
  if (perStateRows.length + perStepRows.length > 0 || staging.fill.length > 0) tile.push("workgroupBarrier();");
  for (const group of groups)
    if (isSingle(group) && !group.keepsRegister)
      for (const j of group.sums)
        for (const u of steps)
          if (couldBe(u, group.step as "first" | "last", layout))
            tile.push(
              `if (tile + ${u} == ${stepOf(group.step as "first" | "last", layout)}) { single${j} = now${j}_${u}; }`,
            );
  return tile;
}

/** The steps of a chunk for the states of one value of the register axis: forward, then the adjoint and the sums backward. */
function stateText(
  chunk: Chunk,
  fixed: Scope,
  own: ReadonlyMap<Scalar, string>,
  staging: Staging,
  timeScopes: readonly Scope[],
  tile: string[],
): string[] {
  const { layout, writer, parts, groups, steps, chunks, perState } = chunk;
  const { kernel, R, T, axesOf } = layout;
  const inner: string[] = ["let n = n0 + k;", `let next = min(k + 1, ${R - 1});`];
  const vectors = new Map<string, string>();
  /** Reads memory indexed by k one k ahead. */
  const ahead = (array: string, start = ""): string => {
    const name = writer.fresh();
    tile.push(`var ${name} = ${array}[${start}0];`);
    const now = writer.named(name, inner);
    inner.push(`${name} = ${array}[${start}next];`);
    return now;
  };
  const perK = hoist(
    { ...fixed, known: new Map([...fixed.known, ...[...own].map(([node, array]) => [node, ahead(array)] as const)]) },
    perState,
    (node) => (axesOf(node) & alongBit(layout)) === 0,
    inner,
  );
  const h = parts.map((part) => ahead(`starts${part}`, chunks > 1 ? `(tile - first) / ${T} * ${R} + ` : ""));
  const scopes = steps.map((u): Scope => ({
    ...fixed,
    axes: at(layout, chunk.axes, `t${u}`),
    known: new Map([...perK.known, ...timeScopes[u]!.known]),
    loaded: (node) => (staging.has(node) ? staging.read(node, "k", u, inner, vectors) : undefined),
  }));
  const { decays, states } = forward(chunk, scopes, h, inner);
  const runs = groups.filter((group) => isRunning(chunk, group) && group.keepsRegister).flatMap((group) => group.sums);
  for (const j of runs) inner.push(`var run${j} = sum${j}[k];`);
  if (kernel.adjoint) for (const part of parts) inner.push(`var g${part} = ${ahead(`carry${part}`)};`);
  backward(chunk, scopes, decays, states, inner);
  if (kernel.adjoint) for (const part of parts) inner.push(`carry${part}[k] = g${part};`);
  for (const j of runs) inner.push(`sum${j}[k] = run${j};`);
  inner.push(...finishState(chunk));
  return inner;
}

/** Statements for the states of a chunk; the decays are known in the scopes from then on. */
function forward(
  chunk: Chunk,
  scopes: Scope[],
  start: readonly string[],
  inner: string[],
): { readonly decays: readonly string[][]; readonly states: readonly (readonly string[])[] } {
  const { layout, writer, steps } = chunk;
  const { kernel } = layout;
  const decays: string[][] = [];
  const states: (readonly string[])[] = [start];
  for (const u of steps) {
    const scope = scopes[u]!;
    const a = write(scope, kernel.decay, inner).map((value, part) =>
      writer.named(onlyLive(chunk, u, part === 0 ? "1.0" : "0.0", value), inner),
    );
    decays.push(a);
    scopes[u] = {
      ...scope,
      known: new Map([...scope.known, ...kernel.decay.map((node, part) => [node, a[part]!] as const)]),
    };
    const b = write(scopes[u], kernel.drive, inner).map((value) => onlyLive(chunk, u, "0.0", value));
    states.push(advance(a, states.at(-1)!, b, 1, forgotten(layout, a)).map((value) => writer.named(value, inner)));
  }
  return { decays, states };
}

/** Statements for the adjoint of a chunk and the sums, from the last step on. */
function backward(
  chunk: Chunk,
  scopes: readonly Scope[],
  decays: readonly string[][],
  states: readonly (readonly string[])[],
  inner: string[],
): void {
  const { layout, writer, parts, groups, steps } = chunk;
  const { adjoint } = layout.kernel;
  for (const u of steps.toReversed()) {
    let scope: Scope = {
      ...scopes[u]!,
      state: (which, part) =>
        part === "im" && !layout.complex
          ? "0.0"
          : which === "adjoint"
            ? `g${part}`
            : states[which === "current" ? u + 1 : u]![part === "re" ? 0 : 1]!,
    };
    if (!adjoint) {
      for (const group of groups) inner.push(...atState(chunk, group, scope, u));
      continue;
    }
    const seed = write(scope, adjoint.seed, inner);
    parts.forEach((part, k) => inner.push(`g${part} += ${onlyLive(chunk, u, "0.0", seed[k]!)};`));
    let sent: string | undefined;
    if (layout.sentBack.size > 0) ({ sent, scope } = sendBack(scope, decays[u]![0]!, "gre", inner));
    for (const group of groups) inner.push(...atState(chunk, group, scope, u));
    const zero = forgotten(layout, decays[u]!);
    const next = sent
      ? [zero === undefined ? sent : `select(${sent}, 0.0, ${zero})`]
      : advance(
          decays[u]!,
          parts.map((part) => `g${part}`),
          parts.map(() => "0.0"),
          -1,
          zero,
        ).map((value) => writer.named(value, inner));
    parts.forEach((part, k) => inner.push(`g${part} = ${next[k]};`));
  }
}

/** What a group does with the state at a step. */
function atState(chunk: Chunk, group: Group, scope: Scope, u: number): string[] {
  const { layout, writer } = chunk;
  const { perStateRows, summing } = chunk.sums;
  if (group.step !== "each" && !couldBe(u, group.step, layout)) return [];
  const values: string[] = [];
  const sums = write(
    scope,
    group.sums.map((j) => layout.kernel.sums[j]!.value),
    values,
  );
  const into = (name: (j: number) => string, how: "=" | "+="): void =>
    group.sums.forEach((j, k) =>
      values.push(`${name(j)} ${how} ${group.step === "each" ? onlyLive(chunk, u, "0.0", sums[k]!) : sums[k]};`),
    );
  if (isRunning(chunk, group)) into((j) => `${group.keepsRegister ? "run" : "sum"}${j}`, "+=");
  else if (!group.keepsRegister) into((j) => `now${j}_${u}`, "+=");
  else if (isSingle(group)) into((j) => `single${j}[k]`, "=");
  else if (!group.keepsChannel) {
    if (!summing) into((j) => `let summed${perStateRows.indexOf(j) * layout.T + u}`, "=");
    else
      for (const sum of sums)
        values.push(...summing.take(writer.named(share(chunk, onlyLive(chunk, u, "0.0", sum)), values)));
    return values;
  } else {
    const stores: string[] = [];
    store(chunk, group, scope, sums, stores);
    const exists = group.step === "each" ? live(chunk, u) : "true";
    values.push(`if (inside & ${exists}) {`, ...stores.map((line) => `  ${line}`), "}");
  }
  if (values.length === 0) return [];
  return [
    group.step === "each" ? "{" : `if (tile + ${u} == ${stepOf(group.step, layout)}) {`,
    ...values.map((line) => `  ${line}`),
    "}",
  ];
}

/** Stores sums over the register axis, which are complete. */
function storeSteps(chunk: Chunk, fixed: Scope, timeScopes: readonly Scope[]): string[] {
  const { layout, groups, steps, axes } = chunk;
  const stored: string[] = [];
  for (const group of groups) {
    if (group.keepsRegister || isRunning(chunk, group) || !group.keepsChannel) continue;
    for (const u of steps) {
      if (group.step !== "each" && !couldBe(u, group.step, layout)) continue;
      const text: string[] = [];
      const sums = group.sums.map((j) => `now${j}_${u}`);
      const scope: Scope = { ...fixed, axes: at(layout, axes, `t${u}`, "0"), known: timeScopes[u]!.known };
      store(chunk, group, scope, sums, text);
      const exists = group.step === "each" ? live(chunk, u) : `(tile + ${u} == ${stepOf(group.step, layout)})`;
      stored.push(`if (inside & ${exists}) {`, ...text.map((line) => `  ${line}`), "}");
    }
  }
  return stored;
}

/** Adds the steps of a chunk to the totals. */
function addTotals(chunk: Chunk, fixed: Scope, timeScopes: readonly Scope[]): string[] {
  const { layout, groups, totals, steps, axes } = chunk;
  const added: string[] = [];
  for (const u of steps) {
    const reduced: string[] = [];
    for (const { sums } of groups) for (const j of sums) reduced[j] = `now${j}_${u}`;
    const scope: Scope = { ...fixed, axes: at(layout, axes, `t${u}`, "0"), known: timeScopes[u]!.known, reduced };
    const text: string[] = [];
    for (const { sums } of totals)
      write(
        scope,
        sums.map((j) => layout.kernel.sums[j]!.value),
        text,
      ).forEach((value, k) => text.push(`sum${sums[k]} += ${onlyLive(chunk, u, "0.0", value)};`));
    if (text.length > 0) added.push("{", ...text.map((line) => `  ${line}`), "}");
  }
  return added;
}

/** Stores sums over the segment, and single steps' over channels. */
function afterChunks(chunk: Chunk): string[] {
  const lines: string[] = [];
  for (const group of chunk.all) {
    if (!isRunning(chunk, group) && !isSingle(group)) continue;
    for (const j of group.sums) {
      const text = storeRunning(chunk, group, j);
      if (group.keepsRegister)
        lines.push(`for (var k = 0; k < ${chunk.layout.R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
      else lines.push(...text);
    }
  }
  return lines;
}

function storeRunning(chunk: Chunk, group: Group, j: number): string[] {
  const { layout, writer, buffers, axes } = chunk;
  const single = isSingle(group);
  const step = single ? stepOf(group.step as "first" | "last", layout) : 0;
  const owns = single ? ` & (${step} >= first) & (${step} < last)` : "";
  const value = `${single ? "single" : "sum"}${j}${group.keepsRegister ? "[k]" : ""}`;
  const place = group.inStates?.[group.sums.indexOf(j)];
  const stored = (total: string): string =>
    place
      ? `${writer.bind(buffers[place.buffer], place.buffer, "read_write", "f32")}${element(layout, `segment * ${layout.rows} + ${rowText(layout, "(n0 + k)")}`, place.part)} = ${total};`
      : storePartial(chunk, group, j, at(layout, axes, "0", "(n0 + k)"), total);
  if (group.keepsChannel) return [`if (inside${owns}) { ${stored(value)} }`];
  return [
    `rowSums[lane] = ${share(chunk, value)};`,
    "workgroupBarrier();",
    `if ((lane == 0) & (place < ${layout.gridSize})${owns}) {`,
    "  var total = 0.0;",
    `  for (var column = 0; column < ${layout.W}; column++) { total += rowSums[column]; }`,
    `  ${stored("total")}`,
    "}",
    "workgroupBarrier();",
  ];
}
