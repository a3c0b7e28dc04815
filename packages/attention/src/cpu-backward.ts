/**
 * The backward program. A unit is one head; for each block of keys it goes through the blocks of queries that see it and
 * computes their powers again from the log-sum-exp (Dao, FlashAttention-2, 2023, algorithm 2). Where heads share keys,
 * a second phase adds up their gradients.
 */
import type { CpuProgram, KernelCase } from "@seqmix/tensor";
import {
  buildModule,
  call,
  emitVectorFunction,
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  i32x4,
  memory as bulk,
  scratch as vectorScratch,
  shuffle32,
  v128,
  when,
  whileLoop,
  type Code,
  type Local,
  type ValueType,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import { ABREAST, eachVector, slopeOf } from "./cpu-forward.js";
import { KEYS, layoutOf, plus, QUERIES, SCORE_ROW, times, type AttentionLayout } from "./cpu-layout.js";
import { PANEL, panelsFunction, panelsOf, productFunction, type Add } from "./cpu-products.js";
import { atMost, isSeen, overRows, rowLocals, trimKeys, type Block } from "./cpu-scores.js";
import type { AttentionOptions } from "./options.js";

interface Backward extends AttentionLayout {
  readonly hasOut: boolean;
  readonly hasSum: boolean;
  /** Whether several heads share keys: each then has gradients of its own in the shared block. */
  readonly grouped: boolean;
}

type Parts = Readonly<
  Record<"packKeys" | "packValues" | "scores" | "dPowers" | "dValues" | "dKeys" | "dQueries", number>
>;

export function backwardProgram(kase: KernelCase<AttentionOptions>, memory: { readonly shared: boolean }): CpuProgram {
  const given = ["out", "logSumExp"].filter((name) => kase.cotangents.has(name)).map((name) => `d ${name}`);
  const names = ["out", "logSumExp", ...given, "dq", "dk", "dv"];
  const base = layoutOf(kase, names);
  const layout: Backward = {
    ...base,
    hasOut: kase.cotangents.has("out"),
    hasSum: kase.cotangents.has("logSumExp"),
    grouped: base.groups < base.heads,
  };
  const { batch, heads, groups, queries, keys, keyWidth, valueWidth } = layout;
  const functions: WasmFunction[] = [];
  const add: Add = (f) => functions.push(f) - 1;
  add(unitFunction(layout, partsOf(layout, add)));
  if (layout.grouped) add(sumFunction(layout));
  return {
    name: `attention gradient [${batch},${heads},${queries},${keys}]`,
    module: buildModule({ memory, functions }),
    phases: [
      { run: "backward", units: batch * heads, grain: 1 },
      ...(layout.grouped ? [{ run: "sumHeads", units: batch * groups, grain: 1 }] : []),
    ],
    scratchBytes: 2 * QUERIES * SCORE_ROW + 4 * KEYS * (keyWidth + valueWidth) + 4 * (queries + 4),
    sharedBytes: layout.grouped ? 4 * batch * heads * keys * (keyWidth + valueWidth) : 0,
  };
}

/** The five products of a pair of blocks. */
function partsOf({ queries, keys, keyWidth, valueWidth }: Backward, add: Add): Parts {
  const byKeys = (name: string, width: number): number =>
    productFunction(add, name, {
      rowsRest: queries % 4,
      columnsRest: 0,
      aRow: 4 * width,
      aStep: 4,
      bStep: 4 * PANEL,
      bPanel: 4 * PANEL * width,
      cRow: SCORE_ROW,
    });
  const overQueries = (name: string, width: number): number =>
    productFunction(add, name, {
      rowsRest: keys % 4,
      columnsRest: width % PANEL,
      aRow: 4,
      aStep: SCORE_ROW,
      bStep: 4 * width,
      bPanel: 4 * PANEL,
      cRow: 4 * width,
    });
  return {
    packKeys: panelsFunction(add, "packKeys", keyWidth),
    packValues: panelsFunction(add, "packValues", valueWidth),
    scores: byKeys("scores", keyWidth),
    dPowers: byKeys("dPowers", valueWidth),
    dValues: overQueries("dValues", valueWidth),
    dKeys: overQueries("dKeys", keyWidth),
    dQueries: productFunction(add, "dQueries", {
      rowsRest: queries % 4,
      columnsRest: keyWidth % PANEL,
      aRow: SCORE_ROW,
      aStep: 4,
      bStep: 4 * keyWidth,
      bPanel: 4 * PANEL,
      cRow: 4 * keyWidth,
    }),
  };
}

function unitFunction(layout: Backward, parts: Parts): WasmFunction {
  const { heads, groups, queries, keys, keyWidth, valueWidth, argument, hasOut, hasSum, grouped } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd, scratch] = f.params;
  const i = (): Local => f.local("i32");
  const [head, owner, kAt, vAt, qAt, gAt, dkAt, dvAt, dqAt] = [i(), i(), i(), i(), i(), i(), i(), i(), i()] as const;
  const [dPowers, keyPanels, valuePanels, offsets] = [i(), i(), i(), i()] as const;
  const block: Block = { args, batch: i(), query: i(), rows: i(), key: i(), count: i(), slope: f.local("f32") };
  const { batch, query, rows, key, count } = block;
  const input = (name: string, element: Code, width: number): Code =>
    i32.add(i32.load(args.get, argument(name)), times(element, 4 * width));
  const ofHead = (first: Local): Code => i32.add(times(unit.get, queries), first.get);
  const ofGroup = i32.add(times(owner.get, keys), key.get);
  /** A head's own rows of dK and dV. */
  const ofKeys = (name: "dk" | "dv", width: number): Code =>
    grouped
      ? i32.add(
          plus(
            i32.load(args.get, layout.sharedArgument),
            name === "dk" ? 0 : 4 * layout.batch * heads * keys * keyWidth,
          ),
          times(i32.add(times(unit.get, keys), key.get), 4 * width),
        )
      : input(name, ofGroup, width);
  const product = (
    part: number,
    a: Local,
    b: Local,
    c: Local,
    size: Local,
    panels: Code,
    steps: Code,
    more: 0 | 1,
  ): Code => call(part, a.get, b.get, c.get, size.get, panels, steps, i32.const(more));
  const pair: Code = [
    trimKeys(layout, block),
    qAt.set(input("q", ofHead(query), keyWidth)),
    dqAt.set(input("dq", ofHead(query), keyWidth)),
    hasOut ? gAt.set(input("d out", ofHead(query), valueWidth)) : [],
    product(parts.scores, qAt, keyPanels, scratch, rows, panelsOf(count), i32.const(keyWidth), 0),
    hasOut
      ? product(parts.dPowers, gAt, valuePanels, dPowers, rows, panelsOf(count), i32.const(valueWidth), 0)
      : bulk.fill(dPowers.get, i32.const(0), i32.const(QUERIES * SCORE_ROW)),
    gradientRows(layout, block, f.local, { scratch, dPowers, offsets, unit }),
    hasOut
      ? product(parts.dValues, scratch, gAt, dvAt, count, i32.const(Math.floor(valueWidth / PANEL)), rows.get, 1)
      : [],
    product(parts.dKeys, dPowers, qAt, dkAt, count, i32.const(Math.floor(keyWidth / PANEL)), rows.get, 1),
    product(parts.dQueries, dPowers, kAt, dqAt, rows, i32.const(Math.floor(keyWidth / PANEL)), count.get, 1),
  ];
  return f.finish("backward", [
    dPowers.set(plus(scratch.get, QUERIES * SCORE_ROW)),
    keyPanels.set(plus(dPowers.get, QUERIES * SCORE_ROW)),
    valuePanels.set(plus(keyPanels.get, 4 * KEYS * keyWidth)),
    offsets.set(plus(valuePanels.get, 4 * KEYS * valueWidth)),
    forLoop(unit, unitEnd, 1, [
      batch.set(i32.divU(unit.get, i32.const(heads))),
      head.set(i32.remU(unit.get, i32.const(heads))),
      owner.set(i32.add(times(batch.get, groups), i32.divU(head.get, i32.const(heads / groups)))),
      slopeOf(layout, f.local("f64"), i(), head, block.slope),
      query.set(i32.const(0)),
      bulk.fill(input("dq", ofHead(query), keyWidth), i32.const(0), i32.const(4 * queries * keyWidth)),
      rowOffsets(layout, f.local, {
        offsets,
        out: input("out", ofHead(query), valueWidth),
        dOut: hasOut ? input("d out", ofHead(query), valueWidth) : undefined,
        dSum: hasSum ? input("d logSumExp", ofHead(query), 1) : undefined,
      }),
      key.set(i32.const(0)),
      forLoop(key, keys, KEYS, [
        atMost(count, key, keys, KEYS),
        kAt.set(input("k", ofGroup, keyWidth)),
        vAt.set(input("v", ofGroup, valueWidth)),
        dkAt.set(ofKeys("dk", keyWidth)),
        dvAt.set(ofKeys("dv", valueWidth)),
        bulk.fill(dkAt.get, i32.const(0), times(count.get, 4 * keyWidth)),
        bulk.fill(dvAt.get, i32.const(0), times(count.get, 4 * valueWidth)),
        call(parts.packKeys, kAt.get, keyPanels.get, count.get),
        hasOut ? call(parts.packValues, vAt.get, valuePanels.get, count.get) : [],
        query.set(i32.const(0)),
        forLoop(query, queries, QUERIES, [
          atMost(rows, query, queries, QUERIES),
          atMost(count, key, keys, KEYS),
          when(isSeen(layout, block), pair),
        ]),
      ]),
    ]),
  ]);
}

