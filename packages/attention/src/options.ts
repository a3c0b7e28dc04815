/** What a call of attention can be told. */

/** Which keys a query sees, and how scores are scaled. */
export interface AttentionOptions {
  /** Whether a query sees only keys at its own position and before. */
  readonly causal: boolean;
  /** Keys a query sees at most: those fewer than `window` positions away from it. 0: no limit. */
  readonly window: number;
  /** Factor of q . k; 1 / sqrt(K) is usual. */
  readonly scale: number;
  /**
   * Whether {@link alibiSlope} times the distance in positions is taken off a score (Press et al., Train Short, Test Long,
   * 2022).
   */
  readonly alibi: boolean;
}

/**
 * The slope of head h of H: 2^(-8 (h + 1) / H) where H is a power of two. Else the first P heads, the largest power of two
 * below H, have the slopes of P heads, and the others every other slope of 2 P heads, as in the authors' code.
 */
export function alibiSlope(h: number, H: number): number {
  const P = wholePower(H);
  return 2 ** ((-8 / P) * (h < P ? h + 1 : h - P + 0.5));
}

/** The largest power of two that is not above `H`. @internal */
export const wholePower = (H: number): number => 2 ** Math.floor(Math.log2(H));

/** In the place of -infinity, so that no difference and no product is NaN. */
export const UNSEEN = -1e30;
