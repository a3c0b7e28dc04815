/** HiPPO matrices and memories. */
import {
  hippo,
  hippoDiagonal,
  hippoMeasures,
  hippoNormal,
  hippoRecurrence,
  otherEndpoint,
  project,
  reconstruct,
  scaledLegsRecurrence,
  type HippoMeasureName,
  type HippoRecurrence,
  type HippoRule,
} from "@seqmix/hippo";
import {
  add,
  complexConj,
  complexMul,
  mul,
  reshape,
  sliceAxis,
  sqrt,
  tensor,
  transpose,
  type Complex,
  type Tensor,
} from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { count, real } from "../inputs.js";

const MEASURES = [...hippoMeasures.filter((name) => name !== "random" && name !== "diagonal"), "fout", "fourier_diag"];

/** Matrices, the low-rank part, and what of the diagonal form does not depend on the eigenvectors' phases. */
export const hippoTransitionAdapter: GoldenAdapter = {
  operator: "hippo_transition",
  options: ["measure", "N", "alpha", "beta", "rank"],
  supports: ({ options }) => MEASURES.includes(String(options["measure"])) || `measure ${String(options["measure"])}`,
  run(_inputs, { options, tensors }) {
    const measure = options["measure"] as HippoMeasureName;
    const N = count(options, "N");
    const number = (name: string): number | undefined =>
      typeof options[name] === "number" ? options[name] : undefined;
    const weights = { alpha: number("alpha"), beta: number("beta") };
    const settings = { ...weights, rank: number("rank") };
    const { A, B } = hippo(measure, N, weights);
    const out: Record<string, GoldenValue> = {
      A: tensor(A, [N, N]),
      B: tensor(B, [N]),
      C_other_endpoint: tensor(otherEndpoint(measure, N), [N]),
    };
    if (tensors["P_lowrank"]) {
      const { P, rank } = hippoNormal(measure, N, settings);
      out["P_lowrank"] = tensor(P, [rank, N]);
    }
    if (!tensors["nplr_W"]) return out;
    const form = hippoDiagonal(measure, N, settings);
    const of = ({ re, im }: { re: Float64Array; im: Float64Array }, shape: readonly number[]): Complex => ({
      re: tensor(re, shape),
      im: tensor(im, shape),
    });
    const [P, Bd] = [of(form.P, [form.rank, N / 2]), of(form.B, [N / 2])];
    const size = ({ re, im }: Complex): Tensor => sqrt(add(mul(re, re), mul(im, im)));
    return {
      ...out,
      nplr_W: of(form.lambda, [N / 2]),
      nplr_absB: size(Bd),
      nplr_absP: size(P),
      nplr_P_conjB: complexMul(P, complexConj(Bd)),
    };
  },
};

/** The released code's names of the rules. */
const RULES: Readonly<Record<string, HippoRule>> = {
  forward: "euler",
  backward: "backward_euler",
  // scipy's, where the window is discretized.
  euler: "euler",
  backward_diff: "backward_euler",
  bilinear: "bilinear",
  zoh: "zoh",
};

/** f [L B] -> c [L B N]. "legs" is the scaled memory, "legt" a window of 1 in the coordinates of Legendre memory units. */
export const hippoProjectionAdapter: GoldenAdapter = {
  operator: "hippo_projection",
  options: ["kind", "N", "L", "batch", "discretization", "dt"],
  supports({ options }) {
    if (!["legs", "legt"].includes(String(options["kind"]))) return `kind ${String(options["kind"])}`;
    return String(options["discretization"]) in RULES || `discretization ${String(options["discretization"])}`;
  },
  run(inputs, { options, tensors }) {
    const [N, L] = [count(options, "N"), count(options, "L")];
    const rule = RULES[String(options["discretization"])]!;
    const scaled = options["kind"] === "legs";
    const [measure, dt] = scaled ? (["legs", "scaled"] as const) : (["lmu", count(options, "dt")] as const);
    const c = transpose(project(transpose(real(inputs, "f")), measure, { order: N, dt, rule }), [1, 0, 2]);
    const batch = c.shape[1]!;
    const last = reshape(sliceAxis(c, 0, L - 1, L), [1, batch, N]);
    const points = tensors["reconstruction_last"]!.shape[2]!;
    const at = Array.from({ length: points }, (_, k) =>
      // Shares of the past from its beginning on; or samples ago, from one whole window ago on.
      scaled ? (points === 1 ? 0 : k / (points - 1)) : (1 - k * count(options, "dt")) / count(options, "dt"),
    );
    const out = { c, reconstruction_last: reconstruct(last, measure, { dt, at }) };
    if (!scaled) {
      const { Abar, Bbar } = hippoRecurrence(measure, N, count(options, "dt"), rule);
      return { ...out, dA: tensor(Abar, [N, N]), dB: tensor(Bbar, [N]) };
    }
    const steps = Array.from({ length: L }, (_, t) => scaledLegsRecurrence(N, t + 1, rule));
    const all = (part: (step: HippoRecurrence) => Float64Array, shape: readonly number[]): Tensor =>
      tensor(Float64Array.from(steps.flatMap((step) => [...part(step)])), [L, ...shape]);
    return { ...out, A_t: all(({ Abar }) => Abar, [N, N]), B_t: all(({ Bbar }) => Bbar, [N]) };
  },
};
