/**
 * Semiseparable recurrences as chunked matrix products: what each chunk adds to the states, the states before each chunk, the
 * products of keys and queries within chunks, and the results from both; with an adjoint the same from the other end.
 */
import type { ChunkedParts, Result } from "@seqmix/tensor/backend";
import type { GpuProgram } from "@seqmix/tensor/wgsl";
import { matrixUnits } from "@seqmix/tensor/wgsl";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { chunksOf, placeArrays, startBuild, type Build } from "./build.js";
import { decaysPass } from "./decays.js";
import { keyReads } from "./form.js";
import { appendInstead } from "./instead.js";
import { decayGradientPass, stateDotsPass } from "./gradient.js";
import { pointsOf, type Chunks, type Place, type Sizes } from "./layout.js";
import {
  apartSums,
  dottedReads,
  makeGroupedReads,
  makeReads,
  type AppendRead,
  type ApartSums,
  type StateBuffers,
} from "./reads.js";
import { scoreSize } from "./scores.js";
import { sizesFor } from "./sizes.js";
import { carryPass, statesPass } from "./states.js";
import { isMatrixTile } from "./tile.js";
import { keyPairsPass, type KeyPairs } from "./key-pairs.js";
import { keyRowsPass } from "./key-rows.js";
import { stateRowDotsPass } from "./vector.js";

/**
 * @param limits What a pass may bind.
 * @param stepByStep What runs where chunks do not say what the recurrence does; without it nothing is looked at.
 */
export function chunkedProgram(
  parts: ChunkedParts,
  limits: GpuLimits,
  sizes = sizesFor(parts, limits),
  stepByStep?: () => GpuProgram | undefined,
): GpuProgram {
  const { form, results, finals } = parts;
  const { extents, along, inputs } = form.kernel;
  const build = startBuild(parts, limits);
  const { passes, scratch, run } = build;
  const chunks = chunksOf(build, sizes, limits.fragments ?? matrixUnits, placeArrays(build));
  const last = placeLast(build, chunks);
  for (let slice = 0; slice < chunks.slices; slice++) {
    build.nextTurn();
    const own = { ...chunks, slice };
    appendReads(build, own, appendStates(build, own, last), last);
  }
  const all = [...inputs.map((_, k) => k), ...results.map((result) => chunks.results.get(result)!.buffer)];
  for (const { loop, outputs } of finals)
    run(
      loop,
      all,
      outputs.map((output) => inputs.length + output),
    );
  if (stepByStep) appendInstead(build, chunks, stepByStep);
  return {
    name: `chunked scan [${extents.join()}] along ${along}, ${form.decay.kind} decay, chunks of ${chunks.Q}${onUnits(sizes)}, ${passes.length} passes`,
    passes,
    scratch,
  };
}

function onUnits({ states }: Sizes): string {
  if (!isMatrixTile(states)) return "";
  return states.terms === 3 ? " of f32 in two parts on matrix units" : " of tf32 on matrix units";
}

function placeOf({ results }: Chunks, kind: Result["of"]["kind"]): Place | undefined {
  return [...results].find(([{ of }]) => of.kind === kind)?.[1];
}

/** Where the last states go, if anything reads them. */
function placeLast({ block }: Build, chunks: Chunks): Place | undefined {
  const { H, K, V4, slices } = chunks;
  const found = placeOf(chunks, "last");
  // only a cotangent of theirs makes them matter for the gradient of decays
  const wanted = chunks.parts.final && placeOf(chunks, "decay");
  return found ?? (wanted && { buffer: block(4 * H * slices * K * V4), index: statesIndex(chunks) });
}

/** Decays, and the states before and the adjoint states behind each chunk. */
function appendStates({ parts, block, passes, limits }: Build, chunks: Chunks, last: Place | undefined): StateBuffers {
  const { drive, seed, initial, final } = parts;
  const { count, H, K, V4, sharesTable, table: offsets } = chunks;
  // behind it the states at the chunks' ends times the adjoint ones, for the gradient of decays by key
  const ends = chunks.keyRows && placeOf(chunks, "decay") ? H * count * K : 0;
  const table = block(H * (sharesTable ? 1 : count) * offsets.size + ends);
  const stateBlock = (): number => block((chunks.halfStates ? 2 : 4) * H * count * K * V4);
  const states = stateBlock();
  passes.push(decaysPass(chunks, table));
  const keyScores = chunks.keyRows?.passes.map((own, k) => {
    const { score } = own;
    const to = score && block(pointsOf(chunks, parts.form.heads) * count * scoreSize(chunks, score));
    passes.push(
      keyRowsPass(chunks, chunks.keyRows!, own, { first: k === 0, to, workgroupBytes: limits.workgroupBytes }),
    );
    return { score, to };
  });
  passes.push(
    statesPass(chunks, { x: drive.keys, z: drive.values, weights: "driveToEnd", to: states, table }),
    carryPass(chunks, { states, table, start: initial, end: last, backwards: false }),
  );
  if (!seed) return { table, states, adjoints: states, keyScores };
  const adjoints = stateBlock();
  passes.push(
    statesPass(chunks, { x: seed.keys, z: seed.values, weights: "seedBegin", to: adjoints, table }),
    carryPass(chunks, { states: adjoints, table, start: final, end: placeOf(chunks, "first"), backwards: true }),
  );
  return { table, states, adjoints, keyScores };
}

