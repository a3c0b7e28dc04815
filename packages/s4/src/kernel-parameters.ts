/** Trained tensors of a state-space kernel under the names of the published S4 code, and the system they stand for. */
import {
  positive,
  positiveTransforms,
  withinBand,
  type DiagonalSystem,
  type DplrLti,
  type PositiveTransform,
} from "@seqmix/lti";
import {
  assertSettings,
  complexMap,
  complexScale,
  concat,
  exp,
  mul,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  zeros,
  type Complex,
  type Tensor,
} from "@seqmix/tensor";

/** Trained tensors of a kernel. S divides H: channel h uses system h mod S. */
export type KernelParameters = {
  /** Step size before its transform [H 1] or [H N]. */
  readonly inv_dt: Tensor;
  /** Minus the real part of A before its transform [S N]. */
  readonly A_real: Tensor;
  /** Minus the imaginary part of A before its transform [S N]; none for a real kernel. */
  readonly A_imag?: Tensor;
  /** Input map [1 S N 2], real and imaginary parts last; [1 S N] for a real kernel. */
  readonly B: Tensor;
  /** Output maps [M H N 2]; [M H N] for a real kernel. */
  readonly C: Tensor;
  /** Columns of the low-rank part [R S N 2]; none for a diagonal kernel. */
  readonly P?: Tensor;
};

/** Settings of {@link kernelSystem}, with the defaults of the published code. */
export interface KernelOptions {
  /** Of `inv_dt`; "exp" by default. */
  readonly dtTransform?: PositiveTransform;
  /** Of `A_real`; "exp" by default. */
  readonly realTransform?: PositiveTransform;
  /** Of `A_imag`; "none" by default. */
  readonly imagTransform?: PositiveTransform;
  /** Pass `inv_dt` through sinh first. */
  readonly dtFast?: boolean;
  /** Leave the imaginary part of A out. */
  readonly forceReal?: boolean;
  /** Sampling rate relative to that of training: multiplies the step size; 1 by default. */
  readonly rate?: number;
  /** Leave out modes of more than half this many periods a step (0 .. 1); none by default. */
  readonly bandlimit?: number | undefined;
}

/** The system that the trained tensors stand for, A = -(transformed A_real) - i (transformed A_imag); with its P, if they have one. */
export function kernelSystem(
  parameters: KernelParameters,
  options: KernelOptions = {},
): DiagonalSystem & Partial<Pick<DplrLti, "P">> {
  assertSettings("kernelSystem", options, {
    dtTransform: positiveTransforms,
    realTransform: positiveTransforms,
    imagTransform: positiveTransforms,
    dtFast: "flag",
    forceReal: "flag",
    rate: { above: 0 },
    bandlimit: { from: 0 },
  });
  const { inv_dt, A_real, A_imag, B, C, P } = parameters;
  const { dtTransform = "exp", realTransform = "exp", imagTransform = "none", rate = 1 } = options;
  const [S, N] = A_real.shape as [number, number];
  const H = inv_dt.shape[0]!;
  if (H % S !== 0)
    throw new ShapeError(
      `kernelSystem: expected a number of systems that divides the channels, got ${S} for ${H} channels`,
    );
  const copies = (x: Tensor): Tensor =>
    S === H
      ? x
      : concat(
          Array.from({ length: H / S }, () => x),
          -2,
        );
  const pair = (x: Tensor, shape: readonly number[]): Complex => {
    if (!A_imag) return { re: reshape(x, shape), im: zeros(shape) };
    const part = (k: number): Tensor => reshape(sliceAxis(x, -1, k, k + 1), shape);
    return { re: part(0), im: part(1) };
  };
  const oscillates = A_imag && options.forceReal !== true;
  const A = {
    re: copies(mul(-1, positive(A_real, realTransform))),
    im: copies(oscillates ? mul(-1, positive(A_imag, imagTransform)) : zeros([S, N])),
  };
  const raw = options.dtFast === true ? mul(0.5, sub(exp(inv_dt), exp(mul(-1, inv_dt)))) : inv_dt;
  const dt = positive(raw, dtTransform);
  const output = pair(C, [C.shape[0]!, H, N]);
  return {
    dt: rate === 1 ? dt : mul(dt, rate),
    A,
    B: complexMap(pair(B, [S, N]), copies),
    C: options.bandlimit === undefined ? output : complexScale(output, withinBand(mul(dt, A.im), options.bandlimit)),
    ...(P && { P: complexMap(pair(P, [P.shape[0]!, S, N]), copies) }),
  };
}
