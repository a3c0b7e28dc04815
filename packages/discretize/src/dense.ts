/** Systems with a full transition matrix. */
import {
  add,
  assertNumber,
  assertSettings,
  broadcastShapes,
  broadcastTo,
  concat,
  expandDims,
  formatShape,
  full,
  matmul,
  mul,
  ones,
  ShapeError,
  sliceAxis,
  sub,
  Tensor,
  zeros,
  type Operand,
} from "@seqmix/tensor";
import { identityMatrix, inverse } from "./inverse.js";
import { matrixExponential } from "./matrix-exponential.js";
import { differenceWeight, type DiscretizationRule, type RuleOptions } from "./rules.js";

/** A continuous system x' = A x + B u, y = C x + D u with K inputs and M outputs. */
export interface DenseSystem {
  /** Transition [.. N N]. */
  readonly A: Tensor;
  /** Input map [.. N K]. */
  readonly B: Tensor;
  /** Output map [.. M N], needed only for {@link discretizeOutputs} and "foh". */
  readonly C?: Tensor | undefined;
  /** Skip [.. M K]; zeros by default. */
  readonly D?: Tensor | undefined;
}

/** h_t = Abar h_(t-1) + Bbar u_t. */
export interface DenseRecurrence {
  /** [.. N N]. */
  readonly Abar: Tensor;
  /** [.. N K]. */
  readonly Bbar: Tensor;
}

/**
 * The recurrence of a dense system. Rules with an exponential take that of [[A, B], [0, 0]] (Van Loan, Computing integrals
 * involving the matrix exponential, 1978): nothing is divided by A, which may be singular.
 * @param dt Step sizes, of the batch axes of A and B; or one for all.
 * @returns Abar [.. N N] and Bbar [.. N K], batch axes broadcast.
 * @throws ShapeError if A is not square or B does not fit; RangeError for an unknown rule, or "gbt" without alpha.
 */
export function discretizeDense(
  system: DenseSystem,
  dt: Operand,
  rule: DiscretizationRule,
  options: RuleOptions = {},
): DenseRecurrence {
  const alpha = differenceWeight(rule, options, "discretizeDense");
  const { A, B, step } = aligned(system, dt, "discretizeDense");
  if (alpha !== undefined) {
    const [one, z] = [identityMatrix(A.shape.at(-1)!), mul(A, step)];
    const implicit = inverse(add(one, mul(-alpha, z)));
    return { Abar: matmul(implicit, add(one, mul(1 - alpha, z))), Bbar: mul(matmul(implicit, B), step) };
  }
  if (rule === "zoh") return held(A, B, step);
  const Abar = matrixExponential(mul(A, step));
  return { Abar, Bbar: rule === "dirac" ? B : held(A, B, ones(step.shape)).Bbar };
}

/** What the outputs y_t = Cbar x_t + Dbar u_t read in conventions that change them with the state: {@link discretizeOutputs}. */
export interface DenseOutputs {
  /** [.. M N]. */
  readonly Cbar: Tensor;
  /** [.. M K]. */
  readonly Dbar: Tensor;
}

/**
 * Abar, Bbar, Cbar and Dbar in the convention of control theory, as in scipy's `cont2discrete`: x_(t+1) = Abar x_t + Bbar u_t,
 * y_t = Cbar x_t + Dbar u_t, so that an input acts on the output one step after {@link discretizeDense}'s but for Dbar.
 * With difference rules Cbar = C (1 - alpha dt A)^-1 and Dbar = D + alpha C Bbar. "foh" takes inputs to be linear between
 * samples; "dirac" is scipy's "impulse", Bbar = e^(dt A) B and Dbar = D + C B dt with B scaled by dt.
 */
