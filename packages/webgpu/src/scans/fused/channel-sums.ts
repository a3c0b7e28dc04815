/** Sums over channels at every step: in the subgroup where its size is known, else in rows of workgroup memory, a row a sum and step. */
import { at, isRunning, store, type ChannelSums, type Chunk } from "./chunk-form.js";
import type { Group, Layout } from "./layout.js";
import { timeText, type Writer } from "./scope.js";
import { subgroupSums } from "./subgroup-sums.js";

export function channelSums(layout: Layout, groups: readonly Group[], writer: Writer): ChannelSums {
  const { T, W, subgroup } = layout;
  const across = groups.filter(
    (group) => group.step === "each" && !group.keepsChannel && !isRunning({ layout }, group),
  );
  const perStateRows = across.filter((group) => group.keepsRegister).flatMap((group) => group.sums);
  const perStepRows = across.filter((group) => !group.keepsRegister).flatMap((group) => group.sums);
  const summing =
    subgroup > 1 && perStateRows.length > 0 && W % subgroup === 0
      ? subgroupSums(perStateRows.length * T, subgroup, writer.fresh)
      : undefined;
  const split = Math.max(1, Math.min(2 ** Math.floor(Math.log2(W / Math.max(1, perStateRows.length * T))), W));
  const totalsPerState = summing ? summing.size : perStateRows.length * T * split;
  return { across, perStateRows, perStepRows, summing, split, totalsPerState };
}

export const pitchOf = ({ layout: { W } }: Chunk): number => W + 1;
/** The thread's share of a sum over channels. */
export const share = ({ layout: { C, W } }: Chunk, value: string): string =>
  C % W === 0 ? value : `select(0.0, ${value}, inside)`;
/** Sums over channels of one value of the register axis. */
export function finishState(chunk: Chunk): string[] {
  const { R, T } = chunk.layout;
  const { perStateRows, summing, split, totalsPerState } = chunk.sums;
  if (summing)
    return summing.finish((slot, sum) => `totals[(i32(subgroup) * ${R} + k) * ${totalsPerState} + ${slot}] = ${sum};`);
  if (perStateRows.length === 0) return [];
  return [
    ...Array.from(
      { length: perStateRows.length * T },
      (_, row) => `rowSums[${row * pitchOf(chunk)} + lane] = ${share(chunk, `summed${row}`)};`,
    ),
    ...addRows(chunk, perStateRows.length, split, `totals[k * ${totalsPerState} + x] = total;`),
  ];
}

/** Adds up rows of shared memory, `pieces` threads a row; the sums go to `into`. */
function addRows(chunk: Chunk, count: number, pieces: number, into: string): string[] {
  const { T, W } = chunk.layout;
  return [
    "workgroupBarrier();",
    `for (var x = lane; x < ${count * T * pieces}; x += ${W}) {`,
    `  let row = x % ${count * T};`,
    `  let start = row * ${pitchOf(chunk)} + x / ${count * T} * ${W / pieces};`,
    "  var total = 0.0;",
    `  for (var column = 0; column < ${W / pieces}; column++) { total += rowSums[start + column]; }`,
    `  ${into}`,
    "}",
    "workgroupBarrier();",
  ];
}

/** Puts sums over channels together, and stores them. */
export function finishChannelSums(chunk: Chunk): string[] {
  const { steps } = chunk;
  const { R, T, W, subgroup } = chunk.layout;
  const { across, perStateRows, perStepRows, summing, split, totalsPerState } = chunk.sums;
  const text: string[] = [];
  if (summing) text.push("workgroupBarrier();");
  const pieces = Array.from({ length: summing ? W / subgroup : split }, (_, piece) => piece);
  const ofState = (row: number, n: string, t: string): string =>
    pieces
      .map((piece) =>
        summing
          ? `totals[(${piece * R} + ${n}) * ${totalsPerState} + (${T - 1} - ${t}) * ${perStateRows.length} + ${row}]`
          : `totals[(${n}) * ${totalsPerState} + ${(piece * perStateRows.length + row) * T} + ${t}]`,
      )
      .join(" + ");
  for (const group of across) if (group.keepsRegister) text.push(...storeRows(chunk, group, R, ofState));
  if (perStepRows.length === 0) return text;
  const pitch = pitchOf(chunk);
  perStepRows.forEach((j, row) =>
    steps.forEach((u) => text.push(`rowSums[${(row * T + u) * pitch} + lane] = ${share(chunk, `now${j}_${u}`)};`)),
  );
  text.push(...addRows(chunk, perStepRows.length, 1, `rowSums[row * ${pitch} + ${W}] = total;`));
  for (const group of across)
    if (!group.keepsRegister)
      text.push(...storeRows(chunk, group, 1, (row, _, t) => `rowSums[(${row * T} + ${t}) * ${pitch} + ${W}]`));
  return text;
}

/** Stores a group's sums over channels for every step (and state) of the chunk. */
function storeRows(
  chunk: Chunk,
  group: Group,
  count: number,
  value: (row: number, n: string, t: string) => string,
): string[] {
  const { layout, writer, axes } = chunk;
  const { T, W, L } = layout;
  const { perStateRows, perStepRows } = chunk.sums;
  const text: string[] = [];
  const sums = group.sums.map((j) =>
    writer.named(
      value(Math.max(perStateRows.indexOf(j), perStepRows.indexOf(j)), `x % ${count}`, `x / ${count}`),
      text,
    ),
  );
  store(chunk, group, { writer, axes: at(layout, axes, "time"), known: new Map() }, sums, text);
  return [
    `for (var x = lane; x < ${count * T}; x += ${W}) {`,
    `  let n = n0 + x % ${count};`,
    `  let time = ${timeText(layout, `tile + x / ${count}`)};`,
    `  if ((place < ${layout.gridSize}) & (tile + x / ${count} < ${L})) {`,
    ...text.map((line) => `    ${line}`),
    "  }",
    "}",
  ];
}
