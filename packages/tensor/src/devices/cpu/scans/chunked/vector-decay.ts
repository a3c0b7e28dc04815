/** Chunks whose decay is a number for each key and step: what decays between two steps is a vector, and pairs of steps are taken one by one. */
import { call, type Code } from "../../wasm/emitter.js";
import type { Context, Staged } from "./context.js";
import * as kernels from "./kernels.js";
import * as pairs from "./decayed-pairs.js";
import type { ChunkDecays } from "./walk.js";

export function vectorDecays(c: Context): ChunkDecays {
  const { K, Kp, V, Q, S, G, block, inScratch, fn, reads, states, adjoints, rows, scaled, parts } = c;
  const steps = block(Q * Kp),
    before = block(Q * Kp),
    first = block(Q * Kp),
    toEnd = block(Q * Kp),
    scores = block(Q * Q);
  const weightsOf = { toEnd, first, before };
  /** to = x times the weights, element by element. */
  const weigh = (x: number, weights: number, to: number): Code =>
    call(
      fn("multiplyRows", (own) => pairs.multiplyFunction(own, 4 * Q * Kp)),
      ...[x, weights, to].map(inScratch),
    );
  const ofDecay = c.resultOf("decay");
  const gradient =
    ofDecay && G
      ? { firsts: block(Q * Kp), lasts: block(Q * Kp), ends: block(Kp), chain: block(Q * 32), found: block(Q * Kp) }
      : undefined;
  /** Scores of keys, with what decays between the two steps. */
  const keyScores = (later: Staged, earlier: Staged): Code =>
    call(
      fn("decayedScores", (own) => pairs.scoresFunction(own, Kp, Q)),
      ...[later.at, earlier.at, steps, scores].map(inScratch),
    );
  const addDecayed = (z: Staged, behind: boolean): Code =>
    call(
      fn(`addDecayed${behind ? "Behind" : ""}`, (own) => pairs.addDecayedFunction(own, Kp, Q, behind)),
      ...[scores, z.at, steps, rows].map(inScratch),
    );
  const copy = (from: number, to: number): Code =>
    call(
      fn("copyRows", (own) => pairs.copyFunction(own, 4 * Q * Kp)),
      inScratch(from),
      inScratch(to),
    );

  const read = (state: "current" | "adjoint"): Code => {
    const isCurrent = state === "current";
    const own = isCurrent ? states : adjoints;
    const side = isCurrent ? S : G!;
    const weights = isCurrent ? before : toEnd;
    const list = reads[state];
    // the products of values with the states are what the gradient of the decay needs
    const wanted =
      gradient && G
        ? isCurrent
          ? { x: G.values, to: gradient.firsts }
          : { x: S.values, to: gradient.lasts }
        : undefined;
    const isWanted = (r: { readonly over: string; readonly x: Staged }): boolean =>
      r.over === "values" && r.x === wanted?.x;
    const alone = wanted && !list.some(isWanted) ? wanted : undefined;
    return [
      list.some((r) => r.over === "values") || alone ? c.transpose(own) : [],
      alone ? [c.readState(own, "values", alone.x.at), copy(rows, alone.to)] : [],
      list.map((r) =>
        r.over === "keys"
          ? [
              weigh(r.x.at, weights, scaled),
              c.readState(own, "keys", scaled),
              isCurrent ? keyScores(r.x, side.keys) : keyScores(side.keys, r.x),
              c.addPairs(scores, side.values, !isCurrent),
              c.scatterRows(r.result, V, rows),
            ]
          : [
              c.readState(own, "values", r.x.at),
              isWanted(r) && wanted ? copy(rows, wanted.to) : [],
              weigh(rows, weights, rows),
              isCurrent ? c.score(r.x, side.values, scores) : c.score(side.values, r.x, scores),
              addDecayed(side.keys, !isCurrent),
              c.scatterRows(r.result, K, rows),
            ],
      ),
    ];
  };
  const decayGradient = (): Code => {
    if (!gradient || !ofDecay || !G) return [];
    const { firsts, lasts, ends, chain, found } = gradient;
    return [
      call(
        fn("stateDots", (own) =>
          kernels.rowDotsFunction(
            own,
            V,
            K,
            fn("dot", () => kernels.dotFunction()),
          ),
        ),
        ...[states, adjoints, ends].map(inScratch),
      ),
      c.score(G.values, S.values, scores),
      call(
        fn("decayGradients", (own) => pairs.decayGradientFunction(own, Kp, Q)),
        ...[scores, G.keys.at, S.keys.at, steps, before, toEnd, firsts, lasts, ends, chain, found].map(inScratch),
      ),
      c.scatterRows(ofDecay, K, found),
    ];
  };
  return {
    prepare: () => [
      c.gatherRows(parts.decay, K, steps, 1),
      call(
        fn("keyDecays", (own) => pairs.keyDecaysFunction(own, Kp, Q)),
        ...[steps, before, first, toEnd].map(inScratch),
      ),
    ],
    read: () => [read("current"), G ? read("adjoint") : [], decayGradient()],
    advance: (state, { keys, values }, weights) => [
      c.scaleRows(V, K, state, (weights === "toEnd" ? before : weightsOf[weights]) + 4 * Kp * (Q - 1), state),
      weigh(keys.at, weightsOf[weights], scaled),
      c.addOuter(state, scaled, values),
    ],
  };
}
