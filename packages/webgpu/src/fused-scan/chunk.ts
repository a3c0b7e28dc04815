/**
 * The results pass in chunks, last chunk first: for each value on the register axis, the states of the chunk are computed
 * again from the one before it, then the adjoint runs back over them. The states before the chunks of a segment come from
 * a run through it at the start; they stay with the thread. Sums over channels at every step are taken in the subgroup,
 * where its size is known, else in rows of workgroup memory, a row a sum and step.
 */
import type { Scalar } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "../program.js";
import { frontier } from "./expressions.js";
import { STAGED_BYTES, type Group, type Layout } from "./layout.js";
import { advance, element, groupsOf, hoist, initialState, makeWriter, partialText, partsOf, place, rowText, stepOf, storeOutputs, timeText, write, type Buffers, type Scope } from "./scope.js";
import { stage } from "./stage.js";
import { subgroupSums } from "./subgroup-sums.js";

export function chunkPass(layout: Layout, groups: readonly Group[], offsets: ReadonlyMap<Group, number>, buffers: Buffers): GpuPass {
  const { kernel, C, N, R, L, T, W, segment, segments, axesOf, register, rows, subgroup } = layout;
  const { along, adjoint } = kernel;
  const writer = makeWriter(layout);
  const parts = partsOf(layout);
  const { lines, axes } = place(layout, true);
  const ragged = L % T !== 0;
  const steps = Array.from({ length: T }, (_, u) => u);
  const alongBit = 1 << along, registerBit = register === undefined ? 0 : 1 << register;
  const axesAt = (time: string): string[] => axes.map((text, axis) => (axis === along ? time : axis === register ? "n" : text));
  const stateRoots: Scalar[] = [...kernel.decay, ...kernel.drive, ...(adjoint?.seed ?? [])];
  const roots = [...stateRoots, ...groups.flatMap(({ sums, outputs }) => [...sums.map((j) => kernel.sums[j]!.value), ...outputs.map((k) => kernel.outputs[k]!.value)])];
  /** What is read for every state: values free of it are computed once a step. */
  const perState = [...stateRoots, ...groups.flatMap((group) => [...group.sums.map((j) => kernel.sums[j]!.value), ...(group.keepsRegister && group.direct ? group.outputs.map((k) => kernel.outputs[k]!.value) : [])])];

  const outside: Scope = { writer, axes: axesAt("0"), known: new Map() };
  const fixed = hoist(outside, roots, (node) => (axesOf(node) & (alongBit | registerBit)) === 0, lines);
  const isRunning = ({ step, keeps }: Group): boolean => step === "each" && !keeps.includes(along);
  const bound = (text: string, into: string[]): string => {
    const name = writer.fresh();
    into.push(`let ${name} = ${text};`);
    return name;
  };

  // What differs between states but not between steps, the states before the chunks, and the adjoint after the chunk.
  const chunks = segment / T;
  const atState: Scope = { ...fixed, axes: axesAt("0") };
  const perThread = frontier(perState, (node) => !fixed.known.has(node) && (axesOf(node) & alongBit) === 0).filter((node) => !fixed.known.has(node) && node.dtype === "f32");
  const own = new Map(fixed.known);
  {
    const text: string[] = ["let n = n0 + k;"];
    write(atState, perThread, text).forEach((value, j) => {
      const name = writer.fresh().replace("v", "own");
      lines.push(`var ${name}: array<f32, ${R}>;`);
      text.push(`${name}[k] = ${value};`);
      own.set(perThread[j]!, `${name}[k]`);
    });
    const edge = (buffer: number, name: string, part: "re" | "im"): string => `${writer.bind(buffer, name, "read", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "n")}`, part)}`;
    const before = segments > 1 ? parts.map((part) => edge(buffers.ends, "ends", part)) : initialState(atState, kernel.initial, text);
    parts.forEach((part, at) => {
      lines.push(`var starts${part}: array<f32, ${chunks * R}>;`);
      text.push(`starts${part}[k] = ${before[at]};`);
      if (!adjoint) return;
      lines.push(`var carry${part}: array<f32, ${R}>;`);
      text.push(`carry${part}[k] = ${segments > 1 ? edge(buffers.adjoints, "adjoints", part) : "0.0"};`);
    });
    lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
  }
  for (const group of groups) if (isRunning(group)) for (const j of group.sums) lines.push(group.keepsRegister ? `var sum${j}: array<f32, ${R}>;` : `var sum${j} = 0.0;`);

  // sums over channels
  const across = groups.filter((group) => group.step === "each" && !group.keepsChannel && !isRunning(group));
  const perStateRows = across.filter((group) => group.keepsRegister).flatMap((group) => group.sums.map((j) => ({ group, j })));
  const perStepRows = across.filter((group) => !group.keepsRegister).flatMap((group) => group.sums.map((j) => ({ group, j })));
  const anyAcross = groups.some((group) => !group.keepsChannel);
  const rowCount = Math.max(1, perStateRows.length * T, perStepRows.length * T);
  const pitch = W + 1;
  const inSubgroup = subgroup > 1 && perStateRows.length > 0 && W % subgroup === 0;
  const summing = inSubgroup ? subgroupSums(perStateRows.length * T, subgroup) : undefined;
  const splitOf = (count: number): number => Math.max(1, Math.min(2 ** Math.floor(Math.log2(W / Math.max(1, count * T))), W));
  const split = splitOf(perStateRows.length);
  if (anyAcross && (!summing || perStepRows.length > 0 || groups.some((group) => !group.keepsChannel && !across.includes(group)))) writer.module.push(`var<workgroup> rowSums: array<f32, ${(summing ? Math.max(1, perStepRows.length * T) : rowCount) * pitch}>;`);
  const totalsPerState = summing ? summing.size : perStateRows.length * T * split;
  if (perStateRows.length > 0) writer.module.push(`var<workgroup> totals: array<f32, ${totalsPerState * R * (summing ? W / subgroup : 1)}>;`);
  if (summing) lines.push(...summing.head);

  const staging = stage(fixed, perState, T, true, STAGED_BYTES);
  const offsetOf = (group: Group, j: number): number => offsets.get(group)! + group.sums.indexOf(j) * group.partials * group.keptSize;
  const storePartial = (group: Group, j: number, at: readonly string[], value: string): string => `${writer.bind(buffers.partials, "partials", "read_write", "f32")}[${partialText(layout, group, offsetOf(group, j), at)}] = ${value};`;
  const live = (u: number): string => (ragged ? `(tile + ${u} < ${L})` : "true");
  const onlyLive = (u: number, dead: string, value: string): string => (ragged ? `select(${dead}, ${value}, ${live(u)})` : value);

  // a chunk
  const tile: string[] = [...staging.fill];
  const timeScopes = steps.map((u) => {
    tile.push(`let t${u} = ${timeText(layout, ragged ? `min(tile + ${u}, ${L - 1})` : `tile + ${u}`)};`);
    return hoist({ ...fixed, axes: axesAt(`t${u}`) }, perState, (node) => (axesOf(node) & registerBit) === 0, tile);
  });
  for (const group of groups) if (!group.keepsRegister && !isRunning(group)) for (const j of group.sums) for (const u of steps) tile.push(`var now${j}_${u} = 0.0;`);

  const inner: string[] = ["let n = n0 + k;", `let next = min(k + 1, ${R - 1});`];
  const prefetch: string[] = [];
  /** Reads memory indexed by k one k ahead. */
  const ahead = (text: string): string => {
    const name = writer.fresh();
    prefetch.push(`var ${name} = ${text.replaceAll(/\bk\b/g, "0")};`);
    const now = bound(name, inner);
    inner.push(`${name} = ${text.replaceAll(/\bk\b/g, "next")};`);
    return now;
  };
  const stateScope = hoist({ ...atState, known: new Map([...own].map(([node, text]) => [node, text.startsWith("own") ? ahead(text) : text])) }, perState, (node) => (axesOf(node) & alongBit) === 0, inner);
  let h = parts.map((part) => ahead(`starts${part}[${chunks > 1 ? `(tile - first) / ${T} * ${R} + ` : ""}k]`));
  const decays: string[][] = [], states: string[][] = [h];
  const vectors = new Map<string, string>();
  const scopeAt = steps.map((u): Scope => ({
    ...fixed,
    axes: axesAt(`t${u}`),
    known: new Map([...stateScope.known, ...timeScopes[u]!.known]),
    loaded: (node) => (staging.has(node) ? staging.read(node, "k", u, inner, vectors) : undefined),
  }));
  for (const u of steps) {
    const scope = scopeAt[u]!;
    const a = write(scope, kernel.decay, inner).map((value, at) => bound(onlyLive(u, at === 0 ? "1.0" : "0.0", value), inner));
    decays.push(a);
    const known = new Map([...scope.known, ...kernel.decay.map((node, at) => [node, a[at]!] as const)]);
    scopeAt[u] = { ...scope, known };
    const b = write(scopeAt[u]!, kernel.drive, inner).map((value) => onlyLive(u, "0.0", value));
    h = advance(a, h, b).map((value) => bound(value, inner));
    states.push(h);
  }
  // Memory that is indexed by k is read and written once, and what the next k needs is asked for now.
  const runs = groups.filter((group) => isRunning(group) && group.keepsRegister).flatMap((group) => group.sums);
  for (const j of runs) inner.push(`var run${j} = sum${j}[k];`);
  if (adjoint) for (const part of parts) inner.push(`var g${part} = ${ahead(`carry${part}[k]`)};`);
  for (const u of steps.toReversed()) {
    const scope: Scope = { ...scopeAt[u]!, state: (which, part) => (part === "im" && !layout.complex ? "0.0" : which === "adjoint" ? `g${part}` : states[which === "current" ? u + 1 : u]![part === "re" ? 0 : 1]!) };
    const text: string[] = [];
    if (adjoint) {
      const seed = write(scope, adjoint.seed, text);
      parts.forEach((part, at) => text.push(`g${part} += ${onlyLive(u, "0.0", seed[at]!)};`));
    }
    for (const group of groups) {
      const values: string[] = [];
      const sums = write(scope, group.sums.map((j) => kernel.sums[j]!.value), values);
      const store = (at: string[]): void => {
        const reduced: string[] = [];
        group.sums.forEach((j, k) => (reduced[j] = sums[k]!));
        if (group.direct) storeOutputs({ ...scope, reduced }, group, buffers, at);
        else group.sums.forEach((j, k) => at.push(storePartial(group, j, scope.axes, sums[k]!)));
      };
      if (group.step !== "each") {
        if (!couldBe(u, group.step, layout)) continue;
        if (!group.keepsRegister || !group.keepsChannel) {
          if (group.keepsRegister) values.push(...group.sums.flatMap((j, k) => [`single${j}[k] = ${sums[k]};`]));
          else group.sums.forEach((j, k) => values.push(`now${j}_${u} += ${sums[k]};`));
        } else {
          values.push("if (inside) {");
          store(values);
          values.push("}");
        }
        text.push(`if (tile + ${u} == ${stepOf(group.step, layout)}) {`, ...values, "}");
        continue;
      }
      const guarded = sums.map((value) => onlyLive(u, "0.0", value));
      if (isRunning(group)) group.sums.forEach((j, k) => values.push(`${group.keepsRegister ? "run" : "sum"}${j} += ${guarded[k]};`));
      else if (!group.keepsRegister) group.sums.forEach((j, k) => values.push(`now${j}_${u} += ${guarded[k]};`));
      else if (!group.keepsChannel) group.sums.forEach((j, k) => {
        const row = perStateRows.findIndex((r) => r.j === j) * T + u;
        if (summing) text.push(...values.splice(0), `let summed${row} = ${C % W === 0 ? guarded[k] : `select(0.0, ${guarded[k]}, inside)`};`);
        else values.push(`rowSums[${row * pitch} + lane] = select(0.0, ${guarded[k]}, inside);`);
      });
      else {
        values.push(`if (inside && ${live(u)}) {`);
        store(values);
        values.push("}");
      }
      if (values.length > 0) text.push("{", ...values.map((line) => `  ${line}`), "}");
    }
    if (adjoint) {
      const next = advance(decays[u]!, parts.map((part) => `g${part}`), parts.map(() => "0.0"), -1).map((value) => bound(value, text));
      parts.forEach((part, at) => text.push(`g${part} = ${next[at]};`));
    }
    inner.push(...text);
  }
  if (adjoint) for (const part of parts) inner.push(`carry${part}[k] = g${part};`);
  for (const j of runs) inner.push(`sum${j}[k] = run${j};`);
  /** Adds up rows of shared memory, `split` threads a row; the sums go to `into`. */
  const addRows = (count: number, split: number, into: string): string[] => [
    "workgroupBarrier();",
    `for (var x = lane; x < ${count * T * split}; x += ${W}) {`,
    `  let row = x % ${count * T};`,
    `  let start = row * ${pitch} + x / ${count * T} * ${W / split};`,
    "  var total = 0.0;",
    `  for (var column = 0; column < ${W / split}; column++) { total += rowSums[start + column]; }`,
    `  ${into}`,
    "}",
    "workgroupBarrier();",
  ];
  if (summing) inner.push(...summing.add((row) => (row < perStateRows.length * T ? `summed${row}` : "0.0"), (at, value) => `totals[(lane / ${subgroup} * ${R} + k) * ${totalsPerState} + ${at}] = ${value};`));
  else if (perStateRows.length > 0) inner.push(...addRows(perStateRows.length, split, `totals[k * ${totalsPerState} + x] = total;`));
  const singles = groups.filter((group) => group.step !== "each" && group.keepsRegister && !group.keepsChannel);
  for (const group of singles) for (const j of group.sums) lines.push(`var single${j}: array<f32, ${R}>;`);
  tile.push(...prefetch, `for (var k = 0; k < ${R}; k++) {`, indent(inner.join("\n")), "}");

  // sums over the register axis are complete
  for (const group of groups) {
    if (group.keepsRegister || isRunning(group)) continue;
    for (const u of steps) {
      if (group.step !== "each" && !couldBe(u, group.step, layout)) continue;
      if (!group.keepsChannel) continue;
      const text: string[] = [];
      const sums = group.sums.map((j) => `now${j}_${u}`);
      const scope: Scope = { ...fixed, axes: axesAt(`t${u}`).map((text, axis) => (axis === register ? "0" : text)), known: timeScopes[u]!.known };
      const reduced: string[] = [];
      group.sums.forEach((j, at) => (reduced[j] = sums[at]!));
      if (group.direct) storeOutputs({ ...scope, reduced }, group, buffers, text);
      else group.sums.forEach((j, at) => text.push(storePartial(group, j, scope.axes, sums[at]!)));
      const when = group.step === "each" ? live(u) : `tile + ${u} == ${stepOf(group.step, layout)}`;
      tile.push(`if (inside && ${when}) {`, ...text.map((line) => `  ${line}`), "}");
    }
  }
  /** Stores a group's sums over channels for every step (and state) of the chunk. */
  const storeRows = (group: Group, count: number, value: (row: number, n: string, t: string) => string): string[] => {
    const time = timeText(layout, `tile + x / ${count}`);
    const at = axes.map((text, axis) => (axis === along ? "time" : axis === register ? "n" : text));
    const text: string[] = [];
    const reduced: string[] = [];
    group.sums.forEach((j) => (reduced[j] = bound(value([...perStateRows, ...perStepRows].findIndex((r) => r.j === j), `x % ${count}`, `x / ${count}`), text)));
    if (group.finished) storeOutputs({ ...fixed, axes: at, known: new Map(), reduced }, group, buffers, text);
    else for (const j of group.sums) text.push(storePartial(group, j, at, reduced[j]!));
    return [`for (var x = lane; x < ${count * T}; x += ${W}) {`, `  let n = n0 + x % ${count};`, `  let time = ${time};`, `  if (place < ${layout.gridSize} && tile + x / ${count} < ${L}) {`, ...text.map((line) => `    ${line}`), "  }", "}"];
  };
  if (summing) tile.push("workgroupBarrier();");
  for (const group of across) {
    if (!group.keepsRegister) continue;
    const pieces = summing ? W / subgroup : split;
    const value = (r: number, n: string, t: string): string => Array.from({ length: pieces }, (_, piece) => (summing ? `totals[(${piece * R} + ${n}) * ${totalsPerState} + ${r * T} + ${t}]` : `totals[(${n}) * ${totalsPerState} + ${(piece * perStateRows.length + r) * T} + ${t}]`)).join(" + ");
    tile.push(...storeRows(group, R, value));
  }
  if (perStepRows.length > 0) {
    perStepRows.forEach(({ j }, r) => steps.forEach((u) => tile.push(`rowSums[${(r * T + u) * pitch} + lane] = select(0.0, now${j}_${u}, inside);`)));
    tile.push(...addRows(perStepRows.length, 1, `rowSums[row * ${pitch} + ${W}] = total;`));
    for (const group of across) if (!group.keepsRegister) tile.push(...storeRows(group, 1, (r, _, t) => `rowSums[(${(r - perStateRows.length) * T} + ${t}) * ${pitch} + ${W}]`));
  }
  if (perStateRows.length + perStepRows.length > 0 || staging.fill.length > 0) tile.push("workgroupBarrier();");
  for (const group of groups) if (group.step !== "each" && !group.keepsRegister && !group.keepsChannel) for (const j of group.sums) {
    lines.push(`var single${j} = 0.0;`);
    for (const u of steps) if (couldBe(u, group.step, layout)) tile.push(`if (tile + ${u} == ${stepOf(group.step, layout)}) { single${j} = now${j}_${u}; }`);
  }

  /** Runs through the segment up to its last chunk with all states in registers. */
  function sweep(): string[] {
    const swept = [...kernel.decay, ...kernel.drive];
    const each = Array.from({ length: R }, (_, k) => k);
    const axesOfState = (time: string, k: number): string[] => axesAt(time).map((text, axis) => (axis === register ? (N === R ? String(k) : `(n0 + ${k})`) : text));
    const staged = stage(fixed, swept, segment, false, layout.sweptBytes);
    const text: string[] = [];
    const own = each.map((k) => hoist({ ...fixed, axes: axesOfState("0", k) }, swept, (node) => (axesOf(node) & alongBit) === 0, text));
    const states = each.map((k) => parts.map((part) => `h${k}${part}`));
    each.forEach((k) => parts.forEach((part, at) => text.push(`var ${states[k]![at]} = starts${part}[${k}];`)));
    const count = Math.min(layout.ahead, T);
    const body: string[] = [];
    const scopes = Array.from({ length: count }, (_, u) => {
      body.push(`let t${u} = ${timeText(layout, u === 0 ? "step" : `step + ${u}`)};`);
      return hoist({ ...fixed, axes: axesOfState(`t${u}`, 0), loaded: (node) => (staged.has(node) ? "" : undefined) }, swept, (node) => (axesOf(node) & registerBit) === 0, body).known;
    });
    scopes.forEach((known, u) => {
      const here: string[] = [];
      const read: string[] = [];
      const vectors = new Map<string, string>();
      for (const k of each) {
        const scope: Scope = { ...fixed, axes: axesOfState(`t${u}`, k), known: new Map([...own[k]!.known, ...known]), loaded: (node) => (staged.has(node) ? staged.read(node, u === 0 ? "(step - tile)" : `(step - tile + ${u})`, k, read, vectors) : undefined) };
        const a = write(scope, kernel.decay, here).map((value) => bound(value, here));
        const b = write({ ...scope, known: new Map([...scope.known, ...kernel.decay.map((node, at) => [node, a[at]!] as const)]) }, kernel.drive, here).map((value) => bound(value, here));
        const next = advance(a, states[k]!, b).map((value) => (parts.length > 1 ? bound(value, here) : value));
        states[k]!.forEach((name, at) => here.push(`${name} = ${next[at]};`));
      }
      body.push("{", ...[...read, ...here].map((line) => `  ${line}`), "}");
    });
    const stored = each.flatMap((k) => parts.map((part, at) => `starts${part}[(chunk - first) / ${T} * ${R} + ${R + k}] = ${states[k]![at]};`));
    return [
      ...text, "if (first < lastChunk) {", "  let tile = first;", ...staged.fill.map((line) => `  ${line}`),
      `  for (var chunk = first; chunk < lastChunk; chunk += ${T}) {`, `    for (var step = chunk; step < chunk + ${T}; step += ${count}) {`, indent(body.join("\n"), 3), "    }", ...stored.map((line) => `    ${line}`), "  }", "}",
    ];
  }

  lines.push(`let first = ${segments === 1 ? "0" : `segment * ${segment}`};`, `let last = min(first + ${segment}, ${L});`, `let lastChunk = first + (last - first - 1) / ${T} * ${T};`, ...(chunks > 1 ? sweep() : []), `for (var tile = lastChunk; tile >= first; tile -= ${T}) {`, indent(tile.join("\n")), "}");

  // sums over the segment, and single steps' over channels
  for (const group of groups) {
    const single = group.step !== "each" && !group.keepsChannel;
    if (!isRunning(group) && !single) continue;
    for (const j of group.sums) {
      const name = `${single ? "single" : "sum"}${j}`;
      const at = axesAt("0").map((text, axis) => (axis === register ? "(n0 + k)" : text));
      const owns = single ? ` && ${stepOf(group.step as "first" | "last", layout)} >= first && ${stepOf(group.step as "first" | "last", layout)} < last` : "";
      const value = group.keepsRegister ? `${name}[k]` : name;
      const place = group.inStates?.[group.sums.indexOf(j)];
      const store = place ? `${writer.bind(buffers[place.buffer], place.buffer, "read_write", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "(n0 + k)")}`, place.part)} = ${value};` : storePartial(group, j, at, group.keepsChannel ? value : "total");
      const text = group.keepsChannel ? [`if (inside${owns}) { ${store} }`] : [`rowSums[lane] = select(0.0, ${value}, inside);`, "workgroupBarrier();", `if (lane == 0 && place < ${layout.gridSize}${owns}) {`, "  var total = 0.0;", `  for (var column = 0; column < ${W}; column++) { total += rowSums[column]; }`, `  ${store}`, "}", "workgroupBarrier();"];
      if (group.keepsRegister) lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
      else lines.push(...text);
    }
  }
  return writer.pass(W, groupsOf(layout), lines);
}

/** Whether step u of some chunk is the first or the last of all. */
const couldBe = (u: number, step: "first" | "last", layout: Layout): boolean => stepOf(step, layout) % layout.T === u;
