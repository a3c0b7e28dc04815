import { deltaRule, type DeltaRuleArguments, type DeltaRuleResult } from "@seqmix/delta-rule";
import { add, mul, transpose, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** Both algorithms in equal parts, so that an error of either shows. */
function bothWays(given: DeltaRuleArguments, { options }: GoldenCase): DeltaRuleResult {
  const chunkSize = typeof options["chunk"] === "number" ? options["chunk"] : 3;
  const [chunked, recurrent] = [deltaRule(given, { chunkSize }), deltaRule(given, { algorithm: "recurrent" })];
  const mean = (a: Tensor, b: Tensor): Tensor => mul(0.5, add(a, b));
  return { y: mean(chunked.y, recurrent.y), hT: mean(chunked.hT, recurrent.hT) };
}

const SIZES = ["B", "T", "H", "K", "V", "initial_state", "chunk", "scale"];
/** Queries are scaled by 1/sqrt(K) unless the case says otherwise. */
const scaled = (q: Tensor, { options }: GoldenCase): Tensor =>
  mul(q, typeof options["scale"] === "number" ? options["scale"] : q.shape.at(-1)! ** -0.5);

/** Layouts are [B H L ..]. */
export const deltaRuleAdapter: GoldenAdapter = {
  operator: "delta_rule",
  options: SIZES,
  run(inputs, golden) {
    const positions = (name: string): Tensor => transpose(real(inputs, name), [0, 2, 1, 3]);
    const { y, hT } = bothWays(
      {
        q: scaled(positions("q"), golden),
        k: positions("k"),
        v: positions("v"),
        beta: transpose(real(inputs, "beta")),
        h0: maybe(inputs, "initial_state"),
      },
      golden,
    );
    return { out: transpose(y, [0, 2, 1, 3]), state: hT };
  },
};

/** Layouts are [B L H ..]. */
export const gatedDeltaRuleAdapter: GoldenAdapter = {
  operator: "gated_delta_rule",
  options: SIZES,
  run(inputs, golden) {
    const { y, hT } = bothWays(
      {
        q: scaled(real(inputs, "q"), golden),
        k: real(inputs, "k"),
        v: real(inputs, "v"),
        beta: real(inputs, "beta"),
        logDecay: real(inputs, "g"),
        h0: maybe(inputs, "initial_state"),
      },
      golden,
    );
    return { out: y, state: hT };
  },
};
