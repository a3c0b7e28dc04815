import { fftConv } from "@seqmix/fft";
import { einsum, expandDims, mul, reshape, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** q times the state-space model of k v^T, head by head; channels are heads, then their parts. */
export const fftconvH3Adapter: GoldenAdapter = {
  operator: "fftconv_h3",
  options: ["B", "d_model", "head_dim", "L", "rev"],
  run(inputs) {
    const q = real(inputs, "q");
    const [B, channels, L] = q.shape as [number, number, number];
    const skip = real(inputs, "D");
    const H = skip.shape[0]!;
    const P = channels / H;
    const heads = (name: string): Tensor => reshape(real(inputs, name), [B, H, P, L]);
    const kv = mul(expandDims(heads("k"), 3), expandDims(heads("v"), 2));
    // One kernel a head: the P P products go with the batch.
    const u = reshape(einsum("B H P V L -> B P V H L", kv), [B * P * P, H, L]);
    const filtered = fftConv({
      u,
      k: real(inputs, "ssm_kernel"),
      kReverse: maybe(inputs, "ssm_kernel_rev"),
      skip,
    });
    const out = einsum("B H P L, B P V H L -> B H V L", heads("q"), reshape(filtered, [B, P, P, H, L]));
    return { out: reshape(out, [B, channels, L]) };
  },
};
