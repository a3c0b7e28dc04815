/** The convolution of rows that no workgroup holds, on the WebGPU device: columns, rows, columns. */
import type { GpuVariant, KernelTable } from "@seqmix/tensor";
import { bytesOf, type GpuLimits, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { tapsOf } from "../cpu/variants.js";
import type { Operand } from "./bindings.js";
import {
  columnBytes,
  columnsBackPass,
  columnsPass,
  columnThreads,
  type ColumnShape,
  type LongOffsets,
  type Rows,
} from "./long-columns.js";
import { rowsBackwardPass, rowsForwardPass, type LongShape } from "./long-rows.js";
import { QUARTER, splitAngles, twiddleTable } from "./residues.js";
import { bindable, numbered, pointsOf, rowShapeFor, type Case } from "./row-variant.js";

/** Longest columns; with rows of 8,192 that makes 2^22 points, with those of 4,096 2^21. */
const COLUMN = 512;
/** Last step of long columns. */
const STEP = 16;
/** Bytes of scratch for the rows of the channels that are under way at once; fewer channels make dispatches too small. */
const UNDER_WAY = 2 ** 28;

/** Columns of n1 beside each other as the limits allow: as many as memory reads at once, if they fit. */
function columnShapeFor(n1: number, n2: number, limits: GpuLimits): ColumnShape | undefined {
  const shapes: ColumnShape[] =
    n1 <= STEP
      ? [{ r1: n1, r2: 1, n2, width: Math.min(n2, 256, limits.threads), padded: false }]
      : [8, 4, 2].flatMap((width) => [true, false].map((padded) => ({ r1: n1 / STEP, r2: STEP, n2, width, padded })));
  return shapes.find((shape) => columnBytes(shape) <= limits.workgroupBytes && columnThreads(shape) <= limits.threads);
}

/** n = n1 n2 with rows as long as they may be. @param longest Points of a row at most. */
function longShapeFor(n: number, limits: GpuLimits, longest: number): LongShape | undefined {
  const shapes: LongShape[] = [];
  for (let n2 = longest; n2 >= 256; n2 /= 2) {
    const row = rowShapeFor(n2, limits, { exchange: "whole", most: 1 });
    const columns = n / n2 >= 2 && n / n2 <= COLUMN ? columnShapeFor(n / n2, n2, limits) : undefined;
    if (row && columns) shapes.push({ row, columns });
  }
  // Without its padding a row's threads wait for each other's banks: shorter rows first.
  return shapes.find(({ row }) => row.padded) ?? shapes[0];
}

interface LongPlan {
  readonly shape: LongShape;
  readonly n: number;
  readonly offsets: LongOffsets;
  readonly table: Float32Array<ArrayBuffer>;
}

/**
 * Points of a row at most: forward twice as many, where that makes shorter columns of two steps. Columns of one step are as
 * fast with shorter rows, and backward passes keep too much of a row for so many values a thread.
 */
const longestRow = (n: number, { cotangents }: Case): number =>
  n > STEP * 4096 && cotangents.size === 0 ? 8192 : 4096;

function shapeOf(kase: Case, limits: GpuLimits): LongShape | undefined {
  const n = pointsOf(kase);
  return longShapeFor(n, limits, longestRow(n, kase)) ?? longShapeFor(n, limits, 8192);
}

function longPlan(kase: Case, limits: GpuLimits): LongPlan {
  const shape = shapeOf(kase, limits)!;
  const { r1, r2 } = shape.columns;
  const blocks = splitAngles(QUARTER, r1).flatMap((theta) => (r2 === 1 ? theta : splitAngles(theta, r2)));
  const rows = twiddleTable(shape.row.radices, blocks, 0);
  const columns = twiddleTable([r1, r2], [QUARTER], 1);
  const values = new Float32Array(rows.values.length + (r2 === 1 ? 0 : columns.values.length));
  values.set(rows.values);
  if (r2 > 1) values.set(columns.values, rows.values.length);
  return {
    shape,
    n: pointsOf(kase),
    offsets: { rows: rows.offsets, columns: columns.offsets.map((offset) => offset + rows.values.length / 4) },
    table: values,
  };
}

/** Channels that are under way at once, if the binding limit allows one. */
const channelsAtOnce = (kase: Case, limits: GpuLimits): number =>
  Math.min(kase.dims.D!, Math.floor(Math.min(UNDER_WAY, limits.bytes) / (8 * pointsOf(kase) * kase.dims.B!)));

const describe = ({ columns: { r1, r2, width }, row: { radices, exchange } }: LongShape, channels: number): string =>
  `${r1}${r2 > 1 ? ` ${r2}` : ""} x ${radices.join(" ")}, ${width} columns and ${channels} channels at once${exchange === "halves" ? ", exchanged in halves" : ""}`;

/** The parts of a case that both directions need: operands by name, and the channels one batch of them after the other. */
function stage(
  kase: Case,
  limits: GpuLimits,
  more: readonly string[],
  results: readonly string[],
  scratch: readonly string[],
) {
  const { B, D, L } = kase.dims as { B: number; D: number; L: number };
  const { number, half } = numbered(kase, limits, more, results, scratch);
  const atOnce = channelsAtOnce(kase, limits);
  return {
    operand: (name: string): Operand => ({ buffer: number[name]!, half: half.has(name) }),
    given: (name: string): Operand | undefined =>
      kase.present.has(name) ? { buffer: number[name]!, half: half.has(name) } : undefined,
    atOnce,
    batches: Array.from({ length: Math.ceil(D / atOnce) }, (_, k) => {
      const first = k * atOnce;
      const channels = Math.min(atOnce, D - first);
      return {
        first,
        channels,
        B,
        whole: { rows: B * channels, channels, first, D, length: L } satisfies Rows,
        kernel: (length: number): Rows => ({ rows: channels, channels, first, D, length }),
      };
    }),
  };
}

const scratchOf = (kase: Case): readonly ("kz" | "rz")[] => [
  ...(kase.present.has("k") ? ["kz" as const] : []),
  ...(kase.present.has("kReverse") ? ["rz" as const] : []),
];

function forward(kase: Case, limits: GpuLimits): GpuProgram {
  const { shape, n, offsets } = longPlan(kase, limits);
  const { columns } = shape;
  const kernels = scratchOf(kase);
  const { operand, given, atOnce, batches } = stage(kase, limits, [], ["y"], ["z", ...kernels]);
  const twiddles = operand("twiddles");
  const z = operand("z");
  const [k, kReverse, skip] = [given("k"), given("kReverse"), given("skip")];
  const [kz, rz] = [k && operand("kz"), kReverse && operand("rz")];
  const passes = batches.flatMap(({ whole, kernel, ...batch }): GpuPass[] => [
    columnsPass(columns, offsets, whole, { x: operand("u"), twiddles, z }),
    ...(k ? [columnsPass(columns, offsets, kernel(tapsOf(kase, "k")!), { x: k, twiddles, z: kz! })] : []),
    ...(kReverse
      ? [columnsPass(columns, offsets, kernel(tapsOf(kase, "kReverse")!), { x: kReverse, twiddles, z: rz! })]
      : []),
    rowsForwardPass(shape, offsets, batch, { z, twiddles, k: kz, kReverse: rz, skip }),
    columnsBackPass(columns, offsets, whole, { z, factor: given("gate"), twiddles, y: operand("y") }),
  ]);
  const row = 2 * n * atOnce;
  return {
    name: describe(shape, atOnce),
    passes,
    scratch: [bytesOf(row * kase.dims.B!), ...kernels.map(() => bytesOf(row))],
  };
}

function backward(kase: Case, limits: GpuLimits): GpuProgram {
  const { shape, n, offsets } = longPlan(kase, limits);
  const { columns } = shape;
  const kernels = scratchOf(kase);
  const gradients = [...kase.present].map((name) => `d${name}`);
  const { operand, given, atOnce, batches } = stage(kase, limits, ["g"], gradients, ["uz", "gz", ...kernels]);
  const twiddles = operand("twiddles");
  const [uz, gz, g] = [operand("uz"), operand("gz"), operand("g")];
  const [k, kReverse, skip, gate] = [given("k"), given("kReverse"), given("skip"), given("gate")];
  const [kz, rz] = [k && operand("kz"), kReverse && operand("rz")];
  // The gradient of the skip is that of the tap at lag 0, looking back or ahead.
  const direct = skip && operand("dskip");
  const passes = batches.flatMap(({ whole, kernel, ...batch }): GpuPass[] => {
    const [taps, ahead] = [kernel(tapsOf(kase, "k") ?? 0), kernel(tapsOf(kase, "kReverse") ?? 0)];
    return [
      columnsPass(columns, offsets, whole, { x: operand("u"), twiddles, z: uz }),
      columnsPass(columns, offsets, whole, { x: g, factor: gate, twiddles, z: gz }),
      ...(k ? [columnsPass(columns, offsets, taps, { x: k, twiddles, z: kz! })] : []),
      ...(kReverse ? [columnsPass(columns, offsets, ahead, { x: kReverse, twiddles, z: rz! })] : []),
      rowsBackwardPass(
        shape,
        offsets,
        { ...batch, gated: gate !== undefined },
        { uz, gz, twiddles, k: kz, kReverse: rz, skip },
      ),
      columnsBackPass(columns, offsets, whole, { z: gz, twiddles, y: operand("du") }),
      ...(gate ? [columnsBackPass(columns, offsets, whole, { z: uz, factor: g, twiddles, y: operand("dgate") })] : []),
      ...(k ? [columnsBackPass(columns, offsets, taps, { z: kz!, twiddles, y: operand("dk"), direct })] : []),
      ...(kReverse
        ? [
            columnsBackPass(columns, offsets, ahead, {
              z: rz!,
              twiddles,
              y: operand("dkReverse"),
              direct: k ? undefined : direct,
            }),
          ]
        : []),
    ];
  });
  const row = 2 * n * atOnce;
  const rows = bytesOf(row * kase.dims.B!);
  return {
    name: describe(shape, atOnce),
    passes,
    scratch: [rows, rows, ...kernels.map(() => bytesOf(row))],
  };
}

function supports(kase: Case, limits: GpuLimits): true | string {
  const fits = bindable(kase, limits);
  if (fits !== true) return fits;
  if (channelsAtOnce(kase, limits) < 1)
    return `expected a batch whose transforms of one channel take at most ${Math.min(UNDER_WAY, limits.bytes)} bytes, got ${8 * pointsOf(kase) * kase.dims.B!}`;
  return shapeOf(kase, limits) ? true : `expected a length of at most ${COLUMN} rows' points, got ${kase.dims.L}`;
}

function tables(kase: Case, limits: GpuLimits): readonly KernelTable[] {
  const { columns, row } = shapeOf(kase, limits)!;
  const name = `long ${columns.r1} ${columns.r2} ${row.radices.join(" ")}`;
  return [{ name, values: () => longPlan(kase, limits).table }];
}

/** Of {@link fftConvKernel}, for rows that no workgroup holds. */
export const longOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "modulo x^n - i, three passes",
  supports,
  tables,
  forward,
  backward,
  gradientsInHalf: true,
};