/** Of each query, dOut . out - dLogSumExp: what the softmax takes off the gradient of every power. */
function rowOffsets(
  { queries, valueWidth }: Backward,
  local: (type: ValueType) => Local,
  from: {
    readonly offsets: Local;
    readonly out: Code;
    readonly dOut: Code | undefined;
    readonly dSum: Code | undefined;
  },
): Code {
  const [n, to, out, dOut, dSum] = [local("i32"), local("i32"), local("i32"), local("i32"), local("i32")] as const;
  const total = local("v128");
  const lanesOf = (lanes: number): Code => i32x4.const(-1, lanes > 1 ? -1 : 0, lanes > 2 ? -1 : 0, lanes > 3 ? -1 : 0);
  const product = (offset: number): Code => f32x4.mul(v128.load(out.get, offset), v128.load(dOut.get, offset));
  return [
    to.set(from.offsets.get),
    out.set(from.out),
    from.dOut ? dOut.set(from.dOut) : [],
    from.dSum ? dSum.set(from.dSum) : [],
    n.set(i32.const(0)),
    forLoop(n, queries, 1, [
      total.set(f32x4.const(0)),
      from.dOut
        ? eachVector(valueWidth, (offset, lanes) =>
            total.set(f32x4.add(total.get, lanes === 4 ? product(offset) : v128.and(product(offset), lanesOf(lanes)))),
          )
        : [],
      total.set(f32x4.add(total.get, shuffle32(total.get, total.get, 2, 3, 0, 1))),
      total.set(f32x4.add(total.get, shuffle32(total.get, total.get, 1, 0, 3, 2))),
      f32.store(
        to.get,
        from.dSum ? f32.sub(f32x4.extractLane(total.get, 0), f32.load(dSum.get)) : f32x4.extractLane(total.get, 0),
      ),
      to.set(plus(to.get, 4)),
      out.set(plus(out.get, 4 * valueWidth)),
      dOut.set(plus(dOut.get, 4 * valueWidth)),
      dSum.set(plus(dSum.get, 4)),
    ]),
  ];
}

