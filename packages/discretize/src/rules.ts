/** Names of the rules by which a continuous system becomes a recurrence. */
import { assertSettings } from "@seqmix/tensor";

/**
 * Rules that replace the derivative by a difference quotient: members of one family,
 * Abar = (1 - alpha dt A)^-1 (1 + (1 - alpha) dt A), Bbar = (1 - alpha dt A)^-1 dt B
 * (Zhang, Chen, Zhou, Performance recovery in digital implementation of analogue systems, 2007).
 */
export type DifferenceRule =
  /** alpha = 0 */
  | "euler"
  /** alpha = 1 */
  | "backward_euler"
  /** alpha = 1/2, Tustin's rule */
  | "bilinear"
  /** alpha as given */
  | "gbt";

/**
 * Rules with Abar = e^(dt A), which differ in what an input is between two samples.
 */
export type ExponentialRule =
  /** Constant: Bbar = A^-1 (e^(dt A) - 1) B. */
  | "zoh"
  /** An impulse at the sample's own time, Bbar = B. */
  | "dirac"
  /** A pulse of length 1, whatever time goes by until the next event: Bbar = A^-1 (e^A - 1) B. */
  | "async";

/** How x' = A x + B u becomes h_t = Abar h_(t-1) + Bbar u_t. */
export type DiscretizationRule = DifferenceRule | ExponentialRule;

/** Every {@link DiscretizationRule}. */
export const discretizationRules: readonly DiscretizationRule[] = [
  "zoh",
  "bilinear",
  "euler",
  "backward_euler",
  "gbt",
  "dirac",
  "async",
];

/** What a rule needs beside its name. */
export interface RuleOptions {
  /** Of the rule "gbt": weight of the derivative at the end of the step, 0 .. 1. */
  readonly alpha?: number | undefined;
}

/** The rule of {@link RuleOptions}' one setting. @internal */
export const ALPHA = { alpha: { from: 0, to: 1 } } as const;

/**
 * The weight alpha of a {@link DifferenceRule}; undefined for an {@link ExponentialRule}.
 * @throws RangeError for a name that is no rule's, "gbt" without alpha, or an alpha out of 0 .. 1.
 */
export function differenceWeight(rule: DiscretizationRule, options: RuleOptions, caller: string): number | undefined {
  assertSettings(caller, options, ALPHA);
  const { alpha } = options;
  switch (rule) {
    case "euler":
      return 0;
    case "backward_euler":
      return 1;
    case "bilinear":
      return 0.5;
    case "gbt":
      if (alpha === undefined || !(alpha >= 0 && alpha <= 1))
        throw new RangeError(`${caller}: expected alpha between 0 and 1 with the rule "gbt", got ${alpha}`);
      return alpha;
    case "zoh":
    case "dirac":
    case "async":
      return undefined;
    default:
      throw new RangeError(
        `${caller}: expected a rule ${discretizationRules.map((name) => `"${name}"`).join(", ")}, got "${String(rule)}"`,
      );
  }
}
