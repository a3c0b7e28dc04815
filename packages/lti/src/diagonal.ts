/** Diagonal systems: S4D, DSS and their relatives (Gu, Gupta, Goel, Re, On the Parameterization and Initialization of Diagonal State Space Models, 2022). */
import {
  discretizeDiagonal,
  discretizeDss,
  type DiagonalRecurrence,
  type DiscretizationRule,
  type RuleOptions,
} from "@seqmix/discretize";
import {
  add,
  assertNumber,
  assertSettings,
  assertTensors,
  complexAdd,
  complexMap,
  complexMul,
  complexScale,
  div,
  einsumReal,
  expandDims,
  flip,
  formatShape,
  mul,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  Tensor,
  zeros,
  type Complex,
  type SettingRules,
} from "@seqmix/tensor";
import { powerSums, sumOfPowers } from "./power-sums.js";
import { powerCollect, powerTable, type Decay } from "./powers.js";
import type { LtiSystem } from "./system.js";

/** A continuous diagonal system x' = A x + B u, y = C x for each of H channels, with N stored modes and M outputs a channel. */
export interface DiagonalSystem {
  /** Step sizes [H 1], or [H N] with one for each mode. */
  readonly dt: Tensor;
  /** Eigenvalues [H N]; negative real parts for a state that decays. */
  readonly A: Complex;
  /** Input map [H N]. */
  readonly B: Complex;
  /** Output maps [M H N]. */
  readonly C: Complex;
}

/** How a {@link DiagonalSystem} is read. */
export interface DiagonalOptions extends RuleOptions {
  /** "zoh" by default. */
  readonly rule?: DiscretizationRule | undefined;
  /** Each stored mode stands for itself and its conjugate: y = 2 Re(C h), else Re(C h). true by default. */
  readonly conjugatePairs?: boolean | undefined;
}

const OPTIONS: SettingRules<DiagonalOptions> = { rule: "own", alpha: { from: 0, to: 1 }, conjugatePairs: "flag" };

/** h_t = Abar h_(t-1) + Bbar u_t. */
export interface DiscreteDiagonal {
  /** Decay of each mode [H N]. */
  readonly Abar: Complex;
  /** Input map [H N]. */
  readonly Bbar: Complex;
}

/** The recurrence of a diagonal system. */
export function diagonalRecurrence(
  { dt, A, B }: Omit<DiagonalSystem, "C">,
  options: DiagonalOptions = {},
): DiscreteDiagonal {
  assertSettings("diagonalRecurrence", options, OPTIONS);
  const { rule = "zoh", alpha } = options;
  const { Abar, weight } = discretizeDiagonal(A, dt, rule, { alpha });
  return { Abar, Bbar: complexMul(B, weight) };
}

/**
 * All views of a diagonal system. The state is h [B H N]. Kernel, response and final state are matrix products with powers in
 * two levels, so that nothing of the size H N L is ever stored.
 */
export function diagonalSystem(system: DiagonalSystem, options: DiagonalOptions = {}): LtiSystem<Complex> {
  assertFits(system);
  assertSettings("diagonalSystem", options, OPTIONS);
  const { rule = "zoh", conjugatePairs = true } = options;
  const { A, B, C, dt } = system;
  const [M, H, N] = C.re.shape as [number, number, number];
  const { Abar, weight } = discretizeDiagonal(A, dt, rule, { alpha: options.alpha }) as DiagonalRecurrence<Complex>;
  const Bbar = complexMul(B, weight);
  const factor = conjugatePairs ? 2 : 1;
  const output = complexScale(C, factor);
  const exponential = rule === "zoh" || rule === "dirac" || rule === "async";
  const decay: Decay = exponential ? { exponent: complexScale(A, dt) } : { base: Abar };
  return {
    channels: H,
    outputs: M,
    restState: (batch) => ({ re: zeros([batch, H, N]), im: zeros([batch, H, N]) }),
    step(u, h) {
      const next = complexAdd(complexMul(Abar, h), complexScale(Bbar, expandDims(u, 2)));
      return [einsumReal("B H N, M H N -> B M H", next, output), next];
    },
    kernel: (L) => (L === 0 ? zeros([M, H, 0]) : sumOfPowers(complexMul(output, Bbar), decay, L)),
    response: (h, L) => {
      const batch = h.re.shape[0]!;
      if (L === 0) return zeros([batch, M, H, 0]);
      const started = complexMul(
        complexMap(output, (part) => expandDims(part, 0)),
        complexMap(complexMul(Abar, h), (part) => expandDims(part, 1)),
      );
      const W = complexMap(started, (part) => reshape(part, [batch * M, H, N]));
      return reshape(sumOfPowers(W, decay, L), [batch, M, H, L]);
    },
    finalState(u, h0) {
      const [batch, , L] = u.shape as [number, number, number];
      if (L === 0) return h0 ?? { re: zeros([batch, H, N]), im: zeros([batch, H, N]) };
      const driven = complexMul(powerCollect(u, powerTable(decay, L)), Bbar);
      if (!h0) return driven;
      const last = powerTable(decay, L + 1);
      const [c, j] = [Math.floor(L / last.stride), L % last.stride];
      const at = (x: Complex, k: number): Complex =>
        complexMap(x, (part) => reshape(sliceAxis(part, 2, k, k + 1), [H, N]));
      return complexAdd(driven, complexMul(h0, complexMul(at(last.coarse, c), at(last.fine, j))));
    },
  };
}

