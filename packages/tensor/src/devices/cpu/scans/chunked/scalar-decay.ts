/** Chunks whose decay is one number a step. */
import { call, f32, i32, type Code } from "../../wasm/emitter.js";
import type { Context, Staged, StagedOuter } from "./context.js";
import * as kernels from "./kernels.js";
import type { ChunkDecays } from "./walk.js";

export function scalarDecays(c: Context): ChunkDecays {
  const { Q, S, G, block, inScratch, fn, reads, scaleRows, states, adjoints, rows, scaled, parts } = c;
  const steps = block(Q),
    decays = block(Q * Q),
    first = block(Q),
    before = block(Q);
  const toEnd = decays + 4 * Q * (Q - 1);
  const weightsOf = { toEnd, first, before };
  const dot = (): number => fn("dot", () => kernels.dotFunction());
  const rowDots = (width: number, a: number, b: number, to: number): Code => {
    const one = dot();
    return call(
      fn(`rowDots${width}`, (own) => kernels.rowDotsFunction(own, width, Q, one)),
      inScratch(a),
      inScratch(b),
      inScratch(to),
    );
  };

  // Scores times decays, each once.
  const scores = new Map<string, { readonly later: Staged; readonly earlier: Staged; readonly at: number }>();
  const scoreOf = (later: Staged, earlier: Staged): number => {
    const key = `${later.at} ${earlier.at}`;
    let found = scores.get(key);
    if (!found) scores.set(key, (found = { later, earlier, at: block(Q * Q) }));
    return found.at;
  };
  const sideOf = (state: "current" | "adjoint"): StagedOuter => (state === "current" ? S : G!);
  const scored = (["current", "adjoint"] as const).map((state) =>
    reads[state].map((read) => {
      const own = sideOf(state)[read.over];
      return {
        ...read,
        scores: state === "current" ? scoreOf(read.x, own) : scoreOf(own, read.x),
        z: sideOf(state)[read.over === "keys" ? "values" : "keys"],
      };
    }),
  );
  const ofDecay = c.resultOf("decay");
  const gradient =
    ofDecay && G
      ? {
          keys: scoreOf(G.keys, S.keys),
          values: scoreOf(G.values, S.values),
          pairs: block(Q * Q),
          firsts: block(Q),
          lasts: block(Q),
          row: block(Q),
          found: block(Q),
        }
      : undefined;

  /** Products with the states before the chunk (adjoint: behind it), and among its steps. */
  const read = (state: "current" | "adjoint"): Code => {
    const isCurrent = state === "current";
    const own = isCurrent ? states : adjoints;
    const list = scored[isCurrent ? 0 : 1]!;
    // what the gradient of the decay needs of them
    const wanted =
      gradient && G
        ? isCurrent
          ? { over: "values", x: G.values, with: G.keys, to: gradient.firsts }
          : { over: "keys", x: S.keys, with: S.values, to: gradient.lasts }
        : undefined;
    const isWanted = (r: { readonly over: string; readonly x: Staged }): boolean =>
      r.over === wanted?.over && r.x === wanted.x;
    const dots = (): Code => (wanted ? rowDots(wanted.with.width, rows, wanted.with.at, wanted.to) : []);
    const alone = wanted && !list.some(isWanted) ? wanted : undefined;
    return [
      list.some((r) => r.over === "values") || alone?.over === "values" ? c.transpose(own) : [],
      alone ? [c.readState(own, alone.over as "keys" | "values", alone.x.at), dots()] : [],
      list.map((r) => [
        c.readState(own, r.over, r.x.at),
        isWanted(r) ? dots() : [],
        scaleRows(r.z.width, Q, rows, isCurrent ? before : toEnd, rows),
        c.addPairs(r.scores, r.z, !isCurrent),
        c.scatterRows(r.result, r.z.width, rows),
      ]),
    ];
  };
  const computeScores = (): Code => [
    [...scores.values()].map(({ later, earlier, at }) => c.score(later, earlier, at)),
    gradient
      ? call(
          fn("multiplyLower", () => kernels.multiplyLowerFunction(Q)),
          inScratch(gradient.keys),
          inScratch(gradient.values),
          inScratch(gradient.pairs),
        )
      : [],
    [...scores.values()].map(({ at }) =>
      call(
        fn("mask", () => kernels.maskFunction(Q)),
        inScratch(at),
        inScratch(decays),
      ),
    ),
  ];
  const decayGradient = (): Code => {
    if (!gradient || !ofDecay) return [];
    const { pairs, firsts, lasts, row, found } = gradient;
    const place = c.places.results.get(ofDecay)!;
    return [
      call(
        fn("decayGradient", () => kernels.decayGradientFunction(Q)),
        ...[pairs, decays, steps, firsts, lasts, row].map(inScratch),
        call(dot(), inScratch(states), inScratch(adjoints), i32.const(c.stateBytes)),
        inScratch(found),
      ),
      call(
        fn("scatterScalars", () => kernels.scatterScalarsFunction()),
        inScratch(found),
        c.atChunk(place),
        i32.const(c.strideOf(place)),
        c.count.get,
      ),
    ];
  };
  return {
    prepare: () => [
      c.gatherScalars(parts.decay, steps, 1),
      call(
        fn("decays", () => kernels.decaysFunction(Q)),
        inScratch(steps),
        inScratch(decays),
      ),
      call(
        fn("beginnings", () => kernels.beginningsFunction(Q)),
        ...[decays, steps, first, before].map(inScratch),
      ),
    ],
    read: () => [computeScores(), read("current"), G ? read("adjoint") : [], decayGradient()],
    advance: (state, { keys, values }, weights) => [
      call(
        fn("scale", () => kernels.scaleFunction()),
        inScratch(state),
        f32.load(inScratch((weights === "toEnd" ? before : weightsOf[weights]) + 4 * (Q - 1))),
        i32.const(c.stateBytes),
      ),
      scaleRows(keys.width, Q, keys.at, weightsOf[weights], scaled),
      c.addOuter(state, scaled, values),
    ],
  };
}