/** Results from the states, and the gradient of the decay from these. */
function appendReads(build: Build, chunks: Chunks, buffers: StateBuffers, last: Place | undefined): void {
  const ofDecay = placeOf(chunks, "decay");
  const apart = ofDecay && !chunks.keyRows ? apartSums(build, chunks) : undefined;
  const sums = ofDecay && !chunks.keyRows && !apart ? dottedReads(build, chunks) : undefined;
  const { read, scoresOf } = makeReads(build, chunks, buffers);
  const { drive, seed } = build.parts;
  const readGroup = makeGroupedReads(
    build,
    chunks,
    buffers,
    apart && { ...scoresOf("adjoint", "keys", drive.keys), rows: apart.rows, columns: apart.columns },
  );
  const pairs = new Map<number, KeyPairs>();
  for (const [result, place] of chunks.results) {
    const { of } = result;
    if (of.kind !== "read") continue;
    const dots = sums?.[of.state];
    if (of.group) readGroup(result, of, of.group);
    else {
      const left = read(
        of.state,
        of.over,
        of.operand,
        place,
        dots?.own === result ? dots : undefined,
        apart?.own === result
          ? {
              x: seed!.keys,
              states: buffers.states,
              with: seed!.values,
              own: drive.values,
              to: apart.states,
            }
          : undefined,
      );
      if (left)
        pairs.set(left.buffer, {
          ...pairs.get(left.buffer),
          scores: left.buffer,
          number: left.number,
          table: buffers.table,
          [of.state]: place,
        });
    }
  }
  if (chunks.keyRows) appendKeyPairs(build, chunks, { buffers, last, ofDecay }, [...pairs.values()]);
  else if (ofDecay && apart) appendApartGradient(build, chunks, { buffers, last, ofDecay }, apart);
  else if (ofDecay && sums) appendDecayGradient(build, chunks, { buffers, last, ofDecay }, sums, read);
}

interface Gradient {
  readonly buffers: StateBuffers;
  readonly last: Place | undefined;
  readonly ofDecay: Place | undefined;
}

/** Pairs of steps where every key has its own decay, and the gradient of the decays. */
function appendKeyPairs(
  { parts, passes }: Build,
  chunks: Chunks,
  { buffers: { states, adjoints, table }, last, ofDecay }: Gradient,
  list: readonly KeyPairs[],
): void {
  const { count, H, table: offsets } = chunks;
  const ends = H * (chunks.sharesTable ? 1 : count) * offsets.size;
  const { dq, dk } = keyReads(parts);
  if (ofDecay)
    passes.push(
      stateRowDotsPass(chunks, { states, adjoints, final: parts.final && last?.buffer, to: table, first: ends }),
    );
  for (const each of list) {
    const own = dq && dk && each.current === chunks.results.get(dq) && each.adjoint === chunks.results.get(dk);
    passes.push(keyPairsPass(chunks, { ...each, gradient: own && ofDecay ? { ends, to: ofDecay } : undefined }));
  }
}

/** The gradient of decays that all keys share, from sums that other passes left. */
function appendApartGradient(
  build: Build,
  chunks: Chunks,
  { buffers: { states, adjoints, table }, ofDecay }: Gradient & { readonly ofDecay: Place },
  { states: stateSums, rows, columns, tiles }: ApartSums,
): void {
  const ends = build.block(chunks.H * chunks.count);
  build.passes.push(
    stateDotsPass(chunks, { states, adjoints, final: undefined, to: ends, table }),
    decayGradientPass(chunks, {
      forward: [
        { buffer: stateSums, tiles: tiles.states },
        { buffer: rows, tiles: tiles.rows },
      ],
      backward: { buffer: columns, tiles: tiles.columns },
      ofStates: { buffer: stateSums, tiles: tiles.states, from: chunks.H * tiles.states * chunks.L },
      states: ends,
      to: ofDecay,
    }),
  );
}

/** The gradient of decays that all keys share, from sums of rows. */
function appendDecayGradient(
  build: Build,
  chunks: Chunks,
  { buffers: { states, adjoints, table }, last, ofDecay }: Gradient & { readonly ofDecay: Place },
  sums: ReturnType<typeof dottedReads>,
  read: AppendRead,
): void {
  for (const state of ["current", "adjoint"] as const) {
    const dots = sums[state];
    if (!dots.own) read(state, dots.over, dots.x, undefined, dots);
  }
  const ends = build.block(chunks.H * chunks.count);
  build.passes.push(
    stateDotsPass(chunks, {
      states,
      adjoints,
      final: build.parts.final && last?.buffer,
      to: ends,
      table: sums.adjoint.separate ? table : undefined,
    }),
    decayGradientPass(chunks, {
      forward: [{ buffer: sums.current.to, tiles: sums.current.tiles }],
      backward: { buffer: sums.adjoint.to, tiles: sums.adjoint.tiles },
      ofStates: sums.adjoint.separate
        ? { buffer: sums.adjoint.to, tiles: sums.adjoint.tiles, from: chunks.H * sums.adjoint.tiles * chunks.L }
        : undefined,
      states: ends,
      to: ofDecay,
    }),
  );
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
