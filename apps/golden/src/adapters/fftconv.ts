import { fftConv } from "@seqmix/fft";
import { expandDims, gelu, mul } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** Convolution, skip, exact GELU, and a mask of whole channels [B D]. */
export const fftconvAdapter: GoldenAdapter = {
  operator: "fftconv",
  options: ["B", "H", "L", "gelu", "k_rev", "dropout_mask"],
  run(inputs, { options }) {
    const y = fftConv({
      u: real(inputs, "u"),
      k: real(inputs, "k"),
      kReverse: maybe(inputs, "k_rev"),
      skip: real(inputs, "D"),
    });
    const activated = options["gelu"] === true ? gelu(y) : y;
    const mask = maybe(inputs, "dropout_mask");
    return { out: mask ? mul(activated, expandDims(mask, 2)) : activated };
  },
};