/** The kernel of {@link diagonalSystem} alone, [M H L]. */
export const diagonalKernel = (system: DiagonalSystem, L: number, options: DiagonalOptions = {}): Tensor =>
  diagonalSystem(system, options).kernel(L);

/** What {@link dssKernel} takes beside the system. */
export interface DssOptions {
  /** In 1/x = conj(x) / (|x|^2 + epsilon); 1e-7 by default. */
  readonly epsilon?: number;
  /** State before the sequence [B H N]. */
  readonly state?: Complex | undefined;
}

/** What {@link dssKernel} returns. */
export interface DssKernel {
  /** The kernel [M H L]. */
  readonly K: Tensor;
  /** What the given state adds to each output [B M H L]. */
  readonly KState?: Tensor;
}

/**
 * The kernel of a diagonal system whose powers are normalised by a softmax over the L positions ({@link discretizeDss}):
 * Re sum_n C_n B_n w_n e^(l dt A_n). It has no recurrence: the kernel of another length is another one.
 */
export function dssKernel(
  { dt, A, B, C }: Omit<DiagonalSystem, "dt"> & { readonly dt: Tensor | Complex },
  L: number,
  options: DssOptions = {},
): DssKernel {
  assertSettings("dssKernel", options, { epsilon: { from: 0 }, state: "pair?" });
  const { epsilon = 1e-7, state } = options;
  assertNumber("dssKernel", "L", L, { from: 0, whole: true });
  const { z, growing, weight } = discretizeDss(A, dt, L, epsilon);
  const falling = sub(1, growing);
  const W = complexMul(C, weight);
  const [M, H, N] = C.re.shape as [number, number, number];
  // Powers that grow are those that decay, from the last position to the first.
  const forward = complexScale(z, falling);
  const backward = complexScale(z, mul(growing, -1));
  const sums = (weights: Complex): Tensor =>
    add(
      powerSums(complexScale(weights, falling), forward, L),
      flip(powerSums(complexScale(weights, growing), backward, L), 2),
    );
  const K = sums(complexMul(W, B));
  if (!state) return { K };
  if (!(dt instanceof Tensor))
    throw new TypeError("dssKernel: expected one step size for both parts of A with a state, got one for each");
  const batch = state.re.shape[0]!;
  const started = complexMul(
    complexMap(W, (part) => expandDims(part, 0)),
    complexMap(complexScale(state, div(1, dt)), (part) => expandDims(part, 1)),
  );
  const rows = complexMap(started, (part) => reshape(part, [batch * M, H, N]));
  return { K, KState: reshape(sums(rows), [batch, M, H, L]) };
}

function assertFits(system: DiagonalSystem): void {
  assertTensors("diagonalSystem", system, ["dt", "A", "B", "C"]);
  const { dt, A, B, C } = system;
  const [M, H, N] = C.re.shape;
  const fits = ({ re }: Complex): boolean => re.shape.join() === `${H},${N}`;
  const steps = dt.shape.length === 2 && dt.shape[0] === H && (dt.shape[1] === 1 || dt.shape[1] === N);
  if (M === undefined || N === undefined || !fits(A) || !fits(B) || !steps)
    throw new ShapeError(
      `diagonalSystem: expected dt [H 1] or [H N], A and B [H N] and C [M H N], got shapes ${[dt, A.re, B.re, C.re].map((x) => formatShape(x.shape)).join(", ")}`,
    );
}
