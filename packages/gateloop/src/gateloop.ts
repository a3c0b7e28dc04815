/** The GateLoop layer with complex transitions, as published in `gateloop_transformer.py`. */
import { defineMixer } from "@seqmix/mixer";
import {
  initLayerNorm,
  initLinear,
  layerNorm,
  linear,
  type LayerNormParameters,
  type LinearParameters,
} from "@seqmix/nn";
import type { Complex } from "@seqmix/scan";
import {
  add,
  foldIn,
  mul,
  reshape,
  silu,
  sliceAxis,
  split,
  stopGradient,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  gateLoopAttention,
  gateLoopChunked,
  gateLoopScan,
  gateLoopStep,
  polarGate,
  type GateLoopArguments,
  type GateLoopResult,
} from "./operator.js";

/** Settings of {@link gateLoop}. */
export type GateLoopConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Channels of queries, keys and values, E; "auto" is dModel. */
  readonly dInner: number | "auto";
  /** Heads H, each with its transition and E/H entries of keys and values; "auto" is one for each of the E. */
  readonly nHeads: number | "auto";
  /** Whether outputs are gated by silu of a map of the input. */
  readonly gated: boolean;
  /** Whether outputs are normalized before the gate. */
  readonly subLn: boolean;
  /** Factor of the gradient through the transitions; the published code has 0.9, 1 is the true gradient. */
  readonly fracGradientStateTransition: number;
  /** Whole sequences by a scan over states, or as attention. */
  readonly parallel: "scan" | "attention";
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys. */
export type GateLoopParameters = {
  /** Weight [3E D]. */
  readonly to_qkv: LinearParameters;
  /** Weight [2H D] and bias [2H]: real and imaginary part for each head. */
  readonly to_a: readonly [LinearParameters];
  /** Weight [E D]; none: no gate. */
  readonly to_gates?: readonly [LinearParameters];
  /** Scale and shift [E]; none: no norm. */
  readonly maybe_sub_ln?: LayerNormParameters;
  /** Weight [D E]. */
  readonly to_out: LinearParameters;
};

/** What decides the form of {@link GateLoopParameters}; the rest only runs them. */
type Form = Pick<GateLoopConfig, "fracGradientStateTransition">;

/** GateLoop: queries, keys, values and complex transitions from the input, heads with states [K V], an optional norm and gate. The state is S [B H K V]. */
export const gateLoop = defineMixer({
  id: "gateloop",
  config: {
    dModel: 64,
    dInner: "auto",
    nHeads: "auto",
    gated: true,
    subLn: false,
    fracGradientStateTransition: 1,
    parallel: "scan",
    chunkSize: 64,
  } as GateLoopConfig,
  choices: { parallel: ["scan", "attention"] },
  ranges: { dInner: [1, Infinity, "whole"], nHeads: [1, Infinity, "whole"], fracGradientStateTransition: [0, 1] },
  samples: {
    scan: { dModel: 2, dInner: 4, nHeads: 2, chunkSize: 2 },
    attention: { dModel: 2, dInner: 4, nHeads: 2, chunkSize: 2, parallel: "attention", subLn: true, gated: false },
  },
  resets: true,
  state: "constant",

  init(config, key: Key): GateLoopParameters {
    const { E, H } = extents(config);
    const D = config.dModel;
    return {
      to_qkv: initLinear(foldIn(key, "to_qkv"), D, 3 * E, { bias: false }),
      to_a: [initLinear(foldIn(key, "to_a"), D, 2 * H)],
      ...(config.gated && { to_gates: [initLinear(foldIn(key, "to_gates"), D, E, { bias: false })] as const }),
      ...(config.subLn && { maybe_sub_ln: initLayerNorm(E) }),
      to_out: initLinear(foldIn(key, "to_out"), E, D, { bias: false }),
    };
  },

  initState(config, batch): Complex {
    const { E, H } = extents(config);
    const part = (): Tensor => zeros([batch, H, E / H, E / H]);
    return { re: part(), im: part() };
  },

  step: (config, params, x, h) => layer(config, params, x, (inputs) => gateLoopStep({ ...inputs, h })),

  modes: {
    parallel: (config, params, x, h0, resets) =>
      layer(config, params, x, (inputs) =>
        (config.parallel === "attention" ? gateLoopAttention : gateLoopScan)({ ...inputs, h0, resets }),
      ),
    chunked: (config, params, x, h0, resets) =>
      layer(config, params, x, (inputs) => gateLoopChunked({ ...inputs, h0, resets }, config.chunkSize)),
  },
});

/** Everything around the recurrence: x [.. D] -> [.. D]; `run` takes [.. H K]. */
function layer(
  { fracGradientStateTransition: fraction }: Form,
  params: GateLoopParameters,
  x: Tensor,
  run: (inputs: Omit<GateLoopArguments, "h0" | "resets">) => GateLoopResult,
): GateLoopResult {
  const [E, H] = [params.to_qkv.weight.shape[0]! / 3, params.to_a[0].weight.shape[0]! / 2];
  const outer = x.shape.slice(0, -1);
  const [q, k, v] = split(linear(params.to_qkv, x), [E, E, E]).map((part) => reshape(part, [...outer, H, E / H])) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const raw = linear(params.to_a[0], x);
  const z = reshape(fraction === 1 ? raw : add(mul(raw, fraction), mul(stopGradient(raw), 1 - fraction)), [
    ...outer,
    H,
    2,
  ]);
  const part = (c: number): Tensor => reshape(sliceAxis(z, -1, c, c + 1), [...outer, H]);
  const [y, h] = run({ q, k, v, a: polarGate({ re: part(0), im: part(1) }) });
  const merged = reshape(y, [...outer, E]);
  const normed = params.maybe_sub_ln ? layerNorm(params.maybe_sub_ln, merged) : merged;
  return [linear(params.to_out, params.to_gates ? mul(normed, silu(linear(params.to_gates[0], x))) : normed), h];
}

function extents({ dModel, dInner, nHeads }: GateLoopConfig): { readonly E: number; readonly H: number } {
  const E = dInner === "auto" ? dModel : dInner;
  const H = nHeads === "auto" ? E : nHeads;
  if (!Number.isInteger(H) || H < 1 || E % H !== 0)
    throw new RangeError(`gateloop: expected nHeads that divide dInner, got ${H} for ${E}`);
  return { E, H };
}
