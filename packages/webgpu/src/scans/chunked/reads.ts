/** The reads of a program, each with the scores it needs; sums over heads that share their keys. */
import type { Operand, Result } from "@seqmix/tensor/backend";
import type { GpuPass } from "@seqmix/tensor/wgsl";
import type { Build } from "./build.js";
import {
  groupedReadPass,
  groupedScoresPass,
  type Factor,
  type Group,
  type GroupedScores,
  type PairSums,
} from "./grouped.js";
import { numberText, pointsOf, type Chunks, type Place } from "./layout.js";
import { matrixReadPass } from "./matrix-read.js";
import { readPass } from "./read.js";
import { columnsOf, separatesDots, type ReadPass, type Told } from "./reading.js";
import { scoreHeads, scoreSize, scoreGrid, scoresPass, type Score } from "./scores.js";
import { isMatrixTile } from "./tile.js";

export interface StateBuffers {
  readonly table: number;
  readonly states: number;
  readonly adjoints: number;
  /** Scores of keys that have been made with their rows. */
  readonly keyScores?: readonly { readonly score?: Score | undefined; readonly to?: number | undefined }[] | undefined;
}

/** A read whose rows times another operand are summed. */
export interface Dotted {
  /** The result that it is; else it is made for the sums alone. */
  readonly own: Result | undefined;
  readonly over: "keys" | "values";
  readonly tiles: number;
  /** Twice as many sums: of pairs of steps, then of products with the states. */
  readonly separate: boolean;
  readonly to: number;
  readonly x: Operand;
  readonly with: Operand;
}

/** Scores of a chunk's pairs, and the text of the number of their head. */
export interface PairScores {
  readonly buffer: number;
  readonly number: string;
}

/** Appends a read to the program; where keys have decays of their own and values are summed, its pairs of steps have still to be added. */
export type AppendRead = (
  state: "current" | "adjoint",
  over: "keys" | "values",
  x: Operand,
  to: Place | undefined,
  dots: { readonly with: Operand; readonly to: number } | undefined,
  apart?: ReadPass["apart"],
) => PairScores | undefined;

const isSame = (one: Score, other: Score): boolean =>
  one.over === other.over && one.rows === other.rows && one.later === other.later && one.earlier === other.earlier;

/** Scores of a read, and what their pass tells. */
interface Made {
  readonly score: Score;
  readonly buffer: number;
  readonly told: Told | undefined;
}

export function makeReads(
  { parts, block, passes }: Build,
  chunks: Chunks,
  { table, states, adjoints, keyScores }: StateBuffers,
): { readonly read: AppendRead; scoresOf(state: "current" | "adjoint", over: "keys" | "values", x: Operand): Made } {
  const { drive, seed, operands } = parts;
  const { count } = chunks;
  const isVector = chunks.keyRows !== undefined;
  const scores = new Map<string, Made>();
  const scoreBuffer = (score: Score, x: Operand): Made => {
    const key = [operands.indexOf(score.earlier), operands.indexOf(score.later), score.rows, score.strict].join();
    let made = scores.get(key);
    if (made === undefined) {
      const matrices = pointsOf(chunks, scoreHeads(chunks, score)) * count;
      const size = scoreSize(chunks, score);
      const buffer = block((matrices * size) / (chunks.halfScores ? 2 : 1));
      const [down, across] = scoreGrid(chunks);
      const told =
        chunks.magnitudes === undefined || isVector
          ? undefined
          : { buffer: block(2 * matrices * down * across), of: x };
      scores.set(key, (made = { score, buffer, told }));
      passes.push(scoresPass(chunks, score, buffer, told));
    }
    return made;
  };
  const madeFor = (state: "current" | "adjoint", over: "keys" | "values", x: Operand, strict: boolean): Made => {
    const outer = state === "current" ? drive : seed!;
    const pairsLater = isVector && over === "values";
    const score: Score =
      state === "current"
        ? { earlier: outer[over], later: x, rows: "earlier", over, strict }
        : { earlier: x, later: outer[over], rows: pairsLater ? "earlier" : "later", over, strict };
    const own = keyScores?.find(({ score: made }) => made && isSame(made, score));
    return own ? { score, buffer: own.to!, told: undefined } : scoreBuffer(score, x);
  };
  const read: AppendRead = (state, over, x, to, dots, apart) => {
    const outer = state === "current" ? drive : seed!;
    const strict = dots !== undefined && !isMatrixTile(chunks.sizes.wide);
    const pairsLater = isVector && over === "values";
    const made = madeFor(state, over, x, strict);
    const { score } = made;
    const pass: ReadPass = {
      state,
      over,
      x,
      z: outer[over === "keys" ? "values" : "keys"],
      score,
      buffers: {
        states: state === "current" ? states : adjoints,
        table,
        scores: made.buffer,
      },
      told: made.told,
      to,
      dots,
      apart,
    };
    const { shape } = columnsOf(chunks, over, apart ? "apart" : dots ? "dotted" : "plain");
    passes.push(isMatrixTile(shape) ? matrixReadPass(chunks, pass, shape) : readPass(chunks, pass, shape));
    return pairsLater ? { buffer: made.buffer, number: numberText(chunks, scoreHeads(chunks, score)) } : undefined;
  };
  return { read, scoresOf: (state, over, x) => madeFor(state, over, x, false) };
}

