/** Where the kernels of S4 start: the inits of the published code. */
import {
  hippoDiagonal,
  s4dEigenvalues,
  type ComplexNumbers,
  type DiagonalPlusLowRank,
  type S4dInit,
} from "@seqmix/hippo";
import { beforeTransform, type PositiveTransform } from "@seqmix/lti";
import { normalInit } from "@seqmix/nn";
import {
  abs,
  add,
  broadcastTo,
  complexMap,
  complexOf,
  complexScale,
  concat,
  div,
  exp,
  expm1,
  foldIn,
  log,
  mul,
  normal,
  reshape,
  sign,
  sqrt,
  stack,
  sub,
  tensor,
  uniform,
  type Complex,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import type { KernelParameters } from "./kernel-parameters.js";

/** Starts of a kernel: a HiPPO measure in its diagonal plus low-rank form, or eigenvalues by a formula ("diag-", with P = 0; "dplr-", with a random P), or several in turn. */
export const kernelInits = [
  "legs",
  "legt",
  "fourier",
  ...(["lin", "inv", "inv2", "quad", "legs", "real", "rand"] as const).flatMap(
    (init) => [`diag-${init}`, `dplr-${init}`] as const,
  ),
  /** legs and fourier */
  "hippo",
  /** diag-inv and diag-lin */
  "diag",
  /** legs, fourier, diag-inv and diag-lin */
  "all",
] as const;

/** One of {@link kernelInits}. */
export type KernelInit = (typeof kernelInits)[number];

/** Starts of the input map with a formula's eigenvalues: ones, random, signs in turn, and points of the unit circle. */
export const inputInits = ["constant", "random", "alternating", "unit-cw", "unit-ccw"] as const;

/** Settings of {@link initKernel}. */
export interface InitialKernel {
  /** H. */
  readonly channels: number;
  /** M. */
  readonly outputs: number;
  /** States a channel, counting both of each conjugate pair; even. */
  readonly dState: number;
  /** Independent systems S; divides H. */
  readonly systems: number;
  /** R of P; none without. */
  readonly rank?: number | undefined;
  /** A, B and P. */
  readonly init: KernelInit;
  /** B of a formula's eigenvalues. */
  readonly inputInit: (typeof inputInits)[number];
  /** Of the real parts of a formula. */
  readonly realScale: number;
  /** Of the imaginary parts of a formula. */
  readonly imagScale: number;
  /** Least and largest step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** One step size a channel, or one for each mode. */
  readonly dtTie: boolean;
  /** Step sizes evenly spaced, and C reading the first coefficient. */
  readonly deterministic: boolean;
  /** A kernel of real numbers, with dState real modes: "diag-real" only. */
  readonly isReal: boolean;
  /** Of `inv_dt`. */
  readonly dtTransform: PositiveTransform;
  /** Pass inv_dt through sinh when read. */
  readonly dtFast: boolean;
  /** Of `A_real`. */
  readonly realTransform: PositiveTransform;
  /** Of `A_imag`. */
  readonly imagTransform: PositiveTransform;
}

/** One system of N stored modes. */
interface Start {
  readonly lambda: ComplexNumbers;
  readonly B: Complex;
  readonly P: Complex;
  /** C that reads the first coefficient, in this basis [N]. */
  readonly first: Complex;
}

/** Fresh parameters of a kernel. @throws RangeError if a setting does not fit another. */
export function initKernel(settings: InitialKernel, key: Key): KernelParameters {
  const { channels: H, outputs: M, dState, systems: S, isReal } = settings;
  if (!Number.isInteger(dState) || dState < 2 || dState % 2 !== 0)
    throw new RangeError(`s4: expected an even dState of at least 2, got ${dState}`);
  if (!Number.isInteger(S) || S < 1 || H % S !== 0)
    throw new RangeError(`s4: expected a number of systems that divides ${H} channels, got ${S}`);
  const inv_dt = initialSteps(settings, isReal ? dState : dState / 2, foldIn(key, "dt"));
  if (isReal) return { inv_dt, ...realKernel(settings, key) };
  const N = dState / 2;
  const starts = runsOf(initsOf(settings, key));
  const each = (f: (start: Start) => Tensor): Tensor =>
    concat(
      starts.map(({ start, count }) => repeated(f(start), count)),
      -2,
    );
  const pairs = ({ re, im }: Complex): Tensor => stack([re, im], re.shape.length);
  const decay = (start: Start): Tensor => numbers(start.lambda.re, (x) => beforeTransform(-x, settings.realTransform));
  const turn = (start: Start): Tensor => numbers(start.lambda.im, (x) => beforeTransform(-x, settings.imagTransform));
  const joined = (f: (start: Start) => Complex): Complex => ({
    re: each((start) => f(start).re),
    im: each((start) => f(start).im),
  });
  const C = settings.deterministic
    ? complexMap(
        joined(({ first }) => complexMap(first, (part) => reshape(part, [1, 1, N]))),
        (part) =>
          mul(
            concat(
              Array.from({ length: H / S }, () => part),
              1,
            ),
            tensor(new Float64Array(M).fill(1), [M, 1, 1]),
          ),
      )
    : undefined;
  return {
    inv_dt,
    A_real: each(decay),
    A_imag: each(turn),
    B: pairs(joined(({ B }) => complexMap(B, (part) => reshape(part, [1, 1, N])))),
    // A complex normal variable of variance 1.
    C: C ? pairs(C) : normalInit(Math.SQRT1_2)(foldIn(key, "C"), [M, H, N, 2]),
    ...(settings.rank !== undefined && {
      P: pairs(joined(({ P }) => complexMap(P, (part) => reshape(part, [settings.rank!, 1, N])))),
    }),
  };
}

/** Systems after each other that start alike, together: as many starts as systems would be as many parts of a graph. */
function runsOf(starts: readonly Start[]): { readonly start: Start; readonly count: number }[] {
  const first = starts.flatMap((start, s) => (start === starts[s - 1] ? [] : [s]));
  return first.map((s, k) => ({ start: starts[s]!, count: (first[k + 1] ?? starts.length) - s }));
}

/** x [.. 1 N] -> [.. count N]. */
const repeated = (x: Tensor, count: number): Tensor =>
  count === 1 ? x : broadcastTo(x, [...x.shape.slice(0, -2), count, x.shape.at(-1)!]);

const numbers = (values: Float64Array, f: (x: number) => number): Tensor => tensor(values.map(f), [1, values.length]);

function initialSteps(settings: InitialKernel, modes: number, key: Key): Tensor {
  const { channels: H, dtMin, dtMax, dtTie, deterministic, dtTransform, dtFast } = settings;
  const [low, high] = [Math.log(dtMin), Math.log(dtMax)];
  const shape = [H, dtTie ? 1 : modes];
  const evenly = Float64Array.from({ length: H }, (_, h) => (H === 1 ? low : low + ((high - low) * h) / (H - 1)));
  const logs = deterministic
    ? mul(tensor(evenly, [H, 1]), tensor(new Float64Array(shape[1]!).fill(1)))
    : uniform(key, shape, low, high);
  return fast(dtTransform === "exp" ? logs : transformed(logs, dtTransform), dtFast);
}

/** What the transform makes e^logs of. */
function transformed(logs: Tensor, transform: PositiveTransform): Tensor {
  const dt = exp(logs);
  if (transform === "softplus") return log(expm1(dt));
  return transform === "sigmoid" ? log(div(dt, sub(1, dt))) : dt;
}

/** asinh, without cancellation for negative values. */
function fast(x: Tensor, dtFast: boolean): Tensor {
  if (!dtFast) return x;
  const size = abs(x);
  return mul(sign(x), log(add(size, sqrt(add(mul(size, size), 1)))));
}

/** S systems: the kinds of an init in turn, each for an equal share of them. */
function initsOf(settings: InitialKernel, key: Key): Start[] {
  const { init, systems: S } = settings;
  const kinds: readonly KernelInit[] =
    init === "hippo"
      ? ["legs", "fourier"]
      : init === "diag"
        ? ["diag-inv", "diag-lin"]
        : init === "all"
          ? ["legs", "fourier", "diag-inv", "diag-lin"]
          : [init];
  if (S % kinds.length !== 0)
    throw new RangeError(`s4: expected a multiple of ${kinds.length} systems with init "${init}", got ${S}`);
  const measures = new Map(kinds.filter(isMeasure).map((kind) => [kind, fromMeasure(kind, settings)] as const));
  // The same for all systems, and the work of an eigenvalue problem.
  const legs = kinds.some(isLegs)
    ? { lambda: formulaOf("legs", settings, key), B: legsInput(settings.dState) }
    : undefined;
  return Array.from({ length: S }, (_, s) => {
    const kind = kinds[Math.floor((s * kinds.length) / S)]!;
    if (isMeasure(kind)) return measures.get(kind)!;
    return { ...fromFormula(kind, settings, foldIn(key, s)), ...(isLegs(kind) && legs) };
  });
}

type Measure = "legs" | "legt" | "fourier";
const isMeasure = (init: KernelInit): init is Measure => init === "legs" || init === "legt" || init === "fourier";

const isLegs = (kind: KernelInit): boolean => kind === "diag-legs" || kind === "dplr-legs";
/** In the place of eigenvalues that are not drawn for each system. */
const NONE: ComplexNumbers = { re: new Float64Array(), im: new Float64Array() };

const complexNumbers = ({ re, im }: ComplexNumbers, shape: readonly number[]): Complex => ({
  re: tensor(re, shape),
  im: tensor(im, shape),
});

function fromMeasure(measure: Measure, { dState, rank }: InitialKernel): Start {
  const form: DiagonalPlusLowRank = hippoDiagonal(measure, dState, { rank, clipB: 2 });
  const N = dState / 2;
  return {
    lambda: form.lambda,
    B: complexNumbers(form.B, [N]),
    P: complexNumbers(form.P, [form.rank, N]),
    // V^H e_0.
    first: {
      re: tensor(form.V.re.slice(0, N), [N]),
      im: tensor(
        form.V.im.slice(0, N).map((x) => -x),
        [N],
      ),
    },
  };
}

function fromFormula(kind: Exclude<KernelInit, Measure>, settings: InitialKernel, key: Key): Start {
  const { dState, rank = 0, inputInit } = settings;
  const N = dState / 2;
  const formula = kind.slice(5) as S4dInit;
  const P = (part: string): Tensor =>
    kind.startsWith("diag") ? mul(0, normal(key, [rank, N])) : normalInit(Math.SQRT1_2)(foldIn(key, part), [rank, N]);
  return {
    lambda: formula === "legs" ? NONE : formulaOf(formula, settings, foldIn(key, "A")),
    B: inputMap(inputInit, N, foldIn(key, "B")),
    P: { re: P("P.re"), im: P("P.im") },
    first: complexOf(tensor(Float64Array.from({ length: N }, (_, n) => (n === 0 ? 1 : 0)))),
  };
}

/** The published code stores the other of each pair. */
function formulaOf(formula: S4dInit, { dState, realScale, imagScale }: InitialKernel, key: Key): ComplexNumbers {
  const { re, im } = s4dEigenvalues(formula, dState, { realScale, imagScale, key });
  return { re, im: im.map((x) => -x) };
}

/** As in the published code, B of LegS is not halved. */
const legsInput = (dState: number): Complex =>
  complexNumbers(hippoDiagonal("legs", dState, { clipB: 2 }).B, [dState / 2]);

function inputMap(init: InitialKernel["inputInit"], N: number, key: Key): Complex {
  const turned = (sign: number): Complex => {
    const angle = (n: number): number => (sign * Math.PI * n) / N;
    return complexNumbers(
      {
        re: Float64Array.from({ length: N }, (_, n) => Math.cos(angle(n))),
        im: Float64Array.from({ length: N }, (_, n) => Math.sin(angle(n))),
      },
      [N],
    );
  };
  switch (init) {
    case "constant":
      return complexOf(tensor(new Float64Array(N).fill(1)));
    case "alternating":
      return complexOf(tensor(Float64Array.from({ length: N }, (_, n) => (n % 2 === 0 ? 1 : -1))));
    case "random":
      return complexScale({ re: normal(foldIn(key, "re"), [N]), im: normal(foldIn(key, "im"), [N]) }, Math.SQRT1_2);
    case "unit-cw":
      return turned(-1);
    case "unit-ccw":
      return turned(1);
    default:
      throw new RangeError(`s4: expected an input init ${inputInits.join(", ")}, got "${String(init)}"`);
  }
}

function realKernel({ channels: H, outputs: M, dState: N, systems: S, init, realTransform }: InitialKernel, key: Key) {
  if (init !== "diag-real") throw new RangeError(`s4: expected init "diag-real" for a real kernel, got "${init}"`);
  const row = Float64Array.from({ length: N }, (_, n) => beforeTransform(n + 1, realTransform));
  return {
    A_real: mul(tensor(row), tensor(new Float64Array(S).fill(1), [S, 1])),
    B: tensor(new Float64Array(S * N).fill(1), [1, S, N]),
    C: normal(foldIn(key, "C"), [M, H, N]),
  };
}
