import { linearScan } from "@seqmix/scan";
import { exp, reshape, sliceAxis } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** h_t = e^(g_t) h_(t-1) + x_t. */
export const elementwiseScanAdapter: GoldenAdapter = {
  operator: "elementwise_scan",
  options: ["B", "T", "D", "initial_state"],
  run(inputs) {
    const x = real(inputs, "x");
    const [B, T, D] = x.shape as [number, number, number];
    const h = linearScan({ a: exp(real(inputs, "g")), b: x, h0: maybe(inputs, "initial_state"), axis: 1 });
    return { out: h, state: reshape(sliceAxis(h, 1, T - 1, T), [B, D]) };
  },
};
