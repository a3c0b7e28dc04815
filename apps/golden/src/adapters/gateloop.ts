import {
  gateLoop,
  gateLoopAttention,
  gateLoopChunked,
  gateLoopScan,
  gateLoopTransformer,
  simpleGateLoopSequence,
  type GateLoopParameters,
  type GateLoopTransformerParameters,
  type SimpleGateLoopParameters,
} from "@seqmix/gateloop";
import { add, cast, expandDims, mul, reshape, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { complex, parameterTree, real } from "../inputs.js";

/** One head; the three ways to run it in equal parts, so that an error of any shows. */
export const gateLoopOperatorAdapter: GoldenAdapter = {
  operator: "gateloop_operator",
  options: ["B", "L", "D", "E"],
  run(inputs) {
    const head = (name: string): Tensor => expandDims(real(inputs, name), 2);
    const a = complex(inputs, "a");
    const [B, L] = a.re.shape as [number, number];
    const given = {
      q: head("q"),
      k: head("k"),
      v: head("v"),
      a: { re: reshape(a.re, [B, L, 1]), im: reshape(a.im, [B, L, 1]) },
    };
    const sum = [gateLoopScan(given), gateLoopAttention(given), gateLoopChunked(given, 4)]
      .map(([y]) => y)
      .reduce((x, y) => add(x, y));
    return { out: mul(1 / 3, reshape(sum, [B, L, real(inputs, "v").shape[2]!])) };
  },
};

/** Gradients through the transitions are scaled by 0.9 unless the case says otherwise. */
const fractionOf = (options: Readonly<Record<string, unknown>>): number => {
  const given = options["frac"] ?? options["frac_gradient_state_transition"];
  return typeof given === "number" ? given : 0.9;
};
const FRACTIONS = ["frac", "frac_gradient_state_transition"];

export const gateLoopAttentionAdapter: GoldenAdapter = {
  operator: "gateloop_attention",
  options: ["B", "L", "dim", "heads", "dim_inner", "sub_ln", "add_swish_gating", ...FRACTIONS],
  run(inputs, { options }) {
    const x = real(inputs, "x");
    const config = { ...gateLoop.config, dModel: x.shape[2]!, fracGradientStateTransition: fractionOf(options) };
    return { out: gateLoop.modes.parallel(config, parameterTree(inputs) as GateLoopParameters, x)[0] };
  },
};

export const gateLoopSimpleAdapter: GoldenAdapter = {
  operator: "gateloop_simple",
  options: ["B", "L", "dim", "post_ln", "reverse", "use_heinsen"],
  run: (inputs, { options }) => ({
    out: simpleGateLoopSequence(parameterTree(inputs) as SimpleGateLoopParameters, real(inputs, "x"), {
      reverse: options["reverse"] === true,
    })[0],
  }),
};

export const gateLoopTransformerAdapter: GoldenAdapter = {
  operator: "gateloop_transformer",
  options: [
    "B",
    "L",
    "num_tokens",
    "dim",
    "depth",
    "ff_mult",
    "heads",
    "attn_heads",
    "dim_inner",
    "dim_gate_looped_attn",
    "gate_loop_heads",
    "sub_ln",
    ...FRACTIONS,
  ],
  run: (inputs, { options }) => ({
    logits: gateLoopTransformer(
      parameterTree(inputs) as GateLoopTransformerParameters,
      cast(real(inputs, "ids"), "i32"),
      { fracGradientStateTransition: fractionOf(options) },
    ),
  }),
};