export function discretizeOutputs(
  system: DenseSystem,
  dt: Operand,
  rule: Exclude<DiscretizationRule, "async"> | "foh",
  options: RuleOptions = {},
): DenseRecurrence & DenseOutputs {
  const { A, B, step } = aligned(system, dt, "discretizeOutputs");
  const { C } = system;
  if (!C) throw new ShapeError("discretizeOutputs: expected an output map C [.. M N], got none");
  const D = system.D ?? zeros([C.shape.at(-2)!, B.shape.at(-1)!]);
  if (rule === "foh") {
    const { Abar, integral, ramp } = ramped(A, B, step);
    const Bbar = add(sub(integral, ramp), matmul(Abar, ramp));
    return { Abar, Bbar, Cbar: C, Dbar: add(D, matmul(C, ramp)) };
  }
  const { Abar, Bbar } = discretizeDense(system, dt, rule, options);
  if (rule === "dirac") {
    const pulse = mul(B, step);
    return { Abar, Bbar: matmul(Abar, pulse), Cbar: C, Dbar: add(D, matmul(C, pulse)) };
  }
  const alpha = differenceWeight(rule, options, "discretizeOutputs");
  if (alpha === undefined) return { Abar, Bbar, Cbar: C, Dbar: D };
  const implicit = inverse(add(identityMatrix(A.shape.at(-1)!), mul(-alpha, mul(A, step))));
  return { Abar, Bbar, Cbar: matmul(C, implicit), Dbar: add(D, mul(alpha, matmul(C, Bbar))) };
}

/** e^(dt A), and the integral of e^(s A) B over a step. */
function held(A: Tensor, B: Tensor, step: Tensor): DenseRecurrence {
  const [N, K] = B.shape.slice(-2) as [number, number];
  const top = mul(concat([A, B], -1), step);
  const whole = matrixExponential(concat([top, rows(A, K, N + K)], -2));
  return { Abar: part(whole, [0, N], [0, N]), Bbar: part(whole, [0, N], [N, N + K]) };
}

/** {@link held}, and the integral for an input that grows from 0 to 1 over the step. */
function ramped(A: Tensor, B: Tensor, step: Tensor): { Abar: Tensor; integral: Tensor; ramp: Tensor } {
  const [N, K] = B.shape.slice(-2) as [number, number];
  const size = N + 2 * K;
  const top = concat([mul(concat([A, B], -1), step), rows(A, N, K)], -1);
  const grow = broadcastTo(identityMatrix(K), [...A.shape.slice(0, -2), K, K]);
  const whole = matrixExponential(concat([top, concat([rows(A, K, N + K), grow], -1), rows(A, K, size)], -2));
  return {
    Abar: part(whole, [0, N], [0, N]),
    integral: part(whole, [0, N], [N, N + K]),
    ramp: part(whole, [0, N], [N + K, size]),
  };
}

/** Zeros with the batch axes of A. */
const rows = (A: Tensor, n: number, k: number): Tensor => zeros([...A.shape.slice(0, -2), n, k]);

type Span = readonly [start: number, end: number];
const part = (x: Tensor, [r0, r1]: Span, [c0, c1]: Span): Tensor => sliceAxis(sliceAxis(x, -2, r0, r1), -1, c0, c1);

/** A and B with all batch axes, and the step sizes [.. 1 1]. */
function aligned(system: DenseSystem, dt: Operand, caller: string): { A: Tensor; B: Tensor; step: Tensor } {
  assertSettings(caller, system, { A: "tensor", B: "tensor", C: "tensor?", D: "tensor?" });
  if (typeof dt === "number") assertNumber(caller, "dt", dt);
  const { A, B } = system;
  const [N, columns] = A.shape.slice(-2);
  const [height, K] = B.shape.slice(-2);
  if (A.shape.length < 2 || N !== columns)
    throw new ShapeError(`${caller}: expected a square A [.. N N], got shape ${formatShape(A.shape)}`);
  if (B.shape.length < 2 || height !== N)
    throw new ShapeError(`${caller}: expected B [.. ${N} K] as A has N = ${N}, got shape ${formatShape(B.shape)}`);
  const steps = dt instanceof Tensor ? dt : full([], dt);
  const batch = [B.shape.slice(0, -2), steps.shape].reduce(
    (shape, more) => broadcastShapes(shape, more, caller),
    A.shape.slice(0, -2),
  );
  return {
    A: broadcastTo(A, [...batch, N!, N!]),
    B: broadcastTo(B, [...batch, N!, K!]),
    step: expandDims(expandDims(broadcastTo(steps, batch), -1), -1),
  };
}