/** Products become powers, and the gradients of powers those of the products. */
function gradientRows(
  layout: Backward,
  block: Block,
  local: (type: ValueType) => Local,
  { scratch, dPowers, offsets, unit }: Readonly<Record<"scratch" | "dPowers" | "offsets" | "unit", Local>>,
): Code {
  const row = rowLocals(local);
  const [at, gradient, offsetAt, sumAt] = [local("i32"), local("i32"), local("i32"), local("i32")] as const;
  const [sum, offset] = [local("v128"), local("v128")] as const;
  const vectors = ABREAST.map(() => local("v128"));
  const scale = f32x4.const(layout.scale);
  return overRows(layout, block, row, (scores) => {
    const x = scores.masked ? vectors.slice(0, 1) : vectors;
    const bytes = 16 * x.length;
    const math = vectorScratch(local);
    emitVectorFunction(
      math,
      "exp",
      x.map(({ get }) => get),
      x,
    );
    const dScore = (power: Local, v: number): Code =>
      f32x4.mul(f32x4.mul(power.get, f32x4.sub(v128.load(gradient.get, 16 * v), offset.get)), scale);
    return {
      before: [
        at.set(scratch.get),
        gradient.set(dPowers.get),
        offsetAt.set(i32.add(offsets.get, times(block.query.get, 4))),
        sumAt.set(
          i32.add(
            i32.load(block.args.get, layout.argument("logSumExp")),
            times(i32.add(times(unit.get, layout.queries), block.query.get), 4),
          ),
        ),
      ],
      eachRow: [
        sum.set(v128.load32Splat(sumAt.get)),
        offset.set(v128.load32Splat(offsetAt.get)),
        row.column.set(i32.const(0)),
        forLoop(row.column, block.count, 4 * x.length, [
          x.map((score, v) => [scores.set(score, v128.load(at.get, 16 * v)), score.set(f32x4.sub(score.get, sum.get))]),
          math.body,
          scores.masked ? x.map((power) => power.set(v128.and(power.get, row.mask.get))) : [],
          x.map((power, v) => [
            v128.store(at.get, power.get, 16 * v),
            v128.store(gradient.get, dScore(power, v), 16 * v),
          ]),
          at.set(plus(at.get, bytes)),
          gradient.set(plus(gradient.get, bytes)),
        ]),
        at.set(plus(i32.add(at.get, times(row.column.get, -4)), SCORE_ROW)),
        gradient.set(plus(i32.add(gradient.get, times(row.column.get, -4)), SCORE_ROW)),
        offsetAt.set(plus(offsetAt.get, 4)),
        sumAt.set(plus(sumAt.get, 4)),
      ],
    };
  });
}

