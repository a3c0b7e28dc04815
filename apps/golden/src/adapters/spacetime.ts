import { companionKernel, convolve } from "@seqmix/lti";
import {
  closedLoop,
  normalized,
  openLoop,
  RELEASED,
  sharedCompanion,
  type ClosedLoopParameters,
} from "@seqmix/spacetime";
import { add, expandDims, mul, reshape, transpose, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, maybe, real } from "../inputs.js";

const SIZES = ["B", "n_kernels", "kernel_dim", "n_heads", "head_dim", "norm_order"];

/** u [B L D], channels (kernel, head, entry); besides the output the kernels [K L]. */
export const spaceTimeOpenAdapter: GoldenAdapter = {
  operator: "spacetime_open",
  options: [...SIZES, "L", "skip", "kind"],
  supports: ({ options }) =>
    ["companion", "shift"].includes(String(options["kind"] ?? "companion")) || `kind ${String(options["kind"])}`,
  run(inputs, { options }) {
    const u = real(inputs, "u");
    const [B, L, D] = u.shape as [number, number, number];
    // Of the shift model a and b are no parameters.
    const either = (name: string): Tensor => maybe(inputs, `param.${name}`) ?? real(inputs, `buffer.${name}`);
    const c = real(inputs, "param.c");
    const models = { a: normalized(either("a"), count(options, "norm_order")), b: either("b"), c };
    const { y } = convolve(sharedCompanion(models, D), transpose(u));
    const out = transpose(reshape(y, [B, D, L]));
    return {
      out: options["skip"] === true ? add(out, mul(u, real(inputs, "param.skip"))) : out,
      kernel: reshape(companionKernel({ ...models, c: expandDims(c, 0) }, L), [c.shape[0]!, L]),
    };
  },
};

/** As released, inconsistencies included. */
export const spaceTimeClosedAdapter: GoldenAdapter = {
  operator: "spacetime_closed",
  options: [...SIZES, "lag", "horizon", "closed_loop"],
  run(inputs, { options }) {
    const [a, b, c, k] = ["a", "b", "c", "k"].map((name) => real(inputs, `param.${name}`)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const params: ClosedLoopParameters = { a, b, c, k };
    const conventions = { ...RELEASED, normOrder: count(options, "norm_order") };
    const u = real(inputs, "u");
    const { y, nextInputs } =
      options["closed_loop"] === false
        ? openLoop(params, u, conventions)
        : closedLoop(params, u, count(options, "horizon"), conventions);
    return { out: y, next_input: nextInputs };
  },
};
