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

/** The slope of head h of H, 2^(-8 (h + 1) / H); for H no power of two the authors' code interleaves two such series. */
export const alibiSlope = (h: number, H: number): number => 2 ** ((-8 * (h + 1)) / H);

/** In the place of -infinity, so that no difference and no product is NaN. */
export const UNSEEN = -1e30;
