import { causalConv1d, linear } from "@seqmix/nn";
import type { Complex } from "@seqmix/scan";
import { selectiveScan } from "@seqmix/selective-scan";
import { add, matmul, reshape, split, Tensor, transpose } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { alongPositions } from "./selective-scan.js";
import { complex, interleaved, maybe, real, swap } from "../inputs.js";

/** The inside of a Mamba block from the input projection's result on; xz [B 2E L]. B and C may be given, and then do not depend on the input. */
export const mambaInnerAdapter: GoldenAdapter = {
  operator: "mamba_inner",
  options: ["batch", "d_inner", "L", "d_state", "dt_rank", "d_conv", "proj_biases", "complex_A", "const_B", "const_C"],
  run(inputs) {
    const xz = swap(real(inputs, "xz"));
    const E = xz.shape[2]! / 2;
    const [x, z] = split(xz, [E, E]) as [Tensor, Tensor];
    const convBias = maybe(inputs, "conv1d_bias");
    const weight = real(inputs, "conv1d_weight");
    const [u] = causalConv1d(
      { weight: reshape(weight, [E, weight.shape[2]!]), ...(convBias && { bias: convBias }) },
      x,
      undefined,
      { activation: "silu" },
    );

    const projected = linear({ weight: real(inputs, "x_proj_weight") }, u);
    const deltaWeight = real(inputs, "delta_proj_weight");
    const R = deltaWeight.shape[1]!;
    const A = inputs["A"]!;
    const N = A instanceof Tensor ? A.shape[1]! : 2 * A.re.shape[1]!;
    // A given B or C leaves out its part of the projection.
    const names = (["B", "C"] as const).filter((name) => !inputs[name]);
    const [dt, ...parts] = split(projected, [R, ...names.map(() => N)]) as [Tensor, ...Tensor[]];
    const projection = (name: "B" | "C"): Tensor | undefined => {
      const part = parts[names.indexOf(name)];
      const bias = maybe(inputs, `${name}_proj_bias`);
      return part && bias ? add(part, bias) : part;
    };
    const scan = {
      u,
      delta: matmul(dt, transpose(deltaWeight)),
      z,
      D: maybe(inputs, "D"),
      deltaBias: maybe(inputs, "delta_bias"),
    };
    const settings = { deltaSoftplus: true };
    const outBias = maybe(inputs, "out_proj_bias");
    const out = (y: Tensor): { out: Tensor } => ({
      out: linear({ weight: real(inputs, "out_proj_weight"), ...(outBias && { bias: outBias }) }, y),
    });
    if (A instanceof Tensor) {
      const map = (name: "B" | "C"): Tensor => projection(name) ?? alongPositions(real(inputs, name));
      return out(selectiveScan({ ...scan, A, B: map("B"), C: map("C") }, settings).y);
    }
    // Per position, states alternate real and imaginary parts.
    const map = (name: "B" | "C"): Complex => {
      const own = projection(name);
      if (own) return interleaved(own);
      const given = inputs[name]!;
      const pair = given instanceof Tensor ? interleaved(given) : given;
      return { re: alongPositions(pair.re), im: alongPositions(pair.im) };
    };
    return out(selectiveScan<Complex>({ ...scan, A: complex(inputs, "A"), B: map("B"), C: map("C") }, settings).y);
  },
};