/** Adds the parts of an array that lie one after another. */
function addParts({ run }: Build, count: number, size: number, from: number, to: number): void {
  run(
    {
      extents: [size],
      reduceExtents: [count],
      inputs: [{ dtype: "f32", size: count * size }],
      reductions: [
        {
          combine: "sum",
          value: { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [1, size] } },
        },
      ],
      outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
    },
    [from],
    [to],
  );
}

/** Appends reads that sum over heads that share their keys. */
export function makeGroupedReads(
  build: Build,
  chunks: Chunks,
  { table, states, adjoints }: StateBuffers,
  /** Sums of pairs that scores of the outer products' own values are to leave. */
  sums: PairSums | undefined,
): (
  result: Result,
  read: { readonly state: "current" | "adjoint"; readonly operand: Operand },
  group: { readonly axis: number; readonly weights?: Operand },
) => void {
  const { parts, block, passes } = build;
  const { drive, seed, operands, form } = parts;
  const { extents } = form.kernel;
  const { count, H, Q, results: resultPlaces, slice, slices } = chunks;
  const factorOf = (operand: Operand | undefined): Factor =>
    operand && (operand === drive.scale ? "drive" : operand === seed?.scale ? "seed" : { operand });
  /** Whether these are the pairs of the outer products, each with its own factors. */
  const isOwn = ({ later, laterFactor, earlier, earlierFactor }: GroupedScores): boolean =>
    later === seed?.values &&
    laterFactor === factorOf(seed.scale) &&
    earlier === drive.values &&
    earlierFactor === factorOf(drive.scale);
  const groupedScores = new Map<string, number>();
  return (result, { state, operand }, { axis, weights }) => {
    const isCurrent = state === "current";
    const outer = isCurrent ? drive : seed!;
    const own = factorOf(weights);
    const heads = extents[axis]!;
    const group: Group = { axis, parts: partsOf(heads, (H / heads) * count) };
    const pairs: GroupedScores = isCurrent
      ? {
          later: operand,
          laterFactor: own,
          earlier: drive.values,
          earlierFactor: factorOf(drive.scale),
        }
      : {
          later: outer.values,
          laterFactor: factorOf(outer.scale),
          earlier: operand,
          earlierFactor: own,
        };
    const nameOf = (factor: Factor): string =>
      typeof factor === "object" ? String(operands.indexOf(factor.operand)) : (factor ?? "");
    const key = [
      ...[pairs.later, pairs.earlier].map((x) => operands.indexOf(x)),
      ...[pairs.laterFactor, pairs.earlierFactor].map(nameOf),
      axis,
    ].join();
    /** A block that a pass fills by parts, and their sum: of each slice, or of all. */
    const summed = (size: number, to: number, each: boolean, make: (to: number) => GpuPass): void => {
      const made = group.parts > 1 ? block(group.parts * size) : to;
      passes.push(make(made));
      if (group.parts > 1 && (each || slice === slices - 1)) addParts(build, group.parts, size, made, to);
    };
    let scored = groupedScores.get(key);
    if (scored === undefined) {
      const size = (H / heads) * count * Q * Q;
      groupedScores.set(key, (scored = block(size)));
      summed(size, scored, true, (to) =>
        groupedScoresPass(chunks, group, pairs, table, to, isOwn(pairs) ? sums : undefined),
      );
    }
    const { buffer, index } = resultPlaces.get(result)!;
    const { size } = result.layout;
    summed(size, buffer, false, (to) =>
      groupedReadPass(chunks, group, {
        state,
        x: operand,
        z: outer.keys,
        weights: own,
        buffers: { states: isCurrent ? states : adjoints, table, scores: scored },
        to: { buffer: to, index },
        size,
      }),
    );
  };
}