/** dK and dV of a group: the sums of its heads'. */
function sumFunction({
  batch,
  heads,
  groups,
  keys,
  keyWidth,
  valueWidth,
  argument,
  sharedArgument,
}: Backward): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd] = f.params;
  const [n, h, from, to, at] = [
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
  ] as const;
  const [wide, single] = [f.local("v128"), f.local("f32")] as const;
  const each = heads / groups;
  const addUp = (name: string, before: number, width: number): Code => {
    const bytes = 4 * keys * width;
    return [
      to.set(i32.add(i32.load(args.get, argument(name)), times(unit.get, bytes))),
      from.set(i32.add(plus(i32.load(args.get, sharedArgument), before), times(unit.get, each * bytes))),
      n.set(i32.const(0)),
      whileLoop(i32.leS(n.get, i32.const(bytes - 16)), [
        wide.set(v128.load(i32.add(from.get, n.get))),
        at.set(i32.add(from.get, n.get)),
        h.set(i32.const(1)),
        forLoop(h, each, 1, [at.set(plus(at.get, bytes)), wide.set(f32x4.add(wide.get, v128.load(at.get)))]),
        v128.store(i32.add(to.get, n.get), wide.get),
        n.set(plus(n.get, 16)),
      ]),
      whileLoop(i32.ltS(n.get, i32.const(bytes)), [
        single.set(f32.load(i32.add(from.get, n.get))),
        at.set(i32.add(from.get, n.get)),
        h.set(i32.const(1)),
        forLoop(h, each, 1, [at.set(plus(at.get, bytes)), single.set(f32.add(single.get, f32.load(at.get)))]),
        f32.store(i32.add(to.get, n.get), single.get),
        n.set(plus(n.get, 4)),
      ]),
    ];
  };
  return f.finish(
    "sumHeads",
    forLoop(unit, unitEnd, 1, [addUp("dk", 0, keyWidth), addUp("dv", 4 * batch * heads * keys * keyWidth, valueWidth)]),
  );
}
