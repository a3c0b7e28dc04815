/**
 * The results pass in chunks, last chunk first: for each value on the register axis, the states of the chunk are computed
 * again from the one before it, then the adjoint runs back over them. Sums over channels at every step go through workgroup
 * memory, a row a sum and step.
 */
import type { Scalar } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "../program.js";
import { STAGED_BYTES, type Group, type Layout } from "./layout.js";
import { advance, element, groupsOf, hoist, makeWriter, partialText, partsOf, place, rowText, stepOf, storeOutputs, timeText, write, type Buffers, type Scope } from "./scope.js";
import { stage } from "./stage.js";

export function chunkPass(layout: Layout, groups: readonly Group[], offsets: ReadonlyMap<Group, number>, buffers: Buffers): GpuPass {
  const { kernel, R, L, T, W, segment, segments, axesOf, register, rows } = layout;
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

  if (adjoint) {
    for (const part of parts) {
      lines.push(`var carry${part}: array<f32, ${R}>;`);
      const start = segments > 1 ? `${writer.bind(buffers.adjoints, "adjoints", "read", "f32")}${element(layout, `segment * ${rows} + ${rowText(layout, "(n0 + k)")}`, part)}` : "0.0";
      lines.push(`for (var k = 0; k < ${R}; k++) { carry${part}[k] = ${start}; }`);
    }
  }
  for (const group of groups) if (isRunning(group)) for (const j of group.sums) lines.push(group.keepsRegister ? `var sum${j}: array<f32, ${R}>;` : `var sum${j} = 0.0;`);

  // sums over channels
  const across = groups.filter((group) => group.step === "each" && !group.keepsChannel && !isRunning(group));
  const perStateRows = across.filter((group) => group.keepsRegister).flatMap((group) => group.sums.map((j) => ({ group, j })));
  const perStepRows = across.filter((group) => !group.keepsRegister).flatMap((group) => group.sums.map((j) => ({ group, j })));
  const anyAcross = groups.some((group) => !group.keepsChannel);
  const rowCount = Math.max(1, perStateRows.length * T, perStepRows.length * T);
  const pitch = W + 1;
  const splitOf = (count: number): number => Math.max(1, Math.min(2 ** Math.floor(Math.log2(W / Math.max(1, count * T))), W));
  const split = splitOf(perStateRows.length);
  if (anyAcross) writer.module.push(`var<workgroup> rowSums: array<f32, ${rowCount * pitch}>;`);
  if (perStateRows.length > 0) writer.module.push(`var<workgroup> totals: array<f32, ${perStateRows.length * T * R * split}>;`);

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

  const inner: string[] = ["let n = n0 + k;"];
  const stateScope = hoist({ ...fixed, axes: axesAt("0") }, perState, (node) => (axesOf(node) & alongBit) === 0, inner);
  const starts = writer.bind(buffers.starts, "starts", "read", "f32");
  let h = parts.map((part) => bound(`${starts}${element(layout, `(tile / ${T}) * ${rows} + ${rowText(layout, "n")}`, part)}`, inner));
  const decays: string[][] = [], states: string[][] = [h];
  const scopeAt = steps.map((u): Scope => ({
    ...fixed,
    axes: axesAt(`t${u}`),
    known: new Map([...stateScope.known, ...timeScopes[u]!.known]),
    loaded: (node) => {
      const array = staging.arrayOf(node);
      return array && `${array}[k * ${T} + ${u}]`;
    },
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
  if (adjoint) for (const part of parts) inner.push(`var g${part} = carry${part}[k];`);
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
      if (isRunning(group)) group.sums.forEach((j, k) => values.push(`sum${j}${group.keepsRegister ? "[k]" : ""} += ${guarded[k]};`));
      else if (!group.keepsRegister) group.sums.forEach((j, k) => values.push(`now${j}_${u} += ${guarded[k]};`));
      else if (!group.keepsChannel) group.sums.forEach((j, k) => values.push(`rowSums[${(perStateRows.findIndex((r) => r.j === j) * T + u) * pitch} + lane] = select(0.0, ${guarded[k]}, inside);`));
      else {
        values.push(`if (inside & ${live(u)}) {`);
        store(values);
        values.push("}");
      }
      text.push("{", ...values.map((line) => `  ${line}`), "}");
    }
    if (adjoint) {
      const next = advance(decays[u]!, parts.map((part) => `g${part}`), parts.map(() => "0.0"), -1).map((value) => bound(value, text));
      parts.forEach((part, at) => text.push(`g${part} = ${next[at]};`));
    }
    inner.push(...text);
  }
  if (adjoint) for (const part of parts) inner.push(`carry${part}[k] = g${part};`);
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
  if (perStateRows.length > 0) inner.push(...addRows(perStateRows.length, split, `totals[k * ${perStateRows.length * T * split} + x] = total;`));
  const singles = groups.filter((group) => group.step !== "each" && group.keepsRegister && !group.keepsChannel);
  for (const group of singles) for (const j of group.sums) lines.push(`var single${j}: array<f32, ${R}>;`);
  tile.push(`for (var k = 0; k < ${R}; k++) {`, indent(inner.join("\n")), "}");

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
      const when = group.step === "each" ? live(u) : `(tile + ${u} == ${stepOf(group.step, layout)})`;
      tile.push(`if (inside & ${when}) {`, ...text.map((line) => `  ${line}`), "}");
    }
  }
  /** Stores one sum for every step (and state) of the chunk. */
  const storeRows = (group: Group, j: number, count: number, value: (x: string) => string): string[] => {
    const time = timeText(layout, "tile + x % " + T);
    const at = axes.map((text, axis) => (axis === along ? "time" : axis === register ? "n" : text));
    return [`for (var x = lane; x < ${count * T}; x += ${W}) {`, `  let n = n0 + x / ${T};`, `  let time = ${time};`, `  if ((place < ${layout.gridSize}) & (tile + x % ${T} < ${L})) { ${storePartial(group, j, at, value("x"))} }`, "}"];
  };
  perStateRows.forEach(({ group, j }, r) => {
    const count = perStateRows.length * T;
    const value = (x: string): string => Array.from({ length: split }, (_, piece) => `totals[${x} / ${T} * ${count * split} + ${piece * count + r * T} + ${x} % ${T}]`).join(" + ");
    tile.push(...storeRows(group, j, R, value));
  });
  if (perStepRows.length > 0) {
    perStepRows.forEach(({ j }, r) => steps.forEach((u) => tile.push(`rowSums[${(r * T + u) * pitch} + lane] = select(0.0, now${j}_${u}, inside);`)));
    const single = perStepRows.length;
    tile.push(...addRows(single, 1, `rowSums[row * ${pitch} + ${W}] = total;`));
    perStepRows.forEach(({ group, j }, r) => tile.push(...storeRows(group, j, 1, (x) => `rowSums[(${r * T} + ${x}) * ${pitch} + ${W}]`)));
  }
  if (perStateRows.length + perStepRows.length > 0 || staging.fill.length > 0) tile.push("workgroupBarrier();");
  for (const group of groups) if (group.step !== "each" && !group.keepsRegister && !group.keepsChannel) for (const j of group.sums) {
    lines.push(`var single${j} = 0.0;`);
    for (const u of steps) if (couldBe(u, group.step, layout)) tile.push(`if (tile + ${u} == ${stepOf(group.step, layout)}) { single${j} = now${j}_${u}; }`);
  }

  lines.push(`let first = ${segments === 1 ? "0" : `segment * ${segment}`};`, `let last = min(first + ${segment}, ${L});`, `for (var tile = first + (last - first - 1) / ${T} * ${T}; tile >= first; tile -= ${T}) {`, indent(tile.join("\n")), "}");

  // sums over the segment, and single steps' over channels
  for (const group of groups) {
    const single = group.step !== "each" && !group.keepsChannel;
    if (!isRunning(group) && !single) continue;
    for (const j of group.sums) {
      const name = `${single ? "single" : "sum"}${j}`;
      const at = axesAt("0").map((text, axis) => (axis === register ? "(n0 + k)" : text));
      const owns = single ? ` & (${stepOf(group.step as "first" | "last", layout)} >= first) & (${stepOf(group.step as "first" | "last", layout)} < last)` : "";
      const value = group.keepsRegister ? `${name}[k]` : name;
      const store = storePartial(group, j, at, group.keepsChannel ? value : "total");
      const text = group.keepsChannel ? [`if (inside${owns}) { ${store} }`] : [`rowSums[lane] = select(0.0, ${value}, inside);`, "workgroupBarrier();", `if ((lane == 0) & (place < ${layout.gridSize})${owns}) {`, "  var total = 0.0;", `  for (var column = 0; column < ${W}; column++) { total += rowSums[column]; }`, `  ${store}`, "}", "workgroupBarrier();"];
      if (group.keepsRegister) lines.push(`for (var k = 0; k < ${R}; k++) {`, ...text.map((line) => `  ${line}`), "}");
      else lines.push(...text);
    }
  }
  return writer.pass(W, groupsOf(layout), lines);
}

/** Whether step u of some chunk is the first or the last of all. */
const couldBe = (u: number, step: "first" | "last", layout: Layout): boolean => stepOf(step, layout) % layout.T === u;
