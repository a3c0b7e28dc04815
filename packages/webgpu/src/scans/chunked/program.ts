/**
 * Semiseparable recurrences as chunked matrix products: what each chunk adds to the states, the states before each chunk, the
 * products of keys and queries within chunks, and the results from both; with an adjoint the same from the other end.
 */
import {
  chunkedParts,
  nodesOf,
  product,
  semiseparable,
  type ChunkedParts,
  type LoopKernel,
  type Operand,
  type Result,
  type Scalar,
  type ScanKernel,
} from "@seqmix/tensor/backend";
import { bytesOf, type GpuLimits, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { loopProgram } from "../../loops/program.js";
import { decaysPass } from "./decays.js";
import { groupedReadPass, groupedScoresPass, type Factor, type Group, type GroupedScores } from "./grouped.js";
import { decayGradientPass, stateDotsPass } from "./gradient.js";
import { tableOf, type Chunks, type Place, type Sizes } from "./layout.js";
import { columnTiles, decayBytes, readPass } from "./read.js";
import { scoreHeads, scoreSize, scoresPass, type Score } from "./scores.js";
import { carryPass, statesPass } from "./states.js";
import { bytesOfTile, threadsOf } from "./tile.js";
import { keyDecayVectors, numberText, pointsOf } from "./layout.js";
import { keyDecayGradientPass, keyDecaysPass, keyPairsPass, keyScoresPass, stateRowDotsPass } from "./vector.js";

/** For any adapter; and for those with more workgroup memory. */
export const PORTABLE: Sizes = {
  chunk: 64,
  scores: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  states: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  narrow: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  wide: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
};
const LARGE: Sizes = {
  chunk: 128,
  scores: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  states: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
  narrow: { rows: 128, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  wide: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 8 },
};

export function sizesOf({ threads, workgroupBytes }: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes {
  const fits = ({ chunk, narrow, wide, states }: Sizes): boolean =>
    [narrow, wide, states].every(
      (tile) =>
        threadsOf(tile) <= threads &&
        // the sums of rows, beside tile and decays
        bytesOfTile(tile) + decayBytes(chunk) + (4 * tile.rows * tile.columns) / tile.threadColumns <= workgroupBytes,
    );
  return fits(LARGE) ? LARGE : PORTABLE;
}

/** With decays by key. */
const keySizesOf = (limits: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes =>
  sizesOf(limits) === LARGE
    ? {
        chunk: 64,
        scores: LARGE.scores,
        states: LARGE.states,
        narrow: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
        wide: { rows: 64, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
      }
    : PORTABLE;

/** Keys and values below which a scan's registers do as well, and state updates below which nothing is gained. */
const FEWEST = 16,
  LEAST_UPDATES = 1 << 18;
const LANES = 4;

/** The recurrence taken apart for chunks, or why it runs as a scan. */
export function chunkedForm(kernel: ScanKernel): ChunkedParts | string {
  const form = semiseparable(kernel, true);
  if (typeof form === "string") return form;
  const { extents, along } = form.kernel;
  const [K, V, L] = [extents[form.keys]!, extents[form.values]!, extents[along]!];
  if (Math.min(K, V) < FEWEST) return `${K} keys and ${V} values are few`;
  if (product(extents) < LEAST_UPDATES || L < 64) return `${L} steps are few`;
  const parts = chunkedParts(form, LANES);
  if (typeof parts !== "string" && form.decay.kind === "vector" && !hasKeyReads(parts))
    return "the gradient of a decay a key is asked for without those of keys and queries";
  if (typeof parts !== "string" && !timesDecay(parts)) return "the gradient of its decay is asked for by itself";
  return parts;
}

/** The reads that the gradient of decays by key is made of. */
function keyReads({ results, drive, seed }: ChunkedParts): {
  readonly dq?: Result | undefined;
  readonly dk?: Result | undefined;
} {
  const find = (state: "current" | "adjoint", x: Operand | undefined): Result | undefined =>
    results.find(
      ({ of }) => of.kind === "read" && of.state === state && of.over === "values" && !of.group && of.operand === x,
    );
  return { dq: find("current", seed?.values), dk: find("adjoint", drive.values) };
}
const hasKeyReads = (parts: ChunkedParts): boolean => {
  const { dq, dk } = keyReads(parts);
  return !parts.results.some(({ of }) => of.kind === "decay") || (dq !== undefined && dk !== undefined);
};

/** Whether the gradient of the decay is only read times the decay: where that is 0 nothing else is known of it. */
export function timesDecay({ form: { kernel, sums, decay } }: ChunkedParts): boolean {
  const factors = (x: Scalar): readonly Scalar[] =>
    x.op === "mul" ? x.args.flatMap(factors) : x.op === "neg" ? factors(x.args[0]!) : [x];
  const wanted = factors(decay.value);
  const isOwn = (x: Scalar): boolean => x.op === "reduced" && sums[x.reduction]!.role === "decay";
  const check = (x: Scalar, others: readonly Scalar[]): boolean => {
    if (x.op === "reduced" && isOwn(x)) {
      const role = sums[x.reduction]!;
      const all = [...others, ...(role.role === "decay" ? factors(role.outside) : [])];
      return wanted.every((factor) => all.includes(factor));
    }
    if (x.op === "mul") {
      const [a, b] = x.args as [Scalar, Scalar];
      return check(a, [...others, ...factors(b)]) && check(b, [...others, ...factors(a)]);
    }
    if (x.op === "neg") return check(x.args[0]!, others);
    if (x.op === "add" || x.op === "sub") return x.args.every((arg) => check(arg, others));
    return ![...nodesOf([x])].some(isOwn);
  };
  return kernel.outputs.every(({ value }) => check(value, []));
}

/** @param limits What a pass may bind. */
export function chunkedProgram(
  parts: ChunkedParts,
  limits: GpuLimits,
  sizes = parts.form.decay.kind === "vector" ? keySizesOf(limits) : sizesOf(limits),
): GpuProgram {
  const { form, drive, seed, initial, final, operands, results, finals } = parts;
  const { kernel } = form;
  const { extents, along, inputs, outputs } = kernel;
  const scratch: number[] = [];
  const first = inputs.length + outputs.length;
  const block = (elements: number): number => first + scratch.push(bytesOf(elements)) - 1;
  const passes: GpuPass[] = [];
  /** A loop over buffers of this program. */
  const run = (loop: LoopKernel, from: readonly number[], to: readonly number[]): void => {
    const program = loopProgram(loop, limits);
    const own = from.length + to.length;
    const blocks = program.scratch.map((bytes) => first + scratch.push(bytes) - 1);
    const number = (k: number): number =>
      k < from.length ? from[k]! : k < own ? to[k - from.length]! : blocks[k - own]!;
    for (const pass of program.passes)
      passes.push({ ...pass, buffers: pass.buffers.map((b) => ({ ...b, buffer: number(b.buffer) })) });
  };
  const given = inputs.map((_, k) => k);
  const operandPlaces = new Map<Operand, Place>();
  for (const operand of operands) {
    const { from } = operand;
    if ("input" in from) operandPlaces.set(operand, { buffer: from.input, index: from.index });
    else {
      const buffer = block(from.layout.size);
      run(from.loop, given, [buffer]);
      operandPlaces.set(operand, { buffer, index: from.layout.index });
    }
  }
  const resultPlaces = new Map<Result, Place>(
    results.map((result) => {
      const { output, layout } = result;
      return [
        result,
        { buffer: output === undefined ? block(layout.size) : inputs.length + output, index: layout.index },
      ] as const;
    }),
  );
  const [K, V, L] = [extents[form.keys]!, extents[form.values]!, extents[along]!];
  const Q = sizes.chunk;
  const bare: Chunks = {
    parts,
    sizes,
    L,
    Q,
    count: Math.ceil(L / Q),
    K,
    V,
    K4: Math.ceil(K / LANES),
    V4: Math.ceil(V / LANES),
    H: product(form.heads.map((axis) => extents[axis]!)),
    operands: operandPlaces,
    results: resultPlaces,
    table: tableOf(Q),
    sharesTable:
      (form.decay.kind === "none" || form.decay.kind === "constant" || form.decay.kind === "vector") &&
      !drive.scale &&
      !seed?.scale &&
      L % Q === 0 &&
      !results.some(({ of }) => of.kind === "first"),
  };
  const isVector = form.decay.kind === "vector";
  const chunks: Chunks = isVector
    ? {
        ...bare,
        keyDecays: {
          before: block(4 * bare.H * keyDecayVectors(bare)),
          toEnd: block(4 * bare.H * keyDecayVectors(bare)),
          begin: block(4 * bare.H * Q * bare.K4),
        },
      }
    : bare;
  const { count, H, V4, table: offsets } = chunks;
  const table = block(H * (chunks.sharesTable ? 1 : count) * offsets.size);
  const states = block(4 * H * count * K * V4);
  const found = (kind: Result["of"]["kind"]): Place | undefined => {
    const result = results.find(({ of }) => of.kind === kind);
    return result && resultPlaces.get(result);
  };
  const ofDecay = found("decay");
  const last = found("last") ?? (ofDecay && ({ buffer: block(4 * H * K * V4), index: statesIndex(chunks) } as Place));

  passes.push(decaysPass(chunks, table));
  if (chunks.keyDecays) passes.push(keyDecaysPass(chunks, chunks.keyDecays));
  passes.push(
    statesPass(chunks, { x: drive.keys, z: drive.values, weights: "toEnd", scale: "drive", to: states, table }),
  );
  passes.push(carryPass(chunks, { states, table, start: initial, end: last, backwards: false }));
  const adjoints = seed ? block(4 * H * count * K * V4) : -1;
  if (seed) {
    passes.push(
      statesPass(chunks, { x: seed.keys, z: seed.values, weights: "begin", scale: "seed", to: adjoints, table }),
    );
    passes.push(carryPass(chunks, { states: adjoints, table, start: final, end: found("first"), backwards: true }));
  }

  const scores = new Map<string, number>();
  const scoreBuffer = (score: Score): number => {
    const key = [operands.indexOf(score.earlier), operands.indexOf(score.later), score.rows, score.strict].join();
    let buffer = scores.get(key);
    if (buffer === undefined) {
      scores.set(key, (buffer = block(pointsOf(chunks, scoreHeads(chunks, score)) * count * scoreSize(chunks, score))));
      passes.push((isVector && score.over === "keys" ? keyScoresPass : scoresPass)(chunks, score, buffer));
    }
    return buffer;
  };
  const read = (
    state: "current" | "adjoint",
    over: "keys" | "values",
    x: Operand,
    to: Place | undefined,
    dots: { readonly with: Operand; readonly to: number } | undefined,
  ): void => {
    const outer = state === "current" ? drive : seed!;
    const score: Score =
      state === "current"
        ? { earlier: outer[over], later: x, rows: "earlier", over, strict: dots !== undefined }
        : { earlier: x, later: outer[over], rows: "later", over, strict: dots !== undefined };
    passes.push(
      readPass(chunks, {
        state,
        over,
        x,
        z: outer[over === "keys" ? "values" : "keys"],
        score,
        buffers: {
          states: state === "current" ? states : adjoints,
          table,
          scores: scoreBuffer(score),
        },
        to,
        dots,
      }),
    );
    if (isVector && over === "values" && to)
      passes.push(
        keyPairsPass(chunks, {
          state,
          z: outer.keys,
          scores: scoreBuffer(score),
          number: numberText(chunks, scoreHeads(chunks, score)),
          factors: state === "current" ? offsets.drive : offsets.seed,
          table,
          to,
        }),
      );
  };
  /** Adds the parts of an array that lie one after another. */
  const addParts = (count: number, size: number, from: number, to: number): void =>
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
  const factorOf = (operand: Operand | undefined): Factor =>
    operand && (operand === drive.scale ? "drive" : operand === seed?.scale ? "seed" : { operand });
  const groupedScores = new Map<string, number>();
  const readGroup = (
    result: Result,
    { state, operand }: { readonly state: "current" | "adjoint"; readonly operand: Operand },
    { axis, weights }: { readonly axis: number; readonly weights?: Operand },
  ): void => {
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
    /** A block that a pass fills by parts, and their sum. */
    const summed = (size: number, to: number, make: (to: number) => GpuPass): void => {
      const made = group.parts > 1 ? block(group.parts * size) : to;
      passes.push(make(made));
      if (group.parts > 1) addParts(group.parts, size, made, to);
    };
    let scored = groupedScores.get(key);
    if (scored === undefined) {
      const size = (H / heads) * count * Q * Q;
      groupedScores.set(key, (scored = block(size)));
      summed(size, scored, (to) => groupedScoresPass(chunks, group, pairs, table, to));
    }
    const { buffer, index } = resultPlaces.get(result)!;
    const { size } = result.layout;
    summed(size, buffer, (to) =>
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
  const reads = results.flatMap((result) => (result.of.kind === "read" ? [{ ...result.of, result }] : []));
  /** The read whose rows times another operand are wanted, and those sums. */
  const dotted = (state: "current" | "adjoint") => {
    const outer = state === "current" ? seed! : drive;
    const own = reads.find((r) => !r.group && r.state === state && r.operand === outer[r.over]);
    const over = own?.over ?? "keys";
    const tiles = columnTiles(chunks, over);
    const to = block(H * tiles * L);
    return { own, over, tiles, to, x: outer[over], with: outer[over === "keys" ? "values" : "keys"] };
  };
  const dots =
    ofDecay === undefined || isVector ? undefined : { current: dotted("current"), adjoint: dotted("adjoint") };
  for (const r of reads) {
    if (r.group) {
      readGroup(r.result, r, r.group);
      continue;
    }
    const dot = dots?.[r.state];
    read(r.state, r.over, r.operand, resultPlaces.get(r.result), dot?.own === r ? dot : undefined);
  }
  if (dots && ofDecay && last) {
    for (const state of ["current", "adjoint"] as const) {
      const dot = dots[state];
      if (!dot.own) read(state, dot.over, dot.x, undefined, dot);
    }
    const ends = block(H * count);
    passes.push(stateDotsPass(chunks, { states, adjoints, final: last.buffer, to: ends }));
    passes.push(
      decayGradientPass(chunks, {
        forward: dots.current.to,
        backward: dots.adjoint.to,
        forwardTiles: dots.current.tiles,
        backwardTiles: dots.adjoint.tiles,
        states: ends,
        to: ofDecay,
      }),
    );
  }
  const { dq, dk } = keyReads(parts);
  if (isVector && ofDecay && last && dq && dk) {
    const ends = block(H * count * K);
    passes.push(stateRowDotsPass(chunks, { states, adjoints, final: last.buffer, to: ends }));
    passes.push(
      keyDecayGradientPass(chunks, {
        ends,
        dq: resultPlaces.get(dq)!,
        dk: resultPlaces.get(dk)!,
        table,
        to: ofDecay,
      }),
    );
  }
  const all = [...given, ...results.map((result) => resultPlaces.get(result)!.buffer)];
  for (const { loop, outputs: made } of finals)
    run(
      loop,
      all,
      made.map((output) => inputs.length + output),
    );
  return {
    name: `chunked scan [${extents.join()}] along ${along}, ${form.decay.kind} decay, chunks of ${Q}, ${passes.length} passes`,
    passes,
    scratch,
  };
}

/** Workgroups that keep a large GPU busy, and the most parts that sums over heads are cut into. */
const WORKGROUPS = 512,
  MOST_PARTS = 8;

/** Into how many parts to cut a group of heads; a divisor of their number. */
function partsOf(heads: number, workgroups: number): number {
  let parts = 1;
  for (let k = 2; k <= Math.min(heads, MOST_PARTS); k++)
    if (heads % k === 0 && workgroups * parts < WORKGROUPS) parts = k;
  return parts;
}

/** States of all heads, row-major. */
function statesIndex({ parts: { form }, V4 }: Chunks): Place["index"] {
  const { extents } = form.kernel;
  const coefficients = extents.map(() => 0);
  coefficients[form.values] = 1;
  coefficients[form.keys] = 4 * V4;
  let inside = 4 * V4 * extents[form.keys]!;
  for (const axis of [...form.heads].reverse()) {
    coefficients[axis] = inside;
    inside *= extents[axis]!;
  }
  return { offset: 0, coefficients };
}
