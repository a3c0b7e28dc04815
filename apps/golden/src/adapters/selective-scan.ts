import { selectiveScan, type SelectiveScanArguments } from "@seqmix/selective-scan";
import { Tensor, transpose } from "@seqmix/tensor";
import type { Complex } from "@seqmix/scan";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { complex, interleaved, maybe, maybeSwap, real, swap } from "../inputs.js";

/** Channels come before positions: u [B D L]; B and C [D N], [B N L] or [B G N L], interleaved complex if A is complex. */
export const selectiveScanAdapter: GoldenAdapter = {
  operator: "selective_scan",
  options: [
    "batch",
    "dim",
    "L",
    "d_state",
    "B_kind",
    "C_kind",
    "groups",
    "D",
    "z",
    "delta_bias",
    "delta_softplus",
    "complex_A",
  ],
  run(inputs, { options }) {
    const given = {
      u: swap(real(inputs, "u")),
      delta: swap(real(inputs, "delta")),
      D: maybe(inputs, "D"),
      z: maybeSwap(maybe(inputs, "z")),
      deltaBias: maybe(inputs, "delta_bias"),
    };
    const settings = { deltaSoftplus: options["delta_softplus"] === true };
    if (inputs["A"] instanceof Tensor) {
      const map = (name: string): Tensor => alongPositions(real(inputs, name));
      const { y, hT } = selectiveScan({ ...given, A: inputs["A"], B: map("B"), C: map("C") }, settings);
      return { out: swap(y), last_state: hT };
    }
    const map = (name: string): Complex => both(inputs[name]!);
    const { y, hT } = selectiveScan<Complex>(
      { ...given, A: complex(inputs, "A"), B: map("B"), C: map("C") } satisfies SelectiveScanArguments<Complex>,
      settings,
    );
    return { out: swap(y), last_state: hT };
  },
};

/** [D N], [B N L] or [B G N L] -> [D N], [B L N] or [B L G N]. */
export function alongPositions(x: Tensor): Tensor {
  if (x.shape.length === 2) return x;
  return x.shape.length === 3 ? transpose(x) : transpose(x, [0, 3, 1, 2]);
}

function both(value: GoldenValue): Complex {
  const pair = value instanceof Tensor ? interleaved(value) : value;
  return { re: alongPositions(pair.re), im: alongPositions(pair.im) };
}