/** Workgroups that keep a large GPU busy, and the most parts that sums over heads are cut into. */
const WORKGROUPS = 256,
  MOST_PARTS = 8;

/** Into how many parts to cut a group of heads; a divisor of their number. */
function partsOf(heads: number, workgroups: number): number {
  let parts = 1;
  for (let k = 2; k <= Math.min(heads, MOST_PARTS); k++)
    if (heads % k === 0 && workgroups * parts < WORKGROUPS) parts = k;
  return parts;
}

/** Where the parts of the gradient of the decay are summed by passes that have the products anyway. */
export interface ApartSums {
  /** The read of the adjoint states, which sums what steps have of the states before and behind their chunk. */
  readonly own: Result;
  readonly tiles: { readonly states: number; readonly rows: number; readonly columns: number };
  /** Of products with the states before chunks, then behind them. */
  readonly states: number;
  readonly rows: number;
  readonly columns: number;
}

/** Storage buffers of the pass that binds most. */
const APART_BUFFERS = 12;

/**
 * That, if heads share keys and queries and products are of rounded numbers. Of three products for one of f32, on an H200, the
 * sums took as long as what they save.
 */
export function apartSums({ parts, block, limits }: Build, chunks: Chunks): ApartSums | undefined {
  const { results, drive, seed } = parts;
  const { H, L, Q, sizes } = chunks;
  const own = results.find(
    ({ of }) =>
      of.kind === "read" && !of.group && of.state === "adjoint" && of.over === "keys" && of.operand === drive.keys,
  );
  // the scores of either gradient, of queries or keys, are those of all pairs
  const isOfPairs = ({ of }: Result): boolean => {
    if (of.kind !== "read" || !of.group) return false;
    const other = of.state === "current" ? seed! : drive;
    const { axis, weights } = of.group;
    const isShared = [drive.keys, seed!.keys].every(({ axes }) => !axes.includes(axis));
    return isShared && of.operand === other.values && weights === other.scale;
  };
  const pairs = sizes.groupedScores ?? sizes.scores;
  const { shape, tiles } = columnsOf(chunks, "keys", "apart");
  const onUnits = [pairs, shape].every((tile) => isMatrixTile(tile) && tile.terms === 1);
  if (!own || !results.some(isOfPairs) || !onUnits || pairs.rows !== pairs.columns || limits.buffers < APART_BUFFERS)
    return undefined;
  const each = Q / pairs.rows;
  return {
    own,
    tiles: { states: tiles, rows: each, columns: each },
    states: block(2 * H * tiles * L),
    rows: block(H * each * L),
    columns: block(H * each * L),
  };
}

/**
 * The reads that the gradient of the decay is made of, one of the states and one of the adjoint states: over keys both or over
 * values both, so that they have their pairs of steps in common; what is a result anyway is made once.
 */
export function dottedReads({ parts, block }: Build, chunks: Chunks): Readonly<Record<"current" | "adjoint", Dotted>> {
  const { results, drive, seed } = parts;
  const { H, L } = chunks;
  const outerOf = { current: seed!, adjoint: drive };
  const ownOf = (state: "current" | "adjoint", over: "keys" | "values"): Result | undefined =>
    results.find(
      ({ of }) =>
        of.kind === "read" &&
        !of.group &&
        of.state === state &&
        of.over === over &&
        of.operand === outerOf[state][over],
    );
  const made = (over: "keys" | "values"): number =>
    [ownOf("current", over), ownOf("adjoint", over)].filter((own) => own !== undefined).length;
  const over = made("values") > made("keys") ? "values" : "keys";
  const { tiles, shape } = columnsOf(chunks, over, "dotted");
  const dotted = (state: "current" | "adjoint"): Dotted => {
    const separate = separatesDots(shape, state);
    const outer = outerOf[state];
    return {
      own: ownOf(state, over),
      over,
      tiles,
      separate,
      to: block((separate ? 2 : 1) * H * tiles * L),
      x: outer[over],
      with: outer[over === "keys" ? "values" : "keys"],
    };
  };
  return { current: dotted("current"), adjoint: dotted("adjoint") };
}
