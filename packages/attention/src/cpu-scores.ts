/** What becomes of a block of products: scores, where they stand, and which are seen. */
import { f32x4, forLoop, i32, i32x4, v128, when, type Code, type Local, type ValueType } from "@seqmix/tensor/wasm";
import { KEYS, needsPositions, plus, times, type AttentionLayout, type QUERIES } from "./cpu-layout.js";
import { UNSEEN } from "./options.js";

/** A block under way: `rows` queries from `query` on against `count` keys from `key` on. */
export interface Block {
  readonly args: Local;
  readonly batch: Local;
  readonly query: Local;
  readonly rows: Local;
  readonly key: Local;
  readonly count: Local;
  /** ALiBi's slope of the head, f32. */
  readonly slope: Local;
}

/** Locals of a row of scores under way. */
export interface Row {
  readonly row: Local;
  /** Column of the first key of the vector. */
  readonly column: Local;
  readonly position: Local;
  readonly segment: Local;
  readonly distance: Local;
  readonly keyPosition: Local;
  readonly mask: Local;
}

export function rowLocals(local: (type: ValueType) => Local): Row {
  return {
    row: local("i32"),
    column: local("i32"),
    position: local("v128"),
    segment: local("v128"),
    distance: local("v128"),
    keyPosition: local("v128"),
    mask: local("v128"),
  };
}

/** Two ways to turn products into scores: where all keys of a block are seen, and else. */
export interface Scores {
  readonly masked: boolean;
  /** Sets what a row has in common. */
  beginRow(): Code;
  /** Sets `score` from a product, and `row.mask` if masked. */
  set(score: Local, product: Code): Code;
}

export const plainScores = ({ scale }: AttentionLayout): Scores => ({
  masked: false,
  beginRow: () => [],
  set: (score, product) => score.set(f32x4.mul(product, f32x4.const(scale))),
});

export function maskedScores(layout: AttentionLayout, block: Block, row: Row): Scores {
  const { causal, window, alibi, segments, queryPositions, keyPositions } = layout;
  const { position, segment, distance, keyPosition, mask } = row;
  const lanes = i32x4.add(i32x4.splat(row.column.get), i32x4.const(0, 1, 2, 3));
  const ofQuery = (name: string): Code => v128.load32Splat(elementOf(layout, block, name, "query", row.row.get));
  const ofKey = (name: string): Code => v128.load(elementOf(layout, block, name, "key", row.column.get));
  const onlyIf = (condition: Code): Code => mask.set(v128.and(mask.get, condition));
  return {
    masked: true,
    beginRow: () => [
      position.set(
        queryPositions
          ? ofQuery("queryPositions")
          : i32x4.splat(plus(i32.add(block.query.get, row.row.get), layout.keys - layout.queries)),
      ),
      segments ? segment.set(ofQuery("querySegments")) : [],
    ],
    set: (score, product) => [
      keyPosition.set(keyPositions ? ofKey("keyPositions") : i32x4.add(lanes, i32x4.splat(block.key.get))),
      distance.set(i32x4.sub(position.get, keyPosition.get)),
      mask.set(i32x4.ltS(lanes, i32x4.splat(block.count.get))),
      causal ? onlyIf(i32x4.geS(distance.get, i32x4.const(0))) : distance.set(i32x4.abs(distance.get)),
      window > 0 ? onlyIf(i32x4.ltS(distance.get, i32x4.const(window))) : [],
      keyPositions ? onlyIf(i32x4.geS(keyPosition.get, i32x4.const(0))) : [],
      segments ? onlyIf(i32x4.eq(segment.get, ofKey("keySegments"))) : [],
      score.set(f32x4.mul(product, f32x4.const(layout.scale))),
      alibi
        ? score.set(
            f32x4.sub(score.get, f32x4.mul(f32x4.splat(block.slope.get), f32x4.abs(f32x4.convertI32x4(distance.get)))),
          )
        : [],
      score.set(v128.bitselect(score.get, f32x4.const(UNSEEN), mask.get)),
    ],
  };
}

