import { diagonalKernel, s4d, s4dSystem, type S4dParameters } from "@seqmix/s4";
import { reshape } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { parameterTree, real, swap } from "../inputs.js";

/** u [B D L], or [B L D] where `transposed` is false; no dropout. */
export const s4dLayerAdapter: GoldenAdapter = {
  operator: "s4d_layer",
  options: ["batch", "H", "d_state", "L", "transposed", "dt_min", "dt_max", "lr"],
  run(inputs, { options }) {
    const params = parameterTree(inputs) as S4dParameters;
    const [D, modes] = params.kernel.A_imag.shape as [number, number];
    const channelsFirst = options["transposed"] !== false;
    const u = real(inputs, "u");
    const x = channelsFirst ? swap(u) : u;
    const [y] = s4d.modes.parallel({ ...s4d.config, dModel: D, dState: 2 * modes }, params, x);
    const L = x.shape[1]!;
    return { out: channelsFirst ? swap(y) : y, K: reshape(diagonalKernel(s4dSystem(params), L).K, [D, L]) };
  },
};
