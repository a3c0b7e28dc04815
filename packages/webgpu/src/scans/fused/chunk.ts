/**
 * The results pass in chunks, last chunk first: for each value on the register axis, the states of the chunk are computed
 * again from the one before it, then the adjoint runs back over them. The states before the chunks of a segment come from
 * a run through it at the start; they stay with the thread. Sums over channels at every step are taken in the subgroup,
 * where its size is known, else in rows of workgroup memory, a row a sum and step.
 */
import type { Scalar } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { frontier } from "./expressions.js";
import { STAGED_BYTES, type Group, type Layout } from "./layout.js";
import {
  advance,
  element,
  forgotten,
  groupsOf,
  hoist,
  initialState,
  makeWriter,
  partialText,
  partsOf,
  place,
  rowText,
  stepOf,
  storeOutputs,
  timeText,
  write,
  type Buffers,
  type Scope,
} from "./scope.js";
import { stage } from "./stage.js";
import { subgroupSums } from "./subgroup-sums.js";
import { sweep } from "./sweep.js";

export function chunkPass(
  layout: Layout,
  all: readonly Group[],
  offsets: ReadonlyMap<Group, number>,
  buffers: Buffers,
): GpuPass {
  const { kernel, C, R, L, T, W, segment, segments, axesOf, register, rows, subgroup } = layout;
  const { along, adjoint } = kernel;
  const writer = makeWriter(layout);
  const parts = partsOf(layout);
  const groups = all.filter(({ of }) => !of),
    totals = all.filter(({ of }) => of);
  const ragged = L % T !== 0;
  const steps = Array.from({ length: T }, (_, u) => u);
  const chunks = segment / T;
  const alongBit = 1 << along,
    registerBit = register === undefined ? 0 : 1 << register;
  const at = (axes: readonly string[], time: string, n = "n"): string[] =>
    axes.map((text, axis) => (axis === along ? time : axis === register ? n : text));
  const stateRoots: Scalar[] = [...kernel.decay, ...kernel.drive, ...(adjoint?.seed ?? [])];
  const roots = [
    ...stateRoots,
    ...all.flatMap(({ sums, outputs }) => [
      ...sums.map((j) => kernel.sums[j]!.value),
      ...outputs.map((k) => kernel.outputs[k]!.value),
    ]),
  ];
  /** What is read for every state: values free of it are computed once a step. */
  const perState = [
    ...stateRoots,
    ...groups.flatMap((group) => [
      ...group.sums.map((j) => kernel.sums[j]!.value),
      ...(group.keepsRegister && group.direct ? group.outputs.map((k) => kernel.outputs[k]!.value) : []),
    ]),
  ];
  const isRunning = ({ step, keeps }: Group): boolean => step === "each" && !keeps.includes(along);
  const isSingle = ({ step, keepsChannel }: Group): boolean => step !== "each" && !keepsChannel;

  // the thread's channel, with its states before the chunks and the adjoint after the chunk at hand
  const { lines, axes } = place(layout, true);
  const fixed = hoist(
    { writer, axes: at(axes, "0"), known: new Map() },
    roots,
    (node) => (axesOf(node) & (alongBit | registerBit)) === 0,
    lines,
  );
  /** What differs between states but not between steps: arrays, by what they hold. */
  const own = new Map<Scalar, string>();
  {
    const perThread = frontier(perState, (node) => !fixed.known.has(node) && (axesOf(node) & alongBit) === 0).filter(
      (node) => !fixed.known.has(node) && node.dtype === "f32",
    );
    const text: string[] = ["let n = n0 + k;"];
    write(fixed, perThread, text).forEach((value, j) => {
      const name = writer.fresh().replace("v", "own");
      lines.push(`var ${name}: array<f32, ${R}>;`);
      text.push(`${name}[k] = ${value};`);
      own.set(perThread[j]!, name);
    });
    const edge = (buffer: number, name: string, part: "re" | "im"): string =>
      `${writer.bind(buffer, name, "read", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "n")}`, part)}`;
    const before =
      segments > 1 ? parts.map((part) => edge(buffers.ends, "ends", part)) : initialState(fixed, kernel.initial, text);
    parts.forEach((part, k) => {
      lines.push(`var starts${part}: array<f32, ${chunks * R}>;`);
      text.push(`starts${part}[k] = ${before[k]};`);
      if (!adjoint) return;
      lines.push(`var carry${part}: array<f32, ${R}>;`);
      text.push(`carry${part}[k] = ${segments > 1 ? edge(buffers.adjoints, "adjoints", part) : "0.0"};`);
    });
    lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
  }
  for (const group of groups) {
    const name = isRunning(group) ? "sum" : isSingle(group) ? "single" : undefined;
    if (name)
      for (const j of group.sums)
        lines.push(group.keepsRegister ? `var ${name}${j}: array<f32, ${R}>;` : `var ${name}${j} = 0.0;`);
  }
  for (const { sums } of totals) for (const j of sums) lines.push(`var sum${j} = 0.0;`);
  /** The thread's share of a sum over channels. */
  const share = (value: string): string => (C % W === 0 ? value : `select(0.0, ${value}, inside)`);

  // sums over channels
  const across = groups.filter((group) => group.step === "each" && !group.keepsChannel && !isRunning(group));
  // Steps come last first, with the sums of a step in this order.
  const perStateRows = across.filter((group) => group.keepsRegister).flatMap((group) => group.sums);
  const perStepRows = across.filter((group) => !group.keepsRegister).flatMap((group) => group.sums);
  const pitch = W + 1;
  const summing =
    subgroup > 1 && perStateRows.length > 0 && W % subgroup === 0
      ? subgroupSums(perStateRows.length * T, subgroup, writer.fresh)
      : undefined;
  const split = Math.max(1, Math.min(2 ** Math.floor(Math.log2(W / Math.max(1, perStateRows.length * T))), W));
  const inRows = Math.max(
    summing ? 0 : perStateRows.length * T,
    perStepRows.length * T,
    groups.some((group) => !group.keepsChannel && !across.includes(group)) ? 1 : 0,
  );
  if (inRows > 0) writer.module.push(`var<workgroup> rowSums: array<f32, ${inRows * pitch}>;`);
  const totalsPerState = summing ? summing.size : perStateRows.length * T * split;
  if (perStateRows.length > 0)
    writer.module.push(`var<workgroup> totals: array<f32, ${totalsPerState * R * (summing ? W / subgroup : 1)}>;`);
  if (summing) lines.push(...summing.head);

  const staging = stage(fixed, perState, T, true, STAGED_BYTES);
  const offsetOf = (group: Group, j: number): number =>
    offsets.get(group)! + group.sums.indexOf(j) * group.partials * group.keptSize;
  const storePartial = (group: Group, j: number, axes: readonly string[], value: string): string =>
    `${writer.bind(buffers.partials, "partials", "read_write", "f32")}[${partialText(layout, group, offsetOf(group, j), axes)}] = ${value};`;
  /** Stores a group's sums, or what is computed from them. */
  const store = (group: Group, scope: Scope, sums: readonly string[], into: string[]): void => {
    const reduced: string[] = [];
    group.sums.forEach((j, k) => (reduced[j] = sums[k]!));
    if (group.direct || group.finished) storeOutputs({ ...scope, reduced }, group, buffers, into);
    else group.sums.forEach((j, k) => into.push(storePartial(group, j, scope.axes, sums[k]!)));
  };
  const live = (u: number): string => (ragged ? `(tile + ${u} < ${L})` : "true");
  const onlyLive = (u: number, dead: string, value: string): string =>
    ragged ? `select(${dead}, ${value}, ${live(u)})` : value;

  // a chunk: what no state changes, then state by state
  const tile: string[] = [...staging.fill];
  for (const u of steps)
    tile.push(`let t${u} = ${timeText(layout, ragged ? `min(tile + ${u}, ${L - 1})` : `tile + ${u}`)};`);
  const inner: string[] = ["let n = n0 + k;", `let next = min(k + 1, ${R - 1});`];
  const vectors = new Map<string, string>();
  const timeScopes = steps.map((u) =>
    hoist({ ...fixed, axes: at(axes, `t${u}`) }, perState, (node) => (axesOf(node) & registerBit) === 0, tile),
  );
  for (const group of groups)
    if (!group.keepsRegister && !isRunning(group))
      for (const j of group.sums) for (const u of steps) tile.push(`var now${j}_${u} = 0.0;`);
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
    (node) => (axesOf(node) & alongBit) === 0,
    inner,
  );
  let h = parts.map((part) => ahead(`starts${part}`, chunks > 1 ? `(tile - first) / ${T} * ${R} + ` : ""));
  const decays: string[][] = [],
    states: string[][] = [h];
  const scopeAt = steps.map((u): Scope => ({
    ...fixed,
    axes: at(axes, `t${u}`),
    known: new Map([...perK.known, ...timeScopes[u]!.known]),
    loaded: (node) => (staging.has(node) ? staging.read(node, "k", u, inner, vectors) : undefined),
  }));
  for (const u of steps) {
    const scope = scopeAt[u]!;
    const a = write(scope, kernel.decay, inner).map((value, part) =>
      writer.named(onlyLive(u, part === 0 ? "1.0" : "0.0", value), inner),
    );
    decays.push(a);
    scopeAt[u] = {
      ...scope,
      known: new Map([...scope.known, ...kernel.decay.map((node, part) => [node, a[part]!] as const)]),
    };
    const b = write(scopeAt[u]!, kernel.drive, inner).map((value) => onlyLive(u, "0.0", value));
    h = advance(a, h, b, 1, forgotten(layout, a)).map((value) => writer.named(value, inner));
    states.push(h);
  }
  const runs = groups.filter((group) => isRunning(group) && group.keepsRegister).flatMap((group) => group.sums);
  for (const j of runs) inner.push(`var run${j} = sum${j}[k];`);
  if (adjoint) for (const part of parts) inner.push(`var g${part} = ${ahead(`carry${part}`)};`);
  for (const u of steps.toReversed()) {
    const scope: Scope = {
      ...scopeAt[u]!,
      state: (which, part) =>
        part === "im" && !layout.complex
          ? "0.0"
          : which === "adjoint"
            ? `g${part}`
            : states[which === "current" ? u + 1 : u]![part === "re" ? 0 : 1]!,
    };
    if (adjoint) {
      const seed = write(scope, adjoint.seed, inner);
      parts.forEach((part, k) => inner.push(`g${part} += ${onlyLive(u, "0.0", seed[k]!)};`));
    }
    for (const group of groups) inner.push(...atState(group, scope, u));
    if (adjoint) {
      const next = advance(
        decays[u]!,
        parts.map((part) => `g${part}`),
        parts.map(() => "0.0"),
        -1,
        forgotten(layout, decays[u]!),
      ).map((value) => writer.named(value, inner));
      parts.forEach((part, k) => inner.push(`g${part} = ${next[k]};`));
    }
  }
  if (adjoint) for (const part of parts) inner.push(`carry${part}[k] = g${part};`);
  for (const j of runs) inner.push(`sum${j}[k] = run${j};`);

  /** What a group does with the state at a step. */
  function atState(group: Group, scope: Scope, u: number): string[] {
    if (group.step !== "each" && !couldBe(u, group.step, layout)) return [];
    const values: string[] = [];
    const sums = write(
      scope,
      group.sums.map((j) => kernel.sums[j]!.value),
      values,
    );
    const into = (name: (j: number) => string, how: "=" | "+="): void =>
      group.sums.forEach((j, k) =>
        values.push(`${name(j)} ${how} ${group.step === "each" ? onlyLive(u, "0.0", sums[k]!) : sums[k]};`),
      );
    if (isRunning(group)) into((j) => `${group.keepsRegister ? "run" : "sum"}${j}`, "+=");
    else if (!group.keepsRegister) into((j) => `now${j}_${u}`, "+=");
    else if (isSingle(group)) into((j) => `single${j}[k]`, "=");
    else if (!group.keepsChannel) {
      if (!summing) into((j) => `let summed${perStateRows.indexOf(j) * T + u}`, "=");
      else for (const sum of sums) values.push(...summing.take(writer.named(share(onlyLive(u, "0.0", sum)), values)));
      return values;
    } else {
      const stores: string[] = [];
      store(group, scope, sums, stores);
      values.push(
        `if (inside & ${group.step === "each" ? live(u) : "true"}) {`,
        ...stores.map((line) => `  ${line}`),
        "}",
      );
    }
    if (values.length === 0) return [];
    return [
      group.step === "each" ? "{" : `if (tile + ${u} == ${stepOf(group.step, layout)}) {`,
      ...values.map((line) => `  ${line}`),
      "}",
    ];
  }

  /** Adds up rows of shared memory, `pieces` threads a row; the sums go to `into`. */
  const addRows = (count: number, pieces: number, into: string): string[] => [
    "workgroupBarrier();",
    `for (var x = lane; x < ${count * T * pieces}; x += ${W}) {`,
    `  let row = x % ${count * T};`,
    `  let start = row * ${pitch} + x / ${count * T} * ${W / pieces};`,
    "  var total = 0.0;",
    `  for (var column = 0; column < ${W / pieces}; column++) { total += rowSums[start + column]; }`,
    `  ${into}`,
    "}",
    "workgroupBarrier();",
  ];
  if (summing)
    inner.push(
      ...summing.finish((slot, sum) => `totals[(i32(subgroup) * ${R} + k) * ${totalsPerState} + ${slot}] = ${sum};`),
    );
  else if (perStateRows.length > 0) {
    for (let row = 0; row < perStateRows.length * T; row++)
      inner.push(`rowSums[${row * pitch} + lane] = ${share(`summed${row}`)};`);
    inner.push(...addRows(perStateRows.length, split, `totals[k * ${totalsPerState} + x] = total;`));
  }
  tile.push(`for (var k = 0; k < ${R}; k++) {`, indent(inner.join("\n")), "}");

  // sums over the register axis are complete
  for (const group of groups) {
    if (group.keepsRegister || isRunning(group) || !group.keepsChannel) continue;
    for (const u of steps) {
      if (group.step !== "each" && !couldBe(u, group.step, layout)) continue;
      const text: string[] = [];
      store(
        group,
        { ...fixed, axes: at(axes, `t${u}`, "0"), known: timeScopes[u]!.known },
        group.sums.map((j) => `now${j}_${u}`),
        text,
      );
      tile.push(
        `if (inside & ${group.step === "each" ? live(u) : `(tile + ${u} == ${stepOf(group.step, layout)})`}) {`,
        ...text.map((line) => `  ${line}`),
        "}",
      );
    }
  }
  for (const u of steps) {
    const reduced: string[] = [];
    for (const { sums } of groups) for (const j of sums) reduced[j] = `now${j}_${u}`;
    const scope: Scope = { ...fixed, axes: at(axes, `t${u}`, "0"), known: timeScopes[u]!.known, reduced };
    const text: string[] = [];
    for (const { sums } of totals)
      write(
        scope,
        sums.map((j) => kernel.sums[j]!.value),
        text,
      ).forEach((value, k) => text.push(`sum${sums[k]} += ${onlyLive(u, "0.0", value)};`));
    if (text.length > 0) tile.push("{", ...text.map((line) => `  ${line}`), "}");
  }
  /** Stores a group's sums over channels for every step (and state) of the chunk. */
  const storeRows = (group: Group, count: number, value: (row: number, n: string, t: string) => string): string[] => {
    const text: string[] = [];
    const sums = group.sums.map((j) =>
      writer.named(
        value(Math.max(perStateRows.indexOf(j), perStepRows.indexOf(j)), `x % ${count}`, `x / ${count}`),
        text,
      ),
    );
    store(group, { writer, axes: at(axes, "time"), known: new Map() }, sums, text);
    return [
      `for (var x = lane; x < ${count * T}; x += ${W}) {`,
      `  let n = n0 + x % ${count};`,
      `  let time = ${timeText(layout, `tile + x / ${count}`)};`,
      `  if ((place < ${layout.gridSize}) & (tile + x / ${count} < ${L})) {`,
      ...text.map((line) => `    ${line}`),
      "  }",
      "}",
    ];
  };
  if (summing) tile.push("workgroupBarrier();");
  const pieces = Array.from({ length: summing ? W / subgroup : split }, (_, piece) => piece);
  for (const group of across)
    if (group.keepsRegister)
      tile.push(
        ...storeRows(group, R, (row, n, t) =>
          pieces
            .map((piece) =>
              summing
                ? `totals[(${piece * R} + ${n}) * ${totalsPerState} + (${T - 1} - ${t}) * ${perStateRows.length} + ${row}]`
                : `totals[(${n}) * ${totalsPerState} + ${(piece * perStateRows.length + row) * T} + ${t}]`,
            )
            .join(" + "),
        ),
      );
  if (perStepRows.length > 0) {
    perStepRows.forEach((j, row) =>
      steps.forEach((u) => tile.push(`rowSums[${(row * T + u) * pitch} + lane] = ${share(`now${j}_${u}`)};`)),
    );
    tile.push(...addRows(perStepRows.length, 1, `rowSums[row * ${pitch} + ${W}] = total;`));
    for (const group of across)
      if (!group.keepsRegister)
        tile.push(...storeRows(group, 1, (row, _, t) => `rowSums[(${row * T} + ${t}) * ${pitch} + ${W}]`));
  }
  if (perStateRows.length + perStepRows.length > 0 || staging.fill.length > 0) tile.push("workgroupBarrier();");
  for (const group of groups)
    if (isSingle(group) && !group.keepsRegister)
      for (const j of group.sums)
        for (const u of steps)
          if (couldBe(u, group.step as "first" | "last", layout))
            tile.push(
              `if (tile + ${u} == ${stepOf(group.step as "first" | "last", layout)}) { single${j} = now${j}_${u}; }`,
            );

  lines.push(
    `let first = ${segments === 1 ? "0" : `segment * ${segment}`};`,
    `let last = min(first + ${segment}, ${L});`,
    `let lastChunk = first + (last - first - 1) / ${T} * ${T};`,
  );
  if (chunks > 1) lines.push(...sweep(fixed));
  lines.push(`for (var tile = lastChunk; tile >= first; tile -= ${T}) {`, indent(tile.join("\n")), "}");

  // sums over the segment, and single steps' over channels
  for (const group of all) {
    if (!isRunning(group) && !isSingle(group)) continue;
    const owns = isSingle(group)
      ? ` & (${stepOf(group.step as "first" | "last", layout)} >= first) & (${stepOf(group.step as "first" | "last", layout)} < last)`
      : "";
    for (const j of group.sums) {
      const value = `${isSingle(group) ? "single" : "sum"}${j}${group.keepsRegister ? "[k]" : ""}`;
      const place = group.inStates?.[group.sums.indexOf(j)];
      const stored = (total: string): string =>
        place
          ? `${writer.bind(buffers[place.buffer], place.buffer, "read_write", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "(n0 + k)")}`, place.part)} = ${total};`
          : storePartial(group, j, at(axes, "0", "(n0 + k)"), total);
      const text = group.keepsChannel
        ? [`if (inside${owns}) { ${stored(value)} }`]
        : [
            `rowSums[lane] = ${share(value)};`,
            "workgroupBarrier();",
            `if ((lane == 0) & (place < ${layout.gridSize})${owns}) {`,
            "  var total = 0.0;",
            `  for (var column = 0; column < ${W}; column++) { total += rowSums[column]; }`,
            `  ${stored("total")}`,
            "}",
            "workgroupBarrier();",
          ];
      if (group.keepsRegister) lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
      else lines.push(...text);
    }
  }
  return writer.pass(W, groupsOf(layout), lines);
}

/** Whether step u of some chunk is the first or the last of all. */
const couldBe = (u: number, step: "first" | "last", layout: Layout): boolean => stepOf(step, layout) % layout.T === u;
