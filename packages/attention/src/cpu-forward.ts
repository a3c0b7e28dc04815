/**
 * The forward program: a unit is a block of queries of one head, which goes through the blocks of keys with an online
 * softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022): scores of one block of each are all there is.
 */
import type { CpuProgram, KernelCase } from "@seqmix/tensor";
import {
  buildModule,
  call,
  emitVectorFunction,
  f32,
  f32x4,
  f64,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  scratch as vectorScratch,
  shuffle32,
  storeLanes,
  v128,
  when,
  type Code,
  type Local,
  type ValueType,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import { KEYS, layoutOf, plus, QUERIES, SCORE_ROW, times, type AttentionLayout } from "./cpu-layout.js";
import { PANEL, panelsFunction, panelsOf, productFunction, type Add } from "./cpu-products.js";
import { atMost, isSeen, overRows, rowLocals, trimKeys, type Block } from "./cpu-scores.js";
import { UNSEEN, wholePower, type AttentionOptions } from "./options.js";

/** The least running maximum: e^(UNSEEN - LEAST) is 0, so that a row that sees nothing sums to 0. */
const LEAST = UNSEEN / 2;
/** Bytes a query keeps: its running maximum in all lanes, and four partial sums. */
const RUNNING = 32;
/** Vectors of scores that go side by side where none is masked. */
export const ABREAST = [0, 1, 2, 3] as const;
/** Multiply-adds worth a claim. */
const GRAIN = 100_000;

export function forwardProgram(kase: KernelCase<AttentionOptions>, memory: { readonly shared: boolean }): CpuProgram {
  const layout = layoutOf(kase, ["out", "logSumExp"]);
  const { batch, heads, queries, keys, keyWidth, valueWidth } = layout;
  const functions: WasmFunction[] = [];
  const add: Add = (f) => functions.push(f) - 1;
  const parts = {
    pack: panelsFunction(add, "packKeys", keyWidth),
    scores: productFunction(add, "scores", {
      rowsRest: queries % 4,
      columnsRest: 0,
      aRow: 4 * keyWidth,
      aStep: 4,
      bStep: 4 * PANEL,
      bPanel: 4 * PANEL * keyWidth,
      cRow: SCORE_ROW,
    }),
    mix: productFunction(add, "mix", {
      rowsRest: queries % 4,
      columnsRest: valueWidth % PANEL,
      aRow: SCORE_ROW,
      aStep: 4,
      bStep: 4 * valueWidth,
      bPanel: 4 * PANEL,
      cRow: 4 * valueWidth,
    }),
  };
  add(unitFunction(layout, parts));
  const blocks = Math.ceil(queries / QUERIES);
  const work = Math.min(queries, QUERIES) * keys * (keyWidth + valueWidth);
  return {
    name: `attention [${batch},${heads},${queries},${keys}]`,
    module: buildModule({ memory, functions }),
    phases: [{ run: "forward", units: batch * heads * blocks, grain: Math.max(1, Math.floor(GRAIN / work)) }],
    scratchBytes: QUERIES * (SCORE_ROW + RUNNING) + 4 * KEYS * keyWidth,
    sharedBytes: 0,
  };
}

function unitFunction(
  layout: AttentionLayout,
  parts: { readonly pack: number; readonly scores: number; readonly mix: number },
): WasmFunction {
  const { heads, groups, queries, keys, keyWidth, valueWidth, argument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd, scratch] = f.params;
  const i = (): Local => f.local("i32");
  const [head, queryAt, keyAt, valueAt, outAt, sumAt, panels, running] = [
    i(),
    i(),
    i(),
    i(),
    i(),
    i(),
    i(),
    i(),
  ] as const;
  const block: Block = {
    args,
    batch: i(),
    query: i(),
    rows: i(),
    key: i(),
    count: i(),
    slope: f.local("f32"),
  };
  const { batch, query, rows, key, count } = block;
  const blocks = Math.ceil(queries / QUERIES);
  const group = i32.divU(head.get, i32.const(heads / groups));
  const ofHead = (length: number, first: Local): Code =>
    i32.add(times(i32.add(times(batch.get, heads), head.get), length), first.get);
  const ofGroup = i32.add(times(i32.add(times(batch.get, groups), group), keys), key.get);
  const address = (name: string, element: Code, width: number): Code =>
    i32.add(i32.load(args.get, argument(name)), times(element, 4 * width));
  return f.finish("forward", [
    panels.set(plus(scratch.get, QUERIES * (SCORE_ROW + RUNNING))),
    forLoop(unit, unitEnd, 1, [
      query.set(times(i32.remU(unit.get, i32.const(blocks)), QUERIES)),
      head.set(i32.divU(unit.get, i32.const(blocks))),
      batch.set(i32.divU(head.get, i32.const(heads))),
      head.set(i32.remU(head.get, i32.const(heads))),
      slopeOf(layout, f.local("f64"), i(), head, block.slope),
      atMost(rows, query, queries, QUERIES),
      queryAt.set(address("q", ofHead(queries, query), keyWidth)),
      outAt.set(address("out", ofHead(queries, query), valueWidth)),
      sumAt.set(address("logSumExp", ofHead(queries, query), 1)),
      bulk.fill(outAt.get, i32.const(0), times(rows.get, 4 * valueWidth)),
      beginRunning(i(), running, scratch),
      key.set(i32.const(0)),
      forLoop(key, keys, KEYS, [
        atMost(count, key, keys, KEYS),
        when(isSeen(layout, block), [
          trimKeys(layout, block),
          keyAt.set(address("k", ofGroup, keyWidth)),
          valueAt.set(address("v", ofGroup, valueWidth)),
          call(parts.pack, keyAt.get, panels.get, count.get),
          call(
            parts.scores,
            queryAt.get,
            panels.get,
            scratch.get,
            rows.get,
            panelsOf(count),
            i32.const(keyWidth),
            i32.const(0),
          ),
          foldRows(layout, block, f.local, { scratch, running, outAt }),
          call(
            parts.mix,
            scratch.get,
            valueAt.get,
            outAt.get,
            rows.get,
            i32.const(Math.floor(valueWidth / PANEL)),
            count.get,
            i32.const(1),
          ),
        ]),
      ]),
      finishRows(layout, block, f.local, { scratch, running, outAt, sumAt }),
    ]),
  ]);
}

/** Sets ALiBi's slope, that of {@link alibiSlope}, as a product. */
export function slopeOf({ alibi, heads }: AttentionLayout, wide: Local, n: Local, head: Local, slope: Local): Code {
  if (!alibi) return [];
  const first = wholePower(heads);
  const ratio = f64.const(2 ** (-8 / first));
  return [
    wide.set(ratio),
    n.set(i32.const(0)),
    when(i32.geS(head.get, i32.const(first)), [wide.set(f64.const(2 ** (-4 / first))), n.set(i32.const(first))]),
    forLoop(n, head, 1, wide.set(f64.mul(wide.get, ratio))),
    slope.set(f32.demoteF64(wide.get)),
  ];
}

/** Maxima and sums stand behind the scores. */
const runningAt = (scratch: Local): Code => plus(scratch.get, QUERIES * SCORE_ROW);

const beginRunning = (n: Local, running: Local, scratch: Local): Code => [
  running.set(runningAt(scratch)),
  n.set(i32.const(0)),
  forLoop(n, QUERIES, 1, [
    v128.store(running.get, f32x4.const(LEAST)),
    v128.store(running.get, f32x4.const(0), 16),
    running.set(plus(running.get, RUNNING)),
  ]),
];

/** The largest (or the sum) of the lanes, in all lanes. */
const acrossLanes = (x: Local, combine: (a: Code, b: Code) => Code): Code => [
  x.set(combine(x.get, shuffle32(x.get, x.get, 2, 3, 0, 1))),
  x.set(combine(x.get, shuffle32(x.get, x.get, 1, 0, 3, 2))),
];

interface Rows {
  readonly scratch: Local;
  readonly running: Local;
  readonly outAt: Local;
}

/** Scores of a block become powers against each row's new maximum; sums and outputs so far are scaled to it. */
function foldRows(
  layout: AttentionLayout,
  block: Block,
  local: (type: ValueType) => Local,
  { scratch, running, outAt }: Rows,
): Code {
  const row = rowLocals(local);
  const [at, out] = [local("i32"), local("i32")] as const;
  const [best, total, factor, scaled] = [local("v128"), local("v128"), local("v128"), local("v128")] as const;
  const vectors = ABREAST.map(() => local("v128"));
  const exp = (values: readonly Local[]): Code => {
    const math = vectorScratch(local);
    emitVectorFunction(
      math,
      "exp",
      values.map(({ get }) => get),
      values,
    );
    return math.body;
  };
  return overRows(layout, block, row, (scores) => {
    const x = scores.masked ? vectors.slice(0, 1) : vectors;
    const overColumns = (body: Code): Code => [
      row.column.set(i32.const(0)),
      forLoop(row.column, block.count, 4 * x.length, [
        body,
        x.map((value, v) => v128.store(at.get, value.get, 16 * v)),
        at.set(plus(at.get, 16 * x.length)),
      ]),
      at.set(plus(at.get, times(row.column.get, -4))),
    ];
    return {
      before: [at.set(scratch.get), running.set(runningAt(scratch)), out.set(outAt.get)],
      eachRow: [
        best.set(v128.load(running.get)),
        overColumns(
          x.map((value, v) => [
            scores.set(value, v128.load(at.get, 16 * v)),
            best.set(f32x4.pmax(best.get, value.get)),
          ]),
        ),
        acrossLanes(best, f32x4.pmax),
        total.set(v128.load(running.get, 16)),
        when(f32.ne(f32x4.extractLane(best.get, 0), f32.load(running.get)), [
          factor.set(f32x4.sub(v128.load(running.get), best.get)),
          exp([factor]),
          total.set(f32x4.mul(total.get, factor.get)),
          v128.store(running.get, best.get),
          eachVector(layout.valueWidth, (offset, lanes) => [
            scaled.set(f32x4.mul(v128.load(out.get, offset), factor.get)),
            storeLanes(out, offset, scaled, lanes),
          ]),
        ]),
        overColumns([
          x.map((value, v) => value.set(f32x4.sub(v128.load(at.get, 16 * v), best.get))),
          exp(x),
          x.map((value) => total.set(f32x4.add(total.get, value.get))),
        ]),
        v128.store(running.get, total.get, 16),
        at.set(plus(at.get, SCORE_ROW)),
        running.set(plus(running.get, RUNNING)),
        out.set(plus(out.get, 4 * layout.valueWidth)),
      ],
    };
  });
}

/** Code for each vector of a row: its offset in bytes, and how many of its lanes belong to the row. */
export const eachVector = (width: number, code: (offset: number, lanes: number) => Code): Code =>
  Array.from({ length: Math.ceil(width / 4) }, (_, v) => code(16 * v, Math.min(4, width - 4 * v)));

/** Outputs are divided by the sums, whose logarithms are the other result. */
function finishRows(
  { valueWidth }: AttentionLayout,
  { rows }: Block,
  local: (type: ValueType) => Local,
  { scratch, running, outAt, sumAt }: Rows & { readonly sumAt: Local },
): Code {
  const n = local("i32");
  const [total, factor, logarithm] = [local("v128"), local("v128"), local("v128")] as const;
  const math = vectorScratch(local);
  emitVectorFunction(math, "log", [total.get], [logarithm]);
  return [
    running.set(runningAt(scratch)),
    n.set(i32.const(0)),
    forLoop(n, rows, 1, [
      total.set(v128.load(running.get, 16)),
      acrossLanes(total, f32x4.add),
      when(
        // of what is no number too
        f32.ne(f32x4.extractLane(total.get, 0), f32.const(0)),
        [
          math.body,
          f32.store(sumAt.get, f32.add(f32x4.extractLane(logarithm.get, 0), f32.load(running.get))),
          factor.set(f32x4.div(f32x4.const(1), total.get)),
          eachVector(valueWidth, (offset, lanes) => [
            logarithm.set(f32x4.mul(v128.load(outAt.get, offset), factor.get)),
            storeLanes(outAt, offset, logarithm, lanes),
          ]),
        ],
        f32.store(sumAt.get, f32.const(UNSEEN)),
      ),
      running.set(plus(running.get, RUNNING)),
      outAt.set(plus(outAt.get, 4 * valueWidth)),
      sumAt.set(plus(sumAt.get, 4)),
    ]),
  ];
}
