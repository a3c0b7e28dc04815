/**
 * The chunks of a head, one after another, with the state in the cache:
 *
 *     y = e (q S) + (q k^T o L) v,     S <- e_Q S + (w k)^T v,
 *
 * where L(t, j) is the decay from step j to step t, e_t that from before the chunk to t, and w_j that from j to the chunk's end.
 * With an adjoint the states before all chunks are found first; the chunks then run from the last to the first, and the adjoint
 * states G take the same products with L transposed.
 */
import type { ChunkedParts } from "../../../../ir/chunked-parts.js";
import type { Semiseparable } from "../../../../ir/semiseparable.js";
import {
  forLoop,
  i32,
  memory as bulk,
  select,
  when,
  whileLoop,
  type Code,
  type WasmFunction,
} from "../../wasm/emitter.js";
import type { Places } from "./arrays.js";
import { makeContext, plus, times, type StagedOuter } from "./context.js";
import type { Define } from "./kernels.js";
import { scalarDecays } from "./scalar-decay.js";
import { vectorDecays } from "./vector-decay.js";

export interface Walk {
  readonly code: WasmFunction;
  readonly units: number;
  /** Steps of a chunk. */
  readonly steps: number;
  readonly scratchBytes: number;
}

/** What depends on the kind of decay. */
export interface ChunkDecays {
  /** Decays between the chunk's steps. */
  prepare(): Code;
  /** All results of the chunk, from the states before it and the adjoint states behind it. */
  read(): Code;
  /**
   * The state after the chunk ("toEnd"), or the adjoint state before it ("before"; "first": of the first step, not taken
   * before it).
   */
  advance(state: number, by: StagedOuter, weights: "toEnd" | "before" | "first"): Code;
}

/** Steps of a chunk: products within a chunk cost as many multiplications a step, those with its state do not. */
export const stepsOf = ({ decay, keys, values, kernel: { extents } }: Semiseparable): number =>
  decay.kind === "vector" || Math.max(extents[keys]!, extents[values]!) <= 32 ? 16 : 32;

export function walkFunction(name: string, parts: ChunkedParts, places: Places, define: Define): Walk {
  const { form, initial, final } = parts;
  const isVector = form.decay.kind === "vector";
  const Q = stepsOf(form);
  const c = makeContext(parts, places, define, Q);
  const { L, S, G, chunk, chunks, count, states, adjoints, stateBytes, inScratch } = c;
  const decays = isVector ? vectorDecays(c) : scalarDecays(c);
  const history = c.block(G ? (chunks * stateBytes) / 4 : 0);
  const atHistory = i32.add(inScratch(history), times(chunk.get, stateBytes));

  const begin = (): Code => [
    count.set(i32.sub(i32.const(L), times(chunk.get, Q))),
    count.set(select(count.get, i32.const(Q), i32.ltS(count.get, i32.const(Q)))),
    decays.prepare(),
  ];
  const forward: Code = G
    ? [
        bulk.copy(atHistory, inScratch(states), i32.const(stateBytes)),
        begin(),
        c.gatherOuter(S),
        decays.advance(states, S, "toEnd"),
      ]
    : [begin(), c.gatherAll(), decays.read(), decays.advance(states, S, "toEnd")];
  const backward: Code = G
    ? [
        c.loadState(final, adjoints),
        chunk.set(i32.const(chunks - 1)),
        whileLoop(i32.geS(chunk.get, i32.const(0)), [
          bulk.copy(inScratch(states), atHistory, i32.const(stateBytes)),
          begin(),
          c.gatherAll(),
          decays.read(),
          when(
            i32.eq(chunk.get, i32.const(0)),
            [decays.advance(adjoints, G, "first"), c.storeState("first", adjoints)],
            decays.advance(adjoints, G, "before"),
          ),
          chunk.set(plus(chunk.get, -1)),
        ]),
      ]
    : [];
  const body: Code = [
    c.loadState(initial, states),
    chunk.set(i32.const(0)),
    forLoop(chunk, chunks, 1, forward),
    c.storeState("last", states),
    backward,
  ];
  const code = c.f.finish(name, forLoop(c.unit, c.end, 1, [c.enterUnit(), body]));
  return { code, units: c.units, steps: Q, scratchBytes: c.scratchBytes() };
}
