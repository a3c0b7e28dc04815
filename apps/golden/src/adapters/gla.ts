import { mul } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";
import { attendEveryWay } from "./ssd.js";

/** Queries are scaled by 1/sqrt(K) unless the case says otherwise; layouts are [B L H ..]. */
const gated = (operator: string, gate: string): GoldenAdapter => ({
  operator,
  options: ["B", "T", "H", "K", "V", "initial_state", "chunk", "scale"],
  run(inputs, { options }) {
    const q = real(inputs, "q");
    const scale = typeof options["scale"] === "number" ? options["scale"] : q.shape[3]! ** -0.5;
    const { y, hT } = attendEveryWay(
      {
        q: mul(q, scale),
        k: real(inputs, "k"),
        v: real(inputs, "v"),
        logDecay: real(inputs, gate),
        h0: maybe(inputs, "initial_state"),
      },
      typeof options["chunk"] === "number" ? options["chunk"] : 4,
    );
    return { out: y, state: hT };
  },
});

/** One decay a head. */
export const simpleGlaAdapter: GoldenAdapter = gated("simple_gla", "g");

/** One decay a key. */
export const glaAdapter: GoldenAdapter = gated("gla", "gk");
