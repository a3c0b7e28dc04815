/** HiPPO-LegS by itself: what S5 starts from. */
import { assertOrder } from "./matrices.js";
import { hippoNormal } from "./normal-forms.js";
import { diagonalizeSkew, type SkewEigenvectors } from "./skew-eigenvectors.js";

/** S = V diag(re + i im) V^H with V unitary. */
export interface LegsEigenvectors extends SkewEigenvectors {
  /** Real part of every eigenvalue. */
  readonly re: -0.5;
}

/**
 * Eigenvalues and eigenvectors of the normal part of LegS ("HiPPO-N"). Rounding leaves V^H V = 1 to about 1e-13 up to
 * N = 256. The phase of each eigenvector is arbitrary; the vectors of a conjugate pair are conjugates.
 */
export function diagonalizeLegs(N: number): LegsEigenvectors {
  assertOrder("diagonalizeLegs", N);
  const { S } = hippoNormal("legs", N);
  return { re: -0.5, ...diagonalizeSkew(S.map((value, i) => (i % (N + 1) === 0 ? 0 : value))) };
}