/** Address of an i32 of the query or key `offset` places behind the block's first. */
function elementOf(
  { argument, queries, keys }: AttentionLayout,
  { args, batch, query, key }: Block,
  name: string,
  side: "query" | "key",
  offset: Code,
): Code {
  const [length, first] = side === "query" ? [queries, query] : [keys, key];
  return i32.add(
    i32.load(args.get, argument(name)),
    times(i32.add(times(batch.get, length), i32.add(first.get, offset)), 4),
  );
}

/** Runs `body` over the block's rows in one of the two ways, and not at all where no key can be seen. */
export function overRows(
  layout: AttentionLayout,
  block: Block,
  row: Row,
  body: (scores: Scores) => { readonly before: Code; readonly eachRow: Code },
): Code {
  const run = (scores: Scores): Code => {
    const { before, eachRow } = body(scores);
    return [before, row.row.set(i32.const(0)), forLoop(row.row, block.rows, 1, [scores.beginRow(), eachRow])];
  };
  const masked = run(maskedScores(layout, block, row));
  const code = needsPositions(layout) ? masked : when(isFull(layout, block), run(plainScores(layout)), masked);
  return when(isSeen(layout, block), code);
}

/** Whether the block has a key that a query sees, by the default positions. */
export function isSeen(layout: AttentionLayout, block: Block): Code {
  const { causal, window, queryPositions, keyPositions } = layout;
  if (queryPositions || keyPositions) return i32.const(1);
  const { first, last, firstKey, lastKey } = ends(layout, block);
  const conditions = [
    ...(causal ? [i32.geS(last, firstKey)] : []),
    ...(window > 0 ? [i32.ltS(i32.sub(first, lastKey), i32.const(window))] : []),
    ...(window > 0 && !causal ? [i32.ltS(i32.sub(firstKey, last), i32.const(window))] : []),
  ];
  return conditions.reduce<Code>((all, condition) => i32.and(all, condition), i32.const(1));
}

/** Whether all queries of the block see all its keys, of which there are as many as fit. */
function isFull(layout: AttentionLayout, block: Block): Code {
  const { causal, window } = layout;
  const { first, last, firstKey, lastKey } = ends(layout, block);
  const conditions = [
    i32.eq(block.count.get, i32.const(KEYS)),
    ...(causal ? [i32.geS(first, lastKey)] : []),
    ...(window > 0 ? [i32.ltS(i32.sub(last, firstKey), i32.const(window))] : []),
    ...(window > 0 && !causal ? [i32.ltS(i32.sub(lastKey, first), i32.const(window))] : []),
  ];
  return conditions.reduce<Code>((all, condition) => i32.and(all, condition), i32.const(1));
}

/** Default positions of the block's first and last query and key. */
function ends({ queries, keys }: AttentionLayout, { query, rows, key, count }: Block) {
  const first = plus(query.get, keys - queries);
  return {
    first,
    last: plus(i32.add(first, rows.get), -1),
    firstKey: key.get,
    lastKey: plus(i32.add(key.get, count.get), -1),
  };
}

/**
 * Lowers `block.count` to the keys that the block's last query still sees, where that follows from the default positions;
 * to a multiple of 4, unless all are seen.
 */
export function trimKeys(layout: AttentionLayout, block: Block): Code {
  if (!layout.causal || layout.queryPositions || layout.keyPositions) return [];
  const { last, firstKey } = ends(layout, block);
  const seen = i32.and(plus(i32.sub(last, firstKey), 4), i32.const(-4));
  return when(i32.ltS(seen, block.count.get), block.count.set(seen));
}

/** Sets a count of what is left from `first` on, at most `block`. */
export const atMost = (count: Local, first: Local, all: number, block: typeof KEYS | typeof QUERIES): Code => [
  count.set(i32.sub(i32.const(all), first.get)),
  when(i32.gtS(count.get, i32.const(block)), count.set(i32.const(block))),
];
