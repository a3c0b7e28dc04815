import { discretizeDiagonal, type DiagonalDiscretization } from "@seqmix/s4";
import { expandDims, reshape, zeros, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { real } from "../inputs.js";

/** One step size and eigenvalue a row of B [P H]; real and imaginary parts come as tensors of their own. */
export const discretizeDiagAdapter: GoldenAdapter = {
  operator: "discretize_diag",
  options: ["P", "H", "method"],
  supports: ({ options }) =>
    ["zoh", "bilinear"].includes(String(options["method"])) || `method ${String(options["method"])}`,
  run(inputs, { options }) {
    const column = (name: string): Tensor => expandDims(real(inputs, `param.${name}`), 1);
    const B = { re: real(inputs, "param.B_re"), im: real(inputs, "param.B_im") };
    const none = zeros([1, ...B.re.shape]);
    const { Abar, Bbar } = discretizeDiagonal(
      { dt: column("Delta"), A: { re: column("Lambda_re"), im: column("Lambda_im") }, B, C: { re: none, im: none } },
      options["method"] as DiagonalDiscretization,
    );
    const row = (x: Tensor): Tensor => reshape(x, [x.shape[0]!]);
    return { Lambda_bar_re: row(Abar.re), Lambda_bar_im: row(Abar.im), B_bar_re: Bbar.re, B_bar_im: Bbar.im };
  },
};
